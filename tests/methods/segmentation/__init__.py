"""Tests of `dnd_assets/methods/segmentation`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "overlay": "methods/segmentation/test_input_region.py",
}
"""Where modules without a test file of their name are tested."""
