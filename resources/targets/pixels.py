"""What a transform gives for a picture, checked before a network sees it.

Libraries' own transforms give what their networks take. One that a user wrote may give a batch,
numpy, whole numbers, another order of axes: the network would fail with a message of its own, or
see pictures that it was not made for.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import PIL.Image

from dnd_assets.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor

USUAL_RANGE: Final = (-20.0, 20.0)
"""Values of pixels that are scaled or normalised lie within."""
_LEAST_CONTRAST: Final = 0.05
_DRAWS: Final = 4
_MOST_CHANNELS: Final = 16
_REMEDY: Final = (
    "A transform ends in v2.ToImage(), v2.ToDtype(torch.float32, scale=True) and, if the network "
    "was trained so, v2.Normalize(mean, std)."
)


def survey_picture(seed: int = 0, side: int = 256) -> PIL.Image.Image:
    """A picture of soft random colours from 0 to 255, no two parts of it alike."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return PIL.Image.fromarray(small).resize((side, side), PIL.Image.Resampling.BICUBIC)


def checked(value: object) -> Tensor:
    """What a transform gave, as the float32 tensor (channels, height, width) that it has to be.

    Other floating-point types become float32.

    Raises:
        StudyError: when it is anything else; says what, and what the transform lacks.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        raise StudyError(f"the transform gives {_kind_of(value)}, not a tensor. {_REMEDY}")
    tensor = value.as_subclass(torch.Tensor)
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point():
        raise StudyError(
            f"the transform gives whole numbers ({tensor.dtype}, {shape}); networks take floating "
            f"point. {_REMEDY}"
        )
    if tensor.ndim == 4:
        raise StudyError(
            f"the transform gives a batch, {shape}; it has to give one picture, (channels, height, "
            "width). Leave out its last step (`unsqueeze(0)`, `[None]`), or take the first entry."
        )
    if tensor.ndim != 3 or 0 in shape:
        raise StudyError(
            f"the transform gives a tensor of shape {shape}; it has to give (channels, height, "
            f"width). {_REMEDY}"
        )
    if shape[0] > _MOST_CHANNELS and shape[2] <= 4:
        raise StudyError(
            f"the transform gives (height, width, channels), {shape}; networks take (channels, "
            "height, width). Add `.permute(2, 0, 1)`, or use v2.ToImage()."
        )
    return tensor.to(torch.float32)


def check_range(
    pixels: Tensor, allowed: tuple[float, float] | None, where: str = "the transform"
) -> None:
    """Refuse pixels that were not scaled, or scaled twice, or are no numbers.

    Args:
        pixels: of a picture with values from 0 to 255, float32 (channels, height, width).
        allowed: what the network's author says that it takes; None for the usual.
        where: whose they are.

    Raises:
        StudyError: when they are NaN, infinite, or out of range.
    """
    import torch

    if not torch.isfinite(pixels).all():
        raise StudyError(
            f"{where} gives NaN or infinite pixels for a sound picture. Look for a division by "
            "zero in it, such as a standard deviation of 0."
        )
    low, high = float(pixels.min()), float(pixels.max())
    lowest, highest = allowed or USUAL_RANGE
    extent = f"pixels from {low:.4g} to {high:.4g} for a picture with values from 0 to 255"
    if low < lowest or high > highest:
        raise StudyError(
            f"{where} gives {extent}; from {lowest:g} to {highest:g} are expected. Scale them: "
            f"v2.ToDtype(torch.float32, scale=True). {_DECLARE}"
        )
    if allowed is None and high - low < _LEAST_CONTRAST:
        raise StudyError(
            f"{where} gives {extent}, nearly without contrast: it may divide by 255 twice. "
            f"{_DECLARE}"
        )


_DECLARE: Final = (
    "A network that takes such values says so by a line `PIXEL_RANGE = (lowest, highest)` in the "
    "file of its factory."
)


def check_repeats(transform: Callable[[PIL.Image.Image], object]) -> None:
    """Refuse a transform of RGB pictures that gives one picture in several ways.

    Raises:
        StudyError: when it draws random numbers or its results differ; names its random steps.
    """
    import torch

    picture = survey_picture(seed=1)
    reference: Tensor | None = None
    for _ in range(_DRAWS):
        before = _random_states()
        repeat = checked(transform(picture))
        draws_random = _random_states() != before
        if reference is None:
            reference = repeat
        differs = reference.shape != repeat.shape or not torch.equal(
            reference.nan_to_num(), repeat.nan_to_num()
        )
        if draws_random or differs:
            raise _random_transform(transform, differs)


def _random_transform(transform: object, differs: bool) -> StudyError:
    text = str(getattr(transform, "transforms", transform))
    steps = sorted({*re.findall(r"\b(Random\w+|ColorJitter|\w*Aug\w+|GaussianNoise)\b", text)})
    listed = f" ({', '.join(steps)})" if steps else ""
    fault = "gives one picture in different ways" if differs else "draws random numbers"
    return StudyError(
        f"the transform {fault}{listed}, so activations would differ from run to run. Use the "
        "evaluation's preprocessing: v2.Resize and v2.CenterCrop instead of RandomResizedCrop, and "
        "no random flips, colours or noise."
    )


def _random_states() -> tuple[Any, ...]:
    import torch

    numpy_state: Any = np.random.get_state(legacy=False)
    generator = numpy_state["state"]
    torch_state = bytes(torch.get_rng_state().numpy())
    return (
        torch_state,
        random.getstate(),
        generator["key"].tobytes(),
        generator["pos"],
        numpy_state["has_gauss"],
    )


def _kind_of(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"a numpy array of {value.dtype}, {value.shape}"
    if isinstance(value, PIL.Image.Image):
        return "a picture of Pillow"
    if isinstance(value, dict) or hasattr(value, "keys"):
        keys = ", ".join(map(repr, list(value.keys())[:4]))
        return f"{type(value).__name__} with {keys} (take ['pixel_values'][0] of it)"
    return type(value).__name__
