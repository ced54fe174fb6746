"""`ganiqa convert`: weights of PyTorch to ours and back."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro


def convert(
    source: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    arch: str = "auto",
    to: Literal["ours", "torch"] = "ours",
    backbone_weights: Path | None = None,
    card: Path | None = None,
    report: Path | None = None,
) -> None:
    """Weights of PyTorch to ours and back, every array accounted for.

    A model of ours becomes a state dict (safetensors), and such a file a model; a
    published predecessor becomes a model; a backbone becomes a file that
    `backbone_weights` and `trunk_weights` of a configuration take.

      ganiqa convert runs/student student.safetensors
      ganiqa convert student.safetensors releases/student
      ganiqa convert inception_resnet_v2.pth irv2.safetensors
      ganiqa convert checkpoints_swa-equal-21-30.ckpt releases/iqa-conformer

    Args:
        source: folder or released name of a model, or weights: .safetensors, .npz, or
            a PyTorch file (.pth, .pt, .ckpt, .bin), of which nothing is run.
        out: folder of a model, or a file ending in .safetensors or .npz.
        arch: what the weights are of: own, inception_resnet_v2, inception_v3,
            inception_v3_timm, mobilenet_v1, mobilenet_v1_100,
            efficientnet_lite0, efficientvit_m0,
            iqa_conformer or iqt; auto tells by the names.
        to: the side that a backbone is converted to.
        backbone_weights: Inception-ResNet-v2 of a predecessor that is published
            without (iqt).
        card: folder with the card of a state dict that carries none.
        report: where to write which array went where (JSON); also if it failed.
    """
    from ganiqa_jax.convert import conversion
    from ganiqa_jax.errors import InputError
    from ganiqa_jax.released import find_model
    from ganiqa_jax.rundir import write_json

    source = find_model(source)
    if not source.exists():
        raise InputError(f"There is no {source} to convert.")
    prepared = conversion.prepare(
        source, arch=arch, to=to, backbone_weights=backbone_weights, card=card
    )
    said = prepared.report()
    if report is not None:
        write_json(report, said)
    prepared.finish(out)
    print(
        f"{out}: {said['arrays']} arrays, {said['values']} values ({prepared.arch}, "
        f"{prepared.naming} to {prepared.to}); {len(said['left_out'])} left out.",
        file=sys.stderr,
    )
