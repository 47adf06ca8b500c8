"""Tests of `resources/servers`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "addresses": "resources/servers/test_conversations.py",
    "answers": "resources/captioners/test_base.py",
    "budget": "resources/servers/test_conversations.py",
    "calls": "resources/servers/test_behaviours.py",
    "chat_server": "resources/servers/test_conversations.py",
    "server_errors": "resources/servers/test_conversations.py",
    "keys": "resources/servers/test_conversations.py",
    "lineage_ledger": "resources/lineage_db/test_database.py",
    "messages": "resources/servers/test_behaviours.py",
    "options": "resources/servers/test_conversations.py",
    "responses": "resources/servers/test_conversations.py",
    "served": "resources/captioners/test_base.py",
}
"""Where modules without a test file of their name are tested."""
