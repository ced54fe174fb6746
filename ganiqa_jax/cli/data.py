"""`ganiqa data`: which data sets there are, and what is in one's own copy."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ganiqa_jax.cli.commands import run_command
from ganiqa_jax.cli.photographs import photographs
from ganiqa_jax.cli.prepare import prepare
from ganiqa_jax.cli.scoring import SomeFailed, printable
from ganiqa_jax.cli.tables import print_table
from ganiqa_jax.errors import InputError

if TYPE_CHECKING:
    from ganiqa_jax.data.facts import Facts
    from ganiqa_jax.data.records import Record

_DESCRIPTION = (
    "List, prepare, check, split and look at data sets.\n\n"
    "  ganiqa data list\n"
    "  ganiqa data verify kadid10k --root data/kadid10k\n"
    "  ganiqa data COMMAND --help"
)

Name = tyro.conf.Positional[str]
WORST_SHOWN = 50
"""Broken files that `verify` lists; it counts them all."""
QUEUE = 1024
"""Pictures that wait for a thread at most."""


def data(arguments: Sequence[str]) -> None:
    """List, prepare, check, split and look at data sets."""
    run_command("ganiqa data", COMMANDS, _DESCRIPTION, arguments)


def list_() -> None:
    """List the data sets that can be read.

    None is downloaded: get a set from its authors, and see `ganiqa data info`.

      ganiqa data list
    """
    from ganiqa_jax.data.catalog import FACTS

    rows = [
        (
            facts.name,
            facts.title,
            facts.kind,
            _count(facts.pictures),
            _count(facts.references),
            f"{facts.low:g} to {facts.high:g}, {_direction(facts)}",
            facts.licence,
        )
        for facts in FACTS.values()
    ]
    head = ("name", "title", "kind", "pictures", "refs", "scale", "licence")
    print_table(
        head,
        rows,
        numbers=("pictures", "refs"),
        whole=("name", "kind"),
        narrowest={"title": 12, "licence": 13},
    )


def info(name: Name, /, root: Path | None = None, allow_missing: bool = False) -> None:
    """Say what a data set is, where it comes from and how to unpack and cite it.

    With --root, also what is found there: pictures, contents, kinds, range of scores.

      ganiqa data info pipal
      ganiqa data info agiqa3k --root data/agiqa3k

    Args:
        name: name of the data set, of `ganiqa data list`.
        root: the folder that its archive is unpacked in, or that it is prepared in.
        allow_missing: leave out labels whose pictures are not there.
    """
    facts = _facts(name)
    found = _read(name, root, allow_missing, choices=True) if root else None
    rows = [
        ("name", f"{facts.name}: {facts.title}"),
        ("kind", facts.kind),
        ("pictures", _count(facts.pictures)),
        ("references", _count(facts.references)),
        ("contents", _count(facts.contents)),
        ("labels", _scale(facts)),
        ("licence", facts.licence),
        ("address", facts.address),
        ("layout", facts.layout),
    ]
    print_table((), [(key, value) for key, value in rows if value])
    if found is not None:
        print_table((), _found(found, facts.mos_scale))
    if facts.citation:
        print(f"\n{facts.citation}")


def verify(
    name: Name,
    /,
    root: Path,
    allow_missing: bool = False,
    workers: int = 2,
    progress: bool = True,
) -> None:
    """Decode every picture of a data set and list those that are broken.

    Pictures and references are decoded to their last pixel, and a picture must be of
    the size of its reference. Exit status 3 if anything is broken.

      ganiqa data verify kadid10k --root data/kadid10k --workers 8

    Args:
        name: name of the data set, of `ganiqa data list`.
        root: the folder that its archive is unpacked in, or that it is prepared in.
        allow_missing: leave out labels whose pictures are not there.
        workers: threads that decode.
        progress: a progress bar on standard error, if that is a terminal.
    """
    if workers < 1:
        raise InputError(f"workers={workers} must be at least 1.")
    records = _read(name, root, allow_missing, choices=True)
    paths = {r.distorted: None for r in records}
    paths |= {r.reference: None for r in records if r.reference is not None}
    sizes, broken = _decode_all(list(paths), workers, progress)
    for record in records:
        if record.reference is None:
            continue
        if record.distorted in broken or record.reference in broken:
            continue
        ours, other = sizes[record.distorted], sizes[record.reference]
        if ours != other:
            broken[record.distorted] = f"{ours}, but its reference is {other}."
    for path, why in list(broken.items())[:WORST_SHOWN]:
        print(f"{printable(str(path))}  {printable(why)}")
    if len(broken) > WORST_SHOWN:
        print(f"... and {len(broken) - WORST_SHOWN} more")
    if broken:
        raise SomeFailed(f"{len(broken)} of {len(paths)} files are broken; see above.")
    common = ", ".join(f"{n} of {size}" for size, n in _top(sizes.values()))
    print(f"{len(paths)} files decode, {common}.")


def splits(
    name: Name,
    /,
    root: Path,
    protocol: str,
    out: Path = Path("splits"),
    allow_missing: bool = False,
) -> None:
    """Write a named split of a data set as text with a hash, or check it.

    No scene and no prompt is on two sides. A file that is there is read, checked
    against the data and kept. PROTOCOL is one of

      content-80-20/N   ten splits by scene or prompt, 1 to 10
      kfold-K/N         K folds by scene or prompt
      pipal-160-40      the first 160 references of PIPAL to train, 40 to test
      official          the set's own parts: koniq10k, pieapp, gfiqa20k, a table with
                        a column split
      cross-train       everything to train and validate on, for a test on another set
      cross-test        everything to test on
      leave-out/KIND/N  one generator or distortion to test on, fold N of 5

    Without /N all splits of that name are written. @SEED at the end draws others;
    +val after that trains on the validation part as well.

      ganiqa data splits agiqa3k --root data/agiqa3k --protocol content-80-20
      ganiqa data splits agiqa3k --root data/agiqa3k --protocol leave-out/AttnGAN/1
      ganiqa data splits csiq --root data/csiq --protocol kfold-5@7 --out splits

    Args:
        name: name of the data set, of `ganiqa data list`.
        root: the folder that its archive is unpacked in, or that it is prepared in.
        protocol: how to split, as above.
        out: folder of the text files.
        allow_missing: leave out labels whose pictures are not there.
    """
    from ganiqa_jax.data import protocols
    from ganiqa_jax.data.records import Split, split_hash

    named = protocols.parse(protocol)
    records = _read(name, root, allow_missing)
    rows = []
    for member in protocols.members(named):
        path = out / protocols.manifest_name(name, member)
        try:
            split = protocols.store(path, records, member)
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror}.") from error
        counts = [f"{len(part)} ({len({r.content for r in part})})" for part in split]
        rows.append((str(path), *counts, split_hash(split)))
    print_table(("file", *Split._fields, "hash"), rows, numbers=Split._fields)
    print("Pictures, and in brackets contents, of each part.")


def preview(
    name: Name,
    /,
    root: Path,
    out: Path = Path("sheet.png"),
    count: int = 24,
    allow_missing: bool = False,
) -> None:
    """Draw a contact sheet of pictures across the range of scores.

    One PNG, worst first, with score and kind under each picture and its reference
    beside it.

      ganiqa data preview agiqa3k --root data/agiqa3k --out sheet.png
      ganiqa data preview sr4kiqa --root data/sr4kiqa --count 12

    Args:
        name: name of the data set, of `ganiqa data list`.
        root: the folder that its archive is unpacked in, or that it is prepared in.
        out: the .png file.
        count: how many pictures.
        allow_missing: leave out labels whose pictures are not there.
    """
    from ganiqa_jax.report import sheet

    records = _read(name, root, allow_missing)
    chosen = sheet.choose(records, count)
    sheet.draw_sheet(chosen, _facts(name), out)
    print(f"{len(chosen)} of {len(records)} pictures in {out}")


def from_csv(
    table: Annotated[Path, tyro.conf.Positional],
    /,
    low: float | None = None,
    high: float | None = None,
    falls: bool = False,
    allow_missing: bool = False,
) -> None:
    """Check your own table of pictures and scores, and say what it holds.

    A .csv or .parquet file with the columns path and mos, and if you have them
    reference, std, group (what a split must not part) and split. Paths are relative
    to the table. A table that passes is the data set `table` for training.

      ganiqa data from-csv mine/labels.csv --low 1 --high 5

    Args:
        table: the file, or a folder with labels.csv or labels.parquet.
        low: lowest score of the scale; without it, the lowest in the table.
        high: highest score of the scale; without it, the highest in the table.
        falls: the scores fall with quality, as DMOS do.
        allow_missing: leave out rows whose pictures are not there.
    """
    from ganiqa_jax.data import protocols
    from ganiqa_jax.data.table import read_records

    records = read_records(
        table, allow_missing=allow_missing, low=low, high=high, rises=not falls
    )
    print_table((), _found(records, ("score in [0, 1]", 0.0, 1.0)))
    try:
        own = protocols.split_records(records, protocols.parse("official"))
    except InputError as error:
        print(f"No split of its own: {error}")
    else:
        counts = {part: len(found) for part, found in own._asdict().items() if found}
        print("Split: " + ", ".join(f"{n} {part}" for part, n in counts.items()) + ".")
    print(f"It can be read. Next: ganiqa data verify table --root {table}")


COMMANDS = {
    "list": list_,
    "info": info,
    "prepare": prepare,
    "verify": verify,
    "splits": splits,
    "preview": preview,
    "from-csv": from_csv,
    "photographs": photographs,
}


def _facts(name: str) -> "Facts":
    from ganiqa_jax.data.catalog import FACTS

    if name not in FACTS:
        raise InputError(f"No data set {name!r}; there are {', '.join(FACTS)}.")
    return FACTS[name]


def _read(
    name: str, root: Path, allow_missing: bool, *, choices: bool = False
) -> "list[Record]":
    """The records of a set; with `choices` also the versions that people chose from."""
    from ganiqa_jax.data import bapps, catalog

    if _facts(name).kind == "triplets" and choices:
        return bapps.read_versions(root, allow_missing=allow_missing)
    return catalog.read(name, root, allow_missing=allow_missing)


def _decode_all(
    paths: list[Path], workers: int, progress: bool
) -> tuple[dict[Path, str], dict[Path, str]]:
    """Size of what decodes, and for what does not the reason."""
    from concurrent.futures import ThreadPoolExecutor

    from ganiqa_jax.progress import track
    from ganiqa_jax.scoring.decode import DecodeError, decode_picture

    def decode(path: Path) -> tuple[str, str]:
        try:
            picture = decode_picture(path)
        except DecodeError as error:
            return "", str(error)
        height, width, _ = picture.pixels.shape
        return f"{width}x{height}", ""

    sizes: dict[Path, str] = {}
    broken: dict[Path, str] = {}
    show = progress and sys.stderr.isatty()
    pool = ThreadPoolExecutor(workers)
    try:
        # A set of a million pictures is not queued all at once.
        parts = (paths[n : n + QUEUE] for n in range(0, len(paths), QUEUE))
        results = (result for part in parts for result in pool.map(decode, part))
        results = track(results, len(paths), "decoding", show)
        for path, (size, why) in zip(paths, results, strict=True):
            if why:
                broken[path] = why
            else:
                sizes[path] = size
    finally:  # after an interrupt, nothing that waits is begun
        pool.shutdown(cancel_futures=True)
    return sizes, broken


def _found(
    records: "Sequence[Record]", scale: tuple[str, float, float]
) -> list[tuple[str, str]]:
    """What records hold, as rows of a table."""
    scale_name, low, high = scale
    scores = [low + r.mos * (high - low) for r in records if r.mos is not None]
    contents = {record.content for record in records}
    references = {r.reference for r in records if r.reference is not None}
    kinds = _top((r.kind for r in records if r.kind), most=12)
    rows = [
        ("found", f"{len(records)} pictures, {len(scores)} with a score"),
        ("references", str(len(references)) if references else ""),
        ("contents", str(len(contents))),
        ("kinds", ", ".join(f"{kind} {n}" for kind, n in kinds)),
    ]
    if scores:
        mean = sum(scores) / len(scores)
        rows.append(
            (
                "scores",
                f"{min(scores):.4g} to {max(scores):.4g}, mean {mean:.4g}, on "
                f"{scale_name}, {low:g} to {high:g}",
            )
        )
    return [(key, value) for key, value in rows if value]


def _top(values: Iterable[str], most: int = 3) -> list[tuple[str, int]]:
    """The most frequent values with their counts, and `other` for the rest."""
    counts = Counter(values)
    top = counts.most_common(most)
    rest = counts.total() - sum(n for _, n in top)
    return [*top, *([("other", rest)] if rest else [])]


def _scale(facts: "Facts") -> str:
    return f"{facts.scale}, {facts.low:g} to {facts.high:g}, {_direction(facts)}"


def _direction(facts: "Facts") -> str:
    return "rises" if facts.rises else "falls"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
