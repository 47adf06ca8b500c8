"""The site of the documentation: every page is in it. `make docs` builds it, links and all."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAV = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
HOOKS = (ROOT / ".ci" / "docs_hooks.py").read_text()


def table(name):
    """A table that the hooks are written with."""
    for node in ast.parse(HOOKS).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(name)


def test_every_page_is_in_the_navigation_once_and_nothing_else():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    made = {*table("ELSEWHERE").values(), "reference/commands.md"}
    made |= {f"reference/{name}.md" for name in table("REFERENCE")}
    assert sorted(NAV) == sorted(pages | made)


def test_what_lies_elsewhere_and_what_is_referred_to_is_there():
    for source in table("ELSEWHERE"):
        assert (ROOT / source).is_file()
    for _, wanted in table("REFERENCE").values():
        for pattern in wanted:
            place = pattern.removeprefix("!").replace(".", "/")
            assert [*ROOT.glob(place), *ROOT.glob(f"{place}.py")], pattern


def test_ci_builds_it():
    assert "\nmake docs\n" in (ROOT / ".ci" / "run").read_text()
