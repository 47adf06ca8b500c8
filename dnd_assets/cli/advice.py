"""Commands that messages advise, with the study that the command at hand was given.

Messages say "Run `dnd run` first." Whoever asked with `--study mine.toml` is to be sent to
`dnd run --study mine.toml`: the same command without it would work on another study.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from inspect import signature
from typing import Final

_COMMAND: Final = re.compile(r"`(dnd ([a-z-]+)\b[^`]*)`")


def asked_study(arguments: Sequence[str]) -> str | None:
    """The study that a command line names by `--study` or `-s`; None where it names none.

    >>> asked_study(["labels", "--study", "mine.toml"])
    'mine.toml'
    """
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--study" and equals:
            return value
        if argument in ("--study", "-s") and position + 1 < len(arguments):
            return arguments[position + 1]
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

    def advised(match: re.Match[str]) -> str:
        return f"`{with_study(match[1], study if _takes_study(match[2]) else None)}`"

    return _COMMAND.sub(advised, message)


def _takes_study(name: str) -> bool:
    """Whether a command has the option `--study`."""
    from dnd_assets.cli.app import app  # which needs what stands above

    return any(
        name == (command.name or command.callback.__name__.replace("_", "-"))
        and "study" in signature(command.callback).parameters
        for command in app.registered_commands
        if command.callback is not None
    )
