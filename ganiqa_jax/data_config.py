"""Settings of the data: what a run learns from, and how a picture becomes crops."""

from dataclasses import dataclass
from typing import Literal

from ganiqa_jax.config_json import config_hash
from ganiqa_jax.network_config import require

WINDOWS = 4
"""Along each side of a picture, of which its detail consists."""

Role = Literal["labelled_pairs", "unlabelled_pairs", "pictures"]
Cache = Literal["memory", "disk", "off"]
Damages = Literal["graded", "generators", "kadid", "medium", "all"]


@dataclass(frozen=True)
class SourceConfig:
    """One data set of a training mixture.

    Attributes:
      dataset: a name of `ganiqa_jax.data.catalog.READERS`.
      root: the folder its archive is unpacked in, or it is prepared in.
      role: which loss terms its rows take part in.
      rows: rows of every batch that come from it; 0 if it has a weight.
      short_side: pictures are resized so that their shorter side has this many
        pixels; 0 keeps every pixel.
      split: a protocol of `ganiqa data splits` with its number, such as
        `content-80-20/1`, or the .txt file of a stored split; empty is a split by the
        fractions of the data.
      weight: its share, over the sum of weights, of the rows that the weighted sources
        of its kind (with references, or without) have together:
        `DataConfig.shared_pair_rows` or `shared_picture_rows`.
      distort: its pristine pictures alone are read, and damaged as they are: a new
        kind and level each time. `generators` is what generators leave, `kadid` the
        25 kinds of KADID-10k, `medium` haze and water, `all` these three; `graded`
        those that can be graded, which the role `labelled_pairs` needs (`generators`
        can be too). None reads pairs.
    """

    dataset: str
    root: str
    role: Role
    rows: int = 0
    short_side: int = 0
    split: str = ""
    weight: float = 0.0
    distort: Damages | None = None

    def __post_init__(self) -> None:
        require(
            self.distort is None or self.role != "pictures",
            "a source with `distort` makes pairs; its role must not be 'pictures'",
        )
        require(
            self.distort in (None, "graded", "generators")
            or self.role == "unlabelled_pairs",
            f"distort '{self.distort}' has kinds that cannot be graded; its role must "
            "be 'unlabelled_pairs'",
        )
        require(
            min(self.rows, self.weight) == 0 < max(self.rows, self.weight),
            "a source needs rows > 0 or a weight > 0, and not both",
        )
        require(self.short_side >= 0, "short_side must not be negative")

    @property
    def labelled(self) -> bool:
        """Whether its pictures have scores."""
        return self.role != "unlabelled_pairs"


@dataclass(frozen=True)
class DataConfig:
    """The training mixture and its split.

    Attributes:
      sources: data sets; those with references come first in a batch.
      crop: side of a training crop, pixels.
      fractions: shares of contents for train, validation and test, in sources
        without a `split` of their own.
      split_seed: seed of that split.
      quarter_turns: also turn crops by multiples of 90 degrees.
      cache: where decoded pictures are kept: `memory` of each process, `disk` for
        many processes and runs, with what a pretrained trunk says of them, or `off`,
        where memory does not grow with the data.
      cache_dir: folder of `disk`.
      cache_gib: most that pictures may take, in GiB.
      shared_pair_rows: rows of every batch that the sources of pairs with a weight
        share.
      shared_picture_rows: the same for sources without references.
      scale: data set whose mean, deviation and range the public score is on.
    """

    sources: tuple[SourceConfig, ...]
    scale: str
    crop: int = 224
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_seed: int = 0
    quarter_turns: bool = True
    cache: Cache = "memory"
    cache_dir: str = ""
    cache_gib: float = 6.0
    shared_pair_rows: int = 0
    shared_picture_rows: int = 0

    def __post_init__(self) -> None:
        require(len(self.sources) > 0, "data.sources is empty")
        require(self.crop >= 32, "data.crop must be at least 32 pixels")
        require(
            abs(sum(self.fractions) - 1) < 1e-6 and min(self.fractions) >= 0,
            "data.fractions must be three shares that sum to 1",
        )
        names = [source.dataset for source in self.sources]
        require(
            self.scale in names,
            f"data.scale {self.scale!r} is none of the sources {names}",
        )
        for role, rows in (
            ("pairs", self.shared_pair_rows),
            ("pictures", self.shared_picture_rows),
        ):
            weighted = any(s.weight and s.role.endswith(role) for s in self.sources)
            require(
                rows >= 0 and weighted == (rows > 0),
                f"data.shared_{role[:-1]}_rows must be > 0 if a source of {role} has "
                "a weight, and 0 if none has",
            )
        require(
            self.cache != "disk" or self.cache_dir != "",
            "data.cache 'disk' needs a data.cache_dir",
        )
        require(self.cache_gib >= 0, "data.cache_gib must not be negative")
        places = {
            (source.dataset, source.root, source.split) for source in self.sources
        }
        require(
            len(places) == len(set(names)),
            "sources of one data set must have one root and one split",
        )

    @property
    def batch_size(self) -> int:
        shared = self.shared_pair_rows + self.shared_picture_rows
        return shared + sum(source.rows for source in self.sources)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture file becomes crops: together, the preprocessing identity.

    With `whole` there is one view of every picture, all of it. A picture that is no
    square is squeezed along one side, one of 16:9 to 9/16 of its width: the price of
    one fixed shape that looks at everything.

    With `reflect` no pixel is ever enlarged. A small picture that is, is as blurred to
    a network as a large one that somebody enlarged, and is scored so.

    Attributes:
      short_side: shorter side after resizing, pixels; 0 keeps every pixel.
      crop: side of a crop, pixels; smaller pictures are reflected out to it.
      points: crop positions: 1 the centre, 5 the corners and the centre.
      mirror: also score each crop, or the whole, mirrored.
      alpha: colour under transparent pixels.
      exif: apply the orientation that the file asks for.
      whole: the picture is stretched to `crop` x `crop` pixels, whatever its sides,
        and is the only crop: `points` is 1, `short_side` 0.
      detail_side: with it, which needs `whole`, there is a second view: windows of the
        picture beside each other (`scoring.cropping.detail_of`). A picture whose
        shorter side has more pixels is made smaller to that first: the more are left,
        the finer the damage that shows, and the more the blur of a picture that
        somebody enlarged. 0: none.
      reflect: with `whole`, a side under `crop` keeps its pixels and is mirrored
        outwards, in both views, in place of stretched.
    """

    short_side: int = 0
    crop: int = 224
    points: Literal[1, 5, 9] = 5
    mirror: bool = False
    alpha: Literal["white", "black"] = "white"
    exif: bool = True
    whole: bool = False
    detail_side: int = 0
    reflect: bool = False

    def __post_init__(self) -> None:
        require(
            not self.whole or (self.points == 1 and self.short_side == 0),
            "preprocessing.whole shows all of a picture at once: points must be 1 and "
            f"short_side 0; they are {self.points} and {self.short_side}",
        )
        require(
            self.detail_side == 0 or self.whole and self.detail_side >= self.crop,
            "preprocessing.detail_side needs whole, and at least the pixels of crop",
        )
        require(
            self.detail_side == 0 or self.crop % WINDOWS == 0,
            f"preprocessing.crop must be a multiple of {WINDOWS} with detail_side",
        )
        require(
            self.whole or not self.reflect,
            "preprocessing.reflect needs whole: crops are always mirrored outwards",
        )

    @property
    def sha(self) -> str:
        """Twelve hex digits that change when anything that moves a score does."""
        # Models were released, and rows written, before there were these.
        later = ("whole", "detail_side", "reflect")
        return config_hash(self, without=[n for n in later if not getattr(self, n)])
