"""A part of the work and what comes back, as plain values, JSON text and bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from resources.runtime.progress import Progress

if TYPE_CHECKING:
    from dnd_assets.engine.context import StudyContext

Arrays = Mapping[str, NDArray[np.generic]]
Plain = Any
"""What JSON can say; a job knows what it was told, and who cut the part what it gets back."""


@dataclass(frozen=True)
class Part:
    """What is handed out at once.

    Attributes:
        items: what is to be made, by what it is known by.
        pictures: hashes of the pictures that it needs.
        about: what else decides the result, plain values.
        provider: hash of what makes it, such as a model with its weights and code; who does the
            part must come to the same.
    """

    items: Sequence[str]
    pictures: Sequence[str] = ()
    about: Mapping[str, Plain] = field(default_factory=dict)
    provider: str = ""


@dataclass(frozen=True)
class PartResult:
    """What became of a part.

    Attributes:
        values: plain values.
        arrays: arrays by name.
    """

    values: Plain = None
    arrays: Arrays = field(default_factory=dict)


Job = Callable[["StudyContext", Part, Progress], PartResult]
"""Does a part; a function of a module, which workers find by its name. Progress counts items."""


@dataclass(frozen=True)
class WorkerTask:
    """All that a worker is told.

    Attributes:
        job: where the function stands, `package.module:name`.
        code: version of the code that it leads to.
        study: the study as plain values.
        folder: where its relative paths start.
        home: the state folder.
        part: the part.
        paths: files of probing images, by hash.
        packs: packs of stored pictures, by hash.
    """

    job: str
    code: str
    study: Mapping[str, Plain]
    folder: str
    home: str
    part: Part
    paths: Mapping[str, list[str]]
    packs: Mapping[str, str]

    def text(self) -> str:
        """The task as JSON."""
        return json.dumps({**vars(self), "part": vars(self.part)})

    @classmethod
    def of(cls, text: str) -> WorkerTask:
        """The task that `text` told."""
        fields = json.loads(text)
        return cls(**{**fields, "part": Part(**fields["part"])})


Rows = Mapping[str, Sequence[Mapping[str, Plain]]]
"""Rows of the lineage, by table."""


@dataclass(frozen=True)
class WorkerAnswer:
    """What a worker gives back.

    Attributes:
        made: what became of the part; None where it failed.
        rows: what the coordinator is to record of it.
        tally: work that was done, by kind.
        said: lines for the log.
        worker: who did it.
        device: on what.
        seconds: how long it took.
        problem: class and words of an error that this project raises on purpose.
        fault: the whole trace of any other error.
    """

    made: PartResult | None = None
    rows: Sequence[Rows] = ()
    tally: Mapping[str, int] = field(default_factory=dict)
    said: Sequence[str] = ()
    worker: str = ""
    device: str = ""
    seconds: float = 0.0
    problem: tuple[str, str] | None = None
    fault: str = ""

    def packed(self) -> tuple[str, bytes]:
        """The answer as JSON and, for its arrays, safetensors."""
        fields = {name: value for name, value in vars(self).items() if name != "made"}
        arrays = {} if self.made is None else dict(self.made.arrays)
        values = None if self.made is None else {"values": self.made.values}
        data = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return json.dumps({**fields, "made": values}), safetensors.numpy.save(data)

    @classmethod
    def of(cls, text: str, data: bytes) -> WorkerAnswer:
        """The answer that was packed."""
        fields = json.loads(text)
        values = fields.pop("made")
        arrays = safetensors.numpy.load(data)
        result = None if values is None else PartResult(values["values"], arrays)
        return cls(result, **fields)
