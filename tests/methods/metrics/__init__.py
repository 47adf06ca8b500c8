"""Tests of `dnd_assets/methods/metrics`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "active_sets": "methods/metrics/test_image_level.py",
    "association": "methods/metrics/test_image_level.py",
    "means": "analysis/test_compare.py",
    "rankings": "methods/metrics/test_image_level.py",
}
"""Where modules without a test file of their name are tested."""
