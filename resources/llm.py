"""Calls to a language model: their records, budget, key, server and dialogues, by module."""

from resources.llm_budget import Budget, Spending
from resources.llm_calls import CallLedger, MemoryLedger, StoredCall, request_hash
from resources.llm_converse import Dialogue, Server, converse
from resources.llm_key import check_base_url, read_key, without_key
from resources.llm_server import LARGEST_RESPONSE, ChatServer

__all__ = [
    "LARGEST_RESPONSE",
    "Budget",
    "CallLedger",
    "ChatServer",
    "Dialogue",
    "MemoryLedger",
    "Server",
    "Spending",
    "StoredCall",
    "check_base_url",
    "converse",
    "read_key",
    "request_hash",
    "without_key",
]
