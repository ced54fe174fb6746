"""Networks of one parameter whose scores can be worked out by hand."""

import itertools

import flax.linen as nn
import jax.numpy as jnp

from ganiqa_jax.config import Preprocessing, StudentConfig, TeacherConfig
from ganiqa_jax.release import LoadedModel, ModelCard, Scale
from ganiqa_jax.types import NetworkOutput

CROP = 16
SCALE = Scale(name="ten", low=1.0, high=10.0, mean=0.5, std=0.25)


class FakeStudent(nn.Module):
    """z is the mean of red minus that of green; not finite if all is blue or white.

    `calls` counts how often it was traced.
    """

    calls = itertools.count()

    @nn.compact
    def __call__(self, distorted, *, train=False, local=False):
        next(FakeStudent.calls)
        weight = self.param("weight", nn.initializers.ones, ())
        mean = distorted.mean(axis=(1, 2))
        broken = jnp.where(mean[:, 2] > 0.99, jnp.nan, 0.0)
        features = {}
        if local:
            cells = distorted.reshape(-1, 2, CROP // 2, 2, CROP // 2, 3).mean((2, 4))
            features["quality"] = weight * (cells[..., 0] - cells[..., 1])
        z = weight * (mean[:, 0] - mean[:, 1]) + broken
        return NetworkOutput(z, None, features)


class FakeTeacher(nn.Module):
    """z is the negative mean difference in red."""

    @nn.compact
    def __call__(self, reference, distorted, *, train=False):
        weight = self.param("weight", nn.initializers.ones, ())
        difference = (reference - distorted)[..., 0].mean(axis=(1, 2))
        return NetworkOutput(-weight * difference, None, {})


def fake_model(role="student", *, points=5, scale=SCALE, whole=False):
    """A model as `release.load_model` returns it; crops of 16 pixels."""
    points = 1 if whole else points
    preprocessing = Preprocessing(crop=CROP, points=points, mirror=False, whole=whole)
    config = StudentConfig() if role == "student" else TeacherConfig()
    card = ModelCard(role, "fake", config, preprocessing, scale, "test", (), {})
    network = FakeStudent() if role == "student" else FakeTeacher()
    return LoadedModel(network, {"params": {"weight": jnp.ones(())}}, card)
