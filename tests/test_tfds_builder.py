"""The TFDS builder, by TFDS's own test case and as a user of TFDS meets it."""

import importlib.util
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from dataset_cases import CASES
from layouts_pictures import make_table
from PIL import Image
from tensorflow_datasets.core import shuffle

from ganiqa_jax.data import catalog, prepared, tfds_builder
from ganiqa_jax.errors import IntegrityError
from ganiqa_jax.scoring.decode import decode_picture


def tfds_test_case() -> type:
    """`DatasetBuilderTestCase`, whose module imports dill for tests of features."""
    if importlib.util.find_spec("dill") is not None:
        return tfds.testing.DatasetBuilderTestCase
    sys.modules["dill"] = types.ModuleType("dill")
    try:
        return tfds.testing.DatasetBuilderTestCase
    finally:
        del sys.modules["dill"]


def case_of(name: str) -> type:
    """TFDS's test case for a data set of the fixtures."""
    case = CASES[name]

    def set_up_class(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        case.make(Path(cls.folder.name) / case.name, **case.settings)
        cls.EXAMPLE_DIR = cls.folder.name
        super(made, cls).setUpClass()

    def tear_down_class(cls) -> None:
        super(made, cls).tearDownClass()
        cls.folder.cleanup()

    splits = {"pictures": case.count, "references": case.reference[1]}
    made = type(
        name,
        (tfds_test_case(),),
        {
            "DATASET_CLASS": tfds_builder.Ganiqa,
            "BUILDER_CONFIG_NAMES_TO_TEST": [case.name],
            "SPLITS": {split: count for split, count in splits.items() if count},
            "setUpClass": classmethod(set_up_class),
            "tearDownClass": classmethod(tear_down_class),
        },
    )
    return made


TestKadid10k = case_of("kadid10k")
TestKadis = case_of("kadis")  # no labels
TestKoniq10k = case_of("koniq10k")  # no references
TestLivec = case_of("livec")  # labels in .mat, BMP
TestPipal = case_of("pipal")  # BMP pairs
TestTable = case_of("table")


@pytest.fixture
def manual_dir(tmp_path):
    """A table with a file of each kind that `tfds.features.Image` would not keep."""
    root = make_table(tmp_path / "manual" / "table") / "shots"
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, 28, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(root / "11.png")  # transparent
    wide = random.integers(0, 2**16, (20, 28), np.uint16)
    Image.fromarray(wide).save(root / "12.png")
    Image.fromarray(pixels[..., :3]).save(root / "13.png", "JPEG", exif=exif)
    Image.fromarray(pixels[..., :3]).save(root / "21.png", "TIFF")
    Image.fromarray(pixels[..., :3]).quantize(9).save(root / "22.png", "BMP")
    Image.fromarray(pixels[..., :3]).save(root / "23.png", "WEBP")
    return tmp_path / "manual"


@pytest.fixture
def load(manual_dir, tmp_path):
    """`tfds.load` of that table, prepared at the first call."""

    def call(method=tfds.load, **options):
        settings = tfds.download.DownloadConfig(manual_dir=manual_dir)
        return method(
            "ganiqa/table",
            data_dir=tmp_path / "out",
            download_and_prepare_kwargs={"download_config": settings},
            **options,
        )

    return call


def test_every_way_to_read_gives_the_pixels_of_the_archive(load, manual_dir, tmp_path):
    records = catalog.read("table", manual_dir / "table")
    wanted = [decode_picture(record.distorted).pixels for record in records]
    assert wanted[2].shape == (28, 20, 3)  # upright
    skip = {"image": tfds.decode.SkipDecoding()}
    of_tf = list(load(split="pictures").as_numpy_iterator())
    files = list(load(split="pictures", decoders=skip).as_numpy_iterator())
    of_numpy = load(tfds.data_source, split="pictures")
    folder = tmp_path / "out" / "ganiqa" / "table" / "1.0.0"
    bare = tfds.builder_from_directory(folder).as_data_source("pictures")
    again = catalog.read("table", tmp_path / "out")
    for number, record in enumerate(records):
        assert of_tf[number]["name"].decode() == record.name
        assert files[number]["image"] == record.distorted.read_bytes()
        for found in (
            of_tf[number]["image"],
            of_numpy[number]["image"],
            bare[number]["image"],
            decode_picture(again[number].distorted).pixels,
        ):
            np.testing.assert_array_equal(found, wanted[number])


def test_examples_say_what_records_do_and_point_to_their_reference(load, manual_dir):
    records = catalog.read("table", manual_dir / "table")
    examples, references = load(split=["pictures", "references"])
    names = [example["name"].decode() for example in references.as_numpy_iterator()]
    assert names == ["1.png", "2.png"]
    for example, record in zip(examples.as_numpy_iterator(), records, strict=True):
        assert example["mos"] == record.mos and example["std"] == record.std
        assert names[example["reference"]] == record.reference.name
        assert example["content"].decode() == record.content
        assert example["part"].decode() == (
            "train" if "1" in record.content else "test"
        )
    for example in references.as_numpy_iterator():
        assert example["reference"] == -1 and np.isnan(example["mos"])


def test_splits_shards_and_shuffles_as_other_tfds_data_sets(load):
    def names(**options):
        examples = load(**options).as_numpy_iterator()
        return [example["name"].decode()[6:8] for example in examples]

    assert names(split="pictures[:50%]") == ["11", "12", "13"]
    context = tf.distribute.InputContext(2, 1, 2)
    config = tfds.ReadConfig(input_context=context)
    assert names(split="pictures", read_config=config) == ["12", "21", "23"]
    config = tfds.ReadConfig(shuffle_seed=1)
    mixed = names(split="pictures", shuffle_files=True, read_config=config)
    assert mixed != sorted(mixed) == names(split="pictures")
    partial = tfds.decode.PartialDecoding({"mos": True})
    (first, *_) = load(split="pictures", decoders=partial).as_numpy_iterator()
    assert set(first) == {"mos"}
    (image, mos), *_ = load(split="pictures", as_supervised=True).as_numpy_iterator()
    assert image.shape == (20, 28, 3) and mos == 1.0


def test_another_file_format_is_read_by_tfds_and_refused_here(load, tmp_path):
    examples = load(split="pictures", builder_kwargs={"file_format": "tfrecord"})
    assert next(iter(examples))["image"].shape == (20, 28, 3)
    with pytest.raises(IntegrityError, match="not there as array_record files"):
        catalog.read("table", tmp_path / "out")


def test_archive_may_be_the_manual_directory_itself(load, manual_dir):
    archive = manual_dir / "table"
    for path in [*archive.iterdir()]:
        path.rename(manual_dir / path.name)
    archive.rmdir()
    assert len(list(load(split="pictures"))) == 6


def test_missing_pictures_are_left_out_only_if_asked(load, manual_dir):
    (manual_dir / "table" / "shots" / "21.png").unlink()
    with pytest.raises(ValueError, match="5 of 6 pictures found"):
        load(split="pictures")
    examples = load(split="pictures", builder_kwargs={"allow_missing": True})
    assert len(list(examples)) == 5


@pytest.mark.parametrize("name", sorted(catalog.READERS))
def test_config_says_what_the_facts_do(name, tmp_path):
    facts = catalog.FACTS[name]
    info = tfds.builder(f"ganiqa/{name}", data_dir=tmp_path).info
    assert facts.title in info.description and facts.licence in info.description
    assert (info.homepage or "") == facts.address or not facts.address
    assert info.citation == facts.citation
    assert f"{name}: {facts.layout}" in tfds_builder.Ganiqa.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert prepared.VERSION in info.release_notes


def test_order_holds_in_many_shards_and_past_what_fits_in_memory(tmp_path, monkeypatch):
    sizes = []
    read_values = shuffle._Bucket.read_values

    def watched(bucket):
        values = list(read_values(bucket))
        sizes.append(len(values))
        return values

    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)
    monkeypatch.setattr(shuffle._Bucket, "read_values", watched)
    root = CASES["kadid10k"].make(tmp_path / "kadid10k")
    records = catalog.read("kadid10k", root)
    builder = tfds_builder.Ganiqa(
        config="kadid10k", data_dir=tmp_path / "out", records=records
    )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=2)
    )
    assert sum(sizes) == 20 and max(sizes) <= 1  # TFDS sorts no two of them at once
    assert len(list(builder.data_path.glob("*-of-00002"))) == 4
    again = catalog.read("kadid10k", tmp_path / "out")
    assert [r.name for r in again] == [r.name for r in records]
    for old, new in zip(records, again, strict=True):
        assert new.distorted.read_bytes() == old.distorted.read_bytes()
        assert new.reference.read_bytes() == old.reference.read_bytes()
