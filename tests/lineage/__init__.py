"""Tests of `dnd_assets/lineage`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "code_limits": "lineage/test_code.py",
    "code_modules": "lineage/test_code.py",
    "code_names": "lineage/test_code.py",
    "explain": "assets/test_clip_dissect_labels.py",
    "remarks": "integration/test_firing.py",
    "rows": "lineage/test_trace.py",
}
"""Where modules without a test file of their name are tested."""
