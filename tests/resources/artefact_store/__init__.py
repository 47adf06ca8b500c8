"""Tests of `resources/lineage_db`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "index": "resources/lineage_db/test_database.py",
}
"""Where modules without a test file of their name are tested."""
