"""Tests of `resources/own_code`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "closure": "resources/own_code/test_own_networks.py",
    "notes": "resources/own_code/test_own_networks.py",
    "own_function": "resources/own_code/test_own_networks.py",
    "own_places": "resources/own_code/test_own_networks.py",
    "watch": "resources/own_code/test_own_networks.py",
}
"""Where modules without a test file of their name are tested."""
