"""What models behind an OpenAI-compatible server have in common: address, key, limits, calls."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import ClassVar, TypeVar

from resources.llm import (
    CallLedger,
    ChatServer,
    Dialogue,
    Spending,
    check_base_url,
    converse,
    read_key,
)
from resources.model import Model

T = TypeVar("T")


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

    def _held(
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
        talk = converse(dialogues, server, ledger, budget, self.max_concurrency)
        with closing(server), closing(talk) as ended:
            try:
                yield from ended
            finally:
                budget.close()
