"""Released models: folders of weights and card that have a name.

They are looked for in the package and in the user's `models` folder; nothing is
ever fetched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganiqa_jax import home
from ganiqa_jax.card import CARD, WEIGHTS, read_whole_card
from ganiqa_jax.config_json import to_json

PACKAGED = Path(__file__).parent / "released"


@dataclass(frozen=True)
class Released:
    """A released model that was found; nothing of it is verified yet.

    Attributes:
      name: of its folder.
      folder: where it is.
      packaged: it came with the package.
    """

    name: str
    folder: Path
    packaged: bool


def released_models() -> list[Released]:
    """All there are, by name; one of the user hides one of the package."""
    found: dict[str, Released] = {}
    for root, packaged in ((PACKAGED, True), (home.models_folder(), False)):
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if (folder / CARD).is_file() and (folder / WEIGHTS).is_file():
                    found[folder.name] = Released(folder.name, folder, packaged)
    return [found[name] for name in sorted(found)]


def find_model(model: str | Path) -> Path:
    """The folder (or file) of a model that is named by its path or by its name.

    A path goes before a name; what is neither comes back as it is.
    """
    path = Path(model)
    if path.exists() or path.name != str(model):
        return path
    named = {released.name: released.folder for released in released_models()}
    return named.get(str(model), path)


def is_model(path: Path) -> bool:
    """Whether a path is a released folder or a run directory."""
    return (path / CARD).is_file()


def read_released(folder: Path) -> dict[str, Any]:
    """The values of a model's card; of a released one with the names of its weights.

    Raises:
      InputError: if the folder holds no model.
      IntegrityError: if the card is damaged.
    """
    card, identity = read_whole_card(folder)
    return {**to_json(card), **identity, "prep_sha": card.preprocessing.sha}
