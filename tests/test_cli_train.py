"""`ganiqa train`, `distill`, `eval` and `synthesize`: what is refused, and how."""

import numpy as np
import pytest
from PIL import Image

from ganiqa_jax.cli import main
from ganiqa_jax.cli.train import load_config
from ganiqa_jax.config import TeacherTrainConfig
from ganiqa_jax.errors import InputError

TEACHER = """
from ganiqa_jax.config import DataConfig, SourceConfig, TeacherTrainConfig

def get_config():
    source = SourceConfig("sr4kiqa", "nowhere", "labelled_pairs", rows=2)
    return TeacherTrainConfig(data=DataConfig((source,), scale="sr4kiqa"), steps=3)
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "teacher.py"
    path.write_text(TEACHER)
    return path


def test_a_configuration_file_is_loaded(config):
    assert load_config(config, TeacherTrainConfig).steps == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "configuration file first"),
        (["train", "missing.py", "--workdir", "run"], "No configuration file"),
    ],
)
def test_train_needs_a_configuration(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_other_stage_s_configuration_is_refused(config, capsys, tmp_path):
    assert main(["distill", str(config), "--workdir", str(tmp_path / "run")]) == 2
    assert "needs a DistillConfig" in capsys.readouterr().err


def test_a_file_without_get_config_is_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(InputError, match="no get_config"):
        load_config(path, TeacherTrainConfig)


def test_unknown_field_is_an_error_that_names_it(config, capsys, tmp_path):
    arguments = ["train", str(config), "--workdir", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--optim.peek-lr", "1"])
    assert stopped.value.code == 2
    assert "peek-lr" in capsys.readouterr().err


def test_impossible_value_is_one_line(config, capsys, tmp_path):
    arguments = ["train", str(config), "--workdir", str(tmp_path / "run")]
    with pytest.raises((SystemExit, InputError)) as stopped:
        main([*arguments, "--optim.peak-lr", "-1"])
    if isinstance(stopped.value, SystemExit):
        assert stopped.value.code == 2
    assert not (tmp_path / "run").exists()


def test_missing_data_ends_with_status_2_and_its_name(config, capsys, tmp_path):
    workdir = tmp_path / "run"
    assert main(["train", str(config), "--workdir", str(workdir)]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not workdir.exists()


def test_half_given_processes_end_with_status_2(config, capsys, tmp_path):
    arguments = ["train", str(config), "--workdir", str(tmp_path / "run")]
    assert main([*arguments, "--processes", "2", "--process-index", "1"]) == 2
    assert "missing: coordinator" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_eval_without_data_ends_with_status_2(capsys, tmp_path):
    arguments = ["eval", "--model", str(tmp_path), "--data", "agiqa3k"]
    assert main([*arguments, "--root", str(tmp_path)]) == 2
    assert "data.csv" in capsys.readouterr().err


def test_synthesize_writes_pairs_and_says_how_many(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    out = tmp_path / "pairs"
    arguments = ["synthesize", str(tmp_path / "one.png"), "--out", str(out)]
    assert main([*arguments, "--per-picture", "2", "--crop", "32"]) == 0
    assert "2 pairs of 1 pictures" in capsys.readouterr().out
    assert len(list((out / "distorted").glob("*.png"))) == 2
