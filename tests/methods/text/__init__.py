"""Tests of `dnd_assets/methods/text`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "answer_text": "methods/text/test_caption_text.py",
    "refusals": "methods/text/test_caption_text.py",
    "spaceless": "methods/dissection/test_candidate_concepts.py",
    "words": "methods/text/test_caption_text.py",
}
"""Where modules without a test file of their name are tested."""
