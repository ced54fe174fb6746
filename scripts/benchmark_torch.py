"""Times the networks and the distillation step against PyTorch; see benchmark.py.

The same networks on the same weights and pictures, JAX in one process and each form of
PyTorch in another; the parent asks them in turn, one timing at a time. What they give
out is compared in the same run. PyTorch is the plain reference of `torch_reference`,
eager with contiguous maps, eager with channels last, and compiled.
"""

# pyright: reportMissingImports=false

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganiqa_jax.config import OptimConfig, StudentConfig, TeacherConfig

OURS = "jax"
EAGER = ("contiguous", "channels_last")
FORMS = (*EAGER, "compile")
PURPOSES = ("infer", "train")
AGREEMENT = 1e-3
"""Largest relative difference of what is given out, terms of a step among it."""

STUDENTS = {
    "EfficientViT": StudentConfig(),
    # Names weights, which are not read, because that fixes the trunk's statistics.
    "MobileNetV1": StudentConfig(
        trunk="mobilenet_v1", trunk_weights="any", frozen_blocks=5
    ),
}
TEACHER = TeacherConfig(backbone="inception_v3")
FEATURES = TeacherConfig()
FEATURE_BATCHES = (1, 8)


@dataclass(frozen=True)
class Case:
    """Something that is timed.

    Attributes:
      name: in the table.
      count: pictures, or steps, of a call.
      call: gives out arrays, computed to their end.
    """

    name: str
    count: int
    call: Callable[[], list[np.ndarray]]


def names(options: Any, purpose: str) -> list[tuple[str, int]]:
    """What is timed for a purpose, and how many pictures or steps a call is."""
    if purpose == "train":
        rows = f"{options.rows} rows, {options.pairs} pairs"
        return [(f"distillation step, {name}, {rows}", 1) for name in STUDENTS]
    found = [(f"Inception-ResNet-v2 features, batch {n}", n) for n in FEATURE_BATCHES]
    for name in STUDENTS:
        found += [(f"student ({name}), batch {n}", n) for n in options.batches]
    return found


# --- JAX


def jax_calls(options: Any, purpose: str) -> Iterator[Callable[[], list[np.ndarray]]]:
    """A call for each name, in their order."""
    import jax
    import jax.numpy as jnp

    from torch_reference.jax_steps import start

    if purpose == "infer":
        from ganiqa_jax.models import Student
        from ganiqa_jax.models.backbones.inception_resnet_v2 import InceptionResNetV2

        network = InceptionResNetV2()
        for count in FEATURE_BATCHES:
            x = jnp.asarray(pictures(count, options.crop))
            run = jax.jit(network.apply)
            variables = on_device(begun(network, x))
            yield lambda v=variables, x=x, run=run: listed(run(v, x))
        for config in STUDENTS.values():
            student = Student(config)
            x = jnp.asarray(pictures(1, options.crop))
            variables = on_device(begun(student, x))
            run = jax.jit(lambda v, x, net=student: z_of(net.apply(v, x)))
            for count in options.batches:
                x = jnp.asarray(pictures(count, options.crop))
                yield lambda v=variables, x=x, run=run: listed([run(v, x)])
        return
    for config in STUDENTS.values():
        batch = batch_of(options)
        begin = start(config, TEACHER, batch)
        yield jax_step(begin, batch)


def jax_step(begin: Any, batch: Any) -> Callable[[], list[np.ndarray]]:
    """A step on the state that the call before left."""
    import jax
    import jax.numpy as jnp

    from ganiqa_jax import optim
    from torch_reference.jax_steps import compiled_step, first_state, params_of

    optimizer = optim.optimizer(OPTIM, STEPS, params_of(begin), trunk="trunk")
    move = compiled_step(begin, weights(), OPTIM, optimizer, STEPS)
    held = [first_state(begin, optimizer)]
    rows = jax.tree.map(jnp.asarray, batch)

    def call() -> list[np.ndarray]:
        held[0], terms = move(held[0], rows)
        return [np.asarray(terms["loss"])]

    return call


def z_of(output: Any) -> Any:
    return output.z


def on_device(variables: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jax.tree.map(jnp.asarray, variables)


def listed(arrays: Any) -> list[np.ndarray]:
    import jax

    return [np.asarray(array) for array in jax.block_until_ready(arrays)]


# --- PyTorch


def torch_calls(
    options: Any, purpose: str, form: str
) -> Iterator[Callable[[], list[np.ndarray]]]:
    """The same by one form of PyTorch."""
    import torch

    from torch_reference.inception_resnet_v2 import InceptionResNetV2
    from torch_reference.student import Student
    from torch_reference.weights import load_flax

    torch.set_num_threads(os.cpu_count() or 1)
    if purpose == "train":
        for config in STUDENTS.values():
            yield torch_step(options, config, form)
        return
    from ganiqa_jax.models import Student as OurStudent
    from ganiqa_jax.models.backbones.inception_resnet_v2 import (
        InceptionResNetV2 as OurInception,
    )

    def call(network: Any, x: Any, pick: Callable[[Any], Any]) -> list[np.ndarray]:
        with torch.inference_mode():
            return [as_ours(array) for array in pick(network(x))]

    features = InceptionResNetV2()
    x = pictures(1, options.crop)
    load_flax(features, begun(OurInception(), x))
    network = in_form(features, form)
    for count in FEATURE_BATCHES:
        x = tensor(pictures(count, options.crop), form)
        yield lambda net=network, x=x: call(net, x, list)
    for config in STUDENTS.values():
        student = Student(config)
        x = pictures(1, options.crop)
        load_flax(student, begun(OurStudent(config), x))
        network = in_form(student, form)
        for count in options.batches:
            x = tensor(pictures(count, options.crop), form)
            yield lambda net=network, x=x: call(net, x, lambda out: [out.z])


def torch_step(
    options: Any, config: StudentConfig, form: str
) -> Callable[[], list[np.ndarray]]:
    """A step of the reference."""
    from torch_reference.comparison_steps import given_of, paired
    from torch_reference.jax_steps import start
    from torch_reference.step import adamw, distill_step
    from torch_reference.weights import load_flax

    batch = batch_of(options)
    begin = start(config, TEACHER, batch)
    theirs = paired(begin)
    load_flax(theirs.student, begin.variables)
    load_flax(theirs.teacher, begin.teacher_variables)
    # The optimiser holds the parameters, which stay the same objects.
    optimizer = adamw(theirs.student, theirs.adapters, OPTIM)
    student, teacher = (
        in_form(part, form) for part in (theirs.student, theirs.teacher)
    )
    given = given_of(batch)
    if form == "channels_last":
        given = given._replace(
            distorted=channels_last(given.distorted),
            reference=channels_last(given.reference),
        )
    done = [0]

    def call() -> list[np.ndarray]:
        terms = distill_step(
            student,
            theirs.adapters,
            teacher,
            optimizer,
            given,
            weights(),
            OPTIM,
            done[0],
            STEPS,
        )
        done[0] += 1
        return [terms["loss"].numpy()]

    return call


def in_form(network: Any, form: str) -> Any:
    import torch

    network = network.eval()
    if form == "channels_last":
        return network.to(memory_format=torch.channels_last)
    return torch.compile(network, dynamic=False) if form == "compile" else network


def tensor(array: np.ndarray, form: str) -> Any:
    from torch_reference.comparison import to_torch

    x = to_torch(array)
    return channels_last(x) if form == "channels_last" else x


def channels_last(x: Any) -> Any:
    import torch

    return x.contiguous(memory_format=torch.channels_last)


def as_ours(x: Any) -> np.ndarray:
    from torch_reference.comparison import to_ours

    return to_ours(x)


# --- both

OPTIM = OptimConfig(peak_lr=1e-4, trunk_lr_scale=0.5)
STEPS = 1000


def weights() -> Any:
    from ganiqa_jax.config import DistillWeights

    return DistillWeights()


def pictures(count: int, side: int) -> np.ndarray:
    """[count, side, side, 3] float32 photographs."""
    from torch_reference.pictures import photographs

    return photographs(count, side)[1]


def batch_of(options: Any) -> Any:
    from torch_reference.jax_steps import batch_of as made

    return made(options.rows, options.pairs, options.crop)


def begun(network: Any, x: Any) -> Any:
    """Weights on which rounding does not grow, the same in both frameworks."""
    from torch_reference.jax_steps import near_start

    return near_start(network, [x])


def serve(options: Any) -> None:
    """Child: builds its cases, then times the one asked for on each line of input."""
    from benchmark import say

    form, purpose = options.child.split(":")
    if form == OURS:
        from ganiqa_jax.mesh import set_cpu_flags

        set_cpu_flags(purpose)  # pyright: ignore[reportArgumentType]
        calls = jax_calls(options, purpose)
    else:
        calls = torch_calls(options, purpose, form)
    built = [(call, call()) for call in calls]
    say({"given": [[sketch(array) for array in out] for _, out in built]})
    for line in sys.stdin:
        call = built[int(line)][0]
        call()
        begin = time.perf_counter()
        call()
        say({"ms": 1000 * (time.perf_counter() - begin)})


def sketch(array: np.ndarray) -> list[float]:
    """Some values of an array, spread over it."""
    flat = np.asarray(array, np.float64).ravel()
    return flat[np.linspace(0, flat.size - 1, min(flat.size, 500)).astype(int)].tolist()


def apart(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """The largest relative error of any array, from its sketch."""
    return max(
        float(np.linalg.norm(np.subtract(a, b)) / np.linalg.norm(b))
        for a, b in zip(ours, theirs, strict=True)
    )


def run(options: Any, purpose: str) -> bool:
    """Parent: prints a row for each case; False if something does not agree."""
    from benchmark import ask, end_child, start_child

    # A compiled step takes minutes to build and is no peer that anyone trains with.
    forms = FORMS if purpose == "infer" else EAGER
    shared = ["--against", "torch", "--crop", str(options.crop)]
    shared += ["--pairs", str(options.pairs), "--rows", str(options.rows)]
    shared += ["--batches", *map(str, options.batches)]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    script = os.path.join(os.path.dirname(__file__), "benchmark.py")
    children = {
        form: start_child(
            [script, *shared, "--child", f"{form}:{purpose}"], environment
        )
        for form in (OURS, *forms)
    }
    given = {form: ask(child, None)["given"] for form, child in children.items()}
    head = ["case", "ours, ms", "per second", *(f"{form}, ms" for form in forms)]
    head += ["ratio to the best eager", "to channels_last", "agreement"]
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    agreed = True
    for index, (name, count) in enumerate(names(options, purpose)):
        times: dict[str, list[float]] = {form: [] for form in children}
        for turn in range(options.rounds):
            order = list(children) if turn % 2 == 0 else list(reversed(children))
            for form in order:
                times[form].append(ask(children[form], str(index))["ms"])
        middle = {form: statistics.median(values) for form, values in times.items()}
        error = max(apart(given[OURS][index], given[form][index]) for form in forms)
        agreed &= error < AGREEMENT
        cells = [name, f"{middle[OURS]:.1f}", f"{1000 * count / middle[OURS]:.1f}"]
        cells += [f"{middle[form]:.1f}" for form in forms]
        cells.append(ratio(times, EAGER))
        cells.append(ratio(times, ("channels_last",)))
        cells.append(f"{error:.0e}" + ("" if error < AGREEMENT else " **apart**"))
        print(f"| {' | '.join(cells)} |", flush=True)
    for child in children.values():
        end_child(child)
    return agreed


def ratio(times: dict[str, list[float]], forms: tuple[str, ...]) -> str:
    """The best of these forms to ours: the median, and the range over the rounds."""
    best = min(forms, key=lambda form: statistics.median(times[form]))
    each = [b / a for a, b in zip(times[OURS], times[best], strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def main(options: Any) -> int:
    """Runs all and tells what it ran on; 1 if something does not agree."""
    import importlib.metadata

    if options.child:
        serve(options)
        return 0
    versions = (f"{n} {importlib.metadata.version(n)}" for n in ("jax", "torch"))
    cores = len(os.sched_getaffinity(0))
    print(
        f"{', '.join(versions)}; CPU, {cores} cores, float32, pictures of "
        f"{options.crop}; medians of {options.rounds} interleaved rounds."
    )
    return int(not all([run(options, purpose) for purpose in PURPOSES]))
