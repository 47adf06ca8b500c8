"""Tests of the project.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "errors": "test_package.py",
    "home": "workflow/test_event_log.py",
}
"""Where modules without a test file of their name are tested."""
