"""Tests of `dnd_assets/results/export`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "dataset_card": "results/export/test_export.py",
    "formats": "results/export/test_export.py",
}
"""Where modules without a test file of their name are tested."""
