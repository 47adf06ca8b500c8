"""A language model behind any OpenAI-compatible server."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from resources.summarisers.settings import SummariserSettings

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.summarisers.base import Summariser


class ChatSummariserSettings(SummariserSettings):
    """A language model that shortens captions and says what most of them share."""

    SERVED: ClassVar[bool] = True
    kind: Literal["chat"] = "chat"

    def build(self, context: BuildContext) -> Summariser:
        """The server; nobody is called yet."""
        from resources.summarisers.base import ChatSummariser

        return ChatSummariser(**self.options)
