"""Settings of the input layer and of the two networks."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ganiqa_jax.errors import InputError

Backbone = Literal[
    "inception_resnet_v2",
    "inception_v3",
    "inception_v3_timm",
    "mobilenet_v1",
    "mobilenet_v1_100",
    "efficientnet_lite0",
]
Trunk = Literal[
    "mobilenet_v1",
    "mobilenet_v1_100",
    "efficientnet_lite0",
    "efficientvit",
    "efficientvit_m0",
]
FREEZABLE_BLOCKS: dict[Trunk, int] = {
    "mobilenet_v1": 13,
    "mobilenet_v1_100": 13,
    "efficientnet_lite0": 16,
}
"""Of the trunks that have any, how many `frozen_blocks` may count."""

Attention = Literal["cga", "mhsa", "none"]
ComputeDtype = Literal["float32", "bfloat16"]


def require(holds: bool, message: str) -> None:
    """Raises `InputError` with the message unless the condition holds."""
    if not holds:
        raise InputError(message + ".")


def _check_network(config: "TeacherConfig | StudentConfig") -> None:
    require(
        config.width % config.heads == 0,
        f"width={config.width} is not divisible by heads={config.heads}",
    )
    require(
        config.attention != "cga" or len(config.attention_kernels) == config.heads,
        f"attention_kernels has {len(config.attention_kernels)} entries "
        f"for heads={config.heads}",
    )
    require(0 <= config.dropout < 1, "dropout must lie in [0, 1)")
    for name in ("width", "heads", "layers", "expansion", "embedding_grid"):
        require(getattr(config, name) > 0, f"{name} must be positive")
    for name in ("bins", "attention_window"):
        require(getattr(config, name) >= 0, f"{name} must not be negative")


@dataclass(frozen=True)
class JndConfig:
    """The minimum just-noticeable-difference picture of the input layer.

    Attributes:
      form: which JND model: Yang et al. 2005, or Wu et al. 2017.
      strength: lambda, the share of the JND that is taken away; 0 turns it off.
    """

    form: Literal["yang", "wu2017"] = "yang"
    strength: float = 1.0

    def __post_init__(self) -> None:
        require(self.strength >= 0, "jnd.strength must not be negative")


@dataclass(frozen=True)
class TeacherConfig:
    """The full-reference network.

    Attributes:
      backbone: the frozen feature extractor; `inception_v3_timm` and
        `mobilenet_v1_100` are the networks of PyTorch's timm.
      backbone_weights: path of its ImageNet weights, whatever names they have, or a
        teacher whose backbone it takes; None leaves a seeded random start.
      taps: `multi` takes three resolutions (1/8, 1/16, 1/32), `single` the 1/8
        level alone (for Inception-ResNet-v2: mixed_5b and block35 2 to 10).
      fusion: how the projected levels join: learned weighted sum, or concat.
      width: D, model width.
      heads: attention heads of the encoder, the decoder and CGA.
      layers: encoder and decoder blocks.
      expansion: hidden width of the feed-forward parts over D.
      dropout: rate in encoder, decoder and semantic branch.
      attention: what stands between projection and difference.
      attention_window: side of a CGA window in cells; 0 is global.
      attention_key_dim: query and key channels of a CGA head.
      attention_kernels: depthwise kernel on the queries, one per head.
      attention_grid: largest grid side of a global position-bias table.
      dsc: depthwise separable convolution on difference and reference.
      embedding_grid: side of the learned position table.
      semantic: the semantic branch on the deepest level.
      bins: score bins of the soft-label head; 0 leaves that head out.
      jnd: the input layer.
      dtype: compute type; parameters, softmax, norms and losses stay float32.
      difference: what is subtracted: projected `maps`, where a bias cancels, or
        `taps` of the backbone, whose difference is projected like the reference.
      projection: whether difference and reference share theirs; `separate` is for
        taps.
      transformer: encoder and decoder: `conformer` blocks, or those of `iqt`.
      head_width: hidden units of the score head; 0 takes D.
      head_bias: the score head has biases.
      neck_level: index among the levels of the grid that the maps are fused on: 0 is
        1/8, 1 is 1/16, 2 is 1/32.
      channels: the semantic branch reads how unlike the pictures are in each channel of
        the backbone's maps (`models.comparison`); for EfficientNet-Lite0 and
        MobileNetV1. Pairs that nobody scored can then be trained on.
    """

    backbone: Backbone = "inception_resnet_v2"
    backbone_weights: str | None = None
    taps: Literal["multi", "single"] = "multi"
    fusion: Literal["sum", "concat"] = "sum"
    width: int = 128
    heads: int = 4
    layers: int = 1
    expansion: int = 4
    dropout: float = 0.1
    attention: Attention = "cga"
    attention_window: int = 0
    attention_key_dim: int = 16
    attention_kernels: tuple[int, ...] = (7, 5, 3, 3)
    attention_grid: int = 35
    dsc: bool = True
    embedding_grid: int = 21
    semantic: bool = True
    bins: int = 10
    jnd: JndConfig = JndConfig()
    dtype: ComputeDtype = "float32"
    difference: Literal["maps", "taps"] = "maps"
    projection: Literal["shared", "separate"] = "shared"
    transformer: Literal["conformer", "iqt"] = "conformer"
    head_width: int = 0
    head_bias: bool = True
    neck_level: int = 0
    channels: bool = False

    def __post_init__(self) -> None:
        _check_network(self)
        require(0 <= self.neck_level <= 2, "neck_level must be 0 to 2")
        require(
            self.taps == "multi" or self.neck_level == 0,
            "taps='single' has one level; neck_level must be 0",
        )
        require(
            not self.channels or (self.semantic and self.backbone in FREEZABLE_BLOCKS),
            f"channels needs semantic=True and a backbone of "
            f"{', '.join(FREEZABLE_BLOCKS)}",
        )
        require(self.head_width >= 0, "head_width must not be negative")
        require(
            self.projection == "shared" or self.difference == "taps",
            "projection='separate' needs difference='taps'",
        )
        require(
            not (self.semantic and self.taps == "single"),
            "semantic=True needs taps='multi': the branch reads the deepest level",
        )

    @classmethod
    def iqa_conformer(cls, **overrides: Any) -> "TeacherConfig":
        """The predecessor: IQA-Conformer, Conde et al. 2022, arXiv:2204.12819."""
        predecessor = cls(
            taps="single",
            attention="none",
            dsc=False,
            semantic=False,
            bins=0,
            jnd=JndConfig(strength=0.0),
            difference="taps",
        )
        return dataclasses.replace(predecessor, **overrides)

    @classmethod
    def iqt(cls, **overrides: Any) -> "TeacherConfig":
        """The predecessor's predecessor: IQT, Cheon et al. 2021, arXiv:2104.14730."""
        plain = cls.iqa_conformer(
            expansion=8, projection="separate", transformer="iqt", head_bias=False
        )
        return dataclasses.replace(plain, **overrides)


@dataclass(frozen=True)
class StudentConfig:
    """The light no-reference network. Fields as in `TeacherConfig`, and:

    Attributes:
      trunk: the feature extractor; its pointwise and depthwise convolutions train.
      trunk_weights: path of its ImageNet weights, or a student whose trunk it goes on
        from (`student-s`, a run directory). Batch-norm statistics of MobileNetV1
        and EfficientNet-Lite0 then stay fixed; None starts from random weights and
        normalises by the batch. `efficientvit` is ours and has none;
        `efficientvit_m0` is the published network, with maps half as fine.
      taps: `multi` takes all resolutions, `single` one map at 1/16 alone.
      frozen_blocks: leading blocks that stay as loaded (the stem goes with them),
        which makes a step on CPU much cheaper: of 13 in MobileNetV1, of 16 in
        EfficientNet-Lite0.
      neck_level: index among the three coarsest resolutions of the grid that the maps
        are fused on: 1 is 1/16, 2 is 1/32, a quarter of the tokens.
      semantic: a branch on means and deviations of the trunk's channels, at all
        levels (of MobileNetV1: six maps, of EfficientNet-Lite0: five).
      parts: z is the mean over the whole picture and its four corners, of three
        quarters of each side, as that branch sees them out of the same pass.
      moment_noise: deviation of the Gaussian noise that the standardised means and
        deviations get in training.
      detail: the branch also sees the first three maps of a second picture, windows of
        the same at full size (`Preprocessing.detail_side`).
      stochastic_depth: rate of dropped residual branches in the trunk.
    """

    trunk: Trunk = "efficientvit"
    trunk_weights: str | None = None
    taps: Literal["multi", "single"] = "multi"
    frozen_blocks: int = 0
    neck_level: int = 1
    width: int = 128
    heads: int = 4
    layers: int = 1
    expansion: int = 2
    dropout: float = 0.2
    stochastic_depth: float = 0.1
    attention: Attention = "cga"
    attention_window: int = 7
    attention_key_dim: int = 16
    attention_kernels: tuple[int, ...] = (7, 5, 3, 3)
    attention_grid: int = 35
    embedding_grid: int = 14
    semantic: bool = True
    parts: bool = False
    moment_noise: float = 0.0
    detail: bool = False
    bins: int = 10
    jnd: JndConfig = JndConfig()
    dtype: ComputeDtype = "float32"

    def __post_init__(self) -> None:
        _check_network(self)
        require(self.semantic or not self.parts, "parts needs semantic=True")
        require(
            # Convolutional ones: their finest maps see little around each place.
            not self.detail or (self.semantic and self.trunk in FREEZABLE_BLOCKS),
            f"detail needs semantic=True and a trunk of {', '.join(FREEZABLE_BLOCKS)}",
        )
        require(self.moment_noise >= 0, "moment_noise must not be negative")
        blocks = FREEZABLE_BLOCKS.get(self.trunk, 0)
        require(
            self.frozen_blocks == 0 or blocks > 0,
            "frozen_blocks needs trunk='mobilenet_v1' or 'efficientnet_lite0'",
        )
        require(
            0 <= self.frozen_blocks <= blocks, f"frozen_blocks must be 0 to {blocks}"
        )
        require(0 <= self.neck_level <= 2, "neck_level must be 0 to 2")
