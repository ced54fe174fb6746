"""A TFDS feature for pictures that are stored as they are and decoded as they score.

TFDS notes the name of this module in every prepared data set, and imports it to read
one; so it must not move.
"""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from ganiqa_jax.scoring.decode import decode_picture


class Picture(tfds.features.Image):
    """A picture file: its bytes on disk, uint8 RGB [H, W, 3] when read.

    Unlike `tfds.features.Image` it is decoded by `scoring.decode`, by TensorFlow and
    by NumPy alike: all formats of the data sets, upright, transparency on white, 16
    bits scaled. `tfds.decode.SkipDecoding()` gives the bytes of the file.
    """

    def encode_example(self, image_or_path_or_fobj: bytes) -> bytes:
        """Keeps the bytes of a file.

        Raises:
          TypeError: if it is given anything else, which would have to be encoded.
        """
        if not isinstance(image_or_path_or_fobj, bytes):
            raise TypeError("A picture is given as the bytes of its file.")
        return image_or_path_or_fobj

    def decode_example(self, example: tf.Tensor) -> tf.Tensor:
        """Pixels, as a tensor.

        Raises:
          tf.errors.OpError: when it is evaluated, if the picture cannot be decoded.
        """
        pixels = tf.numpy_function(_decode, [example], tf.uint8, stateful=False)
        pixels.set_shape([None, None, 3])
        return pixels

    def decode_example_np(self, example: bytes) -> UInt8[np.ndarray, "H W 3"]:
        """Pixels, as an array.

        Raises:
          DecodeError: if the picture cannot be decoded.
        """
        return _decode(example)


def _decode(data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    return decode_picture(data).pixels
