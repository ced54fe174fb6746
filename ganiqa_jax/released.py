"""Released models: folders of weights and card that have a name.

They are looked for in the package and in the user's `models` folder; nothing is
ever fetched.
"""

from dataclasses import dataclass
from pathlib import Path

from ganiqa_jax import home
from ganiqa_jax.card import CARD, WEIGHTS, ModelCard, read_whole_card
from ganiqa_jax.errors import InputError

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

    Raises:
      InputError: if there is neither; names the models there are.
    """
    path = Path(model)
    if path.exists():
        return path
    models = released_models()
    for released in models:
        if released.name == str(model):
            return released.folder
    names = ", ".join(released.name for released in models) or "none"
    raise InputError(
        f"There is no folder {model}, and no released model of that name (there are: "
        f"{names}; looked in {home.models_folder()})."
    )


def model_sha_of(folder: Path) -> tuple[ModelCard, str]:
    """Card of a released folder, and the name that the card gives its weights.

    Raises:
      InputError: if the folder holds no released model.
      IntegrityError: if the card is damaged.
    """
    card, identity = read_whole_card(folder)
    if "model_sha" not in identity:
        raise InputError(f"{folder} is a run directory, not a released model.")
    return card, identity["model_sha"]
