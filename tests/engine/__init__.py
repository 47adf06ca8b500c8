"""Tests of `dnd_assets/engine`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "listed": "workflow/test_doctor.py",
    "stage_plan": "engine/test_plan.py",
    "batch_sizes": "resources/runtime/test_batch_size.py",
    "context": "engine/test_plan.py",
    "context_builder": "integration/test_made_once.py",
    "gc": "assets/test_clip_dissect_labels.py",
    "materialize": "engine/test_stage.py",
    "models": "integration/test_inputs.py",
    "network_inputs": "integration/test_inputs.py",
    "recording": "analysis/test_metric_means.py",
    "resolve": "engine/test_stage.py",
    "stage_versions": "integration/test_whole_products.py",
    "verify": "assets/test_clip_dissect_labels.py",
}
"""Where modules without a test file of their name are tested."""
