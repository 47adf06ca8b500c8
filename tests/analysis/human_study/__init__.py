"""Tests of `dnd_assets/analysis/human_study`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "rating_files": "analysis/human_study/test_ratings.py",
    "forms": "analysis/human_study/test_questionnaire.py",
    "tasks": "analysis/test_evaluate.py",
}
"""Where modules without a test file of their name are tested."""
