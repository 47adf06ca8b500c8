r"""Words of any script: letters with their marks, and runs of scripts written without spaces.

Python's `\w` leaves combining marks out, so that Hindi or vocalised Arabic would fall to pieces;
Chinese, Japanese, Thai, Lao, Khmer and Burmese put no space between words, so that a whole clause
would count as one.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby
from typing import Final

_BASIC_PLANE: Final = 0x10000
_JOINERS: Final = "\u200c\u200d"
"""Zero-width (non-)joiners, which shape letters in Persian, Hindi and others."""
_WORD_MARKS: Final = "'\u2019\\-"


def _marks() -> str:
    """All combining marks of the basic plane as ranges of a character class."""
    marks = [c for c in range(_BASIC_PLANE) if unicodedata.category(chr(c)).startswith("M")]
    ranges = []
    for _, group in groupby(enumerate(marks), key=lambda pair: pair[1] - pair[0]):
        run = [code for _, code in group]
        ranges.append(f"\\u{run[0]:04x}-\\u{run[-1]:04x}")
    return "".join(ranges)


MARKS: Final = _marks() + _JOINERS
"""Characters that belong to the letter before them, for use in a character class."""
_HAN: Final = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA: Final = "\u3040-\u309f\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_SOUTH_EAST: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_SPACELESS: Final = f"[{_HAN}{_KANA}{_SOUTH_EAST}]"
_RUN: Final = re.compile(f"{_SPACELESS}[{_HAN}{_KANA}{_SOUTH_EAST}{MARKS}]*")
_LETTERS: Final = f"[^\\W_][^\\W_{MARKS}]*(?:[{MARKS}]+[^\\W_]*)*"
_WORD: Final = re.compile(f"{_LETTERS}(?:[{_WORD_MARKS}]{_LETTERS})*")
_NO_WORD: Final = re.compile(f"[^\\w\\s{_WORD_MARKS}{MARKS}]+")
_CLUSTER: Final = re.compile(f".[{MARKS}]*", re.DOTALL)
_CLUSTERS_PER_WORD: Final = ((f"[{_SOUTH_EAST}]", 4), (f"[{_HAN}{_KANA}]", 2))
"""Clusters of an average word: Thai words are longer than Chinese ones."""


def words_of(text: str) -> list[str]:
    """The words of a text, in order; a run of a script without spaces is one.

    >>> words_of("two dogs' café, 犬が走る")
    ['two', 'dogs', 'café', '犬が走る']
    """
    return _WORD.findall(text)


def clauses_of(text: str) -> list[str]:
    """A text cut at everything that is no word, blank, apostrophe or hyphen.

    >>> clauses_of("a dog, on a leash")
    ['a dog', ' on a leash']
    """
    return _NO_WORD.split(text)


def is_spaceless(word: str) -> bool:
    """Whether a word holds a script that is written without spaces."""
    return _RUN.search(word) is not None


def spaceless_parts(word: str) -> list[str]:
    """A word cut where a script without spaces begins and ends.

    >>> spaceless_parts("3只dog")
    ['3', '只', 'dog']
    """
    return [part for part in re.split(f"({_RUN.pattern})", word) if part]


def clusters_of(text: str) -> list[str]:
    """The characters of a text, each with its combining marks.

    >>> [len(cluster) for cluster in clusters_of("หมู")]
    [1, 2]
    """
    return _CLUSTER.findall(text)


def count_words(text: str) -> int:
    """Words of a text; those of scripts without spaces by their average length, rounded up.

    >>> count_words("a red car"), count_words("红色汽车"), count_words("ในทะเล")
    (3, 2, 2)
    """
    spaced = _RUN.sub(" ", text)
    count = len(spaced.split())
    for run in _RUN.findall(text):
        clusters = len(clusters_of(run))
        per_word = next(size for script, size in _CLUSTERS_PER_WORD if re.match(script, run))
        count += -(-clusters // per_word)
    return count


def visible(text: str) -> str:
    r"""Text in Unicode's composed form (NFC), without what is not seen.

    Control characters are blanks; bidirectional controls, soft hyphens, byte order marks, private
    and unassigned characters, lone surrogates and replacement characters go. Joiners stay between
    letters, where they shape them.

    >>> visible("cafe\u0301\x00\u202e!")
    'café !'
    """
    characters = []
    text = unicodedata.normalize("NFC", text)
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if category == "Cc":
            characters.append(" " if character not in "\n\r" else "\n")
        elif character in _JOINERS:
            characters.append(character if _between_letters(text, place) else "")
        elif not category.startswith("C") and character != "\ufffd":
            characters.append(character)
    return "".join(characters)


def is_invisible(text: str, place: int) -> bool:
    """Whether a character of a text is a control or another that is not seen."""
    character = text[place]
    if character in _JOINERS:
        return not _between_letters(text, place)
    return unicodedata.category(character).startswith("C")


def _between_letters(text: str, place: int) -> bool:
    neighbours = text[max(place - 1, 0) : place] + text[place + 1 : place + 2]
    return len(neighbours) == 2 and all(unicodedata.category(c)[0] in "LMS" for c in neighbours)
