"""Figures of how the code is built: rooms, floors, sizes, names, types. Run it with `make house`.

Each figure has a bar or none. `tests/benchmarks/test_house.py` holds those that are met, so that
none of them is lost again in silence.
"""

from __future__ import annotations

import ast
import statistics
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("dnd_assets", "resources")
_GENERIC = frozenset({"__init__", "base", "settings", "__main__"})
"""Module names that mean the same in each folder."""
_ONE_THING = {
    **dict.fromkeys(("definitions", "evaluate", "merge", "run", "stage"),
                    "the command or the old address of what the other does"),
    **dict.fromkeys(("chat", "concepts", "conse", "hard_world", "images", "land_cover", "open_clip",
                     "retrieval", "vlm", "world"),
                    "a kind of model: its settings, its class, and what it reads or draws"),
    **dict.fromkeys(("target", "tile2vec"), "a network, and how it is trained"),
    **dict.fromkeys(("heads", "heat_maps", "labels", "reader", "registry", "scenes"),
                    "the same thing on another floor"),
}  # fmt: skip
"""Module names that stand in several folders for the same thing, and why.

A product's asset and what readers are told of it bear the product's name, too.
"""
_PRODUCTS = {"dnd_assets/assets", "dnd_assets/results/products", "dnd_assets/methods/dissection"}


@dataclass(frozen=True)
class Figure:
    """A figure of the code.

    Attributes:
        name: what is counted.
        value: what came out.
        bar: the most that it should be; None where there is none.
        told: the worst cases, for people.
    """

    name: str
    value: float
    bar: float | None
    told: str = ""

    @property
    def met(self) -> bool:
        """Whether it is no more than its bar."""
        return self.bar is None or self.value <= self.bar

    def __str__(self) -> str:
        mark = " " if self.bar is None else "ok" if self.met else "OVER"
        bar = "" if self.bar is None else f"of at most {self.bar:g}"
        return (
            f"{mark:4} {self.value:9g} {bar:15} {self.name}{f': {self.told}' if self.told else ''}"
        )


@dataclass(frozen=True)
class _Function:
    where: str
    lines: int


def figures(root: Path = ROOT) -> list[Figure]:
    """All figures of the project in a folder."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in _modules(root)}
    return [
        *(_entries(root, room, bar) for room, bar in zip(ROOMS, (20, 15), strict=True)),
        *_floors(root),
        _long_modules(root),
        *_functions(root, trees),
        _modules_of_one_name(root),
        _classes_of_one_name(root, trees),
        _any(trees),
        _without_tests(root),
    ]


def main() -> int:
    """Print all figures; 1 when any is over its bar."""
    found = figures()
    sys.stdout.write("\n".join(str(one) for one in found) + "\n")
    return int(not all(one.met for one in found))


def _modules(root: Path) -> list[Path]:
    return sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))


def _short(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


_NO_ENTRIES = frozenset({"__pycache__", "py.typed"})


def _entries(root: Path, room: str, bar: int) -> Figure:
    entries = [one for one in (root / room).iterdir() if one.name not in _NO_ENTRIES]
    return Figure(f"entries at the top of {room}/", len(entries), bar)


def _floors(root: Path) -> Iterator[Figure]:
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    named = [name.strip() for line in layers for name in line.split("|")]
    files = [name for name in named if (root / name.replace(".", "/")).with_suffix(".py").is_file()]
    inside = [name for name in files if name.count(".") > 1]
    yield Figure("floors of the import contract", len(layers), 13)
    yield Figure("modules inside a room that the contract names", len(inside), 0, _short(inside))


def _long_modules(root: Path) -> Figure:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _modules(root)}
    long = sorted((path for path in lines if lines[path] > 500), key=lambda path: -lines[path])
    told = [f"{path.relative_to(root)} {lines[path]}" for path in long]
    return Figure("modules of over 500 lines", len(long), 0, _short(told))


def _functions(root: Path, trees: dict[Path, ast.Module]) -> Iterator[Figure]:
    """Lines of functions, without decorators and docstrings."""
    found = [
        _Function(f"{path.relative_to(root)}:{node.name}", _body_lines(node))
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = sorted(one.lines for one in found)
    longest = sorted(found, key=lambda one: -one.lines)[:4]
    yield Figure("lines of a function, median", statistics.median(lines), 10)
    yield Figure("lines of a function, nine of ten", lines[int(len(lines) * 0.9)], 25)
    told = [f"{one.where} {one.lines}" for one in longest]
    yield Figure("lines of the longest function", lines[-1], 50, _short(told))


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    told = docstring.end_lineno - docstring.lineno + 1 if docstring and docstring.end_lineno else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - told


def _modules_of_one_name(root: Path) -> Figure:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in _modules(root):
        if path.stem not in _GENERIC:
            places[path.stem].append(str(path.relative_to(root).parent))
    twice = sorted(
        f"{name} ({' and '.join(some)})"
        for name, some in places.items()
        if some[1:] and name not in _ONE_THING and not set(some) <= _PRODUCTS
    )
    return Figure("module names that mean different things", len(twice), 0, _short(twice))


def _classes_of_one_name(root: Path, trees: dict[Path, ast.Module]) -> Figure:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(root)))
    twice = sorted(name for name, some in places.items() if some[1:] and not name.startswith("_"))
    return Figure("public class names used for two things", len(twice), 0, _short(twice, 30))


def _any(trees: dict[Path, ast.Module]) -> Figure:
    counted: Counter[str] = Counter()
    for tree in trees.values():
        for node in ast.walk(tree):
            counted["any"] += isinstance(node, ast.Name) and node.id == "Any"
    lines = sum(len(ast.unparse(tree).splitlines()) for tree in trees.values())
    value = round(1000 * counted["any"] / lines, 1)
    return Figure("`Any` in a thousand lines", value, 5, f"{counted['any']} in {lines:,}")


def _without_tests(root: Path) -> Figure:
    """Modules that have neither a test file of their name nor a folder that says where instead."""
    tested = {path.stem.removeprefix("test_") for path in (root / "tests").rglob("test_*.py")}
    elsewhere = _tested_elsewhere(root)
    without = [
        str(path.relative_to(root))
        for path in _modules(root)
        if path.stem not in tested
        and not path.stem.startswith("__")
        and _module_name(path, root) not in elsewhere
    ]
    name = "modules without a test file of their name, or of the name that their folder tells"
    return Figure(name, len(without), 0, _short(without))


def _module_name(path: Path, root: Path) -> str:
    """A module as the folders of tests call it: without `dnd_assets`."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removeprefix("dnd_assets.")


def _tested_elsewhere(root: Path) -> set[str]:
    """Modules of which `ELSEWHERE` of a folder of tests names a test file that is there."""
    tests, found = root / "tests", set()
    for file in tests.rglob("__init__.py"):
        room = ".".join(file.parent.relative_to(tests).parts)
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ELSEWHERE":
                told = ast.literal_eval(node.value)
                found |= {f"{room}.{name}".lstrip(".") for name, test in told.items()
                          if (tests / test).is_file()}  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(main())
