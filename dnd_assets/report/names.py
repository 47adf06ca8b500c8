"""Names and texts that are safe wherever the report is opened: files, pages and scripts."""

from __future__ import annotations

import json
from typing import Final

LONGEST_TEXT: Final = 1_000
"""Characters of a text in a page."""
_JOINER: Final = "\u200d"


def picture_name(content: str) -> str:
    """File name of a thumbnail, by the SHA-256 of the picture that it shows."""
    return f"pictures/{content[:2]}/{content[:24]}.jpg"


def visible(text: str) -> str:
    r"""A text without anything that acts instead of being seen.

    Control characters, line and paragraph separators, marks that turn the direction of writing
    and halves of surrogate pairs become their number; very long texts are cut.

    >>> visible("a\u202eb\nc")
    'a\\u202eb c'
    """
    if len(text) > LONGEST_TEXT:
        text = text[:LONGEST_TEXT] + "…"
    if text.isprintable():
        return text
    return "".join(_visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    if character.isprintable() or character == _JOINER:
        return character
    return " " if character in "\t\n\r\u00a0\u3000" else f"\\u{ord(character):04x}"


def script(name: str, value: object) -> bytes:
    """A script that gives the page a value: pages opened from a folder cannot fetch.

    ASCII, without `<`, `>` and `&`, so that nothing in it can end the script or start another.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'"use strict";\nwindow.{name} = {text};\n'.encode("ascii")
