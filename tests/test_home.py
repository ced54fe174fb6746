"""Folders of the user."""

import os

import pytest

from ganiqa_jax import home
from ganiqa_jax.errors import InputError


def test_one_variable_moves_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("GANIQA_HOME", str(tmp_path / "g"))
    assert home.models_folder() == tmp_path / "g" / "models"
    assert home.cache_folder("jax") == tmp_path / "g" / "cache" / "jax"


def test_without_it_the_folders_are_those_of_the_system(monkeypatch, tmp_path):
    monkeypatch.delenv("GANIQA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "relative, so to be ignored")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert home.models_folder() == tmp_path / ".local/share/ganiqa_jax/models"
    assert home.cache_folder("jax") == tmp_path / "c" / "ganiqa_jax" / "jax"


def test_private_folder_is_made_for_the_user_alone(tmp_path):
    folder = home.private_folder(tmp_path / "a" / "b")
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert home.private_folder(folder) == folder


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_folder_that_others_can_write_is_refused(tmp_path, mode):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(mode)
    with pytest.raises(InputError, match="run code as you"):
        home.private_folder(tmp_path / "a")


def test_folder_of_someone_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InputError, match="belongs to someone else"):
        home.private_folder(tmp_path)


def test_file_in_its_place_is_told(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match="GANIQA_HOME"):
        home.private_folder(tmp_path / "a" / "b")
