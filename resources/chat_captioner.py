"""Captions by a vision model behind any OpenAI-compatible server.

A request names its picture by hash; the picture itself is put in when the request is sent, so that
the ledger keeps what was asked without keeping every picture again.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, ClassVar, Final

from PIL import Image
from pydantic import PrivateAttr

from dnd_assets.errors import StudyError
from dnd_assets.lineage.fingerprint import Json
from resources.captioner import PROMPT, Captioner, Keep, Load
from resources.llm import (
    Budget,
    CallLedger,
    ChatServer,
    Dialogue,
    MemoryLedger,
    StoredCall,
    request_hash,
)
from resources.model import Failure
from resources.progress import Progress
from resources.served import Served

_HASH: Final = "sha256:"
_LONGEST: Final = 2_000
"""Characters of a caption; a server that sends more took no notice of the token limit."""


class ChatCaptioner(Served, Captioner):
    """A vision model that is sent one picture and one question a call; see `Served`.

    Attributes:
        prompt: what is asked of each picture; None asks for one short factual sentence.
        temperature: sampling temperature.
        max_new_tokens: token limit of an answer.
        detail: how closely the server looks (`low`, `high`, `auto`); None does not say.
        max_side: a larger picture is sent with this many pixels along its longer side.
        picture_tokens: tokens of a picture, by estimate, until the server has counted them.
        max_tokens: tokens that this resource may use in its life; None for no limit.
        price_prompt: price of a million tokens of requests, pictures included.
        price_completion: price of a million tokens of answers.
    """

    SECTION: ClassVar[str] = "captioner"
    model: str = "gpt-4o-mini"
    prompt: str | None = None
    temperature: float = 0.0
    max_new_tokens: int = 32
    detail: str | None = None
    max_side: int = 768
    picture_tokens: int = 1_500
    max_tokens: int | None = None
    price_prompt: float | None = None
    price_completion: float | None = None
    _budget: Budget | None = PrivateAttr(default=None)

    def fingerprint(self) -> dict[str, Json]:
        """Server, model, question, and how a picture is sent; neither key nor budget."""
        return {
            "kind": "chat",
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "prompt": self._prompt(),
            "temperature": self.temperature,
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
        named = {_name(image): image for image in images}
        found: dict[str, str | Failure] = {}
        self.caption_named(
            list(named),
            lambda names: [named[name] for name in names],
            batch_size,
            found.update,
            MemoryLedger(),
        )
        captions = [_sound(found[_name(image)]) for image in images]
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
        shown: dict[str, str] = {}
        server = ChatServer(
            self.base_url,
            self.api_key_env,
            self.timeout_s,
            self.max_retries,
            self.SECTION,
            lambda body: _with_picture(body, shown),
        )
        dialogues = [self._dialogue(name, load, ledger, shown) for name in names]
        with closing(self._held(dialogues, server, ledger, self._purse())) as ended:
            for index, result in ended:
                keep({names[index]: result})

    def calls_to_make(self, names: Sequence[str], ledger: CallLedger) -> dict[str, int]:
        """Calls that the pictures would take, with their tokens by estimate."""
        bodies = {request_hash(body): body for body in map(self._request, names)}
        return {
            name: self._purse().estimate(body)
            for name, body in bodies.items()
            if ledger.get(name) is None
        }

    def _dialogue(
        self, name: str, load: Load, ledger: CallLedger, shown: dict[str, str]
    ) -> Dialogue[str | Failure]:
        body = self._request(name)
        if ledger.get(request_hash(body)) is None:
            shown[name] = _data_url(load([name])[0], self.max_side)
        call = yield body
        shown.pop(name, None)
        return _caption(call)

    def _request(self, name: str) -> dict[str, Json]:
        """The request about a picture, as it is kept."""
        detail = {} if self.detail is None else {"detail": self.detail}
        picture = {"type": "image_url", "image_url": {"url": f"{_HASH}{name}", **detail}}
        words = {"type": "text", "text": self._prompt()}
        return {
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "messages": [{"role": "user", "content": [words, picture]}],
            "temperature": self.temperature,
            "seed": 0,
            "max_tokens": self.max_new_tokens,
            "max_side": self.max_side,
        }

    def _prompt(self) -> str:
        return PROMPT if self.prompt is None else self.prompt

    def _purse(self) -> Budget:
        """What is left to use, over all calls of this resource."""
        if self._budget is None:
            self._budget = Budget(
                self.max_tokens,
                max_cost=self.max_cost,
                price_prompt=self.price_prompt,
                price_completion=self.price_completion,
                picture_tokens=self.picture_tokens,
                section=self.SECTION,
            )
        return self._budget


def _caption(call: StoredCall) -> str | Failure:
    """What an answer says, in one line; empty when the model refuses."""
    if call.status != "ok":
        return Failure(call.status, call.error)
    said = " ".join(call.content.split())
    if len(said) > _LONGEST:
        return Failure(
            "invalid_response", f"the caption has {len(said):,} characters: {said[:80]}…"
        )
    return said


def _sound(found: str | Failure) -> str:
    if isinstance(found, Failure):
        raise StudyError(f"a picture was not captioned ({found.status}): {found.reason}")
    return found


def _with_picture(body: Mapping[str, Json], shown: Mapping[str, str]) -> dict[str, Json]:
    """A request as it is sent, with the picture in place of its hash."""
    (turn,) = body["messages"]
    words, picture = turn["content"]
    name = picture["image_url"]["url"].removeprefix(_HASH)
    sent = {**picture, "image_url": {**picture["image_url"], "url": shown[name]}}
    own = {key: value for key, value in body.items() if key != "max_side"}
    return {**own, "messages": [{**turn, "content": [words, sent]}]}


def _data_url(image: Image.Image, max_side: int) -> str:
    """A picture as a PNG in a data URL, without what is not pixels."""
    shown = image.convert("RGB")
    if max(shown.size) > max_side:
        shown.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    shown.info = {}
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _name(image: Image.Image) -> str:
    """Hash of a picture's pixels, for pictures that come without a name."""
    shown: Any = image.convert("RGB")
    return hashlib.sha256(f"{shown.size}".encode() + shown.tobytes()).hexdigest()
