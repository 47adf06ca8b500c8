"""Tests of `dnd_assets/known_answers/hard`."""

ELSEWHERE = {
    "captions": "known_answers/hard/test_scenes.py",
    "planted": "known_answers/hard/test_network.py",
}
"""Where modules without a test file of their name are tested."""
