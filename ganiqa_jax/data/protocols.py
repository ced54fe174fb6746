"""Named ways to part a data set for an evaluation that others can repeat.

The name says it all, the seed included, and gives the same split on every machine:

| name | test part | for |
|---|---|---|
| `content-80-20/N` | 20 % of the contents, drawn anew for N = 1 to 10 | any set |
| `kfold-K/N` | fold N of K; each content is tested once | any set |
| `pipal-160-40` | the last 40 of the 200 references by name | PIPAL |
| `official` | what the authors of the set chose | sets that come with a split |
| `cross-train` | none: the test is another set | training across data sets |
| `cross-test` | everything | testing across data sets |
| `leave-out/KIND/N` | one kind (generator, distortion), fold N of 5 | sets with kinds |

Of the contents that are not tested a seeded eighth is the validation part, except in
`official`. Contents are scenes, or prompts in AGIQA-3K and AIGCIQA2023, so that no
scene and no prompt is on two sides. `@SEED` at the end of a name draws with another
seed than 123, and `+val` after that trains on the validation part as well, for recipes
in which nothing is left to decide.

Ten splits of 80 to 20 by reference are what papers on LIVE, CSIQ, TID2013 and
KADID-10k report the median of, with 23, 24, 20 and 64 references to train on; so do
these, with the same number, shares and seed as the IQA-PyTorch toolbox, whose splits
hold other references, because it draws them in another way. Only 200 references of
PIPAL (Gu et al., ECCV 2020) have public labels; `pipal-160-40` cuts them between
references, by name, so that it does not move with the order of files.

Two data sets can share scenes under different names: LIVE and TID2013 both have
pictures of the Kodak set. Training on one and testing on the other is not a test on
unseen scenes, and nothing here can notice.
"""

import dataclasses
import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ganiqa_jax.data.records import (
    Record,
    Split,
    read_contents,
    read_protocol,
    read_split,
    write_split,
)
from ganiqa_jax.errors import InputError, IntegrityError

SEED = 123
REPEATS = 10
"""Splits of `content-80-20`."""
LEFT_OUT_FOLDS = 5
ONE_IN = 8
"""One of so many contents that are not tested goes to the validation part."""

PIPAL_TRAIN, PIPAL_REFERENCES = 160, 200

_PLAIN = ("pipal-160-40", "official", "cross-train", "cross-test")
NAMES = ("content-80-20/1", "kfold-5/1", *_PLAIN, "leave-out/KIND/1")
"""An example of every protocol, for messages."""

_WITH_VALIDATION = "+val"

_NUMBERED = re.compile(r"(content-(\d+)-(\d+)|kfold-(\d+))(?:/([1-9]\d*))?")
_LEFT_OUT = re.compile(r"leave-out/(.+?)(?:/([1-9]\d*))?")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A name, taken apart.

    Attributes:
      rule: `content`, `kfold`, `leave-out`, or the name of another protocol.
      seed: decides what is drawn.
      number: which of `count` splits, from 1; 0 stands for all of them.
      count: how many splits there are.
      share: percentage of contents that are not tested, of `content`.
      kind: what `leave-out` tests.
      validates: has a validation part; else that is trained on.
    """

    rule: str
    seed: int = SEED
    number: int = 1
    count: int = 1
    share: int = 0
    kind: str = ""
    validates: bool = True

    @property
    def name(self) -> str:
        """The name that `parse` takes apart."""
        text = self.rule
        if self.rule == "content":
            text += f"-{self.share}-{100 - self.share}"
        elif self.rule == "kfold":
            text += f"-{self.count}"
        elif self.rule == "leave-out":
            text += f"/{self.kind}"
        if self.number and self.count > 1:
            text += f"/{self.number}"
        text += "" if self.seed == SEED else f"@{self.seed}"
        return text if self.validates else text + _WITH_VALIDATION

    def keeps(self, record: Record, tested: Collection[str]) -> bool:
        """Whether a record takes part, if these contents are tested."""
        if self.rule != "leave-out":
            return True
        return (record.kind == self.kind) == (record.content in tested)


def parse(name: str) -> Protocol:
    """Takes the name of a protocol apart.

    Raises:
      InputError: if there is no such protocol; says which there are.
    """
    drawn = name.removesuffix(_WITH_VALIDATION)
    text, _, digits = drawn.partition("@")
    seed = int(digits) if digits.isdecimal() else SEED
    if (numbered := _NUMBERED.fullmatch(text)) is not None:
        share, rest, folds, number = (int(n or 0) for n in numbered.groups()[1:])
        if folds:
            found = Protocol("kfold", seed, number, folds)
        else:
            found = Protocol("content", seed, number, REPEATS, share)
        fits = folds > 1 or (share and rest and share + rest == 100)
    elif (left_out := _LEFT_OUT.fullmatch(text)) is not None:
        number = int(left_out[2] or 0)
        found = Protocol("leave-out", seed, number, LEFT_OUT_FOLDS, kind=left_out[1])
        fits = True
    else:
        found, fits = Protocol(text, seed), text in _PLAIN
    seeded = digits.isdecimal() or "@" not in name
    if not (fits and seeded and found.number <= found.count):
        raise InputError(
            f"No protocol {name!r}; there are {', '.join(NAMES)}. Without /NUMBER it "
            "is all of its splits; @SEED at the end draws others, +val after that "
            "trains on the validation part as well."
        )
    return dataclasses.replace(found, validates=drawn == name)


def members(protocol: Protocol) -> tuple[Protocol, ...]:
    """The single splits that a name stands for: all of them if it has no number."""
    if protocol.number:
        return (protocol,)
    return tuple(
        dataclasses.replace(protocol, number=number)
        for number in range(1, protocol.count + 1)
    )


def split_records(records: Sequence[Record], protocol: Protocol) -> Split:
    """Parts records by a protocol with a number.

    The parts hold every record once, in the order given; `leave-out` alone passes over
    pictures of its kind that are not tested, and of other kinds where their content
    is.

    Raises:
      InputError: if these records have too few contents, or not what the protocol
        is for.
    """
    if not protocol.number:
        raise InputError(f"{protocol.name!r} is {protocol.count} splits; name one.")
    if protocol.rule == "official":
        part_of = _official(records)
    else:
        tested = _tested(records, protocol)
        records = [r for r in records if protocol.keeps(r, tested)]
        rest = sorted({r.content for r in records} - tested)
        part_of = dict.fromkeys(tested, "test") | _rest(rest, protocol)
    if not protocol.validates:
        moved = {"validation": "train"}
        part_of = {c: moved.get(part, part) for c, part in part_of.items()}
    return Split(
        *(
            tuple(r for r in records if part_of[r.content] == part)
            for part in Split._fields
        )
    )


def store(path: Path, records: Sequence[Record], protocol: Protocol) -> Split:
    """Writes a split as text with its hash, or reads it if it is there already.

    Raises:
      InputError: as `split_records`, or if the file is of other data or of another
        protocol.
      IntegrityError: if the file is damaged, or pictures came or went since.
    """
    if path.exists():
        split, name = read_stored(path, records)
        if name != protocol.name:
            raise InputError(
                f"The split {path} is of protocol {name or 'unknown'}, not of "
                f"{protocol.name}; give another place, or remove it."
            )
        return split
    split = split_records(records, protocol)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_split(path, split, protocol=protocol.name)
    return split


def read_stored(path: Path, records: Sequence[Record]) -> tuple[Split, str]:
    """Splits records as a stored file says, by the protocol that it names.

    Returns:
      The split, and the name of its protocol; empty if it was made without one.

    Raises:
      InputError: if there is no such file, or it is of other data.
      IntegrityError: if the file is damaged, or pictures came or went since.
    """
    name = read_protocol(path)
    if name:
        try:
            protocol, tested = parse(name), read_contents(path, "test")
        except InputError as error:
            raise IntegrityError(f"The split {path} is damaged: {error}") from error
        records = [r for r in records if protocol.keeps(r, tested)]
    return read_split(path, records), name


def choose(name: str, records: Sequence[Record]) -> tuple[Split, str]:
    """The split that a setting asks for.

    Args:
      name: a protocol with a number, or the path of a stored split (ends in `.txt`).
      records: the whole data set.

    Returns:
      The split, and the name of its protocol; empty for a file that names none.

    Raises:
      InputError: if there is no such protocol or file, or it does not fit the data.
      IntegrityError: if the file is damaged, or pictures came or went since.
    """
    if name.endswith(".txt"):
        return read_stored(Path(name), records)
    protocol = parse(name)
    return split_records(records, protocol), protocol.name


def manifest_name(dataset: str, protocol: Protocol) -> str:
    """File name of a stored split."""
    text = re.sub(r"[^\w.@-]", "-", protocol.name)
    return f"{dataset}.{text}.txt"


def _official(records: Sequence[Record]) -> dict[str, str]:
    part_of: dict[str, str] = {}
    for record in records:
        if record.part not in Split._fields:
            raise InputError(
                f"{record.name} is in no part of a split of the set's own; use "
                "content-80-20 for a set without one."
            )
        if part_of.setdefault(record.content, record.part) != record.part:
            raise InputError(
                f"The set's own split has {record.content!r} in "
                f"{part_of[record.content]} and in {record.part}."
            )
    return part_of


def _tested(records: Sequence[Record], protocol: Protocol) -> set[str]:
    """Contents of the test part."""
    contents = sorted({record.content for record in records})
    match protocol.rule:
        case "cross-train":
            return set()
        case "cross-test":
            return set(contents)
        case "pipal-160-40":
            if len(contents) != PIPAL_REFERENCES:
                raise InputError(
                    f"pipal-160-40 is for the {PIPAL_REFERENCES} references of PIPAL; "
                    f"these records have {len(contents)} contents."
                )
            return set(contents[PIPAL_TRAIN:])
        case "content":
            order = _drawn(contents, protocol.seed, "content", protocol.number)
            return set(_few(order, order[len(order) * protocol.share // 100 :]))
        case "kfold":
            folded = contents
        case _:
            folded = sorted({r.content for r in records if r.kind == protocol.kind})
            if not folded:
                kinds = sorted({r.kind for r in records})
                raise InputError(
                    f"No picture is of kind {protocol.kind!r}; there are "
                    f"{', '.join(kinds) if any(kinds) else 'no kinds'}."
                )
    order = _drawn(folded, protocol.seed, protocol.rule)
    return set(_few(folded, order[protocol.number - 1 :: protocol.count]))


def _rest(contents: Sequence[str], protocol: Protocol) -> dict[str, str]:
    """Contents that are not tested, parted into training and validation."""
    if protocol.rule == "cross-test":
        return {}
    if len(contents) < 2:
        raise InputError(
            f"{len(contents)} contents are left to train and validate on, at least 2 "
            f"are needed; {protocol.name} is for more data."
        )
    order = _drawn(contents, protocol.seed, "validation", protocol.number)
    count = max(1, round(len(order) / ONE_IN))
    return dict.fromkeys(order[count:], "train") | dict.fromkeys(
        order[:count], "validation"
    )


def _few(contents: Sequence[str], chosen: Sequence[str]) -> Sequence[str]:
    if not chosen:
        raise InputError(
            f"{len(contents)} contents are too few: the test part would be empty."
        )
    return chosen


def _drawn(contents: Sequence[str], *key: object) -> list[str]:
    """Contents in an order that the key decides; leaving one out moves no other."""

    def place(content: str) -> bytes:
        text = "\0".join([*map(str, key), content])
        data = text.encode(errors="surrogateescape")
        return hashlib.blake2b(data, digest_size=16).digest()

    return sorted(contents, key=place)
