"""Captions as a summariser should read them: what the picture shows, and nothing else.

Captioners begin with phrases that say that there is a picture, end in the middle of a word, repeat
themselves for ever, or write words that are none, such as BLIP's "arafed". The caption that the
model wrote is kept; this is what is read of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from dnd_assets.methods.text.answer_text import answer_in
from dnd_assets.methods.text.refusals import Problem, is_refusal, problem_of
from dnd_assets.methods.text.words import clusters_of, is_spaceless, visible

_LONGEST: Final = 4_000
"""Characters that are read of a caption; two hundred words and more."""
QUOTES: Final = "\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\uff02\uff07"
"""Quotation marks that may stand on either side."""
BRACKETS: Final = "\u300c\u300d\u300e\u300f\u300a\u300b\u3008\u3009\u3010\u3011"
"""East Asian quotation marks and title brackets."""
_QUOTED: Final = re.compile(rf"^[{QUOTES}{BRACKETS}]+\s*|\s*[{QUOTES}{BRACKETS}]+$")

_SHEET: Final = "picture|photo|photograph|image|snapshot"
_PICTURE: Final = f"{_SHEET}|scene|shot|frame"
_THIS: Final = rf"(?:this|the|that|given|attached|provided|above) (?:{_PICTURE})"
_SHOWS: Final = (
    r"(?:clearly )?(?:shows?|depicts?|displays?|features?|contains?|presents?|captures?|portrays?"
    r"|illustrates?|showcases?|represents?|consists? of|includes?|is showing|is of"
    r"|appears to (?:be|show|depict)|seems to (?:be|show|depict))(?: us)?"
)
_PREAMBLES: Final = (
    r"(?:sure|certainly|of course|absolutely|okay|ok|alright|great|yes)(?: thing)?\s*[,.!:;-]+",
    r"(?:here(?:'s|\u2019s| is| are)|below is|this is)(?: (?:a|an|the|my|your|one))?"
    r"(?: [\w-]+){0,3} (?:caption|description|sentence|summary|label|concept|answer|response)s?"
    rf"(?: (?:of|for|to|that \w+) (?:this|the|your) (?:{_PICTURE}))?\s*[:.!\u2014-]+",
    r"(?:the )?(?:best|final|short|image|picture|photo|one-sentence|possible|factual)?\s*"
    r"(?:caption|description|answer|label|concept|output|response|sentence|summary|assistant)"
    rf"(?: (?:of|for) (?:this|the) (?:{_PICTURE}))?(?: (?:is|could be|would be))?\s*[:\uff1a]",
    rf"{_THIS} {_SHOWS}\b:?",
    rf"(?:this|it)(?:'s| is) (?:an?|the) (?:{_PICTURE}|close[- ]?up(?: (?:{_PICTURE}))?) "
    r"(?:of|showing|depicting|that shows)\b",
    rf"(?:it|this) {_SHOWS}\b",
    rf"(?:(?:an?|the) )?(?:close[- ]?up )?(?:{_SHEET}|close[- ]?up|view)"
    rf"(?: (?:of|showing|depicting|featuring)| (?:that |which )?{_SHOWS})\b",
    rf"(?:in|on|within) {_THIS}\s*,?(?:\s*(?:we|you|one|i)(?: can)? (?:see|observe)"
    r"|\s*there (?:is|are)(?: shown)?)?\b",
    r"(?:we|you|one|i)(?: can)? (?:see|observe)\b",
    r"there (?:is|are|'s)\b",
    rf"the main (?:subject|object|focus) (?:of|in) (?:this|the) (?:{_PICTURE}) is\b",
    r"(?:das|dieses) (?:bild|foto) zeigt\b|(?:auf|in) (?:dem|diesem) (?:bild|foto)"
    r"(?: (?:ist|sind|sieht man))?\b",
    r"(?:l['\u2019]|cette )(?:image|photo) (?:montre|représente)\b|(?:la|esta) (?:imagen|foto)"
    r" (?:muestra|representa)\b|(?:l['\u2019]immagine|la foto) mostra\b|a (?:imagem|foto) mostra\b",
    r"на (?:изображении|картинке|фото)"
    r"(?: (?:показан\w*|изображ\w*))?\b",
    "[这這此该]?(?:是)?(?:一)?[张張幅]?(?:图片|圖片|图像|照片|画面|图)[中里上]?"
    "(?:显示|展示|描绘|呈现|拍摄|顯示)(?:了|着|的是)?",
    "[这這此该]?[张張幅]?(?:图片|圖片|图像|照片|画面|图)[中里上]+(?:有|是)?[\uff0c,]?",
    "(?:この)?(?:画像|写真)(?:には|では|は)、?",
)
_PREAMBLE: Final = re.compile(rf"^\W*(?:{'|'.join(_PREAMBLES)})\s*", re.IGNORECASE)
_AT_END: Final = re.compile(
    rf"\s*,?\s*(?:(?:that )?can be seen |(?:is|are) (?:shown|visible|depicted|seen) )?in {_THIS}"
    r"(?=\s*[.!]?$)|(?:的)?(?:照片|图片|写真|画像)(?:です)?(?=[。.]?$)",
    re.IGNORECASE,
)
_CHATTER: Final = re.compile(
    r"(?:please )?(?:let me know|feel free|note that|note:|i hope|hope this|if you (?:need|would"
    r"|have|want|'d)|is there anything|would you like|how (?:can|may) i|do you (?:want|need))\b",
    re.IGNORECASE,
)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|(?<=[。\uff01\uff1f])")

_BULLET: Final = re.compile(r"^\s*(?:[-*+\u2022\u00b7>]+|#{1,6}|\d{1,2}[.)])\s+")
_MARKUP: Final = (
    (re.compile(r"```[a-z]*\n?|`"), ""),
    (re.compile(r"!?\[([^\][]*)\]\([^()\s]*\)"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>]{0,100}>"), " "),
    (re.compile(r"(\*{1,3}|_{2,3})(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<!\w)_(?=\S)(.+?)(?<=\S)_(?!\w)"), r"\1"),
)
_NONSENSE: Final = re.compile(
    # BLIP writes this word before people and animals; the arafura and Arafat are names.
    r"\b(?:an? )?araf+(?:e|ed|es|ic|y|ly|i|a)?\b[ ,]*|(?<![\w#])##(?=\w)",
    re.IGNORECASE,
)
_DANGLING: Final = re.compile(
    r"(?:[\s,]+(?:an?|the|with|of|and|or|to|its|his|her|their|from|at|for))+$", re.IGNORECASE
)
_LONGEST_REPEAT: Final = 8
_REPEATS: Final = 3
"""Times in a row after which words are an endless repeat."""


@lru_cache(maxsize=8_192)
def clean_caption(text: str) -> str:
    """What a summariser reads of a caption; empty when nothing is left.

    Gone are reasoning, special tokens, markup, quotation marks around it, bullets, phrases that say
    that there is a picture, BLIP's words that are none, all but the first of words that are
    repeated three times or more in a row, chatter and refusals after the caption, and a word at the
    end that waits for another. Letters keep their case. Cleaning twice changes nothing.

    >>> clean_caption("Sure! Here is a caption: **The image shows** an arafed dog.")
    'dog.'
    >>> clean_caption("a red red red red red car with a")
    'a red car'
    """
    previous, current = "", text[:_LONGEST]
    while current != previous:
        previous, current = current, _cleaned_once(current)
    return current


@lru_cache(maxsize=8_192)
def read_caption(text: str) -> str:
    """A caption as a summariser reads it; empty when it says nothing of its picture.

    >>> read_caption("Okay, the user wants me to describe"), read_caption("a photo of a dog")
    ('', 'a dog')
    """
    return "" if caption_problem(text) else clean_caption(text)


def caption_problem(text: str) -> tuple[Problem, str] | None:
    """Why a caption says nothing of its picture, with words for people; None when it may.

    Args:
        text: the caption as the model wrote it.

    >>> caption_problem("<pad><pad>")
    ('no_answer', 'the model wrote nothing')
    """
    answer = answer_in(text[:_LONGEST])
    if answer.unfinished and not answer.text:
        return "no_answer", "the answer ends within the model's reasoning"
    problem = problem_of(answer.text)
    if problem is None and not any(character.isalnum() for character in clean_caption(text)):
        return "no_answer", f"nothing is left of the caption {text[:80]!r} but a phrase"
    return problem


def _cleaned_once(text: str) -> str:
    for step in _STEPS:
        text = step(text)
    return text


def _answer(text: str) -> str:
    """What a model wrote without reasoning, special tokens and a JSON wrapping."""
    return _one_value(answer_in(visible(text)).text)


def _one_value(text: str) -> str:
    """The text of a JSON object with a single text, or of a JSON text; else the text itself."""
    if not text.startswith(("{", '"', "```")):
        return text
    try:
        value = json.loads(text.removeprefix("```json").strip("` \n"))
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    return value if isinstance(value, str) else text


def _without_markup(text: str) -> str:
    lines = [_BULLET.sub("", line) for line in text.splitlines()]
    text = " ".join(" ".join(lines).split())
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _without_preamble(text: str) -> str:
    text = _QUOTED.sub("", text)
    text = _PREAMBLE.sub("", text)
    return _AT_END.sub("", text)


def _without_chatter(text: str) -> str:
    """The sentences before the first that speaks to the reader."""
    sentences: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        if _CHATTER.match(sentence) or is_refusal(sentence):
            break
        sentences.append(sentence)
    return _joined(sentences) if sentences else text if not _CHATTER.match(text) else ""


def _joined(sentences: list[str]) -> str:
    """Sentences in one text, with a blank between them unless they end in an East Asian mark."""
    text = ""
    for sentence in sentences:
        text += sentence if not text or text[-1] in "\u3002\uff01\uff1f" else f" {sentence}"
    return text


def _without_nonsense(text: str) -> str:
    return " ".join(_NONSENSE.sub("", text).split())


def _without_repeats(text: str) -> str:
    words = _collapsed(text.split(), lambda word: word.lower().strip(",.;"))
    return " ".join(
        "".join(_collapsed(clusters_of(word), str)) if is_spaceless(word) else word
        for word in words
    )


def _collapsed(items: list[str], key: Callable[[str], str]) -> list[str]:
    """Runs of up to eight items that are repeated three times or more, each once.

    What follows the last repetition and begins another goes with it.
    """
    keys = [key(item) for item in items]
    for size in range(1, _LONGEST_REPEAT + 1):
        indices: list[int] = []
        place = 0
        while place < len(items):
            end = place + size
            while end < len(items) and keys[end] == keys[end - size]:
                end += 1
            if end - place >= _REPEATS * size:
                indices.extend(range(place, place + size))
                place = end
            else:
                indices.append(place)
                place += 1
        items, keys = [items[i] for i in indices], [keys[i] for i in indices]
    return items


def _without_dangling(text: str) -> str:
    return _DANGLING.sub("", text.rstrip(",;: "))


_STEPS: Final = (
    _answer,
    _without_markup,
    _without_preamble,
    _without_chatter,
    _without_nonsense,
    _without_repeats,
    _without_dangling,
)
