"""Tests of `dnd_assets/report`.

Modules of `ELSEWHERE` are parts of one concept, and tested with it.
"""

ELSEWHERE = {
    "asset": "cli/test_web_interface.py",
    "changes": "report/test_build.py",
    "class_names": "report/test_pages.py",
    "comparison": "report/test_build.py",
    "entries": "report/test_build.py",
    "overview": "report/test_build.py",
    "pictures": "report/test_build.py",
    "sources_page": "report/test_pages.py",
    "thumbnails": "report/test_build.py",
    "unit_data": "report/test_pages.py",
}
"""Where modules without a test file of their name are tested."""
