"""Tests of `dnd_assets/methods/image_labels`."""

ELSEWHERE = {"settings": "assets/test_image_level_labels.py"}
"""Where modules without a test file of their name are tested."""
