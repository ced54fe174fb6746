"""The two training runs: stage 1 (teacher) and stage 2 (distillation).

A run directory is all that a later step needs: `config.json`, `manifest.json`,
`card.json`, `splits/`, `metrics.jsonl`, `frozen.safetensors`, `checkpoints/`.
"""

import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ganiqa_jax import (
    checkpoint,
    convert,
    mesh,
    optim,
    probe,
    processes,
    release,
    rundir,
    steps,
)
from ganiqa_jax.config import (
    DistillConfig,
    TeacherConfig,
    TeacherTrainConfig,
)
from ganiqa_jax.config_json import config_hash
from ganiqa_jax.data import catalog
from ganiqa_jax.data.mixture import GIB, Mixture, Share
from ganiqa_jax.data.sources import (
    Source,
    check_unseen,
    load_sources,
    source_data,
    split_hashes,
    write_splits,
)
from ganiqa_jax.errors import InputError
from ganiqa_jax.loop import Run, run_loop
from ganiqa_jax.models import Student, Teacher
from ganiqa_jax.models.comparison import LIKENESS_MEAN, LIKENESS_STD
from ganiqa_jax.models.features import DISTILLED_MAPS, FeatureAdapters
from ganiqa_jax.pseudo import PseudoLabels, pseudo_labels
from ganiqa_jax.released import find_model
from ganiqa_jax.types import Batch, Params

logger = logging.getLogger("ganiqa_jax")


def train_teacher(
    config: TeacherTrainConfig,
    workdir: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    command: str = "",
) -> None:
    """Stage 1: trains the full-reference teacher on pairs with scores.

    Args:
      config: everything that decides the result.
      workdir: run directory; new, or with `resume` one that an earlier run left.
      resume: go on from the newest checkpoint that verifies.
      progress: show a progress bar on standard error.
      command: what the user ran, for the manifest.

    Raises:
      InputError: if data, weights or the run directory cannot be used.
      NonFiniteError: if the loss stays non-finite; the last checkpoint stays.
    """
    sources = [_graded(source) for source in load_sources(config.data, workdir)]
    _start(config, workdir, sources, command=command, resume=resume)
    network = Teacher(config.teacher)
    side = config.data.crop
    picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = _init(network, config.seed, picture, picture)
    variables = _load_pretrained(
        variables, config.teacher.backbone_weights, config.teacher.backbone
    )
    if config.teacher.backbone_weights is not None and config.teacher.channels:
        variables = _started(workdir, resume, variables) or probe.start_teacher(
            network,
            variables,
            _mixture(config, sources, None),
            config,
            progress=progress,
        )
    optimizer = optim.optimizer(
        config.optim, config.steps, {"network": variables["params"]}, trunk=None
    )
    state = steps.create_state(variables, optimizer)
    frozen = dict(variables.get("frozen", {}))
    _finish_directory(workdir, config, sources, frozen, role="teacher")

    step = functools.partial(
        steps.teacher_step,
        teacher=network,
        optimizer=optimizer,
        optim_config=config.optim,
        weights=config.weights,
        quarter_turns=config.data.quarter_turns,
    )

    def pure(state, constants, batch):
        frozen, key = constants
        return step(state, frozen, batch, key)

    constants = (frozen, jax.random.key(config.seed))
    _execute(config, workdir, sources, state, pure, constants, None, resume, progress)


def distill(
    config: DistillConfig,
    workdir: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    command: str = "",
) -> None:
    """Stage 2: trains the no-reference student on scores and on the teacher.

    Arguments and errors as in `train_teacher`; `config.teacher` names the run
    directory of stage 1, or a released teacher, and an empty name trains the control
    without a teacher.
    """
    sources = load_sources(config.data, workdir)
    teacher = _load_teacher(config, sources)
    _start(config, workdir, sources, command=command, resume=resume)
    pseudo = pseudo_labels(config, workdir, sources, teacher, progress)
    probe.check_trunk(config.student.trunk_weights, sources)
    network = Student(config.student)
    side = config.data.crop
    picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = _init(network, config.seed, picture)
    variables = _load_pretrained(
        variables, config.student.trunk_weights, config.student.trunk
    )
    if config.student.trunk_weights is not None and config.student.semantic:
        variables = _started(workdir, resume, variables) or probe.start_student(
            network,
            variables,
            _mixture(config, sources, pseudo),
            config,
            sources=sources,
            teacher=teacher,
            progress=progress,
        )
    adapters = FeatureAdapters(
        width=teacher.card.config.width if teacher else config.student.width
    )
    adapter_params = _init_adapters(adapters, config)
    params = {"network": variables["params"], "adapters": adapter_params}
    optimizer = optim.optimizer(config.optim, config.steps, params, trunk="trunk")
    state = steps.create_state(variables, optimizer, adapter_params)
    frozen = dict(variables.get("frozen", {}))
    _finish_directory(workdir, config, sources, frozen, role="student")

    step = functools.partial(
        steps.distill_step,
        student=network,
        adapters=adapters,
        teacher=teacher.network if teacher else None,
        optimizer=optimizer,
        optim_config=config.optim,
        weights=config.weights if teacher else config.weights.without_teacher(),
        noise=config.noise,
        quarter_turns=config.data.quarter_turns,
        steps=config.steps,
    )

    def pure(state, constants, batch):
        frozen, teacher_variables, key = constants
        return step(state, frozen, teacher_variables, batch, key)

    constants = (
        frozen,
        teacher.variables if teacher else {},
        jax.random.key(config.seed),
    )
    _execute(config, workdir, sources, state, pure, constants, pseudo, resume, progress)


def _load_teacher(
    config: DistillConfig, sources: Sequence[Source]
) -> release.LoadedModel | None:
    if not config.teacher:
        return None
    folder = find_model(config.teacher)
    teacher = release.load_model(folder)
    if not isinstance(teacher.card.config, TeacherConfig):
        raise InputError(f"{folder} holds a {teacher.card.role}, not a teacher.")
    if teacher.card.config.bins != config.student.bins:
        raise InputError(
            f"The teacher has {teacher.card.config.bins} score bins and the student "
            f"{config.student.bins}; soft labels need the same number."
        )
    for source in sources:
        check_unseen(folder, source)
    return teacher


def _init(network: nn.Module, seed: int, *shapes: jax.ShapeDtypeStruct) -> dict:
    inputs = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
    # A key of its own: the run's root key drives augmentation and noise.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return jax.jit(network.init)({"params": key}, *inputs)


def _init_adapters(adapters: nn.Module, config: DistillConfig) -> Params:
    shape = (1, 1, 1, config.student.width)
    features = {name: jnp.zeros(shape) for name in DISTILLED_MAPS}
    key = jax.random.fold_in(jax.random.key(config.seed), 2)
    return adapters.init(key, features)["params"]


def _load_pretrained(variables: dict, path: str | None, backbone: str) -> dict:
    if path is None:
        return variables
    # A file's arrays are numpy's; what is trained is jax's.
    return jax.tree.map(jnp.asarray, convert.insert_backbone(variables, path, backbone))


def _graded(source: Source) -> Source:
    """With the scale of what a teacher grades pairs by that nobody scored."""
    if source.config.labelled:
        return source
    return source._replace(mean=LIKENESS_MEAN, std=LIKENESS_STD)


def _started(
    workdir: Path, resume: bool, variables: dict[str, Params]
) -> dict[str, Params] | None:
    """What an earlier start of the run noted; parameters are restored later."""
    if not (resume and checkpoint.verified_steps(workdir)):
        return None
    return {**variables, **checkpoint.load_frozen(workdir)}


def _start(
    config: TeacherTrainConfig | DistillConfig,
    workdir: Path,
    sources: Sequence[Source],
    *,
    command: str,
    resume: bool,
) -> None:
    hashes = split_hashes(sources)
    processes.agree("configuration", config_hash(config))
    processes.agree("split", json.dumps(hashes))
    processes.wait("the run directory is read")
    if processes.is_first():
        rundir.start(
            workdir,
            config,
            command=command,
            seed=config.seed,
            split_hashes=hashes,
            resume=resume,
        )
        write_splits(sources, workdir)
    processes.wait("the run directory is begun")
    if not workdir.exists():
        raise InputError(
            f"Process {jax.process_index()} does not see {workdir}; give a directory "
            "that all processes share."
        )


def _finish_directory(
    workdir: Path,
    config: TeacherTrainConfig | DistillConfig,
    sources: Sequence[Source],
    frozen: Params,
    *,
    role: Literal["teacher", "student"],
) -> None:
    """Writes what a checkpoint needs to score a picture, before the first step."""
    if not processes.is_first():
        return
    public = next(s for s in sources if s.config.dataset == config.data.scale)
    low, high = catalog.MOS_SCALES[public.config.dataset][1:]
    network = config.student if isinstance(config, DistillConfig) else config.teacher
    card = release.ModelCard(
        role=role,
        name=workdir.name,
        config=network,
        preprocessing=config.preprocessing,
        scale=release.Scale(
            name=catalog.MOS_SCALES[public.config.dataset][0],
            low=low,
            high=high,
            mean=public.mean,
            std=public.std,
        ),
        made_by=f"ganiqa_jax {rundir.package_version()}",
        data=tuple(source.config.dataset for source in sources),
        results={},
    )
    release.write_card(workdir, card)
    if frozen:
        checkpoint.save_frozen(workdir, {"frozen": frozen})


def _mixture(
    config: TeacherTrainConfig | DistillConfig,
    sources: Sequence[Source],
    pseudo: Mapping[str, PseudoLabels] | None,
) -> Mixture:
    return Mixture(
        sources=tuple(
            source_data(source, (pseudo or {}).get(source.config.dataset))
            for source in sources
        ),
        crop=config.data.crop,
        seed=config.seed,
        cache=config.data.cache,
        cache_bytes=int(config.data.cache_gib * GIB),
        cache_dir=Path(config.data.cache_dir) if config.data.cache_dir else None,
        shared_pair_rows=config.data.shared_pair_rows,
        shared_picture_rows=config.data.shared_picture_rows,
    )


def _execute(
    config: TeacherTrainConfig | DistillConfig,
    workdir: Path,
    sources: Sequence[Source],
    state: steps.TrainState,
    pure: Callable[..., tuple[steps.TrainState, dict[str, Any]]],
    constants: Any,
    pseudo: Mapping[str, PseudoLabels] | None,
    resume: bool,
    progress: bool,
) -> None:
    """Restores, places on the devices, compiles once, and runs the loop."""
    restored = _restore(workdir, state) if resume else None
    if restored is not None:
        state = restored.state
        logger.info("Going on from step %d of %s.", restored.step, workdir)
    devices = mesh.data_mesh()
    mixture = _mixture(config, sources, pseudo)
    share = Share(
        mesh.own_rows(mixture.batch_size, devices),
        mesh.own_rows(mixture.pair_rows, devices),
    )
    if jax.process_count() > 1:
        mesh.connect(devices)
        weights = {"state": state, "constants": constants[:-1]}  # the last is the key
        processes.agree("state of the networks", release.model_sha(weights))
    state = mesh.replicate(state, devices)
    constants = mesh.replicate(constants, devices)
    compiled = jax.jit(pure, donate_argnums=0)

    def step(
        state: steps.TrainState, batch: Batch
    ) -> tuple[steps.TrainState, dict[str, Any]]:
        return compiled(state, constants, mesh.shard_batch(batch, devices))

    run = Run(
        workdir=workdir,
        step=step,
        mixture=mixture,
        share=share,
        total=config.steps,
        loop=config.loop,
        learning_rate=lambda number: float(
            optim.learning_rate(config.optim, config.steps, number)
        ),
        max_nonfinite=config.optim.max_nonfinite,
    )
    run_loop(run, state, start=restored.step if restored else 0, progress=progress)


def _restore(workdir: Path, template: steps.TrainState) -> checkpoint.Restored | None:
    """The newest good checkpoint: process 0 finds it, the others take the same one."""
    if processes.is_first():
        restored = checkpoint.restore(workdir, template)
        processes.share("checkpoint", "" if restored is None else str(restored.step))
        return restored
    step = processes.share("checkpoint", "")
    return checkpoint.restore(workdir, template, step=int(step)) if step else None
