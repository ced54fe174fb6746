"""Scoring on a cluster by Ray Data: decoding on every core, a scorer per accelerator.

Two stages. Pictures are read, decoded and cut by tasks that need a processor alone;
crops go through Ray's shared memory to actors that hold the model. A scorer computes in
batches of one shape, so it compiles once, and a score is the one that a single
machine gives. The model is read once, by the program that calls, and travels as
arrays: no other machine needs its folder. Pictures are read by the machines
that decode them, so paths have to mean the same on all.

Ray repeats what a dead process had under way and starts another in its place.

Needs the extra `ray`: `pip install 'ganiqa-jax[ray]'`.
"""

import functools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganiqa_jax import release
from ganiqa_jax.config import Preprocessing
from ganiqa_jax.errors import InputError
from ganiqa_jax.mesh import set_cpu_flags
from ganiqa_jax.scoring.cells import to_utf8
from ganiqa_jax.scoring.computing import Crops, with_crops
from ganiqa_jax.scoring.decode import MAX_PIXELS
from ganiqa_jax.scoring.loading import Loaded, LoadRules, load_picture
from ganiqa_jax.scoring.rows import COLUMNS, RowsHeader, ScoreRow

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

BLOCK = 16
"""Pictures that one task decodes, unless there are very many."""

MAX_BLOCKS = 10_000
"""Ray's bookkeeping grows with the number of blocks."""


DECODER_LIFE = 1000
"""Tasks after which a decoding process is replaced, so that nothing piles up in it."""


@dataclass(frozen=True)
class Layout:
    """How the work is spread.

    Attributes:
      batch_size: crops per device call.
      scorers: processes that hold the model; None is one for each GPU or TPU chip of
        the cluster or, where there is none, one for each machine.
      scorer_cpus: processors that a scorer claims; a scorer without an accelerator
        computes on as many threads as XLA likes, whatever it claims.
      max_pixels: pictures that claim more are refused undecoded.
      crops: of a picture; None for those of the model.
    """

    batch_size: int = 32
    scorers: int | None = None
    scorer_cpus: float = 1.0
    max_pixels: int = MAX_PIXELS
    crops: Crops | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "scorers", "max_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value} must be at least 1.")


class RayScorer:
    """Scores pictures on the cluster that Ray is connected to, or on this machine.

    Attributes:
      card: of the model.
    """

    def __init__(self, model: str | Path, layout: Layout | None = None) -> None:
        """Reads the model, and starts Ray here if it is connected to no cluster.

        Args:
          model: run directory, released folder or released name of a student.
          layout: how the work is spread.

        Raises:
          InputError: if the folder holds no student, or Ray is not installed.
          IntegrityError: if the model is damaged.
        """
        ray = import_ray()
        loaded = release.load_model(model)
        if loaded.card.role != "student":
            raise InputError(
                f"{loaded.card.name} is a teacher, which needs a reference for each "
                "picture; on a cluster students score."
            )
        self.layout = layout or Layout()
        self.card = with_crops(loaded.card, self.layout.crops)
        if not ray.is_initialized():
            start_ray()
        variables = _to_host(loaded.variables)
        self.model_sha = release.model_sha(variables)
        self._model = ray.put((self.card, variables))

    def header(self) -> RowsHeader:
        """What holds for all rows."""
        from ganiqa_jax.scoring.engine import header_of

        return header_of(self.card, self.model_sha)

    def score_dataset(
        self, dataset: "ray.data.Dataset", *, path: str = "path"
    ) -> "ray.data.Dataset":
        """Adds the columns of a row to a dataset of paths; nothing runs yet.

        A path of the result is written as `rows` writes it into CSV where it is no
        valid UTF-8. Other columns stay; one named like a column of a row is replaced.

        Args:
          dataset: one picture a row.
          path: its column of paths, text or bytes.
        """
        return self._scored(dataset, path, keep=True).map_batches(
            _spread, batch_format="pyarrow"
        )

    def score_iter(self, paths: Iterable[str | Path]) -> Iterator[ScoreRow]:
        """Rows of pictures, in order, as they come from the cluster."""
        import ray.data

        names = [{"path": os.fsencode(path)} for path in paths]
        if not names:
            return
        blocks = min(-(-len(names) // BLOCK), MAX_BLOCKS)
        dataset = ray.data.from_items(names, override_num_blocks=blocks)
        dataset.context.execution_options.preserve_order = True
        dataset.context.enable_progress_bars = False
        for found in self._scored(dataset, "path", keep=False).iter_rows():
            yield ScoreRow(**json.loads(found["row"]))

    def _scored(
        self, dataset: "ray.data.Dataset", path: str, *, keep: bool
    ) -> "ray.data.Dataset":
        """A column `row` of JSON, beside the others or alone."""
        import ray.data

        layout = self.layout
        decode = functools.partial(
            _decode,
            path=path,
            keep=keep,
            preprocessing=self.card.preprocessing,
            max_pixels=layout.max_pixels,
        )
        needs, count = accelerators()
        pictures = _pictures(layout, self.card.preprocessing)
        # Stages whose processes differ in how they live are not fused into one.
        decoded = dataset.map_batches(
            decode,
            batch_size=pictures,
            batch_format="pyarrow",
            num_cpus=1,
            max_calls=DECODER_LIFE,
        )
        return decoded.map_batches(
            _Score,
            fn_constructor_args=(self._model, layout.batch_size),
            batch_size=pictures,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=layout.scorers or count),
            num_cpus=layout.scorer_cpus,
            **needs,
        )


def import_ray() -> Any:
    """The package ray.

    Raises:
      InputError: if it is not installed; says how to install it.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f"Scoring on a cluster needs Ray: pip install 'ganiqa-jax[ray]' ({error})."
        ) from error
    return ray


def start_ray(address: str | None = None) -> None:
    """Joins the cluster at an address, or starts one on this machine.

    Args:
      address: `auto`, `HOST:PORT` or `ray://HOST:PORT`; None starts Ray here.

    Raises:
      InputError: if no cluster answers.
    """
    ray = import_ray()
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError, TimeoutError) as error:
        raise InputError(f"No Ray cluster at {address}: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.WARNING)


def accelerators() -> tuple[dict[str, Any], int]:
    """What a scorer claims of the cluster beside processors, and how many can."""
    import ray

    has = ray.cluster_resources()
    if has.get("GPU", 0) >= 1:
        return {"num_gpus": 1}, int(has["GPU"])
    if has.get("TPU", 0) >= 1:
        return {"resources": {"TPU": 1}}, int(has["TPU"])
    return {}, max(1, sum(node["Alive"] for node in ray.nodes()))


class _Score:
    """A process that holds the model; Ray makes it and calls it."""

    def __init__(self, model: Any, batch_size: int) -> None:
        import ray

        # Several scorers may share a device.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        set_cpu_flags("infer")
        from ganiqa_jax.scoring.engine import Scorer
        from ganiqa_jax.scoring.on_jax import JaxCompute

        card, variables = ray.get(model)
        network = release.build_network(card.config)
        compute = JaxCompute(network, variables, card, batch_size=batch_size)
        self._scorer = Scorer(compute, workers=1)

    def __call__(self, table: "pa.Table") -> "pa.Table":
        card = self._scorer.card
        shape = (len(card.inputs), -1, *[card.preprocessing.crop] * 2, 3)
        facts = table.column("loaded").to_pylist()
        crops = table.column("crops").to_pylist()
        loaded = [_loaded(*both, shape) for both in zip(facts, crops, strict=True)]
        rows = [
            json.dumps(asdict(row), allow_nan=False)
            for row in self._scorer.score_loaded(loaded)
        ]
        return _with_columns(table.drop_columns(["loaded", "crops"]), {"row": rows})


def _decode(
    table: "pa.Table",
    *,
    path: str,
    keep: bool,
    preprocessing: Preprocessing,
    max_pixels: int,
) -> "pa.Table":
    """Crops of pictures, as bytes, and what else is known of each, as JSON."""
    import pyarrow as pa

    rules = LoadRules(preprocessing, max_pixels)
    facts, crops = [], []
    for given in table.column(path).to_pylist():
        name = os.fsdecode(given)
        loaded = load_picture(name, name, rules)
        crops.append(b"".join(part.tobytes() for part in loaded.crops))
        loaded.crops = ()
        facts.append(json.dumps(asdict(loaded)))
    rest = table if keep else table.select([])
    columns = {"loaded": facts, "crops": pa.array(crops, pa.large_binary())}
    return _with_columns(rest, columns)


def _loaded(facts: str, crops: bytes, shape: tuple[int, ...]) -> Loaded:
    """What `_decode` told of a picture; its crops have this shape, of each input."""
    pixels = np.frombuffer(crops, np.uint8)
    inputs = tuple(pixels.reshape(shape)) if len(pixels) else ()
    return Loaded(**{**json.loads(facts), "crops": inputs})


def _spread(table: "pa.Table") -> "pa.Table":
    """The column of JSON as a column for each of its values."""
    import pyarrow as pa

    rows = [json.loads(row) for row in table.column("row").to_pylist()]
    kinds = dict.fromkeys(COLUMNS, pa.string())
    kinds |= dict.fromkeys(("width", "height", "crops"), pa.int64())
    kinds |= dict.fromkeys(("score", "sigma", "mos", "time_ms"), pa.float64())
    columns = {}
    for name, kind in kinds.items():
        values = [row[name] for row in rows]
        if kind == pa.string():
            values = [None if v is None else to_utf8(v) for v in values]
        columns[name] = pa.array(values, kind)
    return _with_columns(table.drop_columns(["row"]), columns)


def _with_columns(table: "pa.Table", columns: Mapping[str, Any]) -> "pa.Table":
    """A table with these columns more, or in place of those of their names."""
    import pyarrow as pa

    kept = [name for name in table.column_names if name not in columns]
    arrays = {name: table.column(name) for name in kept}
    return pa.table({**arrays, **columns})


def _pictures(layout: Layout, preprocessing: Preprocessing) -> int:
    """Pictures whose crops are a few device calls."""
    crops = preprocessing.points * (2 if preprocessing.mirror else 1)
    return max(1, 4 * layout.batch_size // crops)


def _to_host(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _to_host(leaf) if isinstance(leaf, Mapping) else np.asarray(leaf)
        for name, leaf in tree.items()
    }


__all__: Sequence[str] = ("Layout", "RayScorer", "start_ray")
