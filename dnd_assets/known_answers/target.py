"""The network to be described: a small convolutional classifier with known hidden detectors.

Input: float32 (B, 3, 64, 64), RGB in [0, 1] minus 0.5, divided by 0.25. The hidden layer
`planted` holds detectors whose meaning is known, a unit of two unrelated meanings, a dead and a
random unit; the final layer `head` has one logit for each word of the world.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn

from dnd_assets.known_answers.world import (
    BACKGROUNDS,
    COLOURS,
    PLURALS,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
)

MEAN: Final = 0.5
STD: Final = 0.25

CHECKPOINT: Final = Path(__file__).parent / "checkpoints" / "target"

OPPONENTS: Final = ("red-green", "green-red", "blue-yellow", "yellow-blue")
LEARNED: Final = (
    "horizontal stripes",
    "vertical stripes",
    "checks",
    "dots",
    "circle",
    "star",
    "ring",
    "sand",
    "night",
)
EITHER: Final = ("cross", "purple")

# RGB weights and thresholds in [0, 1] colour space. The thresholds lie above what brick, grass,
# sky, sand and the neighbouring colours reach, so that only the named colour passes.
_OPPONENT_WEIGHTS: Final = (
    ((1.0, -1.0, 0.0), 0.62),
    ((-1.0, 1.0, 0.0), 0.45),
    ((-0.5, -0.5, 1.0), 0.60),
    ((0.3, 0.7, -1.0), 0.72),
)
_RANDOM_SEED: Final = 20_240_229

Kind = Literal["final", "planted", "or", "dead", "random"]


@dataclass(frozen=True)
class Truth:
    """What one unit responds to.

    Attributes:
        kind: "final", "planted", "or" (either of two concepts), "dead" or "random".
        accepted: Word sets, in singular; a label is right if it holds all words of one of them.
            Empty for a dead unit (right: no label); None for a random unit (nothing is right or
            wrong).
    """

    kind: Kind
    accepted: tuple[tuple[str, ...], ...] | None


def categories() -> tuple[str, ...]:
    """Names of the 27 units of `head`, in order."""
    return (*COLOURS, *SHAPES, *TEXTURES[1:], *SIZES, "two", "three", *BACKGROUNDS)


def holds(scene: Scene, name: str) -> bool:
    """Whether a category or a planted concept is true of a scene."""
    count = {"two": 2, "three": 3}.get(name)
    if count is not None:
        return scene.count == count
    return name in (scene.colour, scene.shape, scene.texture, scene.size, scene.background)


def planted_names() -> tuple[str, ...]:
    """Names of the 16 units of `planted`, in order."""
    return (*OPPONENTS, *LEARNED, " or ".join(EITHER), "dead", "random")


def truths() -> dict[tuple[str, int], Truth]:
    """The truth of every unit, keyed by layer ("head" or "planted") and unit index."""
    table: dict[tuple[str, int], Truth] = {}
    for unit, name in enumerate(categories()):
        table["head", unit] = Truth("final", (words(name),))
    for unit, name in enumerate(planted_names()):
        table["planted", unit] = _planted_truth(name)
    return table


def _planted_truth(name: str) -> Truth:
    if name == "dead":
        return Truth("dead", ())
    if name == "random":
        return Truth("random", None)
    if name in OPPONENTS:
        return Truth("planted", ((name.split("-")[0],),))
    if name == " or ".join(EITHER):
        return Truth("or", tuple(words(part) for part in EITHER))
    return Truth("planted", (words(name),))


_SINGULARS: Final = {
    **{plural: shape for shape, plural in PLURALS.items()},
    "stripes": "stripe",
    "striped": "stripe",
    "checks": "check",
    "checked": "check",
    "dots": "dot",
    "dotted": "dot",
    "bricks": "brick",
    "nights": "night",
    "skies": "sky",
}


def words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case, those of the world in singular."""
    tokens = re.findall(r"[a-z]+", text.lower())
    return tuple(_SINGULARS.get(word, word) for word in tokens)


def is_correct(label: str | None, truth: Truth) -> bool:
    """Whether a label names the truth of a unit.

    Args:
        label: A label in words; None or blank stands for no label.
        truth: The unit's truth.

    Returns:
        True if the label's words hold all words of one accepted set; for a dead unit, if there
        is no label; for a random unit always False, since it has no truth to name.
    """
    label_words = set(words(label or ""))
    if truth.kind == "dead":
        return not label_words
    return any(set(accepted) <= label_words for accepted in truth.accepted or ())


def transforms() -> nn.Module:
    """The preprocessing: PIL or uint8 RGB picture to float32 (3, 64, 64), normalised."""
    from torchvision.transforms import v2

    pipeline: nn.Module = v2.Compose(
        [
            v2.ToImage(),
            v2.RGB(),
            v2.Resize((64, 64), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([MEAN] * 3, [STD] * 3),
        ]
    )
    return pipeline


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; keeps or changes channels and stride."""

    def __init__(self, inner: int, outer: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, dilation, dilation, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, dilation, dilation, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        same_shape = inner == outer and stride == 1
        self.shortcut = nn.Identity() if same_shape else nn.Conv2d(inner, outer, 1, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inner, H, W) to (B, outer, H / stride, W / stride), non-negative."""
        inner = torch.relu(self.norm1(self.conv1(features)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(features))


class Planted(nn.Module):
    """The hidden layer of known detectors; see `planted_names` for its units."""

    opponents: Tensor
    thresholds: Tensor
    gains: Tensor
    noise: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.evidence = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, len(LEARNED) + len(EITHER), 1),
        )
        weights = torch.tensor([row for row, _ in _OPPONENT_WEIGHTS])
        limits = torch.tensor([limit for _, limit in _OPPONENT_WEIGHTS])
        # Same planes in normalised colours: colour = STD * input + MEAN.
        self.register_buffer("opponents", (weights * STD)[:, :, None, None])
        self.register_buffer("thresholds", limits - MEAN * weights.sum(dim=1))
        self.register_buffer("gains", torch.tensor([1.25, 1.0])[:, None, None])
        generator = torch.Generator().manual_seed(_RANDOM_SEED)
        self.register_buffer("noise", torch.randn(1, 3, 8, 8, generator=generator) / 14)

    def evidences(self, features: Tensor) -> Tensor:
        """Learned evidence before the ReLU, (B, 11, 16, 16): `LEARNED`, then `EITHER`."""
        evidence: Tensor = self.evidence(features)
        return evidence

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        """Return the non-negative maps, (B, 16, 16, 16), of normalised images and features."""
        colours = nn.functional.conv2d(image, self.opponents, -self.thresholds)
        opponents = nn.functional.avg_pool2d(torch.relu(colours), 4)
        learned = torch.relu(self.evidences(features))
        single, pair = torch.split(learned, [len(LEARNED), len(EITHER)], dim=1)
        either = (pair * self.gains).amax(dim=1, keepdim=True)
        dead = torch.relu(torch.full_like(either, -1.0))
        random = torch.relu(nn.functional.conv2d(image, self.noise, stride=4, padding=2))
        return torch.cat([opponents, single, either, dead, random], dim=1)


class WorldNet(nn.Module):
    """Classifier of scenes: trunk, `planted` and a linear `head` of 27 logits on both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.block1 = Residual(32, 32)
        self.block2 = nn.Sequential(Residual(32, 64, stride=2), Residual(64, 64))
        self.block3 = Residual(64, 96, dilation=2)
        self.planted = Planted(96)
        self.head = nn.Linear(2 * 96 + len(planted_names()), len(categories()))

    def trunk(self, images: Tensor) -> Tensor:
        """Features of the last trunk block, (B, 96, 16, 16)."""
        features: Tensor = self.block3(self.block2(self.block1(self.stem(images))))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 27), in the order of `categories`, of normalised images (B, 3, 64, 64)."""
        features = self.trunk(images)
        maps = self.planted(images, features)
        pooled = [features.mean(dim=(2, 3)), features.amax(dim=(2, 3)), maps.mean(dim=(2, 3))]
        logits: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits


def world_net() -> nn.Module:
    """Return the untrained network; `load_world_net` returns the trained one."""
    return WorldNet()


def load_world_net(folder: Path | str = CHECKPOINT) -> nn.Module:
    """Return the network with the weights of `folder`/weights.safetensors, in eval mode."""
    from safetensors.torch import load_file

    net = world_net()
    net.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return net.eval()
