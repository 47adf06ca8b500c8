"""The errors this project raises on purpose, and the one helper that makes them useful.

```
DndError
├── StudyError        the study file asks for something that is not there or not allowed
│   └── MissingError  a model is not on this machine; carries the command that gets it
├── NotFoundError     a name (model, layer, unit, asset, run, file) that does not exist
├── UpstreamError     a product whose inputs have not been materialized under this study
├── StoreError        an artefact is missing, torn or changed
├── LineageError      the lineage database cannot be read or written
├── WorkerError       a part of the work was lost again and again, or came back wrong
└── TableError        a table given by a person cannot be read, or lacks what is needed
```

Every message says what was asked, what was found, the nearest valid choices and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class DndError(Exception):
    """Base of all errors that this project raises on purpose.

    Attributes:
        exit_status: of the command that it ends.
    """

    exit_status: ClassVar[int] = 2


class StudyError(DndError):
    """The study file asks for something that is not there or not allowed."""


class MissingError(StudyError):
    """A model or package that a study names is not on this machine.

    Attributes:
        command: the one command that gets it, for a shell.
    """

    def __init__(self, message: str, command: str) -> None:
        super().__init__(message)
        self.command = command


class NotFoundError(DndError):
    """A name that does not exist."""


class UpstreamError(DndError):
    """A product whose inputs have not been materialized under the present study."""


class StoreError(DndError):
    """An artefact is missing, torn or changed."""


class LineageError(DndError):
    """The lineage database cannot be read or written."""


class WorkerError(DndError):
    """A part of the work was lost by its workers again and again, or came back wrong."""


class TableError(DndError):
    """A table given by a person cannot be read, or lacks what is needed."""


def nearest(name: str, choices: Iterable[str], n: int = 5) -> list[str]:
    """The up to `n` names in `choices` that look most like `name`, best first.

    Falls back on the first `n` choices when nothing is similar, so that an error can always show
    what a valid name looks like.

    >>> nearest("layer5", ["layer1", "layer4", "fc"], n=2)
    ['layer4', 'layer1']
    """
    names = list(dict.fromkeys(choices))
    lowered = {choice.lower(): choice for choice in reversed(names)}
    matches = difflib.get_close_matches(name.lower(), list(lowered), n=n, cutoff=0.4)
    return [lowered[choice] for choice in matches] or names[:n]


def not_found(kind: str, name: str, choices: Iterable[str], advice: str = "") -> NotFoundError:
    """A `NotFoundError` that names the value asked for and the nearest valid ones."""
    names = list(choices)
    nearest_names = nearest(name, names)
    suggestion = f"nearest: {', '.join(nearest_names)}" if nearest_names else "there are none"
    total = f" (of {len(names):,})" if len(names) > len(nearest_names) else ""
    return NotFoundError(
        f"no {kind} {name!r}; {suggestion}{total}." + (f" {advice}" if advice else "")
    )


def install_command(extra: str) -> str:
    """What to run to have the packages of an extra of this one."""
    return f"pip install 'dnd-assets[{extra}]'"
