"""The light convolutional networks, by the names that configurations give them."""

from collections.abc import Callable

from ganiqa_jax.models.backbones.efficientnet_lite import EfficientNetLite
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1

LIGHT: dict[str, Callable[..., MobileNetV1 | EfficientNetLite]] = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v1_100": MobileNetV1.timm,
    "efficientnet_lite0": EfficientNetLite,
}
"""What builds each: a student's trunk or a teacher's backbone."""
