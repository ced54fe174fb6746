"""What is known of a data set besides its records."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, SupportsFloat

from ganiqa_jax.data.records import rescale
from ganiqa_jax.errors import InputError


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

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest label."""
        return self.low, self.high

    @property
    def mos_scale(self) -> tuple[str, float, float]:
        """Name, lowest and highest score of a scale that rises with quality.

        It is the scale of the labels, turned round about its middle where they fall.
        """
        name = self.scale if self.rises else f"{self.scale}, turned round"
        return name, self.low, self.high

    def score(self, label: str | SupportsFloat, *, name: str, table: Path) -> float:
        """A label of the files as a score in [0, 1], higher is better.

        Args:
          label: as it is written.
          name: the picture, for the message.
          table: the file it is from, for the message.

        Raises:
          InputError: if it is not a number on the scale.
        """
        share = self._share(label, self.bounds, "score", name, table)
        return share if self.rises else 1.0 - share

    def deviation(self, label: str | SupportsFloat, *, name: str, table: Path) -> float:
        """A standard deviation of labels, in the units of `score`.

        Raises:
          InputError: if it is not a number from 0 to the width of the scale.
        """
        width = (0.0, self.high - self.low)
        return self._share(label, width, "deviation", name, table)

    def _share(
        self,
        label: str | SupportsFloat,
        bounds: tuple[float, float],
        what: str,
        name: str,
        table: Path,
    ) -> float:
        try:
            return rescale(float(label), bounds)
        except (TypeError, ValueError) as error:  # InputError is a ValueError
            raise InputError(
                f"{table}: the {what} of {name!r} is {str(label)!r}, not a number "
                f"from {bounds[0]:g} to {bounds[1]:g}; check the file."
            ) from error
