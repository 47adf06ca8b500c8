"""What models behind an OpenAI-compatible server have in common: address, key, limits, calls."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, ClassVar, TypeVar

from pydantic import Field, PrivateAttr

from dnd_assets.errors import StudyError
from resources.model import Model
from resources.servers.budget import Budget, Spending
from resources.servers.calls import CallLedger
from resources.servers.chat_server import ChatServer
from resources.servers.conversations import Dialogue, converse
from resources.servers.keys import check_base_url, read_key
from resources.servers.messages import Body, JsonObject
from resources.servers.options import KEPT_ONLY, Memory

T = TypeVar("T")
_OWN = KEPT_ONLY | {
    "model", "messages", "input", "stream", "seed", "max_tokens", "max_completion_tokens",
    "max_output_tokens", "temperature", "top_p", "response_format", "text", "reasoning_effort",
    "reasoning", "n", "tools", "user", "store",
}  # fmt: skip
"""Options that have settings of their own, or that would change what an answer is."""


class Served(Model):
    """Base of models that run at a server.

    Attributes:
        SECTION: the study's section that names the model, for messages.
        base_url: address of the API. Plain http is for this machine only, unless allowed.
        model: name of the model at that server.
        api_key_env: environment variable that holds the key, read when a call is made and stored
            nowhere; empty for a server that needs none.
        timeout_s: seconds that one attempt may take to connect, to answer, and to send its body.
        max_retries: further attempts after a failure that may pass, with growing pauses.
        max_concurrency: calls under way at a time, at most.
        max_cost: money that this resource may use in its life; None for no limit.
        allow_insecure_http: whether key and content may go to another machine in the clear.
    """

    SECTION: ClassVar[str]
    base_url: str = "https://api.openai.com/v1"
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = 60.0
    max_retries: int = 2
    max_concurrency: int = 4
    max_cost: float | None = None
    allow_insecure_http: bool = False
    _memory: Memory = PrivateAttr(default_factory=Memory)

    def title(self) -> str:
        """Model and server."""
        return f"{self.model} at {self.base_url}"

    def check(self) -> None:
        """Look at the address and for the key, without calling the server.

        Raises:
            StudyError: naming the setting or the environment variable, never the key.
        """
        check_base_url(self.base_url, self.allow_insecure_http, self.SECTION)
        read_key(self.api_key_env, self.SECTION)

    def _converse(
        self,
        dialogues: Sequence[Dialogue[T]],
        server: ChatServer,
        ledger: CallLedger,
        budget: Spending,
    ) -> Generator[tuple[int, T], None, None]:
        """Hold dialogues with the server, see `converse`; to be closed when it is left early.

        Raises:
            StudyError: when the settings allow no call at all.
        """
        check_base_url(self.base_url, self.allow_insecure_http, self.SECTION)
        conversation = converse(dialogues, server, ledger, budget, self.max_concurrency)
        with closing(server), closing(conversation) as results:
            try:
                yield from results
            finally:
                budget.close()


class ServedChat(Served):
    """Base of models that are asked in a chat.

    Options that the server refuses are left out or renamed for as long as this resource lives; see
    `resources.servers.options`.

    Attributes:
        api: `chat` for `/chat/completions`, `responses` for OpenAI's `/responses`.
        temperature: sampling temperature; None leaves it to the server.
        top_p: share of the likeliest tokens that are drawn from; None leaves it to the server.
        send_seed: whether a seed is sent.
        send_limit: whether a token limit is sent.
        reasoning_effort: how much a reasoning model thinks, as the server names it; None does not
            say.
        extra: further options of a request, sent as they are.
        max_tokens: tokens that this resource may use in its life, prompts and answers; replayed
            calls use none. None for no limit.
        price_prompt: price of a million tokens of prompts at that server, pictures included.
        price_completion: price of a million tokens of answers.
    """

    model: str = "gpt-5.4-mini"
    api: str = "chat"
    temperature: float | None = None
    top_p: float | None = None
    send_seed: bool = True
    send_limit: bool = True
    reasoning_effort: str | None = None
    extra: dict[str, Any] = Field(default={})
    max_tokens: int | None = None
    price_prompt: float | None = None
    price_completion: float | None = None
    _budget: Budget | None = PrivateAttr(default=None)

    def check(self) -> None:
        """Look at the address, the key and the options, without calling the server.

        Raises:
            StudyError: naming the setting or the environment variable, never the key.
        """
        super().check()
        reserved = sorted(_OWN & self.extra.keys())
        if reserved:
            raise StudyError(
                f"{self.SECTION}.extra holds {reserved[0]!r}, which has a setting of its own or "
                "may not be changed. Take it out."
            )

    def _asked(self, seed: int, limit: int) -> Body:
        """A request without its messages, as it is kept."""
        options = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": seed % 2**31 if self.send_seed else None,  # what servers commonly take
            "max_tokens": limit if self.send_limit else None,
            "reasoning_effort": self.reasoning_effort,
            "api": None if self.api == "chat" else self.api,
            "extra": dict(self.extra) or None,
        }
        chosen = {name: value for name, value in options.items() if value is not None}
        return {"base_url": self.base_url.rstrip("/"), "model": self.model, **chosen}

    def _options(self) -> Body:
        """The options that may change an answer, for the fingerprint."""
        options = self._asked(0, 1)
        relevant = {
            name: value for name, value in options.items() if name not in ("seed", "max_tokens")
        }
        return relevant | {"send_seed": self.send_seed, "send_limit": self.send_limit}

    def _server(self, wire: Callable[[JsonObject], JsonObject] = dict) -> ChatServer:
        """The server, which remembers what it refused."""
        return ChatServer(
            self.base_url,
            self.api_key_env,
            self.timeout_s,
            self.max_retries,
            self.SECTION,
            wire,
            self._memory,
        )

    def _spending(self, picture_tokens: int = 0) -> Budget:
        """The budget of all calls of this resource, made for the first of them."""
        if self._budget is None:
            self._budget = Budget(
                self.max_tokens,
                max_cost=self.max_cost,
                price_prompt=self.price_prompt,
                price_completion=self.price_completion,
                picture_tokens=picture_tokens,
                section=self.SECTION,
            )
        return self._budget
