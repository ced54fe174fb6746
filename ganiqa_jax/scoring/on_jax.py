"""Backend `jax`, the record: one compiled program over all local devices."""

import functools
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from ganiqa_jax import release
from ganiqa_jax.card import ModelCard
from ganiqa_jax.compile_cache import kept_program
from ganiqa_jax.mesh import AXIS, data_mesh, replicate, shard_batch
from ganiqa_jax.scoring.batching import Run, whole_batch
from ganiqa_jax.scoring.forward import forward, local_forward
from ganiqa_jax.types import Params


class JaxCompute:
    """Computes batches of one shape, compiled when first asked for.

    Attributes:
      backend: its name.
      card: of the model.
      batch_size: crops of a batch, a multiple of the devices.
    """

    backend = "jax"

    def __init__(
        self,
        network: nn.Module,
        variables: Mapping[str, Params],
        card: ModelCard,
        *,
        batch_size: int = 32,
    ) -> None:
        self.card = card
        self._mesh = data_mesh(jax.local_devices())
        self.batch_size = whole_batch(batch_size, self._mesh.size)
        self._variables = replicate(variables, self._mesh)
        self._network = network

    @property
    def model_sha(self) -> str:
        """Twelve hex digits over the names and values of all arrays."""
        return self._model_sha

    @functools.cached_property
    def _model_sha(self) -> str:
        return release.model_sha(self._variables)

    def ready(self) -> Run:
        """What starts the computation of a batch."""
        compiled = self._compiled
        return lambda inputs, filled: compiled(
            self._variables, *shard_batch(inputs, self._mesh)
        )

    @functools.cached_property
    def _compiled(self) -> Callable[..., Array]:
        side = self.card.preprocessing.crop
        rows = NamedSharding(self._mesh, PartitionSpec(AXIS))
        shape = (self.batch_size, side, side, 3)
        crops = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=rows)
        program = jax.jit(forward(self._network))
        arguments = (self._variables, *[crops] * len(self.card.inputs))
        if self._mesh.size == 1:
            name = f"{self.card.role} {self._network!r}"
            program = kept_program(name, program, arguments)
        return program.lower(*arguments).compile()

    def cells(
        self, crops: tuple[UInt8[np.ndarray, "N S S 3"], ...]
    ) -> Float[np.ndarray, "N n m"]:
        """z of what is around each cell of crops, all of one picture."""
        return np.asarray(self._cells(self._variables, *crops))

    @functools.cached_property
    def _cells(self) -> Callable[..., Array]:
        return jax.jit(local_forward(self._network))
