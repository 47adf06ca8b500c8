"""Colour maps for pictures of one band."""

from __future__ import annotations

from typing import Final

from dnd_assets.errors import StudyError, nearest

COLOUR_MAPS: Final = {
    "viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
    "magma": "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf",
    "inferno": "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4",
    "plasma": "0d0887 46039f 7201a8 9c179e bd3786 d8576b ed7953 fb9f3a fdca26 f0f921",
    "cividis": "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838",
}
"""Colour maps as ten colours at equal distances, hexadecimal RGB; between them linear."""


def colours_of(name: str) -> list[tuple[int, int, int]]:
    """The ten colours of a map, red, green and blue from 0 to 255.

    Raises:
        StudyError: when there is none of that name; names the nearest.

    >>> colours_of("viridis")[0]
    (68, 1, 84)
    """
    if name not in COLOUR_MAPS:
        close = ", ".join(nearest(name, list(COLOUR_MAPS)))
        raise StudyError(f"no colour map {name!r}; nearest: {close}")
    stops = (bytes.fromhex(code) for code in COLOUR_MAPS[name].split())
    return [(red, green, blue) for red, green, blue in stops]
