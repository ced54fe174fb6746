"""The data sets there are: the only list of them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ganiqa_jax.data import agiqa3k, sr4kiqa, synthetic
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError

READERS: Mapping[str, Callable[[Path], list[Record]]] = {
    "agiqa3k": agiqa3k.read_records,
    "sr4kiqa": sr4kiqa.read_records,
    "synthetic": synthetic.read_records,
}

MOS_SCALES: Mapping[str, tuple[str, float, float]] = {
    "agiqa3k": (agiqa3k.SCALE_NAME, *agiqa3k.MOS_RANGE),
    "sr4kiqa": (sr4kiqa.SCALE_NAME, *sr4kiqa.MOS_RANGE),
    "synthetic": (synthetic.SCALE_NAME, *synthetic.MOS_RANGE),
}
"""Name, lowest and highest score of the scale that each set's labels are on."""


def read(name: str, root: Path) -> list[Record]:
    """Reads the records of a data set by name.

    Args:
      name: a key of `READERS`.
      root: the folder its archive is unpacked in.

    Raises:
      InputError: if there is no such data set, or it is not complete in `root`.
    """
    if name not in READERS:
        raise InputError(f"No data set {name!r}; there are {', '.join(READERS)}.")
    return READERS[name](root)
