"""From a unit's captions to its candidate concepts (DnD, step 2).

Three summarisers with one interface: a consensus of the captions that needs no language model, the
captions themselves (the paper's ablation), and any server that speaks the OpenAI chat API.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dnd_assets.lineage.fingerprint import Json
from dnd_assets.lineage.records import Status
from dnd_assets.methods.dissection import candidate_concepts as concepts
from dnd_assets.methods.text import answer_text, caption_text, refusals, words
from resources.model import Model, ModelPart, built_in
from resources.servers.answers import asked_again, said_in
from resources.servers.calls import CallLedger, MemoryLedger, StoredCall, request_hash
from resources.servers.conversations import Dialogue
from resources.servers.messages import Body, JsonObject
from resources.servers.served import ServedChat

Answer = TypeVar("Answer")
Parsed = TypeVar("Parsed", bound=BaseModel)

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
            captions: the captions of each unit's activating images as their model wrote them; they
                are read by `caption_text.read_caption`, and those that say nothing are ignored.
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
            usable = _usable_captions(unit)
            candidates = self._candidates(usable, n, seed) if usable else []
            results.append(_summary(candidates) if usable else _NO_CAPTIONS)
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


class ChatSummariser(ServedChat, Summariser):
    """A language model behind an OpenAI-compatible server (paper: GPT-3.5 Turbo, T = 0.3).

    One call shortens the captions to concepts of 1-5 words; then each of N_c calls is shown these
    concepts in another seeded order and asked for one label for most of them. Answers follow a
    JSON schema, where the server takes one; JSON is found behind reasoning and in fences. An answer
    that is cut off or empty is asked for once more with more room; a wrong one is sent back once
    with what is wrong, and a label that is a comma list is sent back once for a single label.
    Labels that stay wrong or are refused are left out, and the unit fails by the first of these
    when none is left.

    Attributes:
        max_new_tokens: token limit of an answer; None takes what short answers need. Reasoning
            counts, so that a model that reasons needs thousands.
        response_format: how JSON is asked for first; a server that refuses it is asked in a less
            strict way.
        prompt: what is asked for a label; None takes the paper's words.
        shorten_prompt: what is asked for short captions; None takes the paper's.
        domain: words on what the pictures are, said before both.
    """

    SECTION: ClassVar[str] = "summariser"
    temperature: float | None = 0.3
    max_new_tokens: int | None = None
    response_format: str = "json_schema"
    prompt: str | None = None
    shorten_prompt: str | None = None
    domain: str | None = None

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
        server = self._server()
        dialogues = [self._dialogue(_usable_captions(unit), n, seed) for unit in captions]
        kept_calls = MemoryLedger() if ledger is None else ledger
        with closing(self._converse(dialogues, server, kept_calls, self._spending())) as summaries:
            for index, summary in summaries:
                results[index] = summary
                if on_each is not None:
                    on_each(index, summary)
        return [results[index] for index in range(len(captions))]

    def calls_to_make(
        self, captions: Sequence[Sequence[str]], n: int, seed: int, ledger: CallLedger
    ) -> dict[str, int]:
        """Follow every dialogue through the stored calls; see `Summariser.calls_to_make`."""
        calls: dict[str, int] = {}
        for unit in map(_usable_captions, captions):
            dialogue = self._dialogue(unit, n, seed)
            answer: StoredCall | None = None
            with suppress(StopIteration):
                while True:
                    body = dialogue.send(cast("StoredCall", answer))
                    name = request_hash(body)
                    answer = ledger.get(name)
                    if answer is None:
                        calls[name] = self._spending().estimate(body)
                        answer = _supposed_call(name, body, unit)
        return calls

    def parts(self) -> list[ModelPart]:
        """The model, which runs at its server."""
        return Model.parts(self)

    def fingerprint(self) -> dict[str, Json]:
        """Server, model, options, and the code of prompts, dialogue and reading."""
        return {
            "kind": "chat",
            **self._options(),
            "max_new_tokens": self.max_new_tokens,
            "response_format": self.response_format,
            "code": self.code(),
            **self._prompts(),
        }

    def _prompts(self) -> dict[str, str]:
        """The prompts that are not the paper's; a study that names none has the key it had."""
        texts = {name: getattr(self, name) for name in ("prompt", "shorten_prompt", "domain")}
        return {name: text for name, text in texts.items() if text}

    def _dialogue(self, captions: list[str], n: int, seed: int) -> Dialogue[Summary]:
        return _unit_dialogue(self._request, captions, n, seed, **self._prompts())

    def _request(
        self, messages: list[dict[str, str]], answer: type[BaseModel], limit: int, seed: int
    ) -> Body:
        """A request for an answer of a kind, as it is kept."""
        schema = {"name": answer.__name__.strip("_").lower(), "strict": True}
        level = {} if self.response_format == "json_schema" else {"answers": self.response_format}
        return {
            **self._asked(seed, self.max_new_tokens or limit),
            **level,
            "messages": messages,
            "response_format": {
                "type": "json_schema",
                "json_schema": {**schema, "schema": answer.model_json_schema()},
            },
        }


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

    status: Status = "invalid_response"


class _NoAnswerError(_WrongAnswerError):
    """No answer, which no repair mends: refused, cut off, or empty."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _EndedError(Exception):
    """The end of a unit's dialogue without candidates."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status


_NO_CAPTIONS = Summary((), "no_captions", "none of the unit's images has a caption of use")
Request = Callable[[list[dict[str, str]], type[BaseModel], int, int], Body]
"""Makes a request of messages, the kind of answer, its token limit and a seed."""

Step = Generator[Body, StoredCall, Answer]
"""A part of a dialogue."""


def _usable_captions(captions: Sequence[str]) -> list[str]:
    """What is read of captions; those that need no cleaning stay as they are, line ends too."""
    usable = []
    for caption in captions:
        text = caption_text.read_caption(caption)
        unchanged = text == " ".join(caption.split())
        usable += [caption.strip() if unchanged else text] if text else []
    return usable


def _summary(candidates: Sequence[str], reason: str = "", calls: Sequence[str] = ()) -> Summary:
    if not candidates:
        reason = "the captions have no content words"
        return Summary((), "no_concepts", reason, tuple(calls))
    return Summary(tuple(candidates), "ok", reason, tuple(calls))


def _unit_dialogue(
    request: Request,
    captions: list[str],
    n: int,
    seed: int,
    prompt: str = concepts.LABEL_PROMPT,
    shorten_prompt: str = concepts.SHORTEN_PROMPT,
    domain: str = "",
) -> Dialogue[Summary]:
    """The whole dialogue about one unit: shorten its captions, then ask N_c times for a label."""
    if not captions:
        return _NO_CAPTIONS
    calls: list[str] = []
    labels: list[str] = []
    left_out: list[_WrongAnswerError] = []
    try:
        limit = _LABEL_TOKENS + _SHORTENED_TOKENS * len(captions)
        request_messages = concepts.shorten_messages(captions, shorten_prompt, domain)
        body = request(request_messages, _Concepts, limit, seed)
        shortened = yield from _ask(body, lambda text: _read_concepts(text, len(captions)), calls)
        for index in range(n):
            ordered = concepts.caption_order(shortened, index, seed)
            messages = concepts.concept_messages(ordered, prompt, domain)
            body = request(messages, _Concept, _LABEL_TOKENS, seed + index)
            try:
                labels.append((yield from _ask_label(body, calls)))
            except _WrongAnswerError as problem:
                left_out.append(problem)
    except _WrongAnswerError as problem:
        return Summary((), problem.status, str(problem), tuple(calls))
    except _EndedError as end:
        return Summary((), end.status, str(end), tuple(calls))
    if not labels:
        return Summary((), left_out[0].status, str(left_out[0]), tuple(calls))
    reason = f"{len(left_out)} of {n} answers left out: {left_out[0]}" if left_out else ""
    return _summary(concepts.clean_concepts(labels), reason, calls)


def _ask_label(request: Body, calls: list[str]) -> Step[str]:
    """One label; a comma list is sent back once."""
    label = yield from _ask(request, _read_label, calls)
    if not concepts.is_list(label):
        return label
    problem = f"{label!r} is a list; one single label of 1-5 words for most of it was asked for"
    repair = _repair_request(request, _Concept(concept=label).model_dump_json(), problem)
    label = _read_label((yield from _model_answer(repair, calls)))
    if concepts.is_list(label):
        raise _WrongAnswerError(f"the answer stays a list of labels: {label!r}")
    return label


def _ask(request: Body, read: Callable[[str], Answer], calls: list[str]) -> Step[Answer]:
    """The answer to a request, with one turn to repair it."""
    content = yield from _model_answer(request, calls)
    try:
        return read(content)
    except _NoAnswerError:
        raise
    except _WrongAnswerError as problem:
        repair = _repair_request(request, content, str(problem))
    return read((yield from _model_answer(repair, calls)))


def _model_answer(request: Body, calls: list[str]) -> Step[str]:
    """What the model answers, asked once more with more room where that may help.

    Raises:
        _NoAnswerError: when it answers nothing.
        _EndedError: when the call failed.
    """
    call = yield request
    answer = said_in(call, as_json=True)
    _note_call(call, calls)
    if answer.status == "no_answer" and not answer.reasoned:
        return ""  # told to the model, as any wrong answer
    second_call = yield from asked_again(request, answer)
    if second_call is not None:
        answer = said_in(second_call, as_json=True)
        _note_call(second_call, calls)
    if answer.status == "ok":
        return answer.text
    raise _NoAnswerError(answer.status, answer.reason)


def _supposed_call(name: str, body: JsonObject, captions: Sequence[str]) -> StoredCall:
    """A sound answer to a request that was never made: what is asked next depends on it."""
    shortening = body["response_format"]["json_schema"]["name"] == "concepts"
    labels = [f"supposed {name[:16]} {index}" for index in range(len(captions))]
    answer = _Concepts(concepts=labels) if shortening else _Concept(concept=labels[0])
    message = {"role": "assistant", "content": answer.model_dump_json()}
    return StoredCall(name, body, {"choices": [{"message": message}]})


def _note_call(call: StoredCall, calls: list[str]) -> None:
    """Remember a call; ends the dialogue when it failed."""
    if call.request:
        calls.append(call.request)
    if call.status not in ("ok", "refused"):
        raise _EndedError(call.status, call.error)


def _read_concepts(content: str, count: int) -> list[str]:
    """The concepts of an answer to the first request."""
    try:
        texts = [text.strip() for text in _parse(content, _Concepts).concepts]
    except ValidationError as error:
        raise _not_valid(error, content) from None
    if not texts:
        raise _EndedError("no_concepts", "the model found no concept in the captions")
    if len(texts) != count:
        raise _WrongAnswerError(f"there are {len(texts)} concepts for {count} descriptions")
    return [_require_concept(text) for text in texts]


def _read_label(content: str) -> str:
    """The label of an answer to a later request."""
    try:
        label = _parse(content, _Concept).concept.strip()
    except ValidationError as error:
        raise _not_valid(error, content) from None
    return _require_concept(label)


def _require_concept(label: str) -> str:
    """A concept that is one, without special tokens and markup."""
    cleaned = answer_text.without_special_tokens(words.visible(label)).strip()
    problem = refusals.problem_of(cleaned)
    if problem is not None and problem[0] == "refused":
        raise _NoAnswerError(*problem)
    if problem or not concepts.is_valid_concept(label) or not concepts.clean_concept(cleaned):
        raise _WrongAnswerError(f"{label[:80]!r} is no short plain concept of 1-5 words")
    return cleaned


def _parse(content: str, answer: type[Parsed]) -> Parsed:
    """The answer in a text: the text itself, or the one object in it that is of this kind.

    Raises:
        ValidationError: when there is none.
        _WrongAnswerError: when there are several.
    """
    answers = []
    for value in answer_text.json_objects(content):
        with suppress(ValidationError):
            answers.append(answer.model_validate(value))
    if len(answers) > 1:
        raise _WrongAnswerError(f"there are {len(answers)} different answers; one was asked for")
    return answers[0] if answers else answer.model_validate_json(content)


def _not_valid(error: ValidationError, content: str) -> _WrongAnswerError:
    """What to say of an answer that is not the JSON asked for."""
    problem = refusals.problem_of(content)
    if problem is not None and problem[0] == "refused":
        return _NoAnswerError(*problem)
    fault = str(error.errors(include_url=False, include_input=False)[0]["msg"])
    excerpt = " ".join(content[:80].split()) or "nothing"
    return _WrongAnswerError(f"the answer is not the JSON asked for ({fault}): {excerpt}")


def _repair_request(request: JsonObject, answer: str, problem: str) -> Body:
    """The request with the model's answer and what is wrong with it."""
    messages = [
        {"role": "assistant", "content": answer[:_QUOTED] or "(nothing)"},
        {"role": "user", "content": f"This cannot be used: {problem}. Answer with JSON only."},
    ]
    return {**request, "messages": [*request["messages"], *messages]}
