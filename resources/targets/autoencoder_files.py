"""Files of autoencoders and of directions: read without running code, hashed.

A checkpoint is a file or the folder that a library saved: weights, and its settings beside them
(`cfg.json` or `config.json`). Weights are safetensors, or what `torch.load(weights_only=True)`
reads; saev puts a line of JSON before them. Everything else is refused by name.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dnd_assets.errors import StudyError, nearest
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.methods.sae.saved import Saved
from dnd_assets.settings import Options
from resources.checkpoints import file_hash
from resources.targets.weights import read

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS: Final = ("sae_weights.safetensors", "sae.safetensors", "ae.pt", "weights.pt")
"""Names under which libraries save an autoencoder."""
_SETTINGS: Final = ("cfg.json", "config.json")
_TORCH: Final = (".pt", ".pth", ".bin", ".ckpt")
_READ: Final = (".safetensors", *_TORCH)
_PARTS: Final = ("state_dict", "autoencoder")
"""Keys under which a checkpoint may hold its state dict."""


def weights_file(place: Path) -> Path:
    """The file of weights that a study names, itself or by its folder.

    Raises:
        StudyError: when there is none, several, or one that is not read.
    """
    if place.is_dir():
        known = [place / name for name in _WEIGHTS if (place / name).is_file()]
        every = sorted(one for one in place.iterdir() if one.suffix in _READ)
        found = known or every
        if len(found) != 1:
            names = ", ".join(one.name for one in found or sorted(place.iterdir())[:8]) or "nothing"
            raise StudyError(
                f"{place} holds {'several files' if found else 'no file'} of weights ({names}). "
                f"Name the file: one that ends in {', '.join(_READ)}."
            )
        place = found[0]
    if not place.is_file():
        beside = [one.name for one in place.parent.iterdir()] if place.parent.is_dir() else []
        close = ", ".join(nearest(place.name, beside)) or "nothing"
        raise StudyError(f"no checkpoint {place}; nearest there: {close}. Correct `path`.")
    if place.suffix not in _READ:
        raise StudyError(
            f"{place.name} is refused: a file that ends in {place.suffix or 'nothing'} may run "
            f"code when it is read, or holds no weights. Read are {', '.join(_READ)}. Where it was "
            "made, save the state_dict() as safetensors."
        )
    return place


def read_autoencoder(place: Path) -> Saved:
    """A checkpoint of an autoencoder.

    Raises:
        StudyError: when it is not there, would run code when read, or is damaged.
    """
    file = weights_file(place)
    header = _header(file)
    held = read(file) if header is None else _after_header(file)
    inner = next((held[name] for name in _PARTS if isinstance(held.get(name), Mapping)), held)
    inner = inner["state_dict"] if isinstance(inner.get("state_dict"), Mapping) else inner
    tensors = _tensors(inner)
    if not tensors:
        raise StudyError(f"{file} holds no tensors. Give the checkpoint of an autoencoder.")
    if header is not None:
        return Saved(str(file), tensors, header, header=True)
    within = next((held[n] for n in ("cfg", "config") if isinstance(held.get(n), Mapping)), None)
    return Saved(str(file), tensors, _settings(file) or within)


def content_of(place: Path) -> str:
    """Hash of a checkpoint: its weights, and the settings beside them."""
    file = weights_file(place)
    beside = _settings(file) if file.suffix in _READ else None
    return digest([file_hash(file), beside])


def read_vectors(place: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and the texts in its header.

    Raises:
        StudyError: when it is no such file.
    """
    from safetensors import SafetensorError, safe_open

    file = weights_file(place)
    if file.suffix != ".safetensors":
        raise StudyError(
            f"{file.name} is refused: directions are read from safetensors. Where they were made: "
            "`safetensors.numpy.save_file({'directions': rows}, 'directions.safetensors', "
            'metadata={"names": json.dumps(names)})`.'
        )
    try:
        with safe_open(file, framework="pt") as held:
            return {name: held.get_tensor(name) for name in held.keys()}, dict(  # noqa: SIM118
                held.metadata() or {}
            )
    except SafetensorError as error:
        raise StudyError(f"{file} is no sound safetensors file ({error}). Copy it anew.") from error


def _header(file: Path) -> Options | None:
    """The line of settings with which saev begins a file; None for other files."""
    if file.suffix not in _TORCH:
        return None
    with file.open("rb") as opened:
        if opened.read(1) != b"{":
            return None
        opened.seek(0)
        line = opened.readline()
    try:
        found = json.loads(line)
    except ValueError as error:
        raise StudyError(
            f"{file} begins like a checkpoint of saev, and its first line is no JSON ({error}). "
            "Copy it anew."
        ) from error
    return dict(found)


def _after_header(file: Path) -> Options:
    """What torch reads behind the first line of a file."""
    from pickle import UnpicklingError

    import torch

    with file.open("rb") as opened:
        opened.readline()
        rest = io.BytesIO(opened.read())
    try:
        return dict(torch.load(rest, map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise StudyError(
            f"{file} is refused: behind its line of settings there is more than tensors, or less "
            f"({str(error).splitlines()[0][:200]}). Dump it anew with saev."
        ) from error


def _settings(file: Path) -> Options | None:
    """The library's settings beside a file of weights; None where there are none."""
    found = [file.parent / name for name in _SETTINGS if (file.parent / name).is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise StudyError(
            f"{file.parent} holds {' and '.join(one.name for one in found)}, and which of them "
            f"belongs to {file.name} is not known. Keep one of them there."
        )
    try:
        table = json.loads(found[0].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{found[0]} is no sound JSON ({error}). Copy it anew.") from error
    if not isinstance(table, dict):
        raise StudyError(f"{found[0]} holds no settings by name. Copy it anew.")
    return table


def _tensors(values: Mapping[str, object]) -> dict[str, Tensor]:
    import torch

    return {str(name): value for name, value in values.items() if isinstance(value, torch.Tensor)}
