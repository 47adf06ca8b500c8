"""Tests of `dnd_assets/methods`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "lazy": "test_package.py",
    "nearest_texts": "assets/test_named_directions_labels.py",
    "ordering": "methods/clip_dissect/test_concept_pairs.py",
}
"""Where modules without a test file of their name are tested."""
