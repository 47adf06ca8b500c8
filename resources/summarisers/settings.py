"""What the settings of all summarisers have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dnd_assets.settings import Positive
from resources.servers.settings import ChatServerSettings, Temperature

if TYPE_CHECKING:
    from resources.runtime.build_context import BuildContext
    from resources.summarisers.base import Summariser


class SummariserSettings(ChatServerSettings):
    """What turns captions into candidate concepts (paper: GPT-3.5 Turbo, temperature 0.3).

    A study may hold the options of a language model while another kind is chosen: one line turns
    from one to the other.

    Attributes:
        max_new_tokens: token limit of an answer, reasoning included; None takes what short answers
            need.
        response_format: how JSON is asked for first; a server that refuses is asked less strictly.
        prompt: what is asked for a label, in place of the paper's words; how to answer is added.
        shorten_prompt: what is asked for captions in short, likewise.
        domain: words on what the pictures are, said before both: "Satellite pictures of land use."
    """

    temperature: Temperature = 0.3
    max_new_tokens: Positive | None = None
    response_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    prompt: str | None = Field(default=None, min_length=1)
    shorten_prompt: str | None = Field(default=None, min_length=1)
    domain: str | None = Field(default=None, min_length=1)

    def build(self, context: BuildContext) -> Summariser:
        """The summariser of these settings, nothing loaded yet."""
        raise NotImplementedError
