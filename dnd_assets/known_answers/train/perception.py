"""How different two pictures look to a classifier: a perceptual loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dnd_assets.known_answers.train.prompt_loss import misread
from dnd_assets.known_answers.train.recogniser import Recogniser, load_recogniser
from dnd_assets.known_answers.train.views import one_hot, whole
from dnd_assets.known_answers.world import Scene

_FEATURES, _READING = 0.3, 0.1


@dataclass(frozen=True)
class Perception:
    """A classifier, and what the pictures show that it is going to see.

    Attributes:
        critic: the classifier, without gradients of its own.
        truth: values of the attributes of all pictures, (N, 29).
    """

    critic: Recogniser
    truth: Tensor

    @classmethod
    def of(cls, critic: Path, scenes: Sequence[Scene]) -> Perception:
        """The classifier of a folder, for pictures of these scenes."""
        truth, _ = one_hot([whole(scene) for scene in scenes])
        return cls(load_recogniser(critic).requires_grad_(requires_grad=False), truth)

    def distance(self, restored: Tensor, pixels: Tensor, indices: Tensor) -> Tensor:
        """Weighted sum of the features' difference (Johnson et al., ECCV 2016) and misreading.

        The first is the mean absolute difference of the features of each block as a share of their
        mean size; the second the cross-entropy of the attributes.

        Args:
            restored: pictures in [-1, 1], (B, 3, 64, 64).
            pixels: what they should be.
            indices: which pictures they are, (B,).
        """
        with torch.no_grad():
            wanted, _ = self.critic.features(pixels / 2 + 0.5)
        found, logits = self.critic.features(restored / 2 + 0.5)
        shares = [
            (one - other).abs().mean() / (one.abs().mean() + 1e-3)
            for one, other in zip(wanted, found, strict=True)
        ]
        reading = misread(logits, self.truth[indices])
        return _FEATURES * torch.stack(shares).mean() + _READING * reading
