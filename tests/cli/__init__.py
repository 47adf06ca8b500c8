"""Tests of `dnd_assets/cli`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "ablate": "assets/test_ablation_effects.py",
    "common_options": "cli/test_app.py",
    "import_ratings": "analysis/test_atlas_ratings.py",
    "query": "integration/test_command_line.py",
    "readiness": "cli/test_web_interface.py",
    "results": "assets/test_detection_scores.py",
    "run": "integration/test_command_line.py",
    "setup": "integration/test_layer_declarations.py",
}
"""Where modules without a test file of their name are tested."""
