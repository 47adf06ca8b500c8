"""Texts that answer nothing: refusals in prose, thinking aloud, placeholders, mere punctuation.

All are known by how they begin: a caption may well speak of somebody who is sorry. The phrases are
those of models in use; a refusal in other words is not found.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from dnd_assets.methods.text.words import visible

Problem = Literal["refused", "no_answer"]
"""Why a text is no answer: the model declines, or says nothing to the point."""

_SHOWN: Final = 120
_VERBS: Final = (
    "help|assist|provide|describe|see|view|identify|do|process|fulfil|fulfill|comply|create"
    "|generate|answer|analy[sz]e|access|complete|determine|summari[sz]e|label|caption|recogni[sz]e"
    "|engage|discuss|continue|share|give|make|tell|support|display|interpret|look|read|offer"
    "|proceed|perceive|open|respond|participate|comment|speculate|confirm"
)
_THINGS: Final = (
    "image|picture|photo|photograph|list|descriptions?|captions?|file|details|information|text"
    "|concepts?|input"
)
_ENGLISH: Final = (
    r"(?:i'?m|i am|we'?re|we are)(?: \w+ly| so| very| truly)? sorry"
    r"(?=\s*(?:[,.!;:\u2014-]|$|but\b|that\b|for\b|i\b|to\b))",
    r"sorry[,.!;:]?(?: but| however)?,? (?:i(?:'m\b| (?:can|am|do|don|will|won|could|was)\b)"
    r"|we (?:can'?t|cannot|can not|are unable)\b)",
    r"(?:unfortunately|regrettably|(?:my )?apologies|(?:i|we)(?: \w+ly)? apologi[sz]e)\b[,.!;:]?"
    r"(?:.{0,40}\b(?:i|we)\b|\s*(?:for|there)\b|\s*$)",
    r"as an? (?:ai|language model|large language|artificial intelligence|text-based)\b",
    r"(?:i|we)(?:'m| am|'re| are) (?:unable|not able|not allowed|not permitted|not capable"
    r"|programmed|not comfortable|just an ai|an ai)\b",
    r"(?:i|we) (?:can'?t|cannot|can not|could(?:n't| not)|won't|will not)"
    rf"(?: \w+ly| be able to)? (?:{_VERBS})\b",
    r"(?:i|we) (?:do not|don't) feel comfortable\b",
    r"(?:i|we) (?:do not|don't) have (?:access|the (?:ability|capability|image))\b",
    r"(?:i|we) (?:do not|don't) see (?:an?|any|the) (?:image|picture|photo)",
    r"(?:i|we) (?:(?:must|have to|need to) )?(?:respectfully )?(?:decline|refuse)\b",
    rf"(?:(?:there (?:is|was)|there's|i see) )?no (?:{_THINGS})s?"
    r"(?: (?:was|were|is|are|has been))? (?:provided|attached|uploaded|shared|included|supplied)\b",
    r"(?:it (?:seems|looks like|appears)(?: that)?,? )?you (?:haven't|have not|didn't|did not)"
    r" (?:provided?|attached?|uploaded?|shared?|included?)\b",
    r"please (?:provide|upload|attach|share|send) (?:(?:the|an?|your|me|more|some) )*"
    rf"(?:{_THINGS})\b",
    r"th(?:is|at|e) (?:request|content|prompt|response|image) (?:violates|goes against"
    r"|(?:was|has been) (?:blocked|filtered|flagged))\b",
)
_ELSEWHERE: Final = (
    r"(?:es )?tut mir leid|entschuldigung,|leider kann ich|ich kann .{0,40}(?:nicht|keine?n?)\b",
    r"(?:je suis )?désolée?[,. ]|je ne peux pas|je ne suis pas en mesure",
    r"lo siento|no puedo\b|lamento\b",
    r"(?:me )?desculpe|sinto muito|não posso",
    r"mi dispiace|non posso\b",
    r"het spijt me|ik kan .{0,40}(?:niet|geen)\b",
    r"к сожалению|извините|я не могу",
    r"[很非常十分]*抱歉|[对對]不起|我(?:无法|無法|不能)",
    r"申し訳|すみません|ごめんなさい",
    r"죄송",
    r"ขออภัย|ขอโทษ",
    r"عذرا|آسف",
)
_REFUSAL: Final = re.compile("|".join((*_ENGLISH, *_ELSEWHERE)), re.IGNORECASE)
_THINKING: Final = (
    r"the user(?:'s|s)? (?:wants|asks|asked|is asking|has|needs|said|gave|provided|request|would"
    r"|just|query|prompt|question|is)\b",
    r"(?:i|we) (?:need|have) to\b|(?:i|we) should\b",
    r"(?:i|we)(?:'m| am|'re| are|'ve been| have been| was| were) (?:asked|tasked|supposed|given"
    r"|going|trying|looking)\b",
    r"let me (?:think|look|see|analy[sz]e|start|try|break|consider|examine|check|figure|go|read"
    r"|first|describe|work)\b",
    r"let's (?:think|look|see|analy[sz]e|start|break|consider|examine|figure|tackle|work)\b",
    r"(?:my|the) task (?:is|here)\b",
    r"looking at (?:the|these|this) (?:list|descriptions|captions|request|concepts)\b",
    r"the (?:question|prompt|instruction|request|task)s?"
    r" (?:asks?|wants?|says?|is asking|requires?)\b",
    r"用户(?:想|要|让|需要|希望)|让我(?:想|看|来|分析)",
)
_ALOUD: Final = re.compile(
    r"(?:(?:okay|ok|alright|all right|hmm+|well|so|now|right|first|let's see|got it|wait|好的)"
    rf"[,，.!:;…\s-]+)*(?:{'|'.join(_THINKING)})",  # noqa: RUF001 (a full-width comma)
    re.IGNORECASE,
)
_PLACEHOLDERS: Final = frozenset(
    {
        "n/a", "na", "none", "null", "nil", "unknown", "undefined", "nan", "error", "untitled",
        "label", "concept", "caption", "description", "answer", "no caption", "no concept",
        "no label", "no common concept", "no answer", "not applicable",
    }
)  # fmt: skip


def problem_of(text: str) -> tuple[Problem, str] | None:
    """Why an answer says nothing that was asked for, with words for people; None when it may.

    Args:
        text: an answer without reasoning and special tokens, see `answer_text.answer_in`.

    >>> problem_of("I'm sorry, but I can't help with that.")[0]
    'refused'
    >>> problem_of("... !")[0]
    'no_answer'
    >>> problem_of("a sorry sight") is None
    True
    """
    plain = " ".join(visible(text).replace("\u2019", "'").split()).lstrip("\"'*_#>-\u201c\u2018 ")
    if not any(character.isalnum() for character in plain):
        return "no_answer", f"the model wrote nothing{' but punctuation' if plain else ''}"
    if is_refusal(plain):
        return "refused", f"the model declines: {plain[:_SHOWN]}"
    if _ALOUD.match(plain):
        return "no_answer", f"the model thinks aloud in place of an answer: {plain[:_SHOWN]}"
    if plain.lower().strip(".!\"' ") in _PLACEHOLDERS:
        return "no_answer", f"the model wrote only {plain!r}"
    return None


def is_refusal(sentence: str) -> bool:
    """Whether a sentence begins as a model does that declines."""
    return _REFUSAL.match(sentence.replace("\u2019", "'").lstrip()) is not None
