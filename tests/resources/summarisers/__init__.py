"""Tests of `resources/summarisers`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "kinds.consensus": "study/test_settings.py",
    "kinds.none": "study/test_settings.py",
}
"""Where modules without a test file of their name are tested."""
