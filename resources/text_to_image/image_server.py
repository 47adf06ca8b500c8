"""Pictures painted by any OpenAI-compatible image server (`/images/generations`).

A picture is paid for once: it is kept with its request before anyone sees it, and a request that
is kept already is answered from there, with no network and no key.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field, PrivateAttr

from dnd_assets.errors import StudyError
from dnd_assets.files.images import UnreadableImage, decode
from dnd_assets.lineage.fingerprint import Json
from dnd_assets.lineage.records import Status
from dnd_assets.methods.dissection import painted
from resources.model import Failure
from resources.runtime.progress import Progress
from resources.servers.calls import CallLedger, MemoryLedger, StoredCall, request_hash
from resources.servers.chat_server import ChatServer
from resources.servers.conversations import Dialogue
from resources.servers.messages import Body, JsonObject
from resources.servers.served import Served
from resources.text_to_image.base import KeepPaintings, Painting, PaintRequest, TextToImage
from resources.text_to_image.image_options import check_options, sends_format

_BLANK: Final = (64, 64)
_MAX_PIXELS: Final = 50_000_000


class _Picture(BaseModel):
    b64_json: str = Field(min_length=1)


class _Usage(BaseModel):
    input_tokens: int = Field(0, ge=0)
    output_tokens: int = Field(0, ge=0)


class _Answer(BaseModel):
    """The parts of an answer that are used; servers differ in the rest."""

    data: list[_Picture] = Field(min_length=1, max_length=1)
    usage: _Usage | None = None


class ImageServer(ChatServer):
    """A server that speaks the OpenAI images API; see `ChatServer`."""

    asked: ClassVar[str] = "picture in base64"
    path: ClassVar[str] = "/images/generations"
    refused: ClassVar[Status] = "rejected"
    largest: ClassVar[int] = 100_000_000

    def _tokens(self, response: JsonObject) -> tuple[int, int]:
        picture_bytes(response)
        usage = _Answer.model_validate(response).usage or _Usage()  # type: ignore[call-arg]
        return usage.input_tokens, usage.output_tokens


def picture_bytes(response: JsonObject) -> bytes:
    """The file in an answer of an image server.

    Raises:
        ValueError: when there is none, or it is no picture that can be used.
    """
    text = _Answer.model_validate(response).data[0].b64_json
    try:
        data = base64.b64decode(text, validate=True)
        decode(data, _MAX_PIXELS)
    except (binascii.Error, UnreadableImage) as error:
        raise ValueError(str(error)) from error
    return data


@dataclass
class PictureBudget:
    """Pictures and money that may be used; every picture costs the same.

    Attributes:
        limit: pictures that may be paid for; None for no limit.
        max_cost: money that may be spent; None for no limit.
        price: of a picture; None when it is not known.
        used: pictures that were paid for.
        reserved: pictures under way.
    """

    limit: int | None = None
    max_cost: float | None = None
    price: float | None = None
    used: int = 0
    reserved: int = 0

    def fits(self, body: JsonObject) -> bool:
        """Whether one more picture can be paid for."""
        pictures = self.used + self.reserved + 1
        # A thousandth of a picture forgives what floating point makes of the sum of prices.
        return (self.limit is None or pictures <= self.limit) and (
            self.max_cost is None or (pictures - 1e-3) * (self.price or 0.0) <= self.max_cost
        )

    def reserve(self, body: JsonObject) -> None:
        """Put a picture aside."""
        self.reserved += 1

    def cost(self, call: StoredCall) -> float | None:
        """The price of a picture that came; unknown for a failure."""
        return self.price if call.status == "ok" else None

    def settle(self, body: JsonObject, call: StoredCall) -> None:
        """Count a call that has ended; a failure brought no picture."""
        self.reserved -= 1
        self.used += call.status == "ok"

    def refusal(self, body: JsonObject) -> str:
        """Why no further picture fits."""
        name = "max_cost"
        if self.limit is not None and self.used >= self.limit:
            name = "max_pictures"
        spent = "" if self.price is None else f" for {self.used * self.price:.4f}"
        return (
            f"{self.used:,} pictures{spent} are paid for, and one more would exceed "
            f"text_to_image.{name}. Raise it and run again; pictures so far are kept."
        )

    def close(self) -> None:
        """Count pictures that were under way when the work was left."""
        self.used, self.reserved = self.used + self.reserved, 0


class ServedTextToImage(Served, TextToImage):
    """A text-to-image model behind a server, asked for one picture a call; see `Served`.

    Attributes:
        prompt: text with `{concept}` where the concept goes.
        size: of a picture as the server writes it; None does not say.
        quality: as the server names it; None does not say.
        response_format: how pictures are asked for; `auto` asks for base64 all models but those
            that send nothing else and refuse to be asked, empty asks none.
        send_seed: whether the server takes a seed. Without, the request of a concept and an index
            is known by its seed all the same, so that a rerun replays its picture.
        max_pictures: pictures that this resource may pay for in its life; None for no limit.
        price_per_picture: price of a picture.
    """

    SECTION: ClassVar[str] = "text_to_image"
    model: str = "gpt-image-1-mini"
    prompt: str = "One realistic image of {concept}"
    size: str | None = None
    quality: str | None = None
    response_format: str = "auto"
    send_seed: bool = False
    timeout_s: float = 180.0
    max_pictures: int | None = None
    price_per_picture: float | None = None
    _budget: PictureBudget | None = PrivateAttr(default=None)

    def check(self) -> None:
        """Look at the address, the key, and whether model, size and quality fit one another.

        Raises:
            StudyError: naming the setting or the environment variable, never the key.
        """
        super().check()
        check_options(self.base_url, self.model, self.size, self.quality, self.response_format)

    def fingerprint(self) -> dict[str, Json]:
        """Server, model, prompt and what is asked of a picture; neither key nor budget."""
        return {
            "kind": "images",
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "prompt": self.prompt,
            "size": self.size,
            "quality": self.quality,
            "send_seed": self.send_seed,
            "code": self.code(),
        }

    def paint(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        on_batch: Callable[[Sequence[PaintRequest], Sequence[Painting]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[Painting]:
        """One picture for each request, in order; see `TextToImage.paint`.

        Raises:
            StudyError: when a picture could not be had, with the reason.
        """
        results: dict[PaintRequest, Painting | Failure] = {}
        distinct = list(dict.fromkeys(requests))
        self.paint_each(distinct, batch_size, results.update, MemoryLedger())
        paintings = [_require_picture(results[request]) for request in requests]
        if on_batch is not None:
            on_batch(requests, paintings)
        if progress is not None:
            progress.advance(len(requests))
        return paintings

    def paint_each(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        keep: KeepPaintings,
        ledger: CallLedger,
    ) -> None:
        """Ask for each picture, several at a time; see `TextToImage.paint_each`.

        What the server's safety system refuses is a rejected picture, black as those that a
        safety checker blanks.
        """
        check_options(self.base_url, self.model, self.size, self.quality, self.response_format)
        server = ImageServer(
            self.base_url,
            self.api_key_env,
            self.timeout_s,
            self.max_retries,
            self.SECTION,
            _wire,
            self._memory,
        )
        dialogues = [_dialogue(self._body(request)) for request in requests]
        with closing(self._converse(dialogues, server, ledger, self._spending())) as results:
            for index, result in results:
                keep({requests[index]: result})

    def calls_to_make(self, requests: Sequence[PaintRequest], ledger: CallLedger) -> set[str]:
        """Hashes of the calls that the requests would take."""
        names = {request_hash(self._body(request)) for request in requests}
        return {name for name in names if ledger.get(name) is None}

    def _body(self, request: PaintRequest) -> Body:
        """The request for a picture, as it is kept."""
        options = {
            "size": self.size,
            "quality": self.quality,
            "response_format": self._format(),
        }
        return {
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "prompt": self.prompt.replace("{concept}", request.concept),
            "n": 1,
            **{name: value for name, value in options.items() if value is not None},
            "index": request.index,
            "seed": request.seed % 2**31,  # what servers commonly take
            "send_seed": self.send_seed,
        }

    def _format(self) -> str | None:
        if self.response_format == "auto":
            return "b64_json" if sends_format(self.model) else None
        return self.response_format or None

    def _spending(self) -> PictureBudget:
        """The budget of all calls of this resource, made for the first of them."""
        if self._budget is None:
            self._budget = PictureBudget(self.max_pictures, self.max_cost, self.price_per_picture)
        return self._budget


def _dialogue(body: Body) -> Dialogue[Painting | Failure]:
    call = yield body
    if call.status == "ok":
        image = decode(picture_bytes(call.response), _MAX_PIXELS)
        cause = painted.broken(np.asarray(image))
        return Painting(image, cause is not None, cause)
    if call.status == "rejected":
        return Painting(Image.new("RGB", _BLANK), rejected=True, cause="safety")
    return Failure(call.status, call.error)


def _wire(body: JsonObject) -> Body:
    """A request as it is sent."""
    unsent = ("index", "send_seed") if body["send_seed"] else ("index", "send_seed", "seed")
    return {name: value for name, value in body.items() if name not in unsent}


def _require_picture(result: Painting | Failure) -> Painting:
    """The picture; raises `StudyError` where there is a failure in its place."""
    if isinstance(result, Failure):
        raise StudyError(f"a picture was not painted ({result.status}): {result.reason}")
    return result
