"""Every configuration file: loads alone, survives JSON, says how it is run."""

import ast
import importlib.util
import json
from pathlib import Path

import pytest

from ganiqa_jax import demo
from ganiqa_jax.config import DistillConfig, TeacherTrainConfig
from ganiqa_jax.config_json import from_json, to_json
from ganiqa_jax.data.catalog import MOS_SCALES, READERS

FILES = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.py"))

pytestmark = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def load(path: Path) -> TeacherTrainConfig | DistillConfig:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def test_is_for_the_command_that_its_name_says(path):
    kind = DistillConfig if "distill" in path.stem else TeacherTrainConfig
    assert type(load(path)) is kind


def test_survives_json(path):
    config = load(path)
    text = json.dumps(to_json(config))
    assert from_json(type(config), json.loads(text)) == config


def test_names_data_sets_of_the_catalog(path):
    names = {source.dataset for source in load(path).data.sources}
    assert names <= set(READERS) and names <= set(MOS_SCALES)


def test_imports_settings_and_the_standard_library_alone(path):
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    assert modules <= {"ganiqa_jax.config", "os"}


def test_says_how_it_is_run_what_it_needs_and_what_it_measured(path):
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert all(f"{word}:" in text for word in ("Run", "Needs", "Measured"))
    command = "distill" if "distill" in path.stem else "train"
    assert f"ganiqa {command} configs/{path.name} --workdir" in text


def test_smoke_files_are_the_settings_of_the_demo(path):
    settings = {
        "smoke_teacher": demo.teacher_config,
        "smoke_distill": demo.student_config,
    }
    if path.stem in settings:
        assert load(path) == settings[path.stem](Path("demo"))
    else:
        assert not path.stem.startswith("smoke")
