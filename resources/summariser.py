"""From a unit's captions to its candidate concepts (DnD, step 2).

Three summarisers with one interface: a consensus of the captions that needs no language model, the
captions themselves (the paper's ablation), and any server that speaks the OpenAI chat API.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from dnd_assets.lineage.fingerprint import Json
from dnd_assets.lineage.records import Status
from dnd_assets.methods import concepts
from resources.llm import (
    Budget,
    CallLedger,
    ChatServer,
    Dialogue,
    MemoryLedger,
    StoredCall,
    request_hash,
)
from resources.model import Model, ModelPart, built_in
from resources.served import Served

Answer = TypeVar("Answer")

_LABEL_TOKENS = 128
"""Token limit of an answer with one concept; JSON and up to twelve words fit."""
_SHORTENED_TOKENS = 32
"""Further tokens for each caption that is shortened."""
_QUOTED = 2_000
"""Characters of a wrong answer that are shown to the model again."""


@dataclass(frozen=True)
class Summary:
    """What a summariser made of one unit's captions.

    Attributes:
        candidates: distinct candidate concepts in the order they were found; empty unless `ok`.
        status: `ok`; `no_captions`; `no_concepts`; `invalid_response`, `service_error` or
            `over_budget` for a language model that did not do its part.
        reason: why the status is not `ok`, or which answers were left out; for people.
        calls: the calls to a language model behind it, in order, by `StoredCall.request`.
    """

    candidates: tuple[str, ...]
    status: Status = "ok"
    reason: str = ""
    calls: tuple[str, ...] = ()


OnEach = Callable[[int, Summary], None]
"""Told the position and summary of each unit as it ends, from the calling thread."""


class Summariser(Model):
    """Base of all summarisers: captions in, candidate concepts out."""

    def summarise(
        self, captions: Sequence[str], n: int, seed: int, ledger: CallLedger | None = None
    ) -> Summary:
        """Candidate concepts of one unit; see `summarise_many`."""
        return self.summarise_many([captions], n, seed, ledger=ledger)[0]

    def summarise_many(
        self,
        captions: Sequence[Sequence[str]],
        n: int,
        seed: int,
        on_each: OnEach | None = None,
        ledger: CallLedger | None = None,
    ) -> list[Summary]:
        """Candidate concepts of many units; none depends on which others are there.

        Args:
            captions: the captions of each unit's activating images; blank ones are ignored.
            n: N_c, the number of concepts to ask for.
            seed: seed of the caption orders and of the language model.
            on_each: called as each unit ends; what it raises ends the work.
            ledger: keeps the calls to a language model, used from the calling thread alone. None
                keeps them for this call only.

        Returns:
            One summary for each unit, in the order of `captions`.

        Raises:
            StudyError: when the settings allow no call at all.
        """
        del ledger
        results = []
        for index, unit in enumerate(captions):
            usable = _usable(unit)
            found = self._candidates(usable, n, seed) if usable else []
            results.append(_summary(found) if usable else _NO_CAPTIONS)
            if on_each is not None:
                on_each(index, results[-1])
        return results

    def calls_to_make(
        self, captions: Sequence[Sequence[str]], n: int, seed: int, ledger: CallLedger
    ) -> dict[str, int]:
        """Calls to a language model that `summarise_many` would have to make, without repairs.

        Returns:
            The tokens that each call may use, by the hash of its request; empty without a model.
        """
        return {}

    def parts(self) -> list[ModelPart]:
        """No file at all, unless a language model does the work."""
        return [built_in(self.title())]

    def fingerprint(self) -> dict[str, Json]:
        """Everything that changes the answers, as JSON; no key."""
        raise NotImplementedError

    def check(self) -> None:
        """Find what would keep it from working, without calling anyone.

        Raises:
            StudyError: naming the setting and what to do.
        """

    def _candidates(self, captions: list[str], n: int, seed: int) -> list[str]:
        raise NotImplementedError


class ConsensusSummariser(Summariser):
    """The words and short phrases that most captions share; no language model."""

    def title(self) -> str:
        """What it does."""
        return "consensus of the captions"

    def fingerprint(self) -> dict[str, Json]:
        """The code that finds the consensus."""
        return {"kind": "consensus", "code": self.code()}

    def _candidates(self, captions: list[str], n: int, seed: int) -> list[str]:
        return concepts.consensus_concepts(captions, n, seed)


class CaptionsAsConcepts(Summariser):
    """All captions as they are, cleaned, each once: the paper's ablation without an LLM.

    Gives as many candidates as there are distinct captions, whatever `n` is.
    """

    def title(self) -> str:
        """What it does."""
        return "the captions themselves"

    def fingerprint(self) -> dict[str, Json]:
        """The code that cleans captions."""
        return {"kind": "none", "code": self.code()}

    def _candidates(self, captions: list[str], n: int, seed: int) -> list[str]:
        return concepts.clean_concepts(captions)


class ChatSummariser(Served, Summariser):
    """A language model behind an OpenAI-compatible server (paper: GPT-3.5 Turbo, T = 0.3).

    One call shortens the captions to concepts of 1-5 words; then each of N_c calls is shown these
    concepts in another seeded order and asked for one label for most of them. Answers follow a
    JSON schema; a wrong one is sent back once with what is wrong, and a label that is a comma list
    is sent back once for a single label. Labels that stay wrong are left out, and the unit fails
    (`invalid_response`) when none is left.

    Attributes:
        temperature: sampling temperature.
        max_tokens: tokens that this resource may use in its life, prompts and answers; replayed
            calls use none. None for no limit.
        price_prompt: price of a million tokens of prompts at that server.
        price_completion: price of a million tokens of answers.
    """

    SECTION: ClassVar[str] = "summariser"
    model: str = "gpt-4o-mini"
    temperature: float = 0.3
    max_tokens: int | None = None
    price_prompt: float | None = None
    price_completion: float | None = None
    _budget: Budget | None = PrivateAttr(default=None)

    def summarise_many(
        self,
        captions: Sequence[Sequence[str]],
        n: int,
        seed: int,
        on_each: OnEach | None = None,
        ledger: CallLedger | None = None,
    ) -> list[Summary]:
        """Candidate concepts of many units, several at a time; see `Summariser.summarise_many`."""
        results: dict[int, Summary] = {}
        server = ChatServer(self.base_url, self.api_key_env, self.timeout_s, self.max_retries)
        dialogues = [self._dialogue(_usable(unit), n, seed) for unit in captions]
        kept = MemoryLedger() if ledger is None else ledger
        with closing(self._held(dialogues, server, kept, self._purse())) as ended:
            for index, summary in ended:
                results[index] = summary
                if on_each is not None:
                    on_each(index, summary)
        return [results[index] for index in range(len(captions))]

    def calls_to_make(
        self, captions: Sequence[Sequence[str]], n: int, seed: int, ledger: CallLedger
    ) -> dict[str, int]:
        """Follow every dialogue through the stored calls; see `Summariser.calls_to_make`."""
        calls: dict[str, int] = {}
        for unit in map(_usable, captions):
            dialogue = self._dialogue(unit, n, seed)
            answer: StoredCall | None = None
            with suppress(StopIteration):
                while True:
                    body = dialogue.send(cast("StoredCall", answer))
                    name = request_hash(body)
                    answer = ledger.get(name)
                    if answer is None:
                        calls[name] = self._purse().estimate(body)
                        answer = _supposed(name, body, unit)
        return calls

    def parts(self) -> list[ModelPart]:
        """The model, which runs at its server."""
        return Model.parts(self)

    def fingerprint(self) -> dict[str, Json]:
        """Server, model, temperature, and the code of prompts and dialogue."""
        return {
            "kind": "chat",
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "temperature": self.temperature,
            "code": self.code(),
        }

    def _purse(self) -> Budget:
        """What is left to use, over all calls of this resource."""
        if self._budget is None:
            self._budget = Budget(
                self.max_tokens,
                max_cost=self.max_cost,
                price_prompt=self.price_prompt,
                price_completion=self.price_completion,
            )
        return self._budget

    def _dialogue(self, captions: list[str], n: int, seed: int) -> Dialogue[Summary]:
        settings = {
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "temperature": self.temperature,
        }
        return _unit_dialogue(settings, captions, n, seed)


class _Concepts(BaseModel):
    """The captions as short concepts, one for each, in their order."""

    model_config = ConfigDict(extra="forbid", strict=True)
    concepts: list[str]


class _Concept(BaseModel):
    """One label for most of the concepts."""

    model_config = ConfigDict(extra="forbid", strict=True)
    concept: Annotated[str, Field(description="one label of 1-5 words")]


class _WrongAnswerError(Exception):
    """An answer that cannot be used; the text tells the model why."""


class _EndedError(Exception):
    """The end of a unit's dialogue without candidates."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status


_NO_CAPTIONS = Summary((), "no_captions", "none of the unit's images has a caption")

Step = Generator[dict[str, Json], StoredCall, Answer]
"""A part of a dialogue."""


def _usable(captions: Sequence[str]) -> list[str]:
    return [caption.strip() for caption in captions if caption.strip()]


def _summary(candidates: Sequence[str], reason: str = "", calls: Sequence[str] = ()) -> Summary:
    if not candidates:
        reason = "the captions have no content words"
        return Summary((), "no_concepts", reason, tuple(calls))
    return Summary(tuple(candidates), "ok", reason, tuple(calls))


def _unit_dialogue(
    settings: Mapping[str, Json], captions: list[str], n: int, seed: int
) -> Dialogue[Summary]:
    """The whole dialogue about one unit: shorten its captions, then ask N_c times for a label."""
    if not captions:
        return _NO_CAPTIONS
    calls: list[str] = []
    labels: list[str] = []
    left_out: list[str] = []
    try:
        limit = _LABEL_TOKENS + _SHORTENED_TOKENS * len(captions)
        messages = concepts.shorten_messages(captions)
        request = _request(settings, messages, _Concepts, limit, seed)
        short = yield from _ask(request, lambda text: _read_concepts(text, len(captions)), calls)
        for index in range(n):
            ordered = concepts.caption_order(short, index, seed)
            messages = concepts.concept_messages(ordered)
            request = _request(settings, messages, _Concept, _LABEL_TOKENS, seed + index)
            try:
                labels.append((yield from _label(request, calls)))
            except _WrongAnswerError as problem:
                left_out.append(str(problem))
    except _WrongAnswerError as problem:
        return Summary((), "invalid_response", str(problem), tuple(calls))
    except _EndedError as end:
        return Summary((), end.status, str(end), tuple(calls))
    if not labels:
        return Summary((), "invalid_response", left_out[0], tuple(calls))
    reason = f"{len(left_out)} of {n} answers left out: {left_out[0]}" if left_out else ""
    return _summary(concepts.clean_concepts(labels), reason, calls)


def _label(request: dict[str, Json], calls: list[str]) -> Step[str]:
    """One label; a comma list is sent back once."""
    label = yield from _ask(request, _read_label, calls)
    if "," not in label:
        return label
    problem = f"{label!r} is a list; one single label of 1-5 words for most of it was asked for"
    call = yield _again(request, _Concept(concept=label).model_dump_json(), problem)
    label = _read_label(_content(call, calls))
    if "," in label:
        raise _WrongAnswerError(f"the answer stays a list of labels: {label!r}")
    return label


def _ask(request: dict[str, Json], read: Callable[[str], Answer], calls: list[str]) -> Step[Answer]:
    """The answer to a request, with one turn to repair it."""
    call = yield request
    content = _content(call, calls)
    try:
        return read(content)
    except _WrongAnswerError as problem:
        call = yield _again(request, content, str(problem))
    return read(_content(call, calls))


def _supposed(name: str, body: Mapping[str, Json], captions: Sequence[str]) -> StoredCall:
    """A sound answer to a request that was never made: what is asked next depends on it."""
    shortening = body["response_format"]["json_schema"]["name"] == _schema_name(_Concepts)
    words = [f"supposed {name[:16]} {index}" for index in range(len(captions))]
    answer = _Concepts(concepts=words) if shortening else _Concept(concept=words[0])
    message = {"role": "assistant", "content": answer.model_dump_json()}
    return StoredCall(name, body, {"choices": [{"message": message}]})


def _content(call: StoredCall, calls: list[str]) -> str:
    """What the model wrote; ends the dialogue when the call failed."""
    if call.request:
        calls.append(call.request)
    if call.status != "ok":
        raise _EndedError(call.status, call.error)
    return call.content


def _read_concepts(content: str, count: int) -> list[str]:
    """The concepts of an answer to the first request."""
    try:
        found = [text.strip() for text in _Concepts.model_validate_json(content).concepts]
    except ValidationError as error:
        raise _WrongAnswerError(_not_valid(error, content)) from None
    if not found:
        raise _EndedError("no_concepts", "the model found no concept in the captions")
    if len(found) != count:
        raise _WrongAnswerError(f"there are {len(found)} concepts for {count} descriptions")
    for text in found:
        if not concepts.is_valid_concept(text):
            raise _WrongAnswerError(f"{text[:80]!r} is no short plain concept of 1-5 words")
    return found


def _read_label(content: str) -> str:
    """The label of an answer to a later request."""
    try:
        label = _Concept.model_validate_json(content).concept.strip()
    except ValidationError as error:
        raise _WrongAnswerError(_not_valid(error, content)) from None
    if not concepts.is_valid_concept(label) or not concepts.clean_concept(label):
        raise _WrongAnswerError(f"{label[:80]!r} is no short plain concept of 1-5 words")
    return label


def _not_valid(error: ValidationError, content: str) -> str:
    what = str(error.errors(include_url=False, include_input=False)[0]["msg"])
    shown = " ".join(content[:80].split()) or "nothing"
    return f"the answer is not the JSON asked for ({what}): {shown}"


def _request(
    settings: Mapping[str, Json],
    messages: list[dict[str, str]],
    answer: type[BaseModel],
    limit: int,
    seed: int,
) -> dict[str, Json]:
    schema = {"name": _schema_name(answer), "strict": True}
    return {
        **settings,
        "messages": messages,
        "seed": seed % 2**31,  # what servers commonly take
        "max_tokens": limit,
        "response_format": {
            "type": "json_schema",
            "json_schema": {**schema, "schema": answer.model_json_schema()},
        },
    }


def _schema_name(answer: type[BaseModel]) -> str:
    return answer.__name__.strip("_").lower()


def _again(request: Mapping[str, Json], answer: str, problem: str) -> dict[str, Json]:
    """The request with the model's answer and what is wrong with it."""
    turns = [
        {"role": "assistant", "content": answer[:_QUOTED] or "(nothing)"},
        {"role": "user", "content": f"This cannot be used: {problem}. Answer with JSON only."},
    ]
    return {**request, "messages": [*request["messages"], *turns]}
