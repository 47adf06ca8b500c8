"""Tests of `resources/encoders`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {"open_clip_towers": "resources/encoders/test_open_clip.py"}
"""Where modules without a test file of their name are tested."""
