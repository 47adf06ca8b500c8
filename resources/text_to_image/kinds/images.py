"""Any OpenAI-compatible server that makes pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from dnd_assets.settings import Money, Positive
from resources.servers.settings import SERVER_NO_RESULT, ServerSettings
from resources.text_to_image.settings import PAPER_PROMPT, PaintPrompt, TextToImageSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.text_to_image.base import TextToImage


class ImagesSettings(ServerSettings, TextToImageSettings):
    """A server that speaks the OpenAI images API.

    Attributes:
        prompt: what is painted of a concept, with `{concept}`.
        size: of a picture in pixels, as the server writes it (`1024x1024`); None does not say.
        quality: as the server names it; None does not say.
        response_format: how the server is asked to send pictures; `auto` asks all models but
            OpenAI's GPT image models, which refuse to be asked; empty asks none.
        send_seed: whether the server takes a seed. Without, pictures differ by themselves.
        max_pictures: pictures that may be paid for; a run stops before the next one.
        price_per_picture: what `max_cost` is reckoned with.
    """

    SERVED: ClassVar[bool] = True
    NO_RESULT: ClassVar[Mapping[str, str]] = {
        **SERVER_NO_RESULT,
        "response_format": "how a picture is sent; it is the same picture",
        "max_pictures": "a budget: a call that it stops is no result",
        "price_per_picture": "what a budget is reckoned with",
    }
    PRICES: ClassVar[tuple[str, ...]] = ("price_per_picture",)
    kind: Literal["images"] = "images"
    model: str = "gpt-image-1-mini"
    timeout_s: Annotated[float, Field(gt=0)] = 180.0
    prompt: PaintPrompt = PAPER_PROMPT
    size: str | None = None
    quality: str | None = None
    response_format: Literal["auto", "b64_json", ""] = "auto"
    send_seed: bool = False
    max_pictures: Positive | None = None
    price_per_picture: Money | None = None

    def build(self, context: BuildContext) -> TextToImage:
        """The server; nobody is called yet."""
        from resources.text_to_image.image_server import ServedTextToImage

        return ServedTextToImage(**self.options)
