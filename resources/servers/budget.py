"""What calls to a language model may use: tokens and money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from dnd_assets.lineage.fingerprint import canonical
from resources.servers.calls import StoredCall
from resources.servers.messages import JsonObject

_WITHOUT_LIMIT: Final = 4_096
"""Tokens that an answer without a limit is taken to have, by estimate."""


class Spending(Protocol):
    """What calls may use. Asked from one thread at a time, before and after each call."""

    def fits(self, body: JsonObject) -> bool:
        """Whether a call can be made, even if all those under way use their whole share."""
        ...

    def reserve(self, body: JsonObject) -> None:
        """Put aside what a call may use at most."""
        ...

    def cost(self, call: StoredCall) -> float | None:
        """What a call that has ended cost; None when no price is known."""
        ...

    def settle(self, body: JsonObject, call: StoredCall) -> None:
        """Count a call that has ended in place of what was put aside for it."""
        ...

    def refusal(self, body: JsonObject) -> str:
        """Why a call does not fit, and which setting to raise."""
        ...

    def close(self) -> None:
        """Count calls that were under way when the work was left."""
        ...


@dataclass
class Budget:
    """Tokens and money that may be used, prompt and completion together.

    A call's size is estimated before it is made: a token for every three bytes of the request,
    `picture_tokens` for each picture in it, and its token limit for the answer. Once it has ended
    the server's count replaces the estimate.

    Attributes:
        limit: tokens that may be used; None for no limit.
        used: tokens of the calls that have ended.
        reserved: estimates of the calls under way.
        max_cost: money that may be used, in the currency of the prices; None for no limit.
        price_prompt: price of a million tokens read by the model; None when it is not known.
        price_completion: price of a million tokens written by the model; None likewise.
        picture_tokens: tokens of a picture in a request, by estimate.
        section: the section of the study whose settings these are.
        spent: money for the calls that have ended.
        pledged: money for the calls under way, by estimate.
    """

    limit: int | None = None
    used: int = 0
    reserved: int = 0
    max_cost: float | None = None
    price_prompt: float | None = None
    price_completion: float | None = None
    picture_tokens: int = 0
    section: str = "summariser"
    spent: float = 0.0
    pledged: float = 0.0

    def estimate(self, body: JsonObject) -> int:
        """Tokens that a request may use at most, by estimate."""
        return sum(self._sizes(body))

    def fits(self, body: JsonObject) -> bool:
        """Whether a call can be made, even if all those under way use their whole share."""
        tokens, cost = self.used + self.reserved + self.estimate(body), self._highest_price(body)
        return (self.limit is None or tokens <= self.limit) and (
            self.max_cost is None or self.spent + self.pledged + cost <= self.max_cost
        )

    def reserve(self, body: JsonObject) -> None:
        """Put aside what a call may use at most."""
        self.reserved += self.estimate(body)
        self.pledged += self._highest_price(body)

    def cost(self, call: StoredCall) -> float | None:
        """Price of the tokens of a call that has ended; None without prices."""
        if self.price_prompt is None or self.price_completion is None:
            return None
        if call.status != "ok":
            return None  # servers differ in what they charge for failures
        if not call.prompt_tokens + call.completion_tokens:  # a server that does not count
            return self._highest_price(call.body)
        return self._price(call.prompt_tokens, call.completion_tokens)

    def settle(self, body: JsonObject, call: StoredCall) -> None:
        """Count a call that has ended; a server that does not count is taken at the estimate."""
        estimated = self.estimate(body)
        counted = call.prompt_tokens + call.completion_tokens
        self.reserved -= estimated
        self.used += counted or (estimated if call.status == "ok" else 0)
        self.pledged -= self._highest_price(body)
        self.spent += self.cost(call) or 0.0

    def refusal(self, body: JsonObject) -> str:
        """Why a call does not fit, and which setting to raise."""
        tokens = self.estimate(body)
        if self.limit is not None and self.used + tokens > self.limit:
            name, amounts = (
                "max_tokens",
                f"take {tokens:,} tokens, and {self.used:,} of {self.limit:,}",
            )
        else:
            name, limit = "max_cost", self.max_cost or 0.0
            amounts = f"cost {self._highest_price(body):.6f}, and {self.spent:.6f} of {limit:.6f}"
        return (
            f"the next call may {amounts} are used. Raise {self.section}.{name} and run again; "
            "answers so far are kept."
        )

    def close(self) -> None:
        """Count calls that were under way when the work was left at their estimates."""
        self.used, self.reserved = self.used + self.reserved, 0
        self.spent, self.pledged = self.spent + self.pledged, 0.0

    def _sizes(self, body: JsonObject) -> tuple[int, int]:
        """Tokens read and written at most, by estimate."""
        text = -(-len(canonical(dict(body)).encode()) // 3)
        return text + self.picture_tokens * _pictures_in(body), int(
            body.get("max_tokens", _WITHOUT_LIMIT)
        )

    def _highest_price(self, body: JsonObject) -> float:
        return self._price(*self._sizes(body))

    def _price(self, prompt: int, completion: int) -> float:
        return (
            prompt * (self.price_prompt or 0.0) + completion * (self.price_completion or 0.0)
        ) / 1e6


def _pictures_in(body: JsonObject) -> int:
    """Pictures that a request shows to the model."""
    messages = [message for message in body.get("messages", ()) if isinstance(message, Mapping)]
    contents = [message["content"] for message in messages if isinstance(message["content"], list)]
    return sum(part["type"] == "image_url" for parts in contents for part in parts)
