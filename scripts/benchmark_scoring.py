"""Times scoring of real files against PyTorch: same student, same crops, interleaved.

    python scripts/benchmark_scoring.py runs/student data/agiqa3k/images
    python scripts/benchmark_scoring.py runs/student data/agiqa3k/images --memory

Contenders, a process each, asked in turn for the next share of the pictures:

- jax, onnx: `Scorer.score_iter` of the two backends;
- files: PyTorch, one file at a time, decoded and scored before the next is opened, as
  commands of IQA packages do it;
- loader: PyTorch, a DataLoader with two workers and batches of 32 crops, the faster of
  contiguous and channels-last maps.

Scores are compared in the same run. `limit` is what decoding and computing alone allow
if they share the cores; `--memory` measures the peak memory of scoring few and many
pictures (hard links of one) instead.
"""

# pyright: reportMissingImports=false

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from benchmark import ask, end_child, say, start_child

from ganiqa_jax import start

OURS = ("jax", "onnx")
PEERS = ("files", "loader")
FORMS = ("contiguous", "channels_last")
LINKS = 10_000
"""Names of one file; file systems allow no more than some ten thousand."""
AGREEMENT = 1e-4
"""Largest difference of scores."""

Score = Callable[[Sequence[Path]], np.ndarray]


@dataclass(frozen=True)
class Options:
    """What is timed.

    Attributes:
      model: run directory or released folder of a student.
      pictures: folder of pictures.
      count: pictures in all, shared by the rounds.
      rounds: of the contenders in turn.
      batch_size: crops per device call.
      workers: threads or processes that decode.
      memory: measure memory in place of time.
      few: pictures of the smaller run; so `many`.
      child: used by the parent: a contender.
    """

    model: tyro.conf.Positional[Path]
    pictures: tyro.conf.Positional[Path]
    count: int = 2000
    rounds: int = 5
    batch_size: int = 32
    workers: int = 2
    memory: bool = False
    few: int = 1000
    many: int = 100_000
    child: Annotated[str, tyro.conf.arg(help="used by the parent process")] = ""


def ours(options: Options, backend: str) -> Score:
    """Scores by one of our backends."""
    if backend == "jax":
        from ganiqa_jax.mesh import set_cpu_flags

        set_cpu_flags("infer")
    from ganiqa_jax.scoring.engine import create_scorer

    scorer = create_scorer(
        options.model,
        backend=backend,  # pyright: ignore[reportArgumentType]
        batch_size=options.batch_size,
        workers=options.workers,
    )
    return lambda paths: np.array([row.score for row in scorer.score_iter(paths)])


class Crops:
    """Files as a dataset of torch: what a network takes of one picture.

    That is uint8 [I, N, 3, S, S]: of each input the crops.
    """

    def __init__(self, paths: Sequence[Path], preprocessing: Any) -> None:
        self._paths = paths
        self._preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        import torch
        from PIL import Image

        from ganiqa_jax.scoring.cropping import views

        with Image.open(self._paths[index]) as image:
            pixels = np.asarray(image.convert("RGB"))
        crops = np.stack(views(pixels, self._preprocessing))
        return torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 1, 4, 2, 3)))


def torch_network(options: Options) -> tuple[Any, Any]:
    """Our student in PyTorch, and its card."""
    from ganiqa_jax.convert.conversion import prepare
    from torch_reference.loading import load_network

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "student.safetensors")
        prepare(options.model, to="torch").finish(file)
        return load_network(file)


def forward(network: Any, crops: Any, form: str) -> np.ndarray:
    import torch

    with torch.inference_mode():
        inputs = list(crops.float() / 255)
        if form == "channels_last":
            kind = torch.channels_last
            inputs = [x.contiguous(memory_format=kind) for x in inputs]
        return network(*inputs).z.numpy()


def in_form(network: Any, form: str) -> Any:
    import torch

    kind = torch.channels_last if form == "channels_last" else torch.contiguous_format
    return network.to(memory_format=kind)


def files(options: Options) -> Score:
    """One file after the other."""
    network, card = torch_network(options)

    def score(paths: Sequence[Path]) -> np.ndarray:
        data = Crops(paths, card.preprocessing)
        z = [forward(network, data[i], "contiguous").mean() for i in range(len(data))]
        return card.scale.to_score(np.array(z, float))

    return score


def loader(options: Options) -> Score:
    """A DataLoader, and batches of crops."""
    import torch
    from torch.utils.data import DataLoader

    network, card = torch_network(options)
    pre = card.preprocessing
    crops = pre.points * (2 if pre.mirror else 1)
    size = max(1, options.batch_size // crops)
    inputs = len(card.inputs)
    x = torch.zeros(inputs, size * crops, 3, pre.crop, pre.crop, dtype=torch.uint8)
    form = min(FORMS, key=lambda f: seconds(lambda: forward(in_form(network, f), x, f)))
    network = in_form(network, form)

    def score(paths: Sequence[Path]) -> np.ndarray:
        data: Any = Crops(paths, pre)
        batches = DataLoader(data, size, num_workers=options.workers)
        z = [
            forward(network, batch.movedim(1, 0).flatten(1, 2), form)
            .reshape(-1, crops)
            .mean(1)
            for batch in batches
        ]
        return card.scale.to_score(np.concatenate(z).astype(float))

    return score


def seconds(work: Callable[[], object]) -> float:
    """The shortest of some runs."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def serve(options: Options, paths: Sequence[Path]) -> None:
    """Child: scores the share that each line of input names, as first and last."""
    name = options.child
    if name in OURS:
        score = ours(options, name)
    else:
        score = {"files": files, "loader": loader}[name](options)
    score(paths[:8])
    say({"ready": name})
    for line in sys.stdin:
        first, last = map(int, line.split())
        began = time.perf_counter()
        scores = score(paths[first:last])
        elapsed = time.perf_counter() - began
        say({"rate": (last - first) / elapsed, "scores": scores.tolist()})


def shares(count: int, rounds: int) -> Iterator[tuple[int, int]]:
    ends = [count * i // rounds for i in range(rounds + 1)]
    yield from zip(ends[:-1], ends[1:], strict=True)


def limits(options: Options, paths: Sequence[Path]) -> dict[str, float]:
    """Pictures per second that decoding and computing alone allow, by backend."""
    from ganiqa_jax.mesh import set_cpu_flags
    from ganiqa_jax.scoring.bench import computing_rate, decoding_rate
    from ganiqa_jax.scoring.computing import create_compute, crops_of
    from ganiqa_jax.scoring.engine import Scorer

    set_cpu_flags("infer")
    found = {}
    for backend in OURS:
        compute = create_compute(options.model, backend, options.batch_size)
        decode = decoding_rate(
            Scorer(compute, workers=options.workers), paths, options.workers
        )
        crops = computing_rate(compute, crops_of(compute.card))
        print(
            f"{backend}: decoding alone {decode:.1f}, network alone {crops:.1f} "
            "pictures/s",
            flush=True,
        )
        found[backend] = 1 / (1 / decode + 1 / crops)
    return found


def compare(options: Options, paths: Sequence[Path]) -> int:
    """Parent: a table; 1 if scores differ."""
    arguments = [str(options.model), str(options.pictures)]
    arguments += ["--count", str(options.count)]
    arguments += ["--batch-size", str(options.batch_size)]
    arguments += ["--workers", str(options.workers)]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    # Large pages, as `ganiqa` has them, for the loader too; not for what people run.
    plain = {k: v for k, v in environment.items() if k != start.SETTINGS}
    limit = limits(options, paths[: options.count // options.rounds])
    names = (*OURS, *PEERS)
    children = {
        name: start_child(
            [__file__, *arguments, "--child", name],
            plain if name == "files" else environment,
        )
        for name in names
    }
    for child in children.values():
        ask(child, None)
    rates: dict[str, list[float]] = {name: [] for name in names}
    apart = dict.fromkeys(names, 0.0)
    for turn, (first, last) in enumerate(shares(options.count, options.rounds)):
        scores = {}
        for name in names if turn % 2 == 0 else reversed(names):
            answer = ask(children[name], f"{first} {last}")
            rates[name].append(answer["rate"])
            scores[name] = np.array(answer["scores"])
        for name in names:
            worst = float(np.abs(scores[name] - scores["jax"]).max())
            apart[name] = max(apart[name], worst)
    for child in children.values():
        end_child(child)
    print("\n| contender | pictures/s | to files | to loader | of its limit | scores |")
    print("|---|---|---|---|---|---|")
    for name in names:
        cells = [name, f"{statistics.median(rates[name]):.1f}"]
        for peer in PEERS:
            each = [a / b for a, b in zip(rates[name], rates[peer], strict=True)]
            span = f"({min(each):.2f} to {max(each):.2f})"
            cells.append(f"{statistics.median(each):.2f} {span}")
        share = statistics.median(rates[name]) / limit[name] if name in limit else None
        cells.append("" if share is None else f"{100 * share:.0f} %")
        cells.append(f"{apart[name]:.0e}")
        print(f"| {' | '.join(cells)} |")
    return int(max(apart.values()) > AGREEMENT)


def memory(options: Options, paths: Sequence[Path]) -> int:
    """Peak memory of `ganiqa score` on few and many pictures, by backend."""
    import subprocess

    file: Path = paths[0]
    program = (
        "import resource, sys; from ganiqa_jax.cli import main; status = main(); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024); "
        "sys.exit(status)"
    )
    print("| backend | pictures | peak memory, MiB |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        links = Path(folder, "links")
        links.mkdir()
        for number in range(options.many):
            if number == options.few:
                listed = sorted(links.iterdir())
                Path(folder, "few.txt").write_text("\n".join(map(str, listed)))
            link = links / f"{number:07}{paths[0].suffix}"
            if number % LINKS == 0:
                file = Path(shutil.copy(paths[0], link))
            else:
                os.link(file, link)
        listed = sorted(links.iterdir())
        Path(folder, "many.txt").write_text("\n".join(map(str, listed)))
        # The first run exports the network, which later ones find in the cache.
        for run, name in enumerate(("few", "few", "many")):
            count = getattr(options, name)
            done = subprocess.run(
                [sys.executable, "-c", program, "score", f"@{folder}/{name}.txt"]
                + ["--model", str(options.model), "--backend", "onnx"]
                + ["--out", f"{folder}/{run}.jsonl", "--no-progress"],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            print(f"| onnx | {count} | {done.stdout.strip()} |", flush=True)
    return 0


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    from ganiqa_jax.scoring.find import find_pictures

    paths = find_pictures([options.pictures])[: options.count]
    if options.child:
        serve(options, paths)
        return 0
    start.with_large_pages()
    options = Options(**{**vars(options), "count": len(paths)})
    return memory(options, paths) if options.memory else compare(options, paths)


if __name__ == "__main__":
    sys.exit(main())
