"""The two steps: what moves, what does not, and on which devices."""

import dataclasses
import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from random_arrays import normal, uniform
from random_weights import random_weights

from ganiqa_jax import optim, steps
from ganiqa_jax.config import (
    DistillWeights,
    JndConfig,
    NoiseConfig,
    OptimConfig,
    StudentConfig,
    TeacherConfig,
    TeacherWeights,
)
from ganiqa_jax.errors import InputError
from ganiqa_jax.models import Student, Teacher
from ganiqa_jax.models.comparison import z_of_likeness
from ganiqa_jax.models.features import DISTILLED_MAPS, FeatureAdapters
from ganiqa_jax.terms import distillation_terms, drop_term
from ganiqa_jax.types import Batch, NetworkOutput

SIDE = 64
NARROW = dict(width=8, heads=2, expansion=1, attention="none")  # quick to compile
OPTIM = OptimConfig(peak_lr=3e-3, warmup=0.0, ema_decay=0.9, max_nonfinite=2)


def tiny_teacher() -> Teacher:
    return Teacher(
        TeacherConfig(
            backbone="mobilenet_v1",
            dropout=0.0,
            jnd=JndConfig(strength=0.0),
            **NARROW,
        )
    )


def tiny_student(**changes) -> Student:
    config = StudentConfig(
        trunk="mobilenet_v1",
        trunk_weights="not read, but their statistics stay fixed",
        frozen_blocks=11,
        dropout=0.0,
        jnd=JndConfig(strength=0.0),
        **NARROW,
    )
    return Student(dataclasses.replace(config, **changes))


def make_batch(rows: int = 4, pairs: int = 2) -> Batch:
    brightness = jnp.linspace(0.1, 1.0, rows)[:, None, None, None]
    return Batch(
        distorted=brightness * uniform(rows, SIDE, SIDE, 3),
        reference=uniform(pairs, SIDE, SIDE, 3, seed=8),
        mos=jnp.linspace(-1.0, 1.0, rows),
        mask=jnp.ones(rows, bool),
        labelled=jnp.arange(rows) != 0,
        confidence=jnp.ones(rows),
        source=jnp.zeros(rows, jnp.int32),
        content=jnp.arange(rows),
        index=jnp.arange(rows),
    )


@functools.cache
def distilling(rule="adamw"):
    """A student ready to learn, what its step needs, and the step."""
    teacher, student = tiny_teacher(), tiny_student()
    one = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    aim = random_weights(jax.eval_shape(teacher.init, jax.random.key(1), one, one))
    own = random_weights(jax.eval_shape(student.init, jax.random.key(2), one), seed=1)
    adapters = FeatureAdapters(width=8)
    maps = {name: jnp.zeros((1, 1, 1, 8)) for name in DISTILLED_MAPS}
    adapter_params = adapters.init(jax.random.key(3), maps)["params"]
    params = {"network": own["params"], "adapters": adapter_params}
    optimizer = optim.optimizer(OPTIM, 100, params, trunk="trunk")
    if rule == "sgd":
        rule = optax.sgd(1e-3, momentum=0.9)  # its state is the gradient, at first
        optimizer = optax.apply_if_finite(rule, max_consecutive_errors=9)
    state = steps.create_state(own, optimizer, adapter_params)

    def step(state, aim, batch, *, teacher=teacher, weights):
        return steps.distill_step(
            state,
            own["frozen"],
            aim,
            batch,
            jax.random.key(0),
            student=student,
            adapters=adapters,
            teacher=teacher,
            optimizer=optimizer,
            optim_config=OPTIM,
            weights=weights,
            noise=NoiseConfig(),
            quarter_turns=True,
            steps=20,
        )

    return state, aim, step


@functools.cache
def jitted_distill_step(rule="adamw"):
    _, _, step = distilling(rule)
    # With every term in one program: each program takes a quarter of a minute.
    weights = DistillWeights(drop=1.0 if rule == "adamw" else 0.0, ramp=0.0)
    return jax.jit(functools.partial(step, weights=weights))


def moved(before, after) -> list[str]:
    paths = jax.tree_util.tree_leaves_with_path(before)
    return [
        jax.tree_util.keystr(path)
        for (path, old), new in zip(paths, jax.tree.leaves(after), strict=True)
        if not np.array_equal(old, new)
    ]


def test_distillation_terms_are_zero_where_student_equals_teacher():
    maps = {name: normal(3, 4, 4, 8, seed=n) for n, name in enumerate(DISTILLED_MAPS)}
    output = NetworkOutput(
        z=normal(3),
        logits=normal(3, 10),
        features=maps,
    )
    parts = distillation_terms(
        output, output, jnp.ones(3), jnp.ones(3, bool), DistillWeights()
    )
    assert set(parts) == {"score", "soft", "feature", "statistics"}
    for name, value in parts.items():
        np.testing.assert_allclose(value, 0.0, atol=1e-6, err_msg=name)

    other = output._replace(
        z=output.z + 1,
        logits=-output.logits,
        features={name: value[::-1] for name, value in maps.items()},
    )
    parts = distillation_terms(
        other, output, jnp.ones(3), jnp.ones(3, bool), DistillWeights()
    )
    for name in ("score", "soft", "feature"):
        assert parts[name] > 1e-2, name


def test_drop_asks_for_a_share_of_what_damage_costs_and_for_no_offset():
    teacher = jnp.array([2.0, 1.0]), jnp.array([0.5, 1.0])
    ones, mask = jnp.ones(2), jnp.ones(2, bool)

    def term(student, weights=ones, mask=mask):
        return drop_term(student, teacher, weights, mask, share=0.5)

    agrees = tuple(z - 3.0 for z in teacher)
    assert term(agrees) == 0
    strict = jnp.array([9.0, 0.0]), jnp.array([0.0, 0.0])  # damage costs it more
    assert term(strict) == 0
    blind = jnp.zeros(2), jnp.zeros(2)  # no damage costs it anything
    np.testing.assert_allclose(term(blind), 0.75 / 2)
    first = term(blind, jnp.array([0.5, 1.0]), jnp.array([True, False]))
    np.testing.assert_allclose(first, 0.75 / 2)
    pleased = jnp.zeros(2), jnp.array([0.0, 0.25])  # by what the teacher does not mind
    np.testing.assert_allclose(term(pleased), (0.75 + 0.25) / 2)


def test_no_gradient_reaches_the_teacher():
    state, aim, step = distilling()

    def loss(aim):
        return step(state, aim, make_batch(), weights=DistillWeights())[1]["loss"]

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(aim)):
        np.testing.assert_array_equal(leaf, 0.0)


def test_a_step_moves_network_adapters_statistics_and_average():
    state, aim, _ = distilling()
    after, metrics = jitted_distill_step()(state, aim, make_batch())
    assert int(after.step) == 1
    assert np.isfinite(float(metrics["loss"]))
    changed = moved(state.params, after.params)
    assert any("adapters" in name for name in changed)
    assert any("trunk" in name for name in changed)
    assert moved(state.batch_stats, after.batch_stats)
    assert moved(state.ema["params"], after.ema["params"])


def test_steps_fit_one_batch_and_what_the_damage_of_its_pairs_costs():
    state, aim, _ = distilling()
    step, batch, seen = jitted_distill_step(), make_batch(), []
    for _ in range(60):
        state, metrics = step(state, aim, batch)
        seen.append([float(metrics[name]) for name in ("hard", "drop")])
    first, last = np.mean(seen[:3], axis=0), np.mean(seen[-3:], axis=0)
    assert (last < 0.7 * first).all()


def test_control_learns_without_a_teacher():
    state, _, step = distilling()
    weights = DistillWeights().without_teacher()
    run = jax.jit(functools.partial(step, teacher=None, weights=weights))
    after, metrics = run(state, {}, make_batch())
    assert set(metrics) == {"loss", "grad_norm", "nonfinite", "hard", "rank", "plcc"}
    assert moved(state.params["network"], after.params["network"])


def test_nonfinite_pictures_move_nothing_and_are_counted():
    state, aim, _ = distilling()
    batch = make_batch()
    bad = batch._replace(distorted=batch.distorted.at[1].set(jnp.nan))
    after, metrics = jitted_distill_step()(state, aim, bad)
    assert int(metrics["nonfinite"]) == 1
    assert moved(state.params, after.params) == []
    assert moved(state.batch_stats, after.batch_stats) == []
    assert moved(state.ema, after.ema) == []


def test_unlabelled_rows_are_ramped_up():
    batch, weights = make_batch(), DistillWeights(ramp=0.5)
    early = steps._row_weights(batch, weights, jnp.int32(0), 20)
    late = steps._row_weights(batch, weights, jnp.int32(15), 20)
    np.testing.assert_allclose(early, [0.1, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(late, [1, 1, 1, 1])


def test_a_pair_without_a_score_is_held_against_the_teachers_word():
    batch = make_batch(rows=4, pairs=2)
    batch = batch._replace(mos=jnp.array([jnp.nan, 0.5, -1.0, 1.0]))
    word = NetworkOutput(z=jnp.array([0.7, 0.9]), logits=None, features={})
    np.testing.assert_allclose(steps._targets(batch, word), [0.7, 0.5, -1, 1])
    np.testing.assert_allclose(steps._targets(batch, None), [0, 0.5, -1, 1])


def test_a_pair_that_nobody_scored_is_worth_its_likeness():
    batch = make_batch(rows=4, pairs=4)
    batch = batch._replace(mos=jnp.array([jnp.nan, 0.5, -1.0, 1.0]))
    word = NetworkOutput(jnp.zeros(4), None, {"likeness": jnp.full(4, 0.9)})
    graded = steps._with_likeness(batch, word).mos
    said = z_of_likeness(jnp.full(1, 0.9))
    np.testing.assert_allclose(graded, [said[0], 0.5, -1, 1], rtol=1e-6)
    plain = word._replace(features={})
    assert steps._with_likeness(batch, plain) is batch


def test_teacher_needs_a_reference_for_every_row():
    _, aim, _ = distilling()
    optimizer = optim.optimizer(OPTIM, 20, {"network": aim["params"]}, trunk=None)
    with pytest.raises(InputError, match="reference for every row"):
        steps.teacher_step(
            steps.create_state(aim, optimizer),
            aim["frozen"],
            make_batch(rows=4, pairs=2),
            jax.random.key(0),
            teacher=tiny_teacher(),
            optimizer=optimizer,
            optim_config=OPTIM,
            weights=TeacherWeights(),
            quarter_turns=True,
        )


def test_both_steps_and_predict_lower_for_cuda_and_tpu():
    state, aim, _ = distilling()
    one = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    network = tiny_student(attention="cga", attention_kernels=(3, 3))
    student = jax.eval_shape(network.init, jax.random.key(2), one)
    traced = jitted_distill_step().trace(state, aim, make_batch())
    traced.lower(lowering_platforms=("cuda",))
    traced.lower(lowering_platforms=("tpu",))

    teacher = tiny_teacher()
    optimizer = optim.optimizer(OPTIM, 20, {"network": aim["params"]}, trunk=None)
    teacher_state = jax.eval_shape(lambda: steps.create_state(aim, optimizer))
    step = jax.jit(
        functools.partial(
            steps.teacher_step,
            teacher=teacher,
            optimizer=optimizer,
            optim_config=OPTIM,
            weights=TeacherWeights(),
            quarter_turns=True,
        )
    )
    pairs = make_batch(rows=2, pairs=2)
    traced = step.trace(teacher_state, aim["frozen"], pairs, jax.random.key(0))
    of_pairs = jax.jit(functools.partial(steps.predict_pairs, teacher=teacher))
    of_pictures = jax.jit(functools.partial(steps.predict, student=network))
    programs = (
        traced,
        of_pairs.trace(aim, pairs.reference, pairs.distorted),
        of_pictures.trace(student, pairs.distorted),
    )
    for program in programs:
        for platform in ("cuda", "tpu"):
            program.lower(lowering_platforms=(platform,))


ON_DEVICES = """
    import sys
    sys.path.insert(0, {tests!r})
    import jax, numpy as np
    import test_steps
    from ganiqa_jax import mesh
    step = test_steps.jitted_distill_step("sgd")
    for count in (1, 4):
        devices = mesh.data_mesh(jax.devices()[:count])
        batch = test_steps.make_batch(rows=8, pairs=4)
        batch = mesh.shard_batch(jax.tree.map(np.asarray, batch), devices)
        state, aim, _ = test_steps.distilling("sgd")
        state, aim = mesh.replicate(state, devices), mesh.replicate(aim, devices)
        state, metrics = step(state, aim, batch)
        assert len(state.step.devices()) == count
        numbers = dict(
            gradient=state.opt_state.inner_state,
            params=state.params,
            batch_stats=state.batch_stats,
            metrics=metrics,
        )
        found = jax.tree_util.tree_leaves_with_path(numbers)
        arrays = {{jax.tree_util.keystr(k): np.asarray(v) for k, v in found}}
        np.savez(f"{folder}/{{count}}.npz", **arrays)
"""


def test_four_devices_give_the_numbers_of_one(tmp_path):
    # By plain gradient descent: Adam makes a full step of the rounding error that is
    # the gradient of a key's bias, which softmax cancels.
    tests = str(Path(__file__).parent)
    code = textwrap.dedent(ON_DEVICES).format(tests=tests, folder=tmp_path)
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    one, four = (dict(np.load(tmp_path / f"{count}.npz")) for count in (1, 4))
    assert one.keys() == four.keys()
    for name in one:
        if name.startswith("['gradient']"):
            # Through the statistics of eight rows, rounding grows to some 1e-4.
            close = 1e-6 + 1e-3 * np.abs(one[name]).max()
            np.testing.assert_allclose(four[name], one[name], atol=close, rtol=0)
        else:
            np.testing.assert_allclose(
                four[name], one[name], atol=1e-5, rtol=1e-5, err_msg=name
            )
