"""Tests of `resources/captioners`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "land_cover_settings": "integration/test_land_cover.py",
    "custom": "assets/test_detection_scores.py",
    "kinds.blip": "study/test_settings.py",
    "kinds.blip2": "resources/captioners/test_vlm.py",
    "kinds.own": "integration/test_own_code.py",
    "language_model": "resources/captioners/test_likelihood.py",
    "teacher_forcing": "resources/captioners/test_likelihood.py",
}
"""Where modules without a test file of their name are tested."""
