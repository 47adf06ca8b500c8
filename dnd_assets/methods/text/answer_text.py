"""What a language model wrote, without what is no answer: reasoning and special tokens.

Models mark their reasoning in many ways (`<think>`, `[THINK]`, the channels of gpt-oss), servers
pass the marks on or take them off, and templates open them on the model's behalf, so that only the
closing mark is seen. What is left may still say nothing: `dnd_assets.methods.text.refusals`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_NAMES: Final = r"(?:seed:|antml:)?(?:think|thinking|thoughts?|reasoning|analysis|scratchpad)"
_OPEN: Final = re.compile(
    rf"<{_NAMES}(?:\s[^<>]*)?>|\[THINK\]|<\|(?:begin_of_thought|START_THINKING)\|>|\u25c1think\u25b7",
    re.IGNORECASE,
)
_CLOSE: Final = re.compile(
    rf"</{_NAMES}>|\[/THINK\]|<\|(?:end_of_thought|END_THINKING)\|>|\u25c1/think\u25b7",
    re.IGNORECASE,
)
_CHANNEL: Final = re.compile(r"<\|channel\|>\s*(\w+)[^<]*(?:<\|message\|>)?")
_BARE_CHANNELS: Final = re.compile(
    r"^\s*analysis(?=[A-Z]).*?(?:assistant(?:final|analysis)|$)", re.S
)
_THOUGHTS_THEN: Final = re.compile(
    r"^\s*here(?:'s| is) my (?:thought process|thinking)\b.*?"
    r"here(?:'s| is) my (?:response|answer|final answer)\s*:",
    re.IGNORECASE | re.DOTALL,
)
_INSIDE: Final = re.compile(r"<(answer|output|response|caption)>(.*?)</\1>", re.I | re.S)

_TURN_END: Final = re.compile(
    r"<\|(?:im_end|im_start|endoftext|end_of_text|eot_id|eom_id|end|return|end_of_turn|start|user)\|>"
    r"|</s>|<(?:eos|end_of_turn|end_of_utterance)>|<\uff5cend\u2581of\u2581sentence\uff5c>|\[INST\]"
    r"|\n\s*(?:User|Human|Question)\s*:",
)
_HEADER: Final = re.compile(
    r"^\s*(?:<s>|<bos>|<\|begin_of_text\|>|\s)*(?:<\|(?:im_start|start)\|>\s*assistant\b"
    r"|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>|<start_of_turn>\s*model\b"
    r"|<\|assistant\|>)"
)
_SPECIAL: Final = re.compile(
    r"<\|[^|<>\n]{1,60}\|>|<\uff5c[^<>\n]{1,60}\uff5c>|</?s>|<</?SYS>>"
    r"|</?(?:pad|unk|bos|eos|mask|sep|cls|image|img|start_of_turn|end_of_turn|end_of_utterance"
    r"|start_of_image|end_of_image|image_soft_token|fake_token_around_image|global-img|tool_call"
    r"|row_\d+_col_\d+|unused\d+|extra_id_\d+|loc_?\d+|0x[0-9A-F]{2})>"
    r"|\[(?:PAD|UNK|CLS|SEP|MASK|BOS|EOS|IMG|IMG_BREAK|IMG_END|/?INST|unused\d+)\]",
    re.IGNORECASE,
)

_FENCE: Final = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What is left of a text once reasoning and special tokens are gone.

    Attributes:
        text: the answer.
        reasoned: whether reasoning was taken out.
        unfinished: whether the text ends within the reasoning.
    """

    text: str
    reasoned: bool = False
    unfinished: bool = False


def answer_in(text: str) -> Answer:
    r"""The answer in what a model wrote.

    Reasoning between marks goes, whatever stands before a closing mark that was never opened, and
    whatever follows an opening mark that is never closed. Of the channels of gpt-oss the last
    `final` one stays. Then special tokens go, and what follows the end of the model's turn.

    >>> answer_in("<think>Okay, the user wants me to</think>\n\na dog<|im_end|>").text
    'a dog'
    >>> answer_in("<think>Okay, the user wants me to")
    Answer(text='', reasoned=True, unfinished=True)
    """
    answer = _without_channels(text)
    body, marked = _without_pairs(answer.text)
    closes = list(_CLOSE.finditer(body))
    if closes:
        body = body[closes[-1].end() :]
    opened = _OPEN.search(body)
    if opened:
        body = body[: opened.start()]
    tagged = _INSIDE.findall(body)
    if tagged:
        body = tagged[-1][1]
    reasoned = answer.reasoned or marked or bool(closes or opened)
    return Answer(
        without_special_tokens(body).strip(), reasoned, answer.unfinished or opened is not None
    )


def _without_channels(text: str) -> Answer:
    """A text in the channels of gpt-oss, with or without their special tokens."""
    marks = list(_CHANNEL.finditer(text))
    if marks:
        finals = [mark for mark in marks if mark[1].lower() == "final"]
        final = text[finals[-1].end() :] if finals else ""
        return Answer(final, reasoned=True, unfinished=not finals)
    bare = _BARE_CHANNELS.match(text)
    if bare:
        ended = bare[0].endswith("assistantfinal")
        return Answer(text[bare.end() :] if ended else "", reasoned=True, unfinished=not ended)
    thought = _THOUGHTS_THEN.match(text)
    return Answer(text[thought.end() :], reasoned=True) if thought else Answer(text)


def _without_pairs(text: str) -> tuple[str, bool]:
    """A text without the reasoning that is opened and closed, and whether there was any."""
    pieces, start = [], 0
    for opened in _OPEN.finditer(text):
        if opened.start() < start:
            continue
        closed = _CLOSE.search(text, opened.end())
        if closed is None:
            break
        pieces.append(text[start : opened.start()])
        start = closed.end()
    return "".join(pieces) + text[start:], start > 0


def without_special_tokens(text: str) -> str:
    """A text without the tokens that end turns, pad, or stand for pictures.

    What follows the end of the first turn that says anything belongs to a turn that the model made
    up, and goes as well.

    >>> without_special_tokens("<s> a dog</s> [INST] and this? [/INST] a cat")
    ' a dog'
    """
    body = text
    if "[/INST]" in body and body.lstrip().startswith(("[INST]", "<s>[INST]", "<s> [INST]")):
        body = body.partition("[/INST]")[2]
    while header := _HEADER.match(body):
        body = body[header.end() :]
    for ended in _TURN_END.finditer(body):
        turn = _SPECIAL.sub("", body[: ended.start()])
        if any(character.isalnum() for character in turn):
            return turn
    return _SPECIAL.sub("", body)


def json_objects(text: str) -> list[object]:
    r"""The JSON objects in a text that may hold other words, fences and reasoning too.

    Args:
        text: what a model wrote.

    Returns:
        The whole text as JSON, of whatever type, when it is JSON; otherwise each distinct object
        in it, in order, those in fences alone where there are any.

    >>> json_objects('Sure! ```json\n{"concept": "red"}\n``` I hope this helps.')
    [{'concept': 'red'}]
    """
    document = _loaded(text.strip())
    if document is not _NOTHING:
        return [document]
    fenced = [_loaded(block.strip()) for block in _FENCE.findall(text)]
    values = [value for value in fenced if isinstance(value, dict)] or list(_embedded(text))
    distinct: list[object] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct


_NOTHING: Final = object()
_DECODER: Final = json.JSONDecoder()
_MOST_OBJECTS: Final = 100


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING


def _embedded(text: str) -> Iterator[dict[str, object]]:
    """Objects that stand among other words."""
    place = text.find("{")
    tries = 0
    while place >= 0 and tries < _MOST_OBJECTS:
        tries += 1
        try:
            value, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            if isinstance(value, dict):
                yield value
        place = text.find("{", end)
