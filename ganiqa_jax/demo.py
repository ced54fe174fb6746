"""The main job, whole and small: embedded photographs to a page of scores.

Photographs that Python packages bring along are distorted in graded steps; a teacher
learns from the pairs, a student on the trunk of `student-s` learns from the teacher,
and both are measured on scenes that neither was trained on here. Minutes on two cores,
nothing is downloaded.
"""

import csv
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ganiqa_jax import evaluate
from ganiqa_jax.config import (
    DataConfig,
    DistillConfig,
    JndConfig,
    LoopConfig,
    OptimConfig,
    Preprocessing,
    ProbeConfig,
    Role,
    SourceConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTrainConfig,
)
from ganiqa_jax.data import synthetic
from ganiqa_jax.data.records import Record
from ganiqa_jax.report.page import PageRow, Panel, ResultRow, Section, write_page
from ganiqa_jax.scoring import rows as score_rows
from ganiqa_jax.scoring.engine import create_scorer
from ganiqa_jax.scoring.find import find_pictures
from ganiqa_jax.train import distill, train_teacher

logger = logging.getLogger("ganiqa_jax")

DATASET = "synthetic"
MEASURES = ("srcc", "plcc", "plcc_fitted", "rmse")


class DemoResult(NamedTuple):
    """What the demo made and measured.

    Attributes:
      page: the HTML page.
      scores: rows of the folder of pictures, JSON lines.
      teacher: agreement of the teacher with the grades on unseen scenes.
      student: the same of the student.
      seconds: how long it took.
    """

    page: Path
    scores: Path
    teacher: evaluate.Evaluation
    student: evaluate.Evaluation
    seconds: float


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], None] = logger.info,
) -> DemoResult:
    """Runs every stage and writes `report.html`.

    A second call with the same folder and seed goes on where the first stopped.

    Args:
      out: folder for data, runs, scores and page; made if need be.
      seed: decides distortions, split of scenes, weights and order.
      progress: bars on standard error.
      say: takes a line at the start of each stage.

    Raises:
      InputError: if `out` holds a demo of another seed.
    """
    began = time.monotonic()
    say("1/6 Distorting embedded photographs in graded steps")
    data = make_pairs(out, seed=seed)

    say("2/6 Training the teacher: it compares each picture with its original")
    _train(train_teacher, teacher_config(out, seed=seed), out / "teacher", progress)

    say("3/6 Distilling the student: it sees the picture alone")
    _train(distill, student_config(out, seed=seed), out / "student", progress)

    say("4/6 Measuring both on scenes held back from their training")
    measured = {
        name: evaluate.evaluate(
            out / name, DATASET, data, out=out / name / "eval", progress=progress
        )
        for name in ("teacher", "student")
    }

    say("5/6 Scoring a folder of pictures")
    gallery = score_folder(out, data)

    page = out / "report.html"
    say(f"6/6 Writing {page}")
    seconds = time.monotonic() - began
    write_report(page, gallery, measured, out=out, seed=seed, seconds=seconds)
    return DemoResult(
        page=page,
        scores=out / "scores.jsonl",
        teacher=measured["teacher"],
        student=measured["student"],
        seconds=seconds,
    )


def teacher_config(out: Path, *, seed: int = 0) -> TeacherTrainConfig:
    """Stage 1 of the demo; `configs/smoke_teacher.py` is the same as a file."""
    return TeacherTrainConfig(
        seed=seed,
        steps=300,
        teacher=TeacherConfig(
            backbone="mobilenet_v1",
            width=32,
            expansion=2,
            attention_key_dim=8,
            embedding_grid=12,
        ),
        data=_data(out, seed, "labelled_pairs"),
        optim=OptimConfig(peak_lr=2e-3, warmup=0.05, ema_decay=0.98),
        preprocessing=Preprocessing(crop=96, points=9),
        loop=LoopConfig(log_every=20, save_every=150),
    )


def student_config(out: Path, *, seed: int = 0) -> DistillConfig:
    """Stage 2 of the demo; `configs/smoke_distill.py` is the same as a file."""
    return DistillConfig(
        seed=seed,
        steps=100,
        teacher=str(out / "teacher"),
        student=StudentConfig(
            trunk="efficientnet_lite0",
            # A handful of scenes teaches a trunk of random weights nothing.
            trunk_weights="student-s",
            frozen_blocks=11,
            width=32,
            dropout=0.3,
            attention_key_dim=8,
            embedding_grid=6,
            jnd=JndConfig(strength=0.0),
        ),
        probe=ProbeConfig(steps=1000),
        data=_data(out, seed, "labelled_pairs"),
        optim=OptimConfig(
            peak_lr=3e-4,
            warmup=0.05,
            trunk_lr_scale=0.2,
            weight_decay=0.02,
            ema_decay=0.98,
        ),
        preprocessing=Preprocessing(crop=96, points=9),
        loop=LoopConfig(log_every=10, save_every=50),
    )


def _data(out: Path, seed: int, role: Role) -> DataConfig:
    return DataConfig(
        sources=(SourceConfig(DATASET, str(out / "data"), role, rows=16),),
        scale=DATASET,
        crop=96,
        fractions=(0.6, 0.0, 0.4),
        split_seed=seed,
    )


def make_pairs(out: Path, *, seed: int) -> Path:
    """Writes the graded pairs, or finds them from before; returns their folder."""
    folder = out / "data"
    synthetic.write_pairs(synthetic.embedded_photographs(), folder, seed=seed, crop=256)
    return folder


def _train(
    run: Callable[..., None],
    config: TeacherTrainConfig | DistillConfig,
    workdir: Path,
    progress: bool,
) -> None:
    run(config, workdir, resume=workdir.exists(), progress=progress)


def score_folder(out: Path, data: Path) -> list[PageRow]:
    """Scores `pictures/`, a folder with the unseen scenes, as a user would.

    Writes `scores.jsonl`; the pristine originals are among the pictures.
    """
    student = out / "student"
    records, _ = evaluate.part_records(student, DATASET, data, "test")
    known = _collect_pictures(records, out / "pictures")
    scorer = create_scorer(student)
    gallery = []
    with score_rows.open_rows(out / "scores.jsonl", scorer.header()) as writer:
        for row in scorer.score_iter(find_pictures([str(out / "pictures")])):
            writer.write(row)
            path = Path(row.path)
            mos, kind = known[path.name]
            gallery.append(
                PageRow(path, path.name, row.score, mos, kind, row.error or "")
            )
    return gallery


def _collect_pictures(
    records: Sequence[Record], folder: Path
) -> dict[str, tuple[float | None, str]]:
    """Copies pictures into one folder; returns file name to true score and kind."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    known: dict[str, tuple[float | None, str]] = {}
    for record in records:
        name = record.distorted.name
        shutil.copyfile(record.distorted, folder / name)
        known[name] = (record.mos, f"{record.kind}, level {record.level}")
        if record.reference is not None:
            original = f"original_{record.reference.name}"
            shutil.copyfile(record.reference, folder / original)
            known[original] = (None, "original, not graded")
    return known


def write_report(
    page: Path,
    gallery: Sequence[PageRow],
    measured: dict[str, evaluate.Evaluation],
    *,
    out: Path,
    seed: int,
    seconds: float,
) -> None:
    """The page: correlations, scatter plots, limits, pictures sorted by score."""
    student = measured["student"]
    models = {
        "teacher": "Teacher: compares with the original",
        "student": "Student: sees the picture alone",
    }
    write_page(
        page,
        title="Pictures graded by a teacher and its student",
        summary=(
            "Photographs were distorted in graded steps. A teacher learned to grade "
            "them beside their originals, a student learned from the teacher to do it "
            f"without, and here are {student.n} distorted versions of "
            f"{student.contents} scenes that were held back from both."
        ),
        rows=gallery,
        results=[
            ResultRow(
                model,
                "unseen scenes",
                measured[name].n,
                measured[name].contents,
                {measure: measured[name].estimates[measure] for measure in MEASURES},
            )
            for name, model in models.items()
        ],
        panels=[
            read_panel(out / name / "eval" / "predictions.csv", model)
            for name, model in models.items()
        ],
        sections=limits(student),
        facts={
            "time": f"{seconds:.0f} s",
            "seed": str(seed),
            "teacher": f"{measured['teacher'].model_sha} in {out / 'teacher'}",
            "student": f"{student.model_sha} in {out / 'student'}",
            "preprocessing": student.prep_sha,
            "split": student.split,
            "again": f"ganiqa demo --out {out} --seed {seed}",
            "more": f"ganiqa score {out / 'pictures'} --model {out / 'student'}",
        },
    )


def limits(student: evaluate.Evaluation) -> list[Section]:
    """What the numbers of the demo mean, and what they do not."""
    return [
        Section(
            "What this shows",
            [
                "The whole chain works here: data, both trainings, checkpoints, "
                "evaluation and scoring, on this machine and from nothing.",
                "The test is on scenes that took no part in any training: scenes, not "
                "pictures, were divided.",
                verdict(student),
            ],
        ),
        Section(
            "What it does not show",
            [
                "How well people would agree. The true score is the grade of the "
                "distortion that was applied, not an opinion, and the distortions "
                "met in the test are of the kinds met in training.",
                "What the networks can do. They see pieces of 96 pixels and train "
                "for minutes, the teacher from random weights; real runs start from "
                "ImageNet weights and train on opinion scores.",
                "What a student makes of nothing. Its trunk is that of student-s, "
                "which comes with the package: ImageNet's, trained further on people's "
                "scores of generated pictures and on damage to photographs, these "
                "among them, though never on the grades here.",
                f"Much precision. {student.contents} scenes are few: the intervals "
                "draw whole scenes, and with so few of them even they are rough.",
                "Anything about generated pictures: these are photographs.",
            ],
        ),
    ]


def verdict(student: evaluate.Evaluation) -> str:
    """Whether the student agrees with the grades beyond chance, in a sentence."""
    srcc = student.estimates["srcc"]
    if srcc.low > 0:
        return (
            f"The student's scores carry over to new scenes: the interval of its SRCC, "
            f"{srcc.low:.2f} to {srcc.high:.2f}, is above 0."
        )
    return (
        f"The student has not learned enough to tell: the interval of its SRCC, "
        f"{srcc.low:.2f} to {srcc.high:.2f}, holds 0. Without the original beside it, "
        "a handful of scenes is too few to learn from; the teacher has it easier."
    )


def read_panel(predictions: Path, title: str) -> Panel:
    """The scatter plot of a `predictions.csv` that `evaluate` wrote."""
    with predictions.open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["score"] and row["mos"]]
    return Panel(
        title,
        [float(row["score"]) for row in found],
        [float(row["mos"]) for row in found],
        [row["kind"] for row in found],
    )
