"""Tests of `dnd_assets/results/unit_card`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "building": "results/unit_card/test_card_reader.py",
    "card": "results/test_notebook.py",
    "html": "results/test_notebook.py",
    "unit_records": "results/unit_card/test_card_reader.py",
}
"""Where modules without a test file of their name are tested."""
