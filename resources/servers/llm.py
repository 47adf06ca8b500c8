"""Calls to a language model: their records, budget, key, server and dialogues, by module."""

from resources.servers.budget import Budget, Spending
from resources.servers.calls import CallLedger, MemoryLedger, StoredCall, request_hash
from resources.servers.chat_server import LARGEST_RESPONSE, ChatServer
from resources.servers.conversations import Dialogue, Server, converse
from resources.servers.keys import check_base_url, read_key, without_key

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
