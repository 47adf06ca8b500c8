"""Tests of `dnd_assets/methods/dissection`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "detection_examples": "assets/test_detection_scores.py",
    "painted": "integration/test_broken_pictures.py",
}
"""Where modules without a test file of their name are tested."""
