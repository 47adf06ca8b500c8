"""Tests of `dnd_assets/engine/workers`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "account": "engine/workers/test_handing_out.py",
    "at_work": "engine/workers/test_handing_out.py",
    "begin": "engine/workers/test_pools.py",
    "ray_executor": "engine/workers/test_pools.py",
    "told_lineage": "engine/workers/test_handing_out.py",
}
"""Where modules without a test file of their name are tested."""
