"""Tests of `dnd_assets/known_answers/land_cover`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "cover": "known_answers/land_cover/test_land_scenes.py",
    "triplets": "known_answers/land_cover/test_land_scenes.py",
}
"""Where modules without a test file of their name are tested."""
