"""What every model behind a stage offers, whatever it computes."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from dnd_assets.errors import DndError, MissingError
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import Json
from dnd_assets.lineage.records import Status
from resources.checkpoints import Checkpoint
from resources.licences import UNKNOWN, known_licence, licence_of
from resources.runtime.resource import Resource


@dataclass(frozen=True)
class Failure:
    """Why a model gave nothing for one item, when others may have gone well; never stored.

    Attributes:
        status: of the units that need the item.
        reason: for people.
    """

    status: Status
    reason: str


BUILT_IN = "part of this package"
"""Licence of what needs no model file."""


@dataclass(frozen=True)
class ModelPart:
    """One thing that a model is made from, as it lies on this machine or does not.

    Attributes:
        source: the name that it is asked for by.
        role: what it is within its model; empty where it is the whole of it.
        revision: commit of the hub that its files came from; else `sha256:` and the start of the
            hash of its files; empty where there are none, or for a server.
        size: bytes that would be loaded; None when not known.
        licence: as its model card or package says; `unknown` when they do not.
        problem: what keeps it from working; empty when it is there.
        command: the one command that gets it when it is missing; empty when none can.
        pin: key and value of the study that pin what is there; empty when nothing is to be pinned.
        server: address of the server that it runs at; empty when it runs here.
    """

    source: str
    role: str = ""
    revision: str = ""
    size: int | None = None
    licence: str = UNKNOWN
    problem: str = ""
    command: str = ""
    pin: tuple[str, str] = ("", "")
    server: str = ""

    @property
    def present(self) -> bool:
        """Whether it can be used."""
        return not self.problem


class Model(Resource):
    """Base of captioners, painters and encoders."""

    def title(self) -> str:
        """What it is called."""
        raise NotImplementedError

    def check(self) -> object:
        """Find what would keep it from working, without loading it.

        Returns:
            The checkpoint that was found, where there is one: `parts` tells of it.

        Raises:
            StudyError: naming what is missing and what to do.
        """
        raise NotImplementedError

    def parts(self) -> list[ModelPart]:
        """What it is made from, for `dnd doctor` and for the record of a run; never raises.

        By default one part: the checkpoint that `check` returns, or the model at a server, where
        there is a field `base_url`.
        """
        server = str(getattr(self, "base_url", None) or "")
        if server:
            name = str(getattr(self, "model", None) or self.title())
            key = str(getattr(self, "api_key_env", None) or "")
            return [server_part(name, server, self.check, key=key)]
        pin = "revision" if "revision" in type(self).model_fields else ""
        return [find_part(self.title(), self.check, pin=pin)]

    def assumptions(self) -> list[str]:
        """What its results rest on that neither the checkpoint nor the study says.

        One sentence each: what is taken for granted, and what to write to make it sure. `dnd
        doctor` prints them; never raises, and loads nothing. Adapters that guess nothing need not
        override it.
        """
        return []

    def fingerprint(self) -> dict[str, Json]:
        """Everything about it that may change a result."""
        raise NotImplementedError

    def code(self) -> str:
        """Version of the code by which it computes; see `dnd_assets.lineage.code`."""
        return code_version(type(self))


def find_part(
    source: str, find: Callable[[], object], role: str = "", pin: str = "", name: str = ""
) -> ModelPart:
    """A part of a model, looked for on this machine.

    Args:
        source: what it is called.
        find: returns the checkpoint, or anything else where there is none to tell of.
        role: what it is within its model.
        pin: the study's key that pins it.
        name: hub id or file that the licence table knows it by, if not `source`.
    """
    try:
        checkpoint = find()
    except DndError as error:
        command = error.command if isinstance(error, MissingError) else ""
        licence = known_licence(name or source)
        return ModelPart(source, role, licence=licence, problem=str(error), command=command)
    if not isinstance(checkpoint, Checkpoint):
        return ModelPart(source, role, licence=known_licence(name or source))
    return ModelPart(
        source,
        role,
        checkpoint.revision or f"sha256:{checkpoint.content()[:16]}",
        checkpoint.size(),
        licence_of(checkpoint),
        pin=(pin, checkpoint.revision) if pin and checkpoint.revision else ("", ""),
    )


def built_in(source: str, role: str = "") -> ModelPart:
    """A part that needs no file."""
    return ModelPart(source, role, licence=BUILT_IN)


def server_part(
    source: str, server: str, find: Callable[[], object], role: str = "", key: str = ""
) -> ModelPart:
    """A model that runs at a server, which alone knows its revision and size.

    Args:
        source: the model's name at that server.
        server: the server's address.
        find: looks at settings and key, without calling the server.
        role: what it is within its model.
        key: environment variable that holds the key; empty when none is needed.
    """
    problem = command = ""
    try:
        find()
    except DndError as error:
        problem = str(error)
        command = "" if not key or os.environ.get(key) else f"export {key}=KEY"
    licence = known_licence(source)
    return ModelPart(source, role, licence=licence, problem=problem, command=command, server=server)
