"""Tests of `dnd_assets/workflow`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "doctor_report": "workflow/test_doctor.py",
    "due": "workflow/test_definitions.py",
    "live_checks": "integration/test_failed_services.py",
    "asset_checks": "integration/test_failed_services.py",
    "atlas_address": "cli/test_web_interface.py",
    "dead_runs": "workflow/test_owner.py",
    "event_batches": "workflow/test_event_log.py",
    "freshness": "workflow/test_definitions.py",
    "guard": "cli/test_web_interface.py",
    "init_layers": "workflow/test_init.py",
    "init_text": "workflow/test_init.py",
    "launcher": "integration/test_crash.py",
    "metadata": "assets/test_detection_scores.py",
    "preflight": "engine/test_plan.py",
    "run": "workflow/test_definitions.py",
    "run_executor": "workflow/test_definitions.py",
    "external_sources": "workflow/test_definitions.py",
    "unit_asset": "workflow/test_definitions.py",
}
"""Where modules without a test file of their name are tested."""
