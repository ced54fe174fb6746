"""The data sets of the catalog for TensorFlow Datasets, one config for each.

    import ganiqa_jax.data.tfds_builder
    import tensorflow_datasets as tfds

    pictures = tfds.load(
        "ganiqa/koniq10k",
        split="pictures",
        data_dir="prepared",
        download_and_prepare_kwargs={  # only the first time
            "download_config": tfds.download.DownloadConfig(manual_dir="data"),
        },
    )

or `tfds build ganiqa --imports ganiqa_jax.data.tfds_builder --config koniq10k
--manual_dir data --data_dir prepared`. Both take the unpacked archive from
`data/koniq10k`: the folder of the manual directory that is named as the config or,
where there is none, that directory itself. (The program `tfds` of TFDS 4.9.10 wants
the package apache-beam besides.) `ganiqa data prepare` writes the same, and tells in
one line what is missing.

Importing this module imports TensorFlow; what is prepared is read without it by
`data.prepared`.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ganiqa_jax.data import prepared
from ganiqa_jax.data.catalog import FACTS, READERS, read
from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.records import Record
from ganiqa_jax.data.tfds_picture import Picture
from ganiqa_jax.errors import InputError
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.decode import read_file

_KEYS = 2**128
"""TFDS sorts by keys below this."""


def _description(facts: Facts) -> str:
    direction = "rises" if facts.rises else "falls"
    return (
        f"{facts.title}. The score `mos` is in [0, 1], higher is better; the label of "
        f"the files is {facts.scale}, {facts.low:g} to {facts.high:g}, and {direction} "
        f"with quality. Licence: {facts.licence}."
    )


class Ganiqa(tfds.core.GeneratorBasedBuilder):
    """Pictures with opinion scores, and the pristine pictures they were made from.

    The split `pictures` has an example for each scored picture, in the order of the
    archive, and `references` one for each pristine picture, where there are any;
    `reference` of a picture is the number of its example there.
    """

    VERSION = tfds.core.Version(prepared.VERSION)
    RELEASE_NOTES = {prepared.VERSION: "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get the archive from its authors and unpack it in a folder of manual_dir that "
        "is named as the config:\n"
        + "\n".join(f"{n}: {FACTS[n].layout} {FACTS[n].address}" for n in READERS)
    )
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=FACTS[name].title)
        for name in READERS
    ]

    def __init__(
        self,
        *,
        allow_missing: bool = False,
        records: Sequence[Record] | None = None,
        progress: bool = False,
        file_format: Any = tfds.core.FileFormat.ARRAY_RECORD,
        **options: Any,
    ) -> None:
        """Makes a builder.

        Args:
          allow_missing: leave out labels whose pictures are not there.
          records: what is prepared; without it, what is read from the archive in
            TFDS's manual directory.
          progress: a progress bar of ours on standard error.
          file_format: as TFDS; only ArrayRecord is also read by this package.
          **options: `data_dir`, `config` and `version`, as TFDS.
        """
        self._allow_missing = allow_missing
        self._records = records
        self._progress = progress
        super().__init__(file_format=file_format, **options)

    def _info(self) -> tfds.core.DatasetInfo:
        facts = FACTS[self._config_name]
        text, number = tfds.features.Text, np.int64
        # float32 is all that an Example has; a score must survive to its last bit.
        double = {"shape": (), "dtype": np.float64, "encoding": "bytes"}
        return tfds.core.DatasetInfo(
            builder=self,
            description=_description(facts),
            homepage=facts.address,
            citation=facts.citation,
            license=facts.licence,
            supervised_keys=("image", "mos"),
            disable_shuffling=True,
            features=tfds.features.FeaturesDict(
                {
                    "image": Picture(doc="the picture; stored as the file it was"),
                    "name": text(doc="path below the folder of the archive"),
                    "reference": tfds.features.Scalar(
                        number, doc="place in the split references, -1 for none"
                    ),
                    "mos": tfds.features.Tensor(
                        **double, doc="score in [0, 1], rises; NaN if unlabelled"
                    ),
                    "std": tfds.features.Tensor(
                        **double, doc="deviation of the opinions, NaN if unknown"
                    ),
                    "content": text(doc="scene or prompt, which no split must part"),
                    "kind": text(doc="distortion, upscaler or generator"),
                    "level": tfds.features.Scalar(number, doc="strength, 0 for none"),
                    "part": text(doc="train, validation or test of the set's own"),
                }
            ),
        )

    @property
    def _config_name(self) -> str:
        assert self.builder_config is not None  # there are configs, so one is chosen
        return self.builder_config.name

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        records = self._records
        if records is None:
            records = self._read(Path(dl_manager.manual_dir))
        references = prepared.reference_records(records)
        places = {record.distorted: n for n, record in enumerate(references)}
        # TFDS puts the whole folder in place once everything is written.
        (self.data_path / prepared.LABELS).write_bytes(prepared.labels_table(records))
        splits = {prepared.PICTURES: records, prepared.REFERENCES: references}
        return {
            split: self._generate_examples(split, of_split, places)
            for split, of_split in splits.items()
            if of_split
        }

    def _read(self, manual_dir: Path) -> Sequence[Record]:
        named = manual_dir / self._config_name
        return read(
            self._config_name,
            named if named.is_dir() else manual_dir,
            allow_missing=self._allow_missing,
        )

    def _generate_examples(
        self, split: str, records: Sequence[Record], places: Mapping[Path, int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        # Keys are in order, and even over their range: TFDS sorts them in as many
        # heaps, one after the other in memory.
        step = _KEYS // len(records)
        shown = track(records, len(records), split, self._progress)
        for number, record in enumerate(shown):
            yield number * step, _example(record, places)

    def _as_dataset(
        self,
        split: Any,
        decoders: Any = None,
        read_config: tfds.ReadConfig | None = None,
        shuffle_files: bool = False,
    ) -> tf.data.Dataset:
        """Examples of ArrayRecord files, which TFDS reads by number, as tf.data."""
        read_config = read_config or tfds.ReadConfig()
        if self.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
            return super()._as_dataset(
                split, decoders, read_config, shuffle_files=shuffle_files
            )
        features: Any = self.info.features
        if isinstance(decoders, tfds.decode.PartialDecoding):
            features = decoders.extract_features(features)
            decoders = decoders.decoders
        method = tfds.decode.DeserializeMethod.RAW_BYTES
        as_source: Any = self.as_data_source  # its decorator hides what it takes
        source = as_source(split, deserialize_method=method)

        def read(number: tf.Tensor) -> Any:
            example = tf.numpy_function(
                lambda n: source[int(n)], [number], tf.string, stateful=False
            )
            return features.deserialize_example(
                tf.ensure_shape(example, []), decoders=decoders
            )

        numbers = _numbers(len(source), read_config, shuffle_files)
        return numbers.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def prepare(
    name: str, records: Sequence[Record], out: Path, *, progress: bool = False
) -> Path:
    """Writes a data set to a TFDS data directory, unless it is there.

    Args:
      name: key of the catalog.
      records: of that set, as `catalog.read` reads them.
      out: the data directory.
      progress: a progress bar on standard error.

    Returns:
      The folder of the prepared data set.

    Raises:
      InputError: if a picture cannot be read, or `out` cannot be written; then it
        holds no part of the data set.
    """
    prepared.import_array_records()
    tfds.disable_progress_bar()
    try:
        # TFDS makes a folder for downloads, of which there are none, and tells on
        # standard output that it downloads.
        with (
            tempfile.TemporaryDirectory() as aside,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            builder = Ganiqa(
                config=name, data_dir=out, records=records, progress=progress
            )
            builder.download_and_prepare(download_dir=aside)
    except (OSError, RuntimeError, tf.errors.OpError) as error:  # as ArrayRecord's are
        reason = error.strerror if isinstance(error, OSError) else None
        raise InputError(f"Cannot write {out}: {reason or error}") from error
    return Path(builder.data_path)


def _numbers(length: int, config: tfds.ReadConfig, shuffle: bool) -> tf.data.Dataset:
    """Numbers of the examples that a pipeline reads, in its order."""
    numbers = tf.data.Dataset.range(length)
    if (context := config.input_context) is not None:
        numbers = numbers.shard(context.num_input_pipelines, context.input_pipeline_id)
    if shuffle:
        again = config.shuffle_reshuffle_each_iteration
        numbers = numbers.shuffle(
            max(1, length),
            seed=config.shuffle_seed,
            reshuffle_each_iteration=True if again is None else again,
        )
    return numbers


def _example(record: Record, places: Mapping[Path, int]) -> dict[str, Any]:
    reference = record.reference
    return {
        "image": read_file(record.distorted),
        "name": _text(record.name),
        "reference": -1 if reference is None else places[reference],
        "mos": np.nan if record.mos is None else float(record.mos),
        "std": np.nan if record.std is None else float(record.std),
        "content": _text(record.content),
        "kind": _text(record.kind),
        "level": record.level,
        "part": _text(record.part),
    }


def _text(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # a name on disk need not be UTF-8
