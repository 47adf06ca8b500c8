"""Commands that messages advise, with the study that the command at hand was given.

Messages say "Run `dnd run` first." Whoever asked with `--study mine.toml` is to be sent to
`dnd run --study mine.toml`: the same command without it would work on another study.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Final

_OF_A_STUDY: Final = (
    "run", "plan", "verify", "labels", "trace", "explain", "layers", "report", "export", "search",
    "doctor", "diff", "evaluate", "compare", "ui",
)  # fmt: skip
_COMMAND: Final = re.compile(rf"`(dnd (?:{'|'.join(_OF_A_STUDY)})\b[^`]*)`")


def asked_study(arguments: Sequence[str]) -> str | None:
    """The study that a command line names by `--study` or `-s`; None where it names none.

    >>> asked_study(["labels", "--study", "mine.toml"])
    'mine.toml'
    """
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--study" and equals:
            return value
        if argument in ("--study", "-s") and at + 1 < len(arguments):
            return arguments[at + 1]
    return None


def with_study(command: str, study: str | None) -> str:
    """A command with `--study`, where a study was named and the command names none.

    >>> with_study("dnd labels", "my study.toml")
    "dnd labels --study 'my study.toml'"
    """
    if study is None or "--study" in command:
        return command
    return f"{command} --study {shlex.quote(study)}"


def for_study(message: str, study: str | None) -> str:
    """A message whose advised commands, in backticks, name the study.

    >>> for_study("Run `dnd run` first.", "mine.toml")
    'Run `dnd run --study mine.toml` first.'
    """
    return _COMMAND.sub(lambda found: f"`{with_study(found.group(1), study)}`", message)
