"""Times the networks and steps on this machine, interleaved, with and without flags.

    python scripts/benchmark.py --rounds 5
    python scripts/benchmark.py --against torch     # PyTorch instead; extra `parity`

Each setting of the XLA CPU flags lives in a process of its own; the parent asks
them in turn, one timing at a time, so that drift of the machine falls on both
alike. Printed: the median in milliseconds, pictures or steps per second, and the
ratio of the default setting to the flags of `ganiqa_jax.mesh.set_cpu_flags`.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

SETTINGS = ("flags", "default")


@dataclass(frozen=True)
class Options:
    """What is timed.

    Attributes:
      rounds: timings of each case.
      crop: side of the pictures.
      batches: student batch sizes.
      pairs: pairs in a teacher forward pass and in a teacher step.
      rows: rows of a distillation step; `pairs` of them have references.
      against: the default flags, or the same networks in PyTorch.
      child: used by the parent: the setting and purpose of one process.
    """

    rounds: int = 5
    crop: int = 192
    batches: tuple[int, ...] = (1, 8, 32)
    pairs: int = 4
    rows: int = 20
    against: Literal["flags", "torch"] = "flags"
    child: Annotated[str, tyro.conf.arg(help="used by the parent process")] = ""


def cases(options: Options, purpose: str):
    """Name, callable that blocks until done, and pictures or steps per call."""
    import jax
    import jax.numpy as jnp

    from ganiqa_jax import optim, steps
    from ganiqa_jax.config import (
        DistillWeights,
        NoiseConfig,
        OptimConfig,
        StudentConfig,
        TeacherConfig,
        TeacherWeights,
    )
    from ganiqa_jax.models import Student, Teacher
    from ganiqa_jax.models.features import DISTILLED_MAPS, FeatureAdapters
    from ganiqa_jax.types import Batch

    key = jax.random.key(0)
    side = options.crop
    teacher = Teacher(TeacherConfig(backbone="inception_v3"))
    # Names weights, which are not read, because that fixes the trunk's statistics.
    student = Student(
        StudentConfig(trunk="mobilenet_v1", trunk_weights="any", frozen_blocks=5)
    )
    one = jnp.zeros((1, side, side, 3))
    teacher_variables = jax.jit(teacher.init)({"params": key}, one, one)
    student_variables = jax.jit(student.init)({"params": key}, one)

    def pictures(count: int):
        return jax.random.uniform(key, (count, side, side, 3))

    def batch(rows: int, pairs: int) -> Batch:
        return Batch(
            distorted=pictures(rows),
            reference=pictures(pairs),
            mos=jax.random.normal(key, (rows,)),
            mask=jnp.ones(rows, bool),
            labelled=jnp.ones(rows, bool),
            confidence=jnp.ones(rows),
            source=jnp.zeros(rows, jnp.int32),
            content=jnp.arange(rows),
            index=jnp.arange(rows),
        )

    if purpose == "infer":
        pair = jax.jit(lambda v, r, d: steps.predict_pairs(v, r, d, teacher=teacher))
        x = pictures(options.pairs)
        yield (
            f"teacher, {options.pairs} pairs",
            lambda: jax.block_until_ready(pair(teacher_variables, x, x)),
            options.pairs,
        )
        predict = jax.jit(lambda v, d: steps.predict(v, d, student=student))
        for count in options.batches:
            y = pictures(count)
            yield (
                f"student, batch {count}",
                lambda y=y: jax.block_until_ready(predict(student_variables, y)),
                count,
            )
        return

    config = OptimConfig()

    def stepper(state, step):
        """Calls a step on the state that the call before left (it is donated)."""
        held = [state]
        compiled = jax.jit(step, donate_argnums=0)

        def call() -> None:
            held[0], metrics = compiled(held[0])
            jax.block_until_ready(metrics["loss"])

        return call

    # A step takes its state for itself; distillation needs the teacher once more.
    own = jax.tree.map(jnp.array, teacher_variables)
    params = {"network": own["params"]}
    optimizer = optim.optimizer(config, 1000, params, trunk=None)
    teacher_batch = batch(options.pairs, options.pairs)
    yield (
        f"teacher step, {options.pairs} pairs",
        stepper(
            steps.create_state(own, optimizer),
            lambda state: steps.teacher_step(
                state,
                teacher_variables["frozen"],
                teacher_batch,
                key,
                teacher=teacher,
                optimizer=optimizer,
                optim_config=config,
                weights=TeacherWeights(),
                quarter_turns=True,
            ),
        ),
        1,
    )
    adapters = FeatureAdapters(width=128)
    maps = {name: jnp.zeros((1, 1, 1, 128)) for name in DISTILLED_MAPS}
    adapter_params = adapters.init(key, maps)["params"]
    params = {"network": student_variables["params"], "adapters": adapter_params}
    student_optimizer = optim.optimizer(config, 1000, params, trunk="trunk")
    student_batch = batch(options.rows, options.pairs)
    yield (
        f"distillation step, {options.rows} rows, {options.pairs} pairs",
        stepper(
            steps.create_state(student_variables, student_optimizer, adapter_params),
            lambda state: steps.distill_step(
                state,
                student_variables["frozen"],
                teacher_variables,
                student_batch,
                key,
                student=student,
                adapters=adapters,
                teacher=teacher,
                optimizer=student_optimizer,
                optim_config=config,
                weights=DistillWeights(),
                noise=NoiseConfig(),
                quarter_turns=True,
                steps=1000,
            ),
        ),
        1,
    )


def serve(options: Options) -> None:
    """Child: builds its cases, then times the one asked for on each line of input."""
    setting, purpose = options.child.split(":")
    if setting == "flags":
        from ganiqa_jax.mesh import set_cpu_flags

        set_cpu_flags(purpose)  # pyright: ignore[reportArgumentType]
    import jax

    built = list(cases(options, purpose))
    for _, call, _ in built:
        call()
    device = f"{jax.devices()[0].device_kind}, jax {jax.__version__}"
    say({"device": device, "cases": [(name, count) for name, _, count in built]})
    for line in sys.stdin:
        call = built[int(line)][1]
        call()
        begin = time.perf_counter()
        call()
        say({"ms": 1000 * (time.perf_counter() - begin)})


def say(value: dict) -> None:
    """One JSON line to the parent."""
    print(json.dumps(value), flush=True)


def start_child(
    arguments: list[str], environment: Mapping[str, str]
) -> subprocess.Popen:
    """Starts a script as a child that is asked by lines."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def ask(child: subprocess.Popen, line: str | None) -> dict:
    """Sends a line, if any, and reads the JSON line that comes back."""
    assert child.stdin is not None and child.stdout is not None
    if line is not None:
        child.stdin.write(line + "\n")
        child.stdin.flush()
    answer = child.stdout.readline()
    if not answer:  # it has said why on standard error
        raise SystemExit(f"A process that is timed has ended: {child.args}")
    return json.loads(answer)


def end_child(child: subprocess.Popen) -> None:
    """Lets a child end, and waits until it has."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    child.wait()
    child.stdout.close()


def run(options: Options, purpose: str) -> None:
    """Parent: asks both settings in turn and prints the medians."""
    shared = ["--crop", str(options.crop), "--pairs", str(options.pairs)]
    shared += ["--rows", str(options.rows)]
    shared += ["--batches", *map(str, options.batches)]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    children = {
        setting: start_child(
            [__file__, *shared, "--child", f"{setting}:{purpose}"], environment
        )
        for setting in SETTINGS
    }
    hello = {setting: ask(child, None) for setting, child in children.items()}
    print(f"\n{purpose}: {hello['flags']['device']}, crop {options.crop}")
    print(
        f"{'case':44s} {'flags ms':>9s} {'per s':>8s} {'default ms':>11s} {'ratio':>6s}"
    )
    for index, (name, count) in enumerate(hello["flags"]["cases"]):
        times: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
        for turn in range(options.rounds):
            for setting in SETTINGS if turn % 2 == 0 else reversed(SETTINGS):
                times[setting].append(ask(children[setting], str(index))["ms"])
        flags, default = (statistics.median(times[setting]) for setting in SETTINGS)
        print(
            f"{name:44s} {flags:9.1f} {1000 * count / flags:8.2f} {default:11.1f} "
            f"{default / flags:6.2f}"
        )
    for child in children.values():
        end_child(child)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.against == "torch":
        import benchmark_torch

        sys.exit(benchmark_torch.main(options))
    if options.child:
        serve(options)
        return
    for purpose in ("infer", "train"):
        run(options, purpose)


if __name__ == "__main__":
    main()
