"""Answers of commands that compute nothing, kept with all that they rest on.

A plan of an up-to-date study, a run with nothing to do and `dnd doctor` look at thousands of files
and import whatever the study names, only to find what they found before. Their answer is kept in
the state folder (`remembered/`), together with everything that was looked at meanwhile; see
`dnd_assets.files.reads`. It counts as long as nothing of that has changed, and neither have the
question, the study, the code of this project, Python, the libraries installed, the environment, nor
the graphics cards that the driver tells of. What cannot be seen so is not kept: answers that asked
anything over a network. And what changes without a trace, free room and servers, is asked anew by
whoever takes an answer from here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnd_assets.errors import DndError
from dnd_assets.files.atomic import sha256, write_atomic
from dnd_assets.files.reads import (
    Reads,
    digest_of,
    installed_distributions,
    noted,
    python_files,
    stamp_of,
)
from dnd_assets.lineage.code_cache import cache_folder
from dnd_assets.lineage.fingerprint import Json, canonical, digest
from dnd_assets.study.study import Study
from resources.lineage_db.state_places import index_folder

_FORMAT: Final = 1
_MOST_FILES: Final = 64
_ROOT: Final = Path(__file__).resolve().parents[2]
_NO_ANSWER_RESTS_ON: Final = frozenset(
    {"_", "COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL", "TERM", "WINDOWID", "PYTEST_CURRENT_TEST"}
)
"""Variables that shells and terminals set anew all the time; all others count."""
_DERIVED: Final = (
    "lineage.duckdb", "lineage.duckdb.wal", "lineage.lock", "compute.lock", "compute.owner",
)  # fmt: skip
"""Files of the state folder that are made from the journal, or say who writes to it."""
_UNSEEN: Final = "obstore"
"""The library of buckets, which goes over the network without Python."""


@dataclass(frozen=True)
class Remembered:
    """Where the answer to a question is kept.

    Attributes:
        home: the state folder.
        file: the file; its name is the hash of the question and of all that is cheap to look at.
    """

    home: Path
    file: Path

    @classmethod
    def of(cls, home: Path, study: Study, *question: Json) -> Remembered:
        """The place of an answer, under present circumstances.

        Args:
            home: the state folder.
            study: the study.
            question: what is asked, as JSON.
        """
        asked = [_FORMAT, list(question), study.model_dump(mode="json"), str(study.folder)]
        name = digest([*asked, str(home), *_circumstances()])[:32]
        return cls(home, home / "remembered" / f"{name}.json")

    def recall(self) -> Json | None:
        """The answer, if it was kept and all that it rests on is as it was; else None.

        None as well where the state folder cannot be written: whoever asks then says so.
        """
        if not os.access(self.home, os.W_OK):
            return None
        try:
            checksum, _, text = self.file.read_text(encoding="utf-8").partition("\n")
            if checksum != sha256(text.encode()):
                return None
            kept = json.loads(text)
            if kept["digest"] != digest_of(kept["paths"], kept["folders"]):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        answer: Json = kept["answer"]
        return answer

    @contextmanager
    def working_out(self) -> Iterator[Reads]:
        """Within the block, what is looked at is noted for `keep`."""
        folders = (self.home, index_folder(self.home))
        derived = {str(folder / name) for folder in folders for name in _DERIVED}
        aside = (f"{cache_folder()}{os.sep}", f"{self.file.parent}{os.sep}")
        with noted(lambda path: path in derived or path.startswith(aside)) as reads:
            yield reads

    def keep(self, answer: Json, reads: Reads) -> None:
        """Keep an answer, unless something that it rests on may change unseen."""
        if _UNSEEN in sys.modules or not reads.settled():
            return
        kept = {
            "paths": list(reads.paths),
            "folders": list(reads.folders),
            "digest": reads.digest(),
            "answer": answer,
        }
        text = canonical(kept)
        with suppress(DndError, OSError, ValueError):  # no room, no right: it is only slower
            write_atomic(self.file, f"{sha256(text.encode())}\n{text}".encode())
            self._forget_old()

    def _forget_old(self) -> None:
        files = sorted(self.file.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for file in files[:-_MOST_FILES]:
            file.unlink(missing_ok=True)


def _circumstances() -> list[Json]:
    """What every answer rests on, whatever was looked at for it."""
    code = python_files([_ROOT / "dnd_assets", _ROOT / "resources"])
    environment = sorted(
        (name, value) for name, value in os.environ.items() if name not in _NO_ANSWER_RESTS_ON
    )
    return [
        sha256(repr([(path, stamp_of(path)) for path in code]).encode()),
        sha256(repr(environment).encode("utf-8", "surrogateescape")),
        sys.version,
        sys.executable,
        str(Path.cwd()),
        [list(told) for told in installed_distributions()],
        _cards(),
    ]


def _cards() -> str:
    """The graphics cards of this machine, as their driver tells of them at this moment."""
    nodes = sorted(str(node) for node in Path("/dev").glob("nvidia*"))
    nodes += [str(node) for node in (Path("/dev/kfd"), Path("/dev/dri")) if node.exists()]
    if not Path("/dev/nvidiactl").exists():
        return " ".join(nodes)
    try:
        told = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 (the driver's own program, wherever it lies)
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return f"{nodes} {error}"
    return f"{nodes} {told.returncode} {told.stdout}"
