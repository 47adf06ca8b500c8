"""Tests of `dnd_assets/known_answers/hard`."""

ELSEWHERE = {
    "hard_captions": "known_answers/hard/test_hard_scenes.py",
    "planted": "known_answers/hard/test_hard_network.py",
}
"""Where modules without a test file of their name are tested."""
