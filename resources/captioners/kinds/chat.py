"""Vision models behind any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from dnd_assets.settings import Positive
from resources.captioners.settings import CaptionerSettings
from resources.servers.settings import CHAT_NO_RESULT, ChatServerSettings, Temperature

if TYPE_CHECKING:
    from resources.captioners.base import Captioner
    from resources.runtime.build_context import BuildContext


class ChatCaptionerSettings(ChatServerSettings, CaptionerSettings):
    """A server that sees pictures.

    Attributes:
        prompt: what is asked of each picture; None asks for one short factual sentence.
        max_new_tokens: token limit of an answer.
        detail: how closely the server looks at a picture (`low`, `high`); None does not say.
        max_side: pictures are sent with this many pixels at most along the longer side.
        picture_tokens: tokens of a picture, by estimate, before the server has counted them.
    """

    SERVED: ClassVar[bool] = True
    NO_RESULT: ClassVar[Mapping[str, str]] = {
        **CHAT_NO_RESULT,
        "picture_tokens": "what a budget is reckoned with before a server has counted",
    }
    kind: Literal["chat"] = "chat"
    temperature: Temperature = 0.0
    prompt: str | None = None
    max_new_tokens: Positive = 32
    detail: Literal["low", "high", "auto"] | None = None
    max_side: Positive = 768
    picture_tokens: Positive = 1_500

    def build(self, context: BuildContext) -> Captioner:
        """The server; nobody is called yet."""
        from resources.captioners.chat import ChatCaptioner

        return ChatCaptioner(**self.options)
