"""`ganiqa models`: what released models there are, what they say, if they are whole."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from ganiqa_jax.cli.commands import run_command
from ganiqa_jax.data_config import WINDOWS

_DESCRIPTION = (
    "Released models: a folder of weights and card, in the package or in\n"
    "GANIQA_HOME/models. --model takes their names. Nothing is downloaded."
)
_JsonOutput = Annotated[bool, tyro.conf.arg(name="json")]
_Name = Annotated[str, tyro.conf.arg(metavar="MODEL")]


def models(arguments: Sequence[str]) -> None:
    """List, describe and check released models; nothing is downloaded."""
    run_command("ganiqa models", COMMANDS, _DESCRIPTION, arguments)


def list_(json_output: _JsonOutput = False) -> None:
    """List the released models that are installed.

    Args:
        json_output: print a JSON list.
    """
    from ganiqa_jax import home
    from ganiqa_jax.cli.tables import print_table
    from ganiqa_jax.released import read_released, released_models

    found = [(each, read_released(each.folder)) for each in released_models()]
    if json_output:
        print(json.dumps([{**facts, "name": each.name} for each, facts in found]))
    elif not found:
        print(f"No released models; put their folders into {home.models_folder()}.")
    else:
        rows = [
            (
                each.name,
                facts["role"],
                facts["scale"]["name"],
                facts["model_sha"],
                "package" if each.packaged else str(each.folder),
            )
            for each, facts in found
        ]
        print_table(
            ("name", "role", "scale", "weights", "place"), rows, whole=("name",)
        )


def info(
    model: tyro.conf.Positional[_Name], /, json_output: _JsonOutput = False
) -> None:
    """Say what a model is: how its score is to be read, made from what, how good.

    Args:
        model: name of a released model, released folder or run directory.
        json_output: print the card as JSON.
    """
    from ganiqa_jax.cli.tables import print_table
    from ganiqa_jax.released import find_model, read_released

    facts = read_released(find_model(model))
    if json_output:
        print(json.dumps(facts))
        return
    print_table((), list(_described(facts)))


def verify(
    model: tyro.conf.Positional[_Name], /, json_output: _JsonOutput = False
) -> None:
    """Hash a model's weights anew and compare with its card.

    Exit status 4: they are not the ones that were released.

    Args:
        model: name of a released model, or released folder.
        json_output: print what was hashed as JSON.
    """
    from ganiqa_jax.release import verify_released
    from ganiqa_jax.released import find_model

    facts = verify_released(find_model(model))
    if json_output:
        print(json.dumps(facts))
    else:
        print(
            f"{facts['name']}: {facts['arrays']} arrays as released "
            f"(sha256 {facts['weights_sha256'][:12]}, weights {facts['model_sha']})."
        )


def _described(facts: dict[str, Any]) -> "list[tuple[str, str]]":
    """Name and value of what people ask of a model."""
    scale, view = facts["scale"], facts["preprocessing"]
    takes = (
        "reference and distorted picture" if facts["role"] == "teacher" else "picture"
    )
    rows = [
        ("name", facts["name"]),
        ("role", f"{facts['role']}: takes a {takes}"),
        ("score", "0 to 1, higher is better"),
        ("mos", f"{scale['low']:g} to {scale['high']:g} on {scale['name']}"),
        ("pictures", _seen(view)),
        ("network", _network(facts["config"])),
        *((f"trained on {name}", _licence(name)) for name in facts["data"]),
        ("made by", facts["made_by"]),
        ("weights", facts.get("model_sha", "of a run directory")),
        ("licence", "Apache-2.0; the data have licences of their own"),
    ]
    rows += [("note", note) for note in facts.get("notes", ())]
    rows += [(name, f"{value:.4g}") for name, value in facts["results"].items()]
    return rows


def _seen(view: dict[str, Any]) -> str:
    """What a model looks at of a picture."""
    if view["whole"]:
        seen = f"whole picture at {view['crop']}x{view['crop']}"
        if view["mirror"]:
            seen += " and its mirror image"
        if view["detail_side"]:
            window = view["crop"] // WINDOWS
            seen += (
                f", and {WINDOWS}x{WINDOWS} windows of {window}x{window} at full "
                f"size (shorter side to at most {view['detail_side']})"
            )
        return f"{seen}; nothing is enlarged" if view["reflect"] else seen
    side = f"shorter side to {view['short_side']}, " if view["short_side"] else ""
    mirrored = " and their mirror images" if view["mirror"] else ""
    return f"{side}{view['points']} crops of {view['crop']}{mirrored}"


def _licence(data: str) -> str:
    """The terms of a data set, in its authors' words."""
    from ganiqa_jax.data.catalog import FACTS

    return FACTS[data].licence if data in FACTS else "licence unknown"


def _network(config: dict[str, Any]) -> str:
    trunk = config.get("trunk") or config["backbone"]
    return f"{trunk}, width {config['width']}, attention {config['attention']}"


COMMANDS = {"list": list_, "info": info, "verify": verify}
