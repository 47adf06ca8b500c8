"""Captions by a vision model behind any OpenAI-compatible server.

A request names its picture by hash; the picture itself is put in when the request is sent, so that
the ledger keeps what was asked without keeping every picture again.
"""

import base64
import io
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from typing import ClassVar, Final, cast

from PIL import Image

from dnd_assets.errors import StudyError
from dnd_assets.files.images import pixel_hash
from dnd_assets.lineage.fingerprint import Json
from dnd_assets.methods.text import caption_text
from resources.captioners.base import PROMPT, Captioner, Keep, Load
from resources.model import Failure
from resources.runtime.progress import Progress
from resources.servers.answers import MessageAnswer, asked_again, said_in
from resources.servers.calls import CallLedger, MemoryLedger, StoredCall, request_hash
from resources.servers.conversations import Dialogue
from resources.servers.messages import Body, JsonObject
from resources.servers.served import ServedChat

_HASH: Final = "sha256:"
_LONGEST: Final = 2_000
"""Characters of a caption; a server that sends more took no notice of the token limit."""


class ChatCaptioner(ServedChat, Captioner):
    """A vision model that is sent one picture and one question a call; see `ServedChat`.

    A picture that the model or a filter refuses, or whose answer stays cut off, empty or mere
    reasoning when it is asked for again with more room, has that as its failure.

    Attributes:
        prompt: what is asked of each picture; None asks for one short factual sentence.
        max_new_tokens: token limit of an answer.
        detail: how closely the server looks (`low`, `high`, `auto`); None does not say.
        max_side: a larger picture is sent with this many pixels along its longer side.
        picture_tokens: tokens of a picture, by estimate, until the server has counted them.
    """

    SECTION: ClassVar[str] = "captioner"
    prompt: str | None = None
    temperature: float | None = 0.0
    max_new_tokens: int = 32
    detail: str | None = None
    max_side: int = 768
    picture_tokens: int = 1_500

    def fingerprint(self) -> dict[str, Json]:
        """Server, model, question, and how a picture is sent; neither key nor budget."""
        return {
            "kind": "chat",
            **self._options(),
            "prompt": self._prompt(),
            "max_new_tokens": self.max_new_tokens,
            "detail": self.detail,
            "max_side": self.max_side,
            "code": self.code(),
        }

    def caption(
        self,
        images: Sequence[Image.Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image.Image], Sequence[str]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """One caption for each picture, in order; see `Captioner.caption`.

        Raises:
            StudyError: when a picture could not be captioned, with the reason.
        """
        pictures = {pixel_hash(image): image for image in images}
        results: dict[str, str | Failure] = {}
        self.caption_named(
            list(pictures),
            lambda names: [pictures[name] for name in names],
            batch_size,
            results.update,
            MemoryLedger(),
        )
        captions = [_require_caption(results[pixel_hash(image)]) for image in images]
        if on_batch is not None:
            on_batch(images, captions)
        if progress is not None:
            progress.advance(len(images))
        return captions

    def caption_named(
        self,
        names: Sequence[str],
        load: Load,
        batch_size: int,
        keep: Keep,
        ledger: CallLedger,
    ) -> None:
        """Ask about each picture, several at a time; see `Captioner.caption_named`.

        Equal requests are asked once in the life of a ledger, and answered from there afterwards
        with no network and no key. Pictures are read only when they are about to be sent.
        """
        urls: dict[str, str] = {}
        server = self._server(lambda body: _with_picture(body, urls))
        dialogues = [self._dialogue(name, load, ledger, urls) for name in names]
        budget = self._spending(self.picture_tokens)
        with closing(self._converse(dialogues, server, ledger, budget)) as results:
            for index, result in results:
                keep({names[index]: result})

    def calls_to_make(self, names: Sequence[str], ledger: CallLedger) -> dict[str, int]:
        """Calls that the pictures would take, with their tokens by estimate."""
        calls: dict[str, int] = {}
        for name in names:
            dialogue = _ask(self._request(name))
            answer: StoredCall | None = None
            with suppress(StopIteration):
                while True:
                    body = dialogue.send(cast("StoredCall", answer))
                    answer = ledger.get(request_hash(body))
                    if answer is None:
                        estimate = self._spending(self.picture_tokens).estimate(body)
                        calls[request_hash(body)] = estimate
                        break
        return calls

    def _dialogue(
        self, name: str, load: Load, ledger: CallLedger, urls: dict[str, str]
    ) -> Dialogue[str | Failure]:
        """Ask about a picture, which is read when a request is about to be sent."""
        dialogue = _ask(self._request(name))
        answer: StoredCall | None = None
        while True:
            try:
                body = dialogue.send(cast("StoredCall", answer))
            except StopIteration as end:
                return _caption(end.value)
            if ledger.get(request_hash(body)) is None:
                urls[name] = _data_url(load([name])[0], self.max_side)
            answer = yield body
            urls.pop(name, None)

    def _request(self, name: str) -> Body:
        """The request about a picture, as it is kept."""
        detail = {} if self.detail is None else {"detail": self.detail}
        picture = {"type": "image_url", "image_url": {"url": f"{_HASH}{name}", **detail}}
        question = {"type": "text", "text": self._prompt()}
        return {
            **self._asked(0, self.max_new_tokens),
            "messages": [{"role": "user", "content": [question, picture]}],
            "max_side": self.max_side,
        }

    def _prompt(self) -> str:
        return PROMPT if self.prompt is None else self.prompt


def _ask(body: Body) -> Generator[Body, StoredCall, MessageAnswer]:
    """The answer about a picture; one that is cut off or empty is asked for again, once."""
    answer = _read_answer((yield body))
    call = yield from asked_again(body, answer)
    return answer if call is None else _read_answer(call)


def _read_answer(call: StoredCall) -> MessageAnswer:
    """The answer in a call; a text that is no caption, such as a refusal, is not `ok`."""
    answer = said_in(call)
    problem = caption_text.caption_problem(answer.text) if answer.status == "ok" else None
    return answer if problem is None else MessageAnswer(problem[0], reason=problem[1])


def _caption(answer: MessageAnswer) -> str | Failure:
    """The caption, in one line."""
    if answer.status != "ok":
        return Failure(answer.status, answer.reason)
    caption = " ".join(answer.text.split())
    if len(caption) > _LONGEST:
        problem = f"the caption has {len(caption):,} characters: {caption[:80]}…"
        return Failure("invalid_response", problem)
    return caption


def _require_caption(result: str | Failure) -> str:
    """The caption; raises `StudyError` where there is a failure in its place."""
    if isinstance(result, Failure):
        raise StudyError(f"a picture was not captioned ({result.status}): {result.reason}")
    return result


def _with_picture(body: JsonObject, urls: Mapping[str, str]) -> Body:
    """A request as it is sent, with the picture in place of its hash."""
    (message,) = body["messages"]
    question, picture = message["content"]
    name = picture["image_url"]["url"].removeprefix(_HASH)
    with_url = {**picture, "image_url": {**picture["image_url"], "url": urls[name]}}
    options = {key: value for key, value in body.items() if key != "max_side"}
    return {**options, "messages": [{**message, "content": [question, with_url]}]}


def _data_url(image: Image.Image, max_side: int) -> str:
    """A picture as a PNG in a data URL, without what is not pixels."""
    picture = image.convert("RGB")
    if max(picture.size) > max_side:
        picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    picture.info = {}
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
