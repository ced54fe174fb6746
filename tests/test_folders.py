"""Folders: names in any case, the first of several, merged folders."""

import os

from ganiqa_jax.data.folders import Folder, merge


def test_file_is_found_in_any_case_and_otherwise_named(tmp_path):
    (tmp_path / "I01.BMP").touch()
    folder = Folder(tmp_path)
    assert folder.file("i01.bmp") == tmp_path / "I01.BMP"
    assert folder.file("other.bmp", "i01.bmp") == tmp_path / "I01.BMP"
    assert folder.file("other.bmp", "another.bmp") == tmp_path / "other.bmp"
    assert folder.has("i01.BMP") and not folder.has("other.bmp")


def test_file_is_no_folder_and_folder_is_no_file(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "data").touch()
    folder = Folder(tmp_path)
    assert not folder.has("images")
    assert folder.folder("data", "IMAGES").path == tmp_path / "images"


def test_folder_that_is_not_there_is_empty(tmp_path):
    folder = Folder(tmp_path / "nowhere").folder("in", "there")
    assert folder.path == tmp_path / "nowhere" / "in"
    assert folder.pictures() == folder.files() == folder.folders() == []


def test_folder_is_listed_once(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    listed, scandir = [], os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: listed.append(path) or scandir(path)
    )
    folder = Folder(tmp_path)
    for _ in range(3):
        folder.file("A.png"), folder.pictures(), folder.has("b.png")
    assert listed == [tmp_path]


def test_merged_folders_hold_the_pictures_of_all(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.PNG").touch()
        (tmp_path / name / "both.bmp").touch()
        (tmp_path / name / "notes.txt").touch()
    assert merge(Folder(tmp_path).folders()) == {
        "both.bmp": tmp_path / "one" / "both.bmp",
        "one.png": tmp_path / "one" / "one.PNG",
        "two.png": tmp_path / "two" / "two.PNG",
    }
