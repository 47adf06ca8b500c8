"""Tests of `resources`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "licences": "workflow/test_doctor.py",
    "model": "resources/captioners/test_chat.py",
}
"""Where modules without a test file of their name are tested."""
