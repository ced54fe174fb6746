"""The data sets there are: the only list of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ganiqa_jax.data import (
    agiqa3k,
    aigciqa2023,
    bapps,
    csiq,
    gfiqa20k,
    kadid10k,
    kadis,
    koniq10k,
    live,
    livec,
    pieapp,
    pipal,
    prepared,
    pristine,
    sr4kiqa,
    synthetic,
    table,
    tid2013,
)
from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError


class Reader(Protocol):
    """Reads the records of a data set from the folder it is unpacked in."""

    def __call__(
        self, root: Path, /, *, allow_missing: bool = False
    ) -> list[Record]: ...


READERS: Mapping[str, Reader] = {
    "agiqa3k": agiqa3k.read_records,
    "aigciqa2023": aigciqa2023.read_records,
    "csiq": csiq.read_records,
    "gfiqa20k": gfiqa20k.read_records,
    "kadid10k": kadid10k.read_records,
    "kadis": kadis.read_records,
    "koniq10k": koniq10k.read_records,
    "live": live.read_records,
    "livec": livec.read_records,
    "pieapp": pieapp.read_records,
    "pipal": pipal.read_records,
    "pipal_ntire": pipal.read_unlabelled,
    "pristine": pristine.read_records,
    "sr4kiqa": sr4kiqa.read_records,
    "synthetic": synthetic.read_records,
    "table": table.read_records,
    "tid2013": tid2013.read_records,
}

FACTS: Mapping[str, Facts] = {
    facts.name: facts
    for facts in (
        agiqa3k.FACTS,
        aigciqa2023.FACTS,
        bapps.FACTS,
        csiq.FACTS,
        gfiqa20k.FACTS,
        kadid10k.FACTS,
        kadis.FACTS,
        koniq10k.FACTS,
        live.FACTS,
        livec.FACTS,
        pieapp.FACTS,
        pipal.FACTS,
        pipal.FACTS_NTIRE,
        pristine.FACTS,
        sr4kiqa.FACTS,
        synthetic.FACTS,
        table.FACTS,
        tid2013.FACTS,
    )
}
"""What is known of each, the sets of triplets, which have no records, included."""

MOS_SCALES: Mapping[str, tuple[str, float, float]] = {
    name: FACTS[name].mos_scale for name in READERS
}
"""Name, lowest and highest score of a scale of each set that rises with quality."""


def read(name: str, root: Path, allow_missing: bool = False) -> list[Record]:
    """Reads the records of a data set by name.

    Args:
      name: a key of `READERS`.
      root: the folder its archive is unpacked in; or where it is prepared, as
        `prepared.find` takes it.
      allow_missing: leave out labels whose pictures are not there, with a warning.

    Raises:
      InputError: if there is no such data set, it has no scores of single pictures,
        or it is not complete in `root`.
      IntegrityError: if it is prepared in `root`, and damaged.
    """
    if name in FACTS and name not in READERS:
        raise InputError(
            f"{FACTS[name].title} has choices between pictures and no scores; use "
            f"`ganiqa eval` or ganiqa_jax.data.{name}.read_triplets."
        )
    if name not in READERS:
        raise InputError(f"No data set {name!r}; there are {', '.join(READERS)}.")
    folder = prepared.find(root, name)
    if folder is not None:
        return prepared.read_records(folder, name)
    return READERS[name](root, allow_missing=allow_missing)
