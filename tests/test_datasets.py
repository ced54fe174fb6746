"""What every reader of a public data set does, on tiny copies of their layouts."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_cases import CASES, Case
from PIL import Image

from ganiqa_jax.data import catalog
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def those(condition: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """Parametrises over the cases that satisfy a condition."""
    chosen = {name: case for name, case in CASES.items() if condition(case)}
    return pytest.mark.parametrize("case", chosen.values(), ids=chosen.keys())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float64)


def damage(record: Record) -> float:
    """Distance to the reference, or without one what is missing of sharpness."""
    distorted = pixels(record.distorted)
    if record.reference is not None:
        return float(np.square(distorted - pixels(record.reference)).mean())
    return -float(np.abs(np.diff(distorted, axis=1)).mean())


def scene(record: Record) -> str:
    """Where there is no reference, the drawing that the fixture's name tells."""
    if record.reference is not None:
        return record.content
    if record.kind.startswith("model"):
        return str(int(record.content) % 2)
    return Path(record.name).stem[-2]


@every_case
def test_reads_every_label_once_with_files_that_are_there(tmp_path, case):
    records = case.read(case.make(tmp_path, **case.settings))
    assert len(records) == case.count
    assert len({record.name for record in records}) == case.count
    assert len({record.content for record in records}) == case.contents
    for record in records:
        assert record.distorted.is_file()
        assert (record.reference is None) == (case.reference[1] == 0)
        assert record.reference is None or record.reference.is_file()
        assert record.mos is None or 0 <= record.mos <= 1
        assert record.std is None or 0 < record.std < 0.5


@those(lambda case: case.labels != "")
def test_the_visibly_worse_picture_has_the_lower_score(tmp_path, case):
    records = case.read(case.make(tmp_path, **case.settings))
    compared = 0
    for drawing in {scene(record) for record in records}:
        of_scene = [record for record in records if scene(record) == drawing]
        best: dict[float, float] = {}  # score to the damage it comes with
        for record in of_scene:
            best.setdefault(round(record.mos, 1), damage(record))
        by_score = [best[score] for score in sorted(best)]
        assert by_score == sorted(by_score, reverse=True)
        compared += len(by_score) - 1
    assert compared >= 2  # at least two steps of quality were there to compare


@those(lambda case: case.picture != "")
def test_missing_picture_is_counted_and_named_in_one_line(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    (root / case.picture).unlink()
    with pytest.raises(InputError) as error:
        case.read(root)
    message = str(error.value)
    found = f"{case.count - 1} of {case.count} pictures found"
    assert found in message
    assert Path(case.picture).stem.lower() in message.lower()
    assert message.endswith(catalog.FACTS[case.name].layout)
    assert "\n" not in message


@those(lambda case: case.picture != "")
def test_missing_picture_can_be_left_out(tmp_path, case, caplog):
    root = case.make(tmp_path, **case.settings)
    every = case.read(root)
    (root / case.picture).unlink()
    with caplog.at_level(logging.WARNING, "ganiqa_jax"):
        records = case.read(root, allow_missing=True)
    gone = [record for record in every if record not in records]
    assert [record.distorted for record in gone] == [root / case.picture]
    assert f"1 of {case.count} scored pictures left out" in caplog.text


@those(lambda case: case.reference[1] > 0)
def test_missing_reference_is_counted_or_left_out_with_its_scene(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    path, count = case.reference
    scenes = len({record.content for record in case.read(root)})
    (root / path).unlink()
    message = f"(?i){count - 1} of {count} references found; .*{Path(path).stem}"
    with pytest.raises(InputError, match=message):
        case.read(root)
    kept = case.read(root, allow_missing=True)
    assert len({record.content for record in kept}) == scenes - 1


@those(lambda case: case.picture != "")
def test_picture_without_a_label_is_a_warning(tmp_path, case, caplog):
    root = case.make(tmp_path, **case.settings)
    with caplog.at_level(logging.WARNING, "ganiqa_jax"):
        before = case.read(root)
        assert caplog.text == ""  # neither references nor what is skipped on purpose
        extra = (root / case.picture).with_name(
            f"unheard of{Path(case.picture).suffix}"
        )
        extra.write_bytes((root / case.picture).read_bytes())
        assert case.read(root) == before
    assert "1 unlabelled pictures are not read" in caplog.text
    assert extra.name in caplog.text


@those(lambda case: case.labels != "" and not case.name.startswith("pipal"))
def test_missing_label_file_is_answered_with_what_to_unpack(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    (root / case.labels).unlink()
    with pytest.raises(InputError, match="Cannot read") as error:
        case.read(root)
    assert str(error.value).endswith(catalog.FACTS[case.name].layout)
    assert "\n" not in str(error.value)


@every_case
def test_empty_folder_is_answered_with_what_to_unpack(tmp_path, case):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError) as error:
            case.read(root, allow_missing=True)
        assert str(error.value).endswith(catalog.FACTS[case.name].layout)
        assert "\n" not in str(error.value)


@those(lambda case: case.labels != "")
def test_label_file_that_is_cut_or_another_is_refused(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    data = (root / case.labels).read_bytes()
    for damaged in (b"", b"\xff\xfe" + data[:3], bytes(200)):
        (root / case.labels).write_bytes(damaged)
        with pytest.raises(InputError) as error:
            case.read(root)
        assert "\n" not in str(error.value)


@those(lambda case: case.labels.endswith((".mat", ".xlsx", ".parquet")))
def test_binary_label_file_is_refused_wherever_it_is_cut(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    data = (root / case.labels).read_bytes()
    for share in np.linspace(0.02, 0.9, 12):
        (root / case.labels).write_bytes(data[: math.floor(share * len(data))])
        with pytest.raises(InputError):
            case.read(root)


@those(lambda case: case.name != "table")
@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_case_of_names_on_disk_does_not_matter(tmp_path, case, change):
    root = case.make(tmp_path, **case.settings)

    def known(records: list[Record]) -> list[tuple]:
        return sorted((r.name.lower(), r.mos, r.content.lower()) for r in records)

    before = known(case.read(root))
    for path in sorted(root.rglob("*"), reverse=True):  # files before their folders
        path.rename(path.with_name(change(path.name)))
    assert known(case.read(root)) == before


@pytest.mark.parametrize("name", sorted(catalog.FACTS))
def test_facts_agree_with_each_other(name):
    facts = catalog.FACTS[name]
    assert facts.name == name == name.lower()
    assert facts.low < facts.high
    assert (facts.references > 0) <= (facts.kind != "pictures")
    assert facts.layout.endswith(".") and "\n" not in facts.layout
    assert name in ("pristine", "synthetic", "table") or facts.citation.startswith("@")
    assert (name in catalog.READERS) == (facts.kind != "triplets")


def test_every_public_data_set_has_a_case():
    others = {"agiqa3k", "pristine", "sr4kiqa", "synthetic"}  # tested by themselves
    assert {case.name for case in CASES.values()} | others == set(catalog.READERS)
