"""Settings of models that run at an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dnd_assets.settings import Kind, Money, Positive

_LeftOut = BeforeValidator(lambda value: None if value == "none" else value)
"""Of an option of a request to a server: "none" leaves it out."""
Temperature = Annotated[Annotated[float, Field(ge=0.0, le=2.0)] | None, _LeftOut]
TopP = Annotated[Annotated[float, Field(gt=0.0, le=1.0)] | None, _LeftOut]

_BUDGET: Final = "a budget: a call that it stops is no result"
_RECKONED: Final = "what a budget is reckoned with"
SERVER_NO_RESULT: Final[Mapping[str, str]] = {
    "api_key_env": "where the key is found, not what is answered",
    "timeout_s": "how long a server may take; what comes too late is a failure, asked for again",
    "max_retries": "how often a failed call is repeated; a failure is no result",
    "max_concurrency": "calls at one time; no answer depends on another",
    "max_cost": _BUDGET,
    "allow_insecure_http": "lets a call be made, or not",
}
CHAT_NO_RESULT: Final[Mapping[str, str]] = {
    **SERVER_NO_RESULT,
    "max_tokens": _BUDGET,
    "price_prompt": _RECKONED,
    "price_completion": _RECKONED,
}


class ServerSettings(Kind):
    """Where a server is, and what it may cost.

    Attributes:
        PRICES: what has to be known of the server's prices where `max_cost` is set.
        base_url: address of the API.
        model: name of the model at that server.
        api_key_env: environment variable that holds the key, read when a call is made and stored
            nowhere.
        timeout_s: seconds that one attempt may take.
        max_retries: further attempts after a failure that may pass.
        max_concurrency: calls under way at a time, at most.
        max_cost: money that may be spent; a run stops before the call that would exceed it.
        allow_insecure_http: whether key and content may go to another machine in the clear.
    """

    NO_RESULT: ClassVar[Mapping[str, str]] = SERVER_NO_RESULT
    PRICES: ClassVar[tuple[str, ...]] = ()
    base_url: str = "https://api.openai.com/v1"
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    max_concurrency: Positive = 4
    max_cost: Money | None = None
    allow_insecure_http: bool = False

    @model_validator(mode="after")
    def _prices_known(self) -> Self:
        missing = [name for name in self.PRICES if getattr(self, name) is None]
        if self.max_cost is not None and missing:
            names = " and ".join(missing)
            raise ValueError(f"max_cost needs {names} too, as your server charges them")
        return self


class ChatServerSettings(ServerSettings):
    """A language model behind a server; what a server refuses of a request is left out or renamed.

    A run stops before the call that would exceed `max_tokens`, or `max_cost` by the prices of a
    million tokens that the study names.

    Attributes:
        api: `chat` for `/chat/completions`, `responses` for OpenAI's `/responses`.
        temperature: sampling temperature; "none" leaves it to the server.
        top_p: share of the likeliest tokens that are drawn from; left to the server unless given.
        send_seed: whether a seed is sent.
        send_limit: whether a token limit is sent.
        reasoning_effort: how much a reasoning model thinks, as the server names it.
        extra: further options of a request, sent as they are.
        max_tokens: tokens that a run may use, pictures included.
        price_prompt: price of a million tokens of prompts.
        price_completion: price of a million tokens of answers.
    """

    NO_RESULT: ClassVar[Mapping[str, str]] = CHAT_NO_RESULT
    PRICES: ClassVar[tuple[str, ...]] = ("price_prompt", "price_completion")
    model: str = "gpt-5.4-mini"
    api: Literal["chat", "responses"] = "chat"
    temperature: Temperature = None
    top_p: TopP = None
    send_seed: bool = True
    send_limit: bool = True
    reasoning_effort: str | None = None
    extra: dict[str, Any] = Field(default={})
    max_tokens: Positive | None = None
    price_prompt: Money | None = None
    price_completion: Money | None = None
