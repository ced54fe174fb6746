"""Tiny models against PyTorch: every intermediate result, losses and gradients.

`scripts/torch_reference/dump_goldens.py` wrote the files, from modules written apart
from ours; no PyTorch is needed here.
"""

import functools
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from torch_reference import golden_cases as cases  # noqa: E402
from torch_reference.agreement import (  # noqa: E402
    condensed,
    condensed_error,
    jax_intermediates,
)
from torch_reference.jax_steps import gradient_of  # noqa: E402
from torch_reference.random_variables import checksum  # noqa: E402

OF_RESULT, OF_GRADIENT = 1e-4, 1e-3


@functools.cache
def golden(name):
    with np.load(ROOT / "tests" / "goldens" / f"student_{name}.npz") as file:
        return dict(file)


def kept(name, kind):
    start = f"{kind}: "
    found = {k: v for k, v in golden(name).items() if k.startswith(start)}
    return {k.removeprefix(start): v for k, v in found.items()}


@functools.cache
def begun(name):
    """The start of a case and its batch, with the pictures that PyTorch had."""
    batch = cases.batch()
    pictures = {n: golden(name)[n].astype(np.float32) / 255 for n in BOTH}
    batch = batch._replace(**pictures)
    start = cases.begin(name, batch)
    found = [checksum(start.variables), checksum(start.teacher_variables)]
    assert found == list(golden(name)["checksum"]), "other weights than PyTorch had"
    student, teacher = (
        cases.with_statistics(variables, kept(name, f"{kind} statistics"))
        for kind, variables in (
            ("student", start.variables),
            ("teacher", start.teacher_variables),
        )
    )
    return start._replace(variables=student, teacher_variables=teacher), batch


BOTH = ("distorted", "reference")


def errors(ours, theirs):
    """The error of each array that is in the file, worst first."""
    assert theirs and theirs.keys() <= ours.keys()
    found = condensed({name: ours[name] for name in theirs})
    every = {name: condensed_error(found[name], theirs[name]) for name in theirs}
    return sorted(((error, name) for name, error in every.items()), reverse=True)


@pytest.mark.parametrize("name", cases.STUDENTS)
def test_every_intermediate_of_a_student_is_that_of_pytorch(name):
    start, batch = begun(name)
    found = jax_intermediates(start.student, start.variables, [batch.distorted])
    assert found.keys() == kept(name, "student").keys()
    worst, *_ = errors(found, kept(name, "student"))
    assert worst[0] < OF_RESULT, worst


def test_every_intermediate_of_a_teacher_is_that_of_pytorch():
    name = cases.WITH_STEP
    start, batch = begun(name)
    pair = [batch.reference, batch.distorted[: cases.PAIRS]]
    found = jax_intermediates(start.teacher, start.teacher_variables, pair)
    assert found.keys() == kept(name, "teacher").keys()
    worst, *_ = errors(found, kept(name, "teacher"))
    assert worst[0] < OF_RESULT, worst


def test_terms_and_gradients_of_distillation_are_those_of_pytorch():
    start, batch = begun(cases.WITH_STEP)
    found, terms = gradient_of(start, batch, cases.WEIGHTS)
    wanted = kept(cases.WITH_STEP, "term")
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(terms[name], value, rtol=OF_RESULT, err_msg=name)
    theirs = kept(cases.WITH_STEP, "gradient")
    worst, *_ = errors(found, theirs)
    assert worst[0] < OF_GRADIENT, worst
    # What has no gradient there has next to none here.
    rest = [np.linalg.norm(v) for n, v in found.items() if n not in theirs]
    whole = np.linalg.norm([theirs[n][0] for n in theirs])
    assert max(rest, default=0) < 1e-4 * whole
