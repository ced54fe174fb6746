"""What is known of a data set besides its records."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Facts:
    """One data set as its users know it: what `ganiqa data info` prints.

    Attributes:
      name: key of the catalog, lower case, such as `kadid10k`.
      title: its usual name, such as `KADID-10k`.
      kind: `pairs` has references, `pictures` has none, `triplets` has choices.
      pictures: scored pictures of the whole public set.
      references: pristine pictures; 0 where it has none.
      contents: what a split must never part: scenes, or prompts; how many there are.
      scale: name of the scale of the labels.
      low: lowest label of that scale.
      high: highest label of that scale.
      rises: whether the labels in the files rise with quality; records always do.
      licence: terms as its authors state them.
      address: where its authors give it away.
      layout: what to unpack where; ends the message about a missing file.
      citation: BibTeX.
    """

    name: str
    title: str
    kind: Literal["pairs", "pictures", "triplets"]
    pictures: int
    references: int
    contents: int
    scale: str
    low: float
    high: float
    rises: bool
    licence: str
    address: str
    layout: str
    citation: str
