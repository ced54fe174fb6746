"""Weights over the border: names and layouts of other frameworks to ours and back."""

from ganiqa_jax.convert.backbones import insert_backbone, load_backbone, place

__all__ = ["insert_backbone", "load_backbone", "place"]
