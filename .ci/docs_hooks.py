"""Pages of the site that lie elsewhere in the project, and those made from docstrings."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
}  # fmt: skip
COMMANDS = "DND_COMMANDS"
"""Variable that names the file that typer wrote of all commands."""
REFERENCE = {
    "notebook": (
        "In a notebook",
        ["dnd_assets.results.notebook", "dnd_assets.results.export.export"],
    ),
    "settings": (
        "Settings of a study",
        ["dnd_assets.study", "resources.*.kinds", "resources.*.settings"],
    ),
    "methods": ("Methods", ["dnd_assets.methods", "!dnd_assets.methods.metrics"]),
    "metrics": ("Metrics", ["dnd_assets.methods.metrics"]),
    "models": ("Models", ["resources", "!resources.*.kinds", "!resources.*.settings"]),
}
"""Title of each page, and the packages whose modules it shows; those with ! are left out."""
_LINK = re.compile(r"(\]\()((?:\.\./)*)((?:docs/)?[\w./-]*\.(?:md|png))(?=[)#])")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are no files of docs/."""
    for source, page in ELSEWHERE.items():
        text = _LINK.sub(_inside, (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    for name, (title, wanted) in REFERENCE.items():
        shown = "\n\n".join(f"::: {module}" for module in modules(wanted))
        text = f"# {title}\n\nMade from the docstrings.\n\n{shown}\n"
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that lead out of docs/ to the pages that stand for what they lead to."""
    return _LINK.sub(_inside, markdown) if page.file.src_dir else markdown


def _inside(found: re.Match[str]) -> str:
    start, up, path = found.groups()
    plain = posixpath.normpath(path.removeprefix("docs/"))
    if plain in ELSEWHERE:
        return start + ELSEWHERE[plain]
    return start + (up if not path.startswith("docs/") else "") + plain


def modules(wanted: list[str]) -> list[str]:
    """Dotted names of the public modules of some packages, each `*` standing for one name."""
    named = [_matching(one.removeprefix("!")) for one in wanted]
    left_out = {m for one, some in zip(wanted, named, strict=True) if one[0] == "!" for m in some}
    kept = [m for one, some in zip(wanted, named, strict=True) if one[0] != "!" for m in some]
    return [one for one in dict.fromkeys(kept) if one not in left_out]


def _matching(pattern: str) -> list[str]:
    found = []
    for place in sorted(ROOT.glob(pattern.replace(".", "/"))):
        found += sorted(place.rglob("*.py"))
    found += sorted(ROOT.glob(pattern.replace(".", "/") + ".py"))
    names = (".".join(one.relative_to(ROOT).with_suffix("").parts) for one in found)
    return [one for one in names if not any(part.startswith("_") for part in one.split("."))]


def _commands() -> str:
    """The page of commands, as typer writes it."""
    place = os.environ.get(COMMANDS)
    if not place or not Path(place).is_file():
        raise SystemExit(f"{COMMANDS} names no file; build the site by `make docs`.")
    return "# Commands\n\n" + Path(place).read_text(encoding="utf-8")
