"""A model in a folder: card and weights belong together, or it is said what is not."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganiqa_jax import arrays, checkpoint, release
from ganiqa_jax.config import (
    JndConfig,
    Preprocessing,
    StudentConfig,
    TeacherConfig,
)
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.models import Student, Teacher

NARROW = dict(width=8, heads=2, attention_key_dim=4, attention_kernels=(3, 3))
SCALE = release.Scale("agiqa3k", low=0.0, high=5.0, mean=0.5, std=0.2)
CARDS = {
    "student": release.ModelCard(
        role="student",
        name="tiny",
        config=StudentConfig(
            trunk="mobilenet_v1",
            frozen_blocks=2,
            jnd=JndConfig(strength=0.0),
            **NARROW,
        ),
        preprocessing=Preprocessing(crop=64, points=1),
        scale=SCALE,
        made_by="a test",
        data=("agiqa3k", "synthetic"),
        results={"agiqa3k/test/srcc": 0.81},
        notes=("Not for photographs of cats.",),
    )
}
CARDS["teacher"] = dataclasses.replace(
    CARDS["student"],
    role="teacher",
    config=TeacherConfig(
        backbone="mobilenet_v1", jnd=JndConfig(strength=0.0), **NARROW
    ),
)


class State(NamedTuple):
    step: Any
    params: Any
    ema: Any


def make_variables(card: release.ModelCard) -> dict[str, Any]:
    """Arrays of the network's shapes; drawing them is quicker than `init`."""
    config = card.config
    picture = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    pictures = [picture] * (2 if isinstance(config, TeacherConfig) else 1)
    network = release.build_network(config)
    shapes = jax.eval_shape(network.init, {"params": jax.random.key(0)}, *pictures)
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: random.uniform(0.5, 1, leaf.shape).astype(leaf.dtype), shapes
    )


@pytest.fixture(scope="module")
def variables() -> dict[str, dict[str, Any]]:
    return {role: make_variables(card) for role, card in CARDS.items()}


@pytest.fixture(scope="module")
def released_once(variables, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("released") / "student"
    release.save_model(folder, CARDS["student"], variables["student"])
    return folder


@pytest.fixture
def released(released_once, tmp_path) -> Path:
    """A released folder of its own, to be damaged."""
    folder = tmp_path / "released"
    folder.mkdir()
    for path in released_once.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def make_run(workdir: Path, card: release.ModelCard, variables: dict) -> Path:
    workdir.mkdir()
    release.write_card(workdir, card)
    checkpoint.save_frozen(workdir, {"frozen": variables["frozen"]})
    average = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
    raw = jax.tree.map(np.zeros_like, variables["params"])
    state = State(np.zeros((), np.int32), {"network": raw}, average)
    checkpoint.save(workdir, 5, state)
    return workdir


def bits(tree: Any) -> dict[str, bytes]:
    return {n: np.asarray(leaf).tobytes() for n, leaf in arrays.by_name(tree).items()}


def change_card(folder: Path, **changes: Any) -> None:
    """Edits a card and signs it again, as another version would have written it."""
    values = json.loads((folder / "card.json").read_text())
    values.update(changes)
    values.pop("digest")
    values["digest"] = arrays.json_hash(values)
    (folder / "card.json").write_text(json.dumps(values))


def test_score_and_mos_follow_the_scale():
    z = np.array([-10.0, -1.0, 0.0, 1.0, 10.0])
    np.testing.assert_allclose(SCALE.to_score(z), [0, 0.3, 0.5, 0.7, 1])
    np.testing.assert_allclose(SCALE.to_mos(SCALE.to_score(z)), [0, 1.5, 2.5, 3.5, 5])
    from_one = dataclasses.replace(SCALE, low=1.0)
    assert (from_one.to_mos(0.0), from_one.to_mos(1.0)) == (1.0, 5.0)
    assert SCALE.to_mos(SCALE.to_score(1.0)) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": 0.0}, "std=0.0"),
        ({"mean": float("nan")}, "not finite"),
        ({"low": 5.0}, "low=5.0"),
    ],
)
def test_an_impossible_scale_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SCALE, **change)


def test_role_and_configuration_belong_together():
    with pytest.raises(InputError, match="student cannot have a TeacherConfig"):
        dataclasses.replace(CARDS["student"], config=TeacherConfig())


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_card_round_trips(tmp_path, role):
    release.write_card(tmp_path, CARDS[role])
    assert release.read_card(tmp_path) == CARDS[role]


def test_a_changed_card_is_refused(tmp_path):
    release.write_card(tmp_path, CARDS["student"])
    path = tmp_path / "card.json"
    path.write_text(path.read_text().replace('"mean": 0.5', '"mean": 0.6'))
    with pytest.raises(IntegrityError, match=r"card\.json is not as it was written"):
        release.read_card(tmp_path)
    path.write_text("{")
    with pytest.raises(IntegrityError, match=r"card\.json is damaged"):
        release.read_card(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "of another version"),
        ({"role": "critic"}, "does not fit this version"),
        ({"licence": "free"}, "does not fit this version.*licence"),
        ({"config": {"wings": 2}}, "no field.*wings"),
        ({"scale": {"name": "x"}}, "does not fit this version.*missing"),
    ],
)
def test_a_card_of_another_version_is_refused(tmp_path, changes, message):
    release.write_card(tmp_path, CARDS["student"])
    change_card(tmp_path, **changes)
    with pytest.raises(IntegrityError, match=message):
        release.read_card(tmp_path)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_run_directory_gives_its_averaged_weights(tmp_path, variables, role):
    run = make_run(tmp_path / "run", CARDS[role], variables[role])
    network, loaded, card = release.load_model(run)
    assert type(network) is {"student": Student, "teacher": Teacher}[role]
    assert card == CARDS[role]
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))
    assert bits(loaded) == bits(variables[role])


def test_run_and_release_are_one_model(tmp_path, released, variables):
    run = make_run(tmp_path / "run", CARDS["student"], variables["student"])
    from_run, from_release = release.load_model(run), release.load_model(released)
    assert from_run.card == from_release.card
    assert bits(from_run.variables) == bits(from_release.variables)
    sha = release.model_sha(from_run.variables)
    written = json.loads((released / "card.json").read_text())
    assert (written["model_sha"], len(sha)) == (sha, 12)


def test_a_loaded_network_can_be_applied(released):
    network, loaded, card = release.load_model(released)
    picture = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    assert isinstance(network, Student) and card.role == "student"
    out = jax.eval_shape(lambda x: network.apply(loaded, x).z, picture)
    assert out.shape == (2,)


def test_the_sha_follows_names_types_and_values():
    base = {"params": {"a": np.zeros(2, np.float32)}}
    others = [
        {"params": {"b": np.zeros(2, np.float32)}},
        {"params": {"a": np.zeros(2, np.int32)}},
        {"params": {"a": np.zeros((2, 1), np.float32)}},
        {"params": {"a": np.array([0, -0.0], np.float32)}},
        {"frozen": {"a": np.zeros(2, np.float32)}},
    ]
    shas = {release.model_sha(tree) for tree in [base, *others]}
    assert len(shas) == 6
    assert release.model_sha({"params": {"a": jnp.zeros(2)}}) in shas


def test_damaged_weights_are_refused(released):
    path = released / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"weights\.safetensors is damaged"):
        release.load_model(released)
    path.unlink()
    with pytest.raises(IntegrityError, match=r"weights\.safetensors is missing"):
        release.load_model(released)


def test_a_run_without_its_frozen_part_is_refused(tmp_path, variables):
    run = make_run(tmp_path / "run", CARDS["teacher"], variables["teacher"])
    (run / "frozen.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"frozen\.safetensors is missing"):
        release.load_model(run)
    (run / "frozen.json").unlink()
    with pytest.raises(IntegrityError, match="array frozen/.* is missing"):
        release.load_model(run)


def test_arrays_of_another_network_are_named_with_both_shapes(tmp_path, variables):
    card = CARDS["student"]
    assert isinstance(card.config, StudentConfig)
    wider = dataclasses.replace(card.config, expansion=3)
    other = dataclasses.replace(card, config=wider)
    with pytest.raises(IntegrityError, match=r"array \S+ is float32.*, expected float"):
        release.save_model(tmp_path / "released", other, variables["student"])
    assert not (tmp_path / "released").exists()
    run = make_run(tmp_path / "run", other, variables["student"])
    with pytest.raises(IntegrityError, match=r"array \S+ is float32.*, expected float"):
        release.load_model(run)


def test_a_folder_without_a_model_lists_what_was_looked_for(tmp_path):
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError) as caught:
            release.load_model(folder)
        for part in (str(folder), "card.json", "weights.safetensors", "checkpoints/"):
            assert part in str(caught.value)


def test_a_run_without_a_checkpoint_says_so(tmp_path):
    release.write_card(tmp_path, CARDS["student"])
    with pytest.raises(InputError, match="no checkpoint yet"):
        release.load_model(tmp_path)


def test_a_released_model_is_replaced_as_a_whole(released, variables):
    renamed = dataclasses.replace(CARDS["student"], name="second")
    release.save_model(released, renamed, variables["student"])
    assert release.load_model(released).card.name == "second"
    assert sorted(os.listdir(released)) == ["card.json", "weights.safetensors"]


def test_scale_numbers_survive_exactly(tmp_path):
    third = dataclasses.replace(SCALE, mean=1 / 3, std=0.1 + 0.2)
    release.write_card(tmp_path, dataclasses.replace(CARDS["student"], scale=third))
    assert release.read_card(tmp_path).scale == third
