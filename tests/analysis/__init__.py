"""Tests of `dnd_assets/analysis`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "clarity": "analysis/test_image_query.py",
    "clarity_view": "analysis/test_image_query.py",
    "class_prediction": "analysis/test_metric_means.py",
    "compare_request": "analysis/test_compare.py",
    "group_ablation": "assets/test_ablation_effects.py",
    "kept_scoreboard": "analysis/test_compare.py",
    "label_grouping": "methods/test_label_groups.py",
    "latent_frequencies": "known_answers/test_planted_dictionary.py",
    "metric_theory": "analysis/test_evaluate.py",
    "scoreboard": "analysis/test_compare.py",
    "search": "analysis/test_image_query.py",
    "unit_vectors": "analysis/test_image_query.py",
}
"""Where modules without a test file of their name are tested."""
