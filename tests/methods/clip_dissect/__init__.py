"""Tests of `dnd_assets/methods/clip_dissect`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "arguments": "methods/clip_dissect/test_similarity.py",
    "best_concepts": "methods/clip_dissect/test_similarity.py",
    "concept_activation_matrix": "methods/clip_dissect/test_labelling.py",
}
"""Where modules without a test file of their name are tested."""
