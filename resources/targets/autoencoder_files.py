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


def weights_file(path: Path) -> Path:
    """The file of weights that a study names, itself or by its folder.

    Raises:
        StudyError: when there is none, several, or one that is not read.
    """
    if path.is_dir():
        usual = [path / name for name in _WEIGHTS if (path / name).is_file()]
        readable = sorted(file for file in path.iterdir() if file.suffix in _READ)
        candidates = usual or readable
        if len(candidates) != 1:
            names = (
                ", ".join(file.name for file in candidates or sorted(path.iterdir())[:8])
                or "nothing"
            )
            raise StudyError(
                f"{path} holds {'several files' if candidates else 'no file'} of weights "
                f"({names}). Name the file: one that ends in {', '.join(_READ)}."
            )
        path = candidates[0]
    if not path.is_file():
        neighbours = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        suggestions = ", ".join(nearest(path.name, neighbours)) or "nothing"
        raise StudyError(f"no checkpoint {path}; nearest there: {suggestions}. Correct `path`.")
    if path.suffix not in _READ:
        raise StudyError(
            f"{path.name} is refused: a file that ends in {path.suffix or 'nothing'} may run "
            f"code when it is read, or holds no weights. Read are {', '.join(_READ)}. Where it was "
            "made, save the state_dict() as safetensors."
        )
    return path


def read_autoencoder(path: Path) -> Saved:
    """A checkpoint of an autoencoder.

    Raises:
        StudyError: when it is not there, would run code when read, or is damaged.
    """
    file = weights_file(path)
    header = _header(file)
    content = read(file) if header is None else _after_header(file)
    state = next(
        (content[name] for name in _PARTS if isinstance(content.get(name), Mapping)), content
    )
    state = state["state_dict"] if isinstance(state.get("state_dict"), Mapping) else state
    tensors = _tensors(state)
    if not tensors:
        raise StudyError(f"{file} holds no tensors. Give the checkpoint of an autoencoder.")
    if header is not None:
        return Saved(str(file), tensors, header, header=True)
    settings = next(
        (content[n] for n in ("cfg", "config") if isinstance(content.get(n), Mapping)), None
    )
    return Saved(str(file), tensors, _settings(file) or settings)


def content_of(path: Path) -> str:
    """Hash of a checkpoint: its weights, and the settings beside them."""
    file = weights_file(path)
    settings = _settings(file) if file.suffix in _READ else None
    return digest([file_hash(file), settings])


def read_vectors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and the texts in its header.

    Raises:
        StudyError: when it is no such file.
    """
    from safetensors import SafetensorError, safe_open

    file = weights_file(path)
    if file.suffix != ".safetensors":
        raise StudyError(
            f"{file.name} is refused: directions are read from safetensors. Where they were made: "
            "`safetensors.numpy.save_file({'directions': rows}, 'directions.safetensors', "
            'metadata={"names": json.dumps(names)})`.'
        )
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, dict(  # noqa: SIM118
                opened.metadata() or {}
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
        settings = json.loads(line)
    except ValueError as error:
        raise StudyError(
            f"{file} begins like a checkpoint of saev, and its first line is no JSON ({error}). "
            "Copy it anew."
        ) from error
    return dict(settings)


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
    candidates = [file.parent / name for name in _SETTINGS if (file.parent / name).is_file()]
    if not candidates:
        return None
    if len(candidates) > 1:
        raise StudyError(
            f"{file.parent} holds {' and '.join(path.name for path in candidates)}, and which of "
            f"them belongs to {file.name} is not known. Keep one of them there."
        )
    try:
        table = json.loads(candidates[0].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{candidates[0]} is no sound JSON ({error}). Copy it anew.") from error
    if not isinstance(table, dict):
        raise StudyError(f"{candidates[0]} holds no settings by name. Copy it anew.")
    return table


def _tensors(values: Mapping[str, object]) -> dict[str, Tensor]:
    import torch

    return {str(name): value for name, value in values.items() if isinstance(value, torch.Tensor)}
