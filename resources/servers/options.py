"""What a server takes of a request: found out from its errors, once, and remembered for a run.

Servers that call themselves OpenAI-compatible refuse options that others require. A request is kept
as it was asked, so that it is found again whatever the server; what was left out or renamed on its
way is kept beside the answer.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dnd_assets.lineage.fingerprint import Json
from resources.servers.messages import Body, JsonObject

_LOG: Final = logging.getLogger(__name__)

KEPT_ONLY: Final = frozenset({"base_url", "attempt", "api", "answers", "extra"})
"""What a request is kept with and a server is never sent."""
LEVELS: Final = ("json_schema", "json_object", "text")
"""How JSON is asked for, from the strictest to that which every server takes."""
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "seed": ("seed", "random_seed"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "n": ("n",),
    "response_format": ("response_format", "text.format", "json_schema", "json_object"),
}
"""Options that may be left out, by the names that errors give them."""
_NOT_TAKEN: Final = re.compile(
    r"unsupported|not?.?support|unrecogni[sz]ed|not recogni[sz]ed|unknown"
    r"|extra (?:inputs|fields)|extra_forbidden|not permitted|not allowed|unexpected"
    r"|unavailable|not available|deprecated"
    r"|no longer|compatible|not implemented|forbidden|invalid param|not valid|cannot be used"
    r"|only the default|additional propert|only 1 |must be (?:1|'?(?:json_schema|text))"
    r"|failed to (?:parse|initialize) (?:grammar|samplers)|grammar",
    re.IGNORECASE,
)
_TOO_MUCH: Final = re.compile(
    r"too (?:large|long|many|high|big)|context (?:length|window|size)|exceed|greater than|less than"
    r"|minimum|at (?:most|least)|out of range|[<>]=|between",
    re.IGNORECASE,
)
_FORMAT: Final = re.compile(
    r"response_?format|json_(?:schema|object)|grammar|structured output", re.I
)
MOST_CHANGES: Final = 10
"""How often a request is changed at most before it is given up."""


@dataclass(frozen=True)
class Accepted:
    """What a server is known to take.

    Attributes:
        without: options that it refuses.
        limit: what it calls the token limit.
        seed: what it calls the seed.
        level: how strictly it can be asked for JSON, see `LEVELS`.
    """

    without: frozenset[str] = frozenset()
    limit: str = "max_tokens"
    seed: str = "seed"
    level: int = 0

    def applied(self, arguments: JsonObject) -> Body:
        """A request as this server takes it."""
        sent = {name: value for name, value in arguments.items() if name not in self.without}
        for name, sent_as in (("max_tokens", self.limit), ("seed", self.seed)):
            if name in sent and sent_as != name:
                sent[sent_as] = sent.pop(name)
        if isinstance(sent.get("response_format"), Mapping) and self.level:
            sent["response_format"] = {"type": LEVELS[self.level]}
            if LEVELS[self.level] == "text":
                del sent["response_format"]
        return sent

    def without_what(self, error: object, arguments: JsonObject) -> Accepted | None:
        """What the server takes, now that it has refused a request; None when that says nothing.

        Args:
            error: the client library's error, with the body that the server sent.
            arguments: the request before `applied`.
        """
        message = _ErrorText.of(error)
        refused = (name for name in _ALIASES if name in arguments and message.refuses(name))
        option = next(refused, "response_format" if message.refuses_format(arguments) else None)
        accepted = None if option is None else self._changed(option, message, arguments[option])
        return None if accepted == self else accepted

    def _changed(self, option: str, message: _ErrorText, value: Json) -> Accepted:
        if option == "max_tokens" and self.limit == "max_tokens":
            if message.names("max_completion_tokens"):
                return replace(self, limit="max_completion_tokens")
        elif option == "seed" and self.seed == "seed" and message.forbids_extra:
            return replace(self, seed="random_seed")  # Mistral's name
        elif isinstance(value, Mapping) and self.level + 1 < len(LEVELS):
            return replace(self, level=self.level + 1)
        return replace(self, without=self.without | {option})


@dataclass(frozen=True)
class _ErrorText:
    """What an error says: all its words, and the options that it points at."""

    words: str
    places: frozenset[str]

    @classmethod
    def of(cls, error: Any) -> _ErrorText:
        body = error.body if error.body is not None else str(error.message)
        words = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        return cls(words, frozenset(_places(body)))

    @property
    def forbids_extra(self) -> bool:
        """Whether the server checks for options that it does not know (pydantic's words)."""
        return "extra_forbidden" in self.words or "Extra inputs" in self.words

    def names(self, word: str) -> bool:
        return re.search(rf"(?<![\w.]){re.escape(word)}(?![\w])", self.words) is not None

    def refuses(self, option: str) -> bool:
        """Whether it says that an option is not taken at all."""
        aliases = _ALIASES[option]
        is_pointed_at = any(place in aliases for place in self.places)
        in_quotes = [
            word for word in aliases if re.search(rf"[`'\"]{re.escape(word)}[`'\"]", self.words)
        ]
        distinctive = [alias for alias in aliases if "_" in alias or len(alias) > 1]
        if not (is_pointed_at or in_quotes or any(self.names(alias) for alias in distinctive)):
            return False
        return bool(_NOT_TAKEN.search(self.words)) and not _TOO_MUCH.search(self.words)

    def refuses_format(self, arguments: JsonObject) -> bool:
        """Whether it says that JSON cannot be asked for in this way."""
        if "response_format" not in arguments or not _FORMAT.search(self.words):
            return False
        return bool(_NOT_TAKEN.search(self.words))


def _places(body: object) -> Iterator[str]:
    """Names that an error points at: OpenAI's `param`, and pydantic's `loc` below the body."""
    if isinstance(body, Mapping):
        if isinstance(body.get("param"), str):
            yield body["param"]
        loc = body.get("loc")
        if isinstance(loc, list):
            yield from (str(part) for part in loc[:2])
        for value in body.values():
            yield from _places(value)
    elif isinstance(body, list):
        for value in body:
            yield from _places(value)


@dataclass
class Memory:
    """What has been found out about servers in a run, by server, model and API.

    Used from several threads: what one call finds out, the calls after it know.
    """

    known: dict[tuple[str, str, str], Accepted] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accepted(self, body: JsonObject) -> Accepted:
        """What is known of the server and model of a request."""
        level = LEVELS.index(str(body.get("answers", LEVELS[0])))
        with self.lock:
            known = self.known.get(_server_key(body), Accepted())
        return replace(known, level=max(known.level, level))

    def learn(
        self, body: JsonObject, applied: Accepted, error: object, arguments: JsonObject
    ) -> bool:
        """Remember what an error says about options, and whether to send the request again."""
        with self.lock:
            latest = self.known.get(_server_key(body), Accepted())
            latest = replace(latest, level=max(latest.level, applied.level))
            if latest != applied:  # another call has found it out meanwhile
                return True
            accepted = applied.without_what(error, arguments)
            if accepted is None:
                return False
            self.known[_server_key(body)] = accepted
        words = described(applied, accepted)
        _LOG.warning(
            "%s at %s does not take a request as it is: %s", *_server_key(body)[1::-1], words
        )
        return True


def _server_key(body: JsonObject) -> tuple[str, str, str]:
    return str(body["base_url"]), str(body["model"]), str(body.get("api", "chat"))


def described(earlier: Accepted, later: Accepted) -> str:
    """What was changed in a request, in words."""
    words = [f"{name} is left out" for name in sorted(later.without - earlier.without)]
    if later.limit != earlier.limit:
        words.append(f"max_tokens is sent as {later.limit}")
    if later.seed != earlier.seed:
        words.append(f"seed is sent as {later.seed}")
    if later.level != earlier.level:
        words.append(f"JSON is asked for by {LEVELS[later.level]}")
    return ", ".join(words)


def changes(arguments: JsonObject, sent: JsonObject) -> Body:
    """What was sent otherwise than it was asked, by option; None for what was left out."""
    names = sorted(name for name in arguments if arguments[name] != sent.get(name))
    changed: Body = {}
    for name in names:
        sent_name = next(
            (alias for alias in _ALIASES.get(name, ()) if alias in sent and alias != name), None
        )
        value = sent.get(name)
        changed[name] = {"as": sent_name} if sent_name else value
    return changed
