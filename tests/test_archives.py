"""Pictures in tar and zip files are scored, and nothing else is done with them."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from fake_models import fake_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring import archives
from ganiqa_jax.scoring.archives import Member, open_archives
from ganiqa_jax.scoring.engine import Scorer
from ganiqa_jax.scoring.on_jax import JaxCompute


def png(seed, side=24):
    pixels = np.random.default_rng(seed).integers(0, 200, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = {"b.png": png(1), "deep/a.png": png(2), "deep/ä ö.png": png(3)}
OTHERS = {
    "readme.txt": b"no picture",
    ".hidden.png": png(4),
    "__MACOSX/._a.png": png(5),
    "inner.zip": b"PK\x03\x04",
}


def tar_of(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def zip_of(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def make(path, members):
    if path.suffix == ".zip":
        return zip_of(path, members)
    return tar_of(path, members, "w:gz" if path.suffix in (".gz", ".tgz") else "w")


@pytest.fixture(scope="module")
def scorer():
    return Scorer(JaxCompute(*fake_model(points=5), batch_size=4))


def rows_of(scorer, path):
    return list(scorer.score_iter(list(open_archives([path]))))


KINDS = ["x.tar", "x.tar.gz", "x.tgz", "x.zip"]


@pytest.mark.parametrize("kind", KINDS)
def test_members_score_as_files_do_in_the_order_of_the_archive(kind, scorer, tmp_path):
    archive = make(tmp_path / kind, {**PICTURES, **OTHERS})
    rows = rows_of(scorer, archive)
    assert [row.path for row in rows] == [f"{archive}::{name}" for name in PICTURES]
    before = sorted(tmp_path.rglob("*"))
    for row, data in zip(rows, PICTURES.values(), strict=True):
        file = tmp_path / "alone.png"
        file.write_bytes(data)
        alone = scorer.score(file)
        assert row.status == "ok"
        assert (row.score, row.sha256) == (alone.score, alone.sha256)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "alone.png", *before]


def test_stored_members_of_a_zip_and_files_beside_archives(scorer, tmp_path):
    stored = zip_of(tmp_path / "s.ZIP", PICTURES, zipfile.ZIP_STORED)
    alone = tmp_path / "alone.png"
    alone.write_bytes(PICTURES["b.png"])
    found = list(open_archives([alone, stored, alone]))
    assert found[0] == found[-1] == alone
    rows = list(scorer.score_iter(found))
    assert rows[0].score == rows[1].score == rows[-1].score


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["../out.png", "/abs.png", "a/../../out.png", "C:\\x.png", "..\\out.png"]
)
def test_names_that_lead_out_are_refused_and_the_rest_is_scored(
    kind, name, scorer, tmp_path
):
    (tmp_path / "in").mkdir()
    archive = make(tmp_path / "in" / kind, {name: png(7), "good.png": png(8)})
    bad, good = rows_of(scorer, archive)
    assert (bad.status, good.status) == ("decode_error", "ok")
    assert "Refused" in bad.error
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [kind]


def test_links_devices_and_fifos_in_a_tar_are_refused(scorer, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(1))
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for number, kind in enumerate(kinds):
            info = tarfile.TarInfo(f"{number}.png")
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
    rows = rows_of(scorer, tmp_path / "x.tar")
    assert [row.status for row in rows] == ["decode_error"] * len(kinds)
    assert all("Refused" in row.error for row in rows)


def test_links_and_encrypted_members_of_a_zip_are_refused(scorer, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/hostname")
        file.writestr("locked.png", png(1))
    data = bytearray((tmp_path / "x.zip").read_bytes())
    # The flag for encryption, in the directory at the end.
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    rows = rows_of(scorer, tmp_path / "x.zip")
    assert [row.status for row in rows] == ["decode_error"] * 2
    assert "link" in rows[0].error and "encrypted" in rows[1].error


def test_a_member_that_claims_ten_gigabytes_is_not_read(scorer, tmp_path):
    info = tarfile.TarInfo("huge.png")
    info.size = 10 * 2**30
    header = info.tobuf(tarfile.GNU_FORMAT)
    archive = tmp_path / "sparse.tar"
    with archive.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + info.size + 1024)
    assert archive.stat().st_blocks * 512 < 2**20
    (row,) = rows_of(scorer, archive)
    assert row.status == "too_large"


def test_a_zip_member_is_read_no_further_than_it_says(scorer, tmp_path):
    bomb = zip_of(tmp_path / "bomb.zip", {"x.png": bytes(200 * 2**20)})
    data = bytearray(bomb.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 100)  # its size, a lie
    bomb.write_bytes(data)
    (row,) = rows_of(scorer, bomb)
    assert row.status == "decode_error"
    assert "size" in row.error


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_archive_gives_what_is_whole_and_says_that_it_is_cut(
    kind, scorer, tmp_path
):
    members = {f"{i}.png": png(i, 96) for i in range(4)}
    archive = make(tmp_path / kind, members)
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) * 3 // 4])
    rows = rows_of(scorer, archive)
    assert rows[-1].status == "decode_error"
    assert "damaged" in rows[-1].error or "cannot be read" in rows[-1].error
    if "zip" not in kind:
        assert [row.status for row in rows[:2]] == ["ok", "ok"]


def test_two_members_of_one_name_count_once_the_last(scorer, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for seed in (1, 2):
            info = tarfile.TarInfo("a.png")
            info.size = len(png(seed))
            tar.addfile(info, io.BytesIO(png(seed)))
    (row,) = rows_of(scorer, tmp_path / "x.tar")
    (tmp_path / "last.png").write_bytes(png(2))
    assert row.sha256 == scorer.score(tmp_path / "last.png").sha256


def test_an_archive_without_pictures_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"No pictures in .*empty\.zip"):
        list(open_archives([zip_of(tmp_path / "empty.zip", {"a.txt": b""})]))


def test_too_many_members_are_told_under_the_archives_name(
    scorer, tmp_path, monkeypatch
):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    rows = rows_of(scorer, make(tmp_path / "x.tar", PICTURES))
    assert [row.status for row in rows] == ["ok", "ok", "decode_error"]
    assert rows[-1].path == str(tmp_path / "x.tar")


def test_what_only_is_called_like_an_archive_is_taken_as_it_is(tmp_path):
    (tmp_path / "folder.zip").mkdir()
    os.mkfifo(tmp_path / "pipe.tar")
    paths = [tmp_path / "pipe.tar", tmp_path / "none.tar"]
    assert list(open_archives(paths)) == paths


BASES = {
    "x.tar": tarfile.open,
    "x.tgz": gzip.open,
    "x.zip": zipfile.ZipFile,
}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(sorted(BASES)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=12),
    keep=st.floats(0.02, 1),
)
def test_any_damage_to_an_archive_ends_in_rows(
    kind, changes, keep, scorer, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("fuzz")
    archive = make(folder / kind, PICTURES)
    data = bytearray(archive.read_bytes())
    for place, value in changes:
        data[min(int(place * len(data)), len(data) - 1)] = value
    archive.write_bytes(data[: max(1, int(keep * len(data)))])
    try:
        found = list(open_archives([archive]))
    except InputError:
        return
    rows = list(scorer.score_iter(found))
    assert len(rows) == len(found)
    assert all(isinstance(item, Member) for item in found)
    assert all(row.score is None or 0 <= row.score <= 1 for row in rows)
