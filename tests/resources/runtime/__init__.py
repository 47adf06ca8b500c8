"""Tests of `resources/runtime`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "build_context": "resources/captioners/test_chat.py",
    "memory": "engine/test_stage_cost.py",
    "resource": "workflow/test_dagster_resources.py",
}
"""Where modules without a test file of their name are tested."""
