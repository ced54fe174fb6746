"""`ganiqa export`: a model as a file that other programs run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro


def export(
    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]],
    /,
    to: Literal["onnx", "stablehlo", "safetensors"],
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    pictures: tuple[str, ...] = (),
    name: str = "",
    results: tuple[Path, ...] = (),
    notes: tuple[str, ...] = (),
    half: bool = False,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Write a model as onnx, stablehlo or a released folder, proven equal first.

    The file takes any number of uint8 crops and gives z; its card (preprocessing,
    scale, name of the weights, measured difference) is in a record beside it, and in
    an ONNX file as well, so that `ganiqa score` runs it as it is.
    Exit status 4: it gave other numbers than the model, and nothing was written.

      ganiqa export runs/student --to onnx --out student.onnx
      ganiqa export runs/student --to safetensors --out released/student \\
          --name student --results runs/student/eval_test/metrics.json
      ganiqa export runs/teacher --to stablehlo --out teacher.stablehlo

    Args:
        model: run directory, released folder, or name of a released model.
        to: onnx (for onnxruntime), stablehlo (for jax.export on CPU, GPU and TPU) or
            safetensors (a released folder: weights and card).
        out: the file; for safetensors, the folder.
        pictures: files or folders to prove it on, beside pictures drawn for that.
        name: of the model in its card; else as it is.
        results: metrics.json files of `ganiqa eval`, for its card.
        notes: sentences for its card, such as what went in at second hand.
        half: keep the weights of a released folder in float16.
        json_output: print what was measured as JSON.
    """
    from ganiqa_jax.scoring.find import find_pictures

    chosen = [Path(path) for path in find_pictures(pictures)] if pictures else []
    from ganiqa_jax.card import with_results
    from ganiqa_jax.export.exporters import export_model
    from ganiqa_jax.release import load_model

    loaded = load_model(model)
    card = with_results(loaded.card, results)
    card = replace(card, name=name or card.name, notes=(*card.notes, *notes))
    loaded = loaded._replace(card=card)
    done = export_model(loaded, to, out, chosen, half=half)
    parity = done.parity
    if json_output:
        facts = {
            "path": str(done.path),
            "sha256": done.sha256,
            "difference": parity.difference,
            "tolerance": parity.tolerance,
            "batches": parity.batches,
            "pictures": parity.pictures,
        }
        print(json.dumps(facts))
        return
    batches = ", ".join(map(str, parity.batches))
    print(
        f"{done.path}: z differs by at most {parity.difference:.1e} from the model's "
        f"(allowed: {parity.tolerance:g}; batches of {batches}; "
        f"{parity.pictures} pictures beside the drawn ones)."
    )
