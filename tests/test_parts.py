"""The part file: what it keeps, what it drops, who may write it."""

import json
import os

import pytest
from test_shards import HEADER, row

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.parts import open_part, stamp_of
from ganiqa_jax.scoring.rows import RowsHeader, open_rows, read_rows

SETTINGS = {"batch_size": 8}


@pytest.fixture
def inputs(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 10)
    return paths


def begin(out, inputs, positions, **options):
    """A run that ends after these rows."""
    with (
        pytest.raises(KeyboardInterrupt),
        open_part(out, HEADER, SETTINGS, **options) as part,
    ):
        part.place(inputs)
        for position in positions:
            path = inputs[position]
            part.write(position, stamp_of(path), row(str(path), sha256="ab"))
        raise KeyboardInterrupt


def left(out, inputs, **options):
    """Positions that the next run would score."""
    settings = options.pop("settings", SETTINGS)
    header = options.pop("header", HEADER)
    with open_part(out, header, settings, **options) as part:
        return list(part.place(inputs))


def test_rows_of_unchanged_files_are_kept_whatever_was_torn(tmp_path, inputs):
    out = tmp_path / "r.jsonl"
    begin(out, inputs, [0, 3, 1])
    with open(f"{out}.part", "ab") as file:
        file.write(b'{"row": {"pa')
    assert left(out, inputs) == [2, 4]
    inputs[3].write_bytes(b"other")
    os.utime(inputs[1], (5, 5))
    assert left(out, inputs) == [1, 2, 3, 4]


def test_inputs_may_be_added_left_out_and_in_another_order(tmp_path, inputs):
    out = tmp_path / "r.jsonl"
    begin(out, inputs, [0, 1])
    with open_part(out, HEADER, SETTINGS) as part:
        assert list(part.place([inputs[4], inputs[1]])) == [0]
        part.write(0, stamp_of(inputs[4]), row(str(inputs[4]), sha256="cd"))
        part.finish()
        part.discard()
    assert [r.path for r in read_rows(out)] == [str(inputs[4]), str(inputs[1])]
    assert not os.path.exists(f"{out}.part")


def test_what_could_not_be_read_is_tried_again(tmp_path, inputs):
    out = tmp_path / "r.jsonl"
    with pytest.raises(KeyboardInterrupt), open_part(out, HEADER, SETTINGS) as part:
        part.place(inputs)
        failed = row(str(inputs[0]), status="decode_error", score=None)
        part.write(0, stamp_of(inputs[0]), failed)
        raise KeyboardInterrupt
    assert left(out, inputs) == [0, 1, 2, 3, 4]


def test_another_model_or_setting_does_not_go_on_with_it(tmp_path, inputs):
    out = tmp_path / "r.jsonl"
    begin(out, inputs, [0])
    other = RowsHeader(**{**vars(HEADER), "model_sha": "9"})
    with pytest.raises(InputError, match=r"model_sha 1, this is 9.*--no-resume"):
        left(out, inputs, header=other)
    with pytest.raises(InputError, match="batch_size 8, this is 9"):
        left(out, inputs, settings={"batch_size": 9})
    assert left(out, inputs, resume=False, header=other) == [0, 1, 2, 3, 4]


def test_two_runs_do_not_write_one_file(tmp_path, inputs):
    out = tmp_path / "r.jsonl"
    with open_part(out, HEADER, SETTINGS):
        with pytest.raises(InputError, match="Another run is writing"):
            left(out, inputs)


@pytest.mark.parametrize("text", ["", "\0" * 40, "no json\n", "[]\n"])
def test_a_part_file_of_something_else_is_not_overwritten_or_is_empty(
    text, tmp_path, inputs
):
    out = tmp_path / "r.jsonl"
    (tmp_path / "r.jsonl.part").write_text(text)
    assert left(out, inputs) == [0, 1, 2, 3, 4]
    (tmp_path / "r.jsonl.part").write_text(json.dumps({"mine": 1}) + "\n")
    with pytest.raises(InputError, match="no part file"):
        left(out, inputs)


def test_a_finished_file_is_gone_on_from_by_content(tmp_path, inputs):
    import hashlib

    out = tmp_path / "r.csv"
    with open_rows(out, HEADER) as writer:
        for path in inputs[:3]:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            writer.write(row(str(path), sha256=sha256))
    inputs[1].write_bytes(b"changed")
    with open_part(out, HEADER, SETTINGS) as part:
        todo = part.place(inputs).tolist()
        assert [part.stands(i, inputs[i]) for i in todo] == [True, False, True] + [
            False
        ] * 2
    other = RowsHeader(**{**vars(HEADER), "model_sha": "9"})
    with open_part(out, other, SETTINGS, resume=False) as part:
        todo = part.place(inputs).tolist()
        assert not any(part.stands(i, inputs[i]) for i in todo)
