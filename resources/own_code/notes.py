"""What networks of the user's own were seen to use while they were built, kept beside their cards.

A plan reads the note and looks at the same files, modules and variables again, without building
the network.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import write_atomic
from dnd_assets.lineage.fingerprint import canonical, digest
from resources.own_code.closure import ObservedUse
from resources.targets.network import Network, NetworkSource
from resources.targets.state_hash import behaviour_hash, state_hash

_in_memory: dict[str, ObservedUse] = {}


def read_note(folder: str | None, source: NetworkSource) -> ObservedUse:
    """What the network's code was seen to use when it was built last; nothing if it never was."""
    name = _name(source)
    if name in _in_memory or folder is None:
        return _in_memory.get(name, ObservedUse())
    try:
        table = json.loads(_file(folder, name).read_text(encoding="utf-8"))
        return ObservedUse(**{key: tuple(values) for key, values in table.items()})
    except (OSError, ValueError, TypeError):
        return ObservedUse()


def write_note(folder: str | None, source: NetworkSource, observed: ObservedUse) -> None:
    """Keep what was seen for later plans."""
    name = _name(source)
    _in_memory[name] = observed
    if folder is not None:
        write_atomic(_file(folder, name), canonical(asdict(observed)).encode())


def _name(source: NetworkSource) -> str:
    assert source.own is not None
    return digest([source.own.source, str(source.own.closure.base), source.own.closure.code()])


def _file(folder: str, name: str) -> Path:
    return Path(folder) / f"{name}.seen.json"


def check_repeatable(net: Network, source: NetworkSource) -> None:
    """Build a network of the user's own once more and compare.

    Raises:
        StudyError: when the other one has other numbers.
    """
    rebuilt = source.build()
    for before, after, part in (
        (net.weights, state_hash(rebuilt.module), "parameters or buffers"),
        (net.behaviour, behaviour_hash(rebuilt.module), "settings of its modules"),
    ):
        if before != after:
            raise StudyError(
                f"{source.own and source.own.source} gives another network each time: its {part} "
                "differ between two calls, although torch, numpy and random are seeded. Results "
                "would mix two networks. Draw its random numbers from a fixed seed, or save its "
                "state_dict() once and name that file in `weights`."
            )
