"""Which size and quality OpenAI's image models take, as its client library documents them (3.52).

Only settings for api.openai.com are checked, and only models that are known: other servers and
newer models say for themselves what they refuse.
"""

import re
from typing import Final

import httpx2

from dnd_assets.errors import StudyError, nearest

_HOST: Final = "api.openai.com"
_STANDARD_SIZES: Final = ("1024x1024", "1536x1024", "1024x1536", "auto")
_QUALITIES: Final = ("low", "medium", "high", "auto")
_MORE_QUALITIES: Final = (*_QUALITIES, "xhigh", "max")
_RETIRED: Final = ("dall-e-2", "dall-e-3", "gpt-image-1")
_INSTEAD: Final = ("gpt-image-1-mini", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst")
_FREE_SIZE: Final = re.compile(r"gpt-image-2(?:\.5-(?:sunburst|flare))?(?:-\d{4}-\d\d-\d\d)?")
_FIXED_SIZE: Final = re.compile(r"gpt-image-1-mini|gpt-image-1\.5")
_ALWAYS_BASE64: Final = re.compile(r"(?:[\w.-]+/)?(?:chatgpt|gpt)-image\b")
_SIDES: Final = re.compile(r"(\d+)x(\d+)")
_STEP: Final = 16
_MOST_RATIO: Final = 3


def sends_format(model: str) -> bool:
    """Whether a model may be asked for base64; GPT image models send nothing else and refuse.

    >>> sends_format("gpt-image-1-mini"), sends_format("stable-diffusion-xl")
    (False, True)
    """
    return _ALWAYS_BASE64.match(model) is None


def check_options(
    base_url: str, model: str, size: str | None, quality: str | None, response_format: str
) -> None:
    """Refuse what OpenAI's server would refuse for every picture.

    Raises:
        StudyError: naming the setting, what it may be, and what to do.
    """
    if httpx2.URL(base_url).host != _HOST:
        return
    if model in _RETIRED:
        raise StudyError(
            f"text_to_image.model: OpenAI retired {model!r} in 2026; choose one of "
            f"{', '.join(_INSTEAD)}."
        )
    if response_format == "b64_json" and not sends_format(model):
        raise StudyError(
            f"text_to_image.response_format: {model!r} always sends base64 and refuses to be "
            "asked; leave response_format out."
        )
    if size is not None:
        _check_size(model, size)
    if quality is not None:
        qualities = _MORE_QUALITIES if "2.5" in model else _QUALITIES
        is_known = _FREE_SIZE.fullmatch(model) or _FIXED_SIZE.fullmatch(model)
        if is_known and quality not in qualities:
            _refuse("quality", model, quality, qualities)


def _check_size(model: str, size: str) -> None:
    if _FIXED_SIZE.fullmatch(model) and size not in _STANDARD_SIZES:
        _refuse("size", model, size, _STANDARD_SIZES)
    if not _FREE_SIZE.fullmatch(model) or size == "auto":
        return
    sides = _SIDES.fullmatch(size)
    width, height = (int(side) for side in sides.groups()) if sides else (0, 0)
    if not width * height or width % _STEP or height % _STEP:
        _refuse("size", model, size, ("auto", "widths and heights that 16 divides: 1024x768"))
    if max(width, height) > _MOST_RATIO * min(width, height):
        _refuse("size", model, size, ("auto", "sides of 1:3 to 3:1: 1536x512"))


def _refuse(name: str, model: str, value: str, choices: tuple[str, ...]) -> None:
    close = nearest(value, choices)[0]
    raise StudyError(
        f"text_to_image.{name}: {model!r} does not take {value!r}; it takes {', '.join(choices)}. "
        f"Nearest: {close}."
    )
