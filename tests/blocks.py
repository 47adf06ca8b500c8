"""Code blocks of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Block:
    """A fenced block: its file, the line it starts on, and what is in it."""

    file: Path
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.file.name}:{self.line}"


def blocks(file, language=None):
    """The fenced blocks of a Markdown file in their order."""
    text = file.read_text(encoding="utf-8")
    found = [
        Block(file, text[: m.start()].count("\n") + 2, m[1], m[2])
        for m in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]
    return [block for block in found if language in (None, block.language)]
