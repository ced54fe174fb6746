"""`ganiqa data prepare`: a data set as ArrayRecord files of TensorFlow Datasets."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from ganiqa_jax.data.records import Record


def prepare(
    name: tyro.conf.Positional[str],
    /,
    root: Path,
    out: Path,
    allow_missing: bool = False,
    progress: bool = True,
) -> None:
    """Write a data set to a few large files, for TFDS and for this package.

    The pictures stay as they are, to the byte, and references are stored once.
    Whatever takes the --root of the archive then takes OUT as well, and gives the
    same numbers; tfds.load("ganiqa/NAME", data_dir=OUT) reads it too. What is there
    already is left as it is; what fails leaves nothing behind.

      ganiqa data prepare koniq10k --root data/koniq10k --out prepared
      ganiqa data verify koniq10k --root prepared

    Args:
        name: name of the data set, of `ganiqa data list`.
        root: the folder that its archive is unpacked in.
        out: a TFDS data directory; the set goes to ganiqa/NAME/VERSION in it.
        allow_missing: leave out labels whose pictures are not there.
        progress: a progress bar on standard error, if that is a terminal.
    """
    from ganiqa_jax.data import catalog, prepared

    folder = prepared.find(out, name) if name in catalog.READERS else None
    if folder is not None:
        said = "are there already, in"
        records = prepared.read_records(folder, name)
    else:
        said = "are in"
        records = catalog.read(name, root, allow_missing=allow_missing)
        folder = _write(name, records, out, progress and sys.stderr.isatty())
    references = len(prepared.reference_records(records))
    found = f"{len(records)} pictures"
    if references:
        found += f" and {references} references"
    print(f"{found} {said} {folder}")


def _write(name: str, records: "Sequence[Record]", out: Path, progress: bool) -> Path:
    # Both are read when tensorflow is loaded, which otherwise fills the terminal.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    from ganiqa_jax.data import tfds_builder

    return tfds_builder.prepare(name, records, out, progress=progress)
