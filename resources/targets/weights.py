"""Weights of networks in files: read without running code, matched to a network, hashed.

Training frameworks store a network's parameters under a key (`state_dict`, `model`, `teacher`) and
with a prefix (`module.` of DistributedDataParallel, `_orig_mod.` of torch.compile, `model.` of a
LightningModule). Both are found by comparing names: the entries that are exactly the network's
are taken, whatever they stand under, and what was done is told.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dnd_assets.errors import StudyError, nearest, not_found
from dnd_assets.settings import Options

if TYPE_CHECKING:
    from torch import nn

_EXPORTED: Final = ("serialized_exported_program.json", "archive_format")
_WRAPPERS: Final = (
    "_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
)  # fmt: skip
"""Parts of names that torch.compile, Lightning Fabric and FSDP put in, also in the middle."""
_NO_WEIGHTS: Final = re.compile(
    r"optim|sched|scaler|param_groups|hyper_?param|callbacks|loops|^args$|config|^amp$|loss"
)
_COUNTERS: Final = "num_batches_tracked"
_DEPTH: Final = 3
_LISTED: Final = 4
_RULES: Final = (
    (r"(^|[._])(ema|swa|averaged)([._]|$)", "", "averaged weights (EMA) before the others"),
    (r"(^|[._])teacher([._]|$)", r"(^|[._])student([._]|$)", "the teacher before the student"),
    (
        r"(^|[._])(encoder_q|base_encoder|online\w*)([._]|$)",
        r"(^|[._])(encoder_k|momentum_encoder|target\w*)([._]|$)",
        "the trained encoder before its momentum copy",
    ),
)
"""What is taken where several sets of weights fit: the first pattern before the second (or all)."""


@dataclass(frozen=True)
class Fitted:
    """Weights that have the names of a network's own.

    Attributes:
        state: values by name.
        told: what was done to get there; empty where nothing was.
        headless: path of the network's last layer, where the file has none for it.
    """

    state: dict[str, Any]
    told: str = ""
    headless: str = ""


@dataclass(frozen=True)
class _Candidate:
    """Entries of a file under one key and prefix, with the rest of their names.

    Attributes:
        where: key and prefix, as `weights_key` names them; empty for bare names.
        state: values by the rest of the name.
        aside: names in the same place that are not under the prefix.
        missing: the network's names that are not there.
        extra: names that the network has not.
        sizes: names whose shape is another one.
    """

    where: str
    state: dict[str, Any]
    aside: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    sizes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the names are exactly the network's."""
        return not self.missing and not self.extra


def load_weights(module: nn.Module, file: Path) -> None:
    """Put the weights of a file into a network.

    Raises:
        StudyError: when the file is an archive of code, holds more than tensors, or does not fit.
    """
    put_weights(module, fit(read(file), module, file).state, file)


def put_weights(module: nn.Module, state: Mapping[str, object], file: Path) -> None:
    """Put weights that have a network's names into it.

    Raises:
        StudyError: when they do not fit, or would lose what they are: complex numbers put into
            real ones, packed integers into numbers.
    """
    _check_kinds(module, state, file)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()[1:4]
        raise StudyError(
            f"{file} does not fit the network: {' '.join(line.strip()[:300] for line in lines)} "
            "Give the weights of this very architecture."
        ) from error


def fit(
    read: Mapping[str, object], module: nn.Module, file: Path, key: str | None = None
) -> Fitted:
    """The weights in a file that are a network's, wherever they stand in it.

    Args:
        read: what `read` gave.
        module: the network.
        file: for messages.
        key: where they stand (`state_dict_ema`, `student`), if not where the rules say.

    Raises:
        StudyError: when none fit, or several do and no rule tells which to take.
        NotFoundError: when nothing stands under `key`.
    """
    own = module.state_dict()
    found = _candidates(read, own)
    if key is not None:
        found = _asked(found, key, file)
    head = _head(module)
    whole = [one for one in found if one.fits]
    usable = whole or [one for one in found if head and _lacks_only(one, head)]
    if not usable:
        raise _unfit(found, own, file)
    chosen, rule = _choose(usable, file)
    headless = "" if chosen.fits else head
    others = [one.where for one in usable if one is not chosen]
    told = _told(chosen, others, rule, headless)
    state = {name: value for name, value in chosen.state.items() if name in own}
    return Fitted(
        state if headless else chosen.state, f"{file.name}: {told}" if told else "", headless
    )


def _candidates(read: Mapping[str, object], own: Mapping[str, object]) -> list[_Candidate]:
    """Everything in the file that has names of the network's, best first."""
    found: list[_Candidate] = []
    for key, entries in _containers(read, ""):
        names = {_unwrapped(name, own): value for name, value in entries.items()}
        found += [_candidate(key, prefix, names, own) for prefix in _prefixes(names, own)]
    return sorted(found, key=lambda one: (len(one.missing) + len(one.extra), len(one.where)))


def _containers(values: Mapping[str, object], key: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Each dictionary in a file that holds tensors, with the keys that lead to it."""
    import torch

    entries = {n: v for n, v in values.items() if isinstance(n, str) and not isinstance(v, Mapping)}
    if any(isinstance(value, torch.Tensor) for value in entries.values()):
        yield key, entries
    for name, value in values.items():
        deep = key.count(".") + 1 < _DEPTH
        if deep and isinstance(value, Mapping) and not _NO_WEIGHTS.search(str(name)):
            yield from _containers(value, f"{key}.{name}".strip("."))


def _unwrapped(name: str, own: Mapping[str, object]) -> str:
    if name in own:
        return name
    for part in _WRAPPERS:
        name = name.replace(part, "")
    return name


def _prefixes(names: Iterable[str], own: Mapping[str, object]) -> list[str]:
    """What stands before a name of the network's in names of the file."""
    found: collections.Counter[str] = collections.Counter()
    for name in names:
        for at in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            if name[at:] in own:
                found[name[:at]] += 1
    most = max(found.values(), default=0)
    return sorted(prefix for prefix, count in found.items() if 2 * count >= most)


def _candidate(
    key: str, prefix: str, names: Mapping[str, object], own: Mapping[str, object]
) -> _Candidate:
    state = {n.removeprefix(prefix): v for n, v in names.items() if n.startswith(prefix)}
    known = {name: value for name, value in state.items() if name in own}
    missing = [n for n in own if n not in known and n.rpartition(".")[2] != _COUNTERS]
    sizes = [n for n, value in known.items() if _shape(value) != _shape(own[n])]
    return _Candidate(
        where=f"{key}.{prefix}".strip("."),
        state=state,
        aside=tuple(name for name in names if not name.startswith(prefix)),
        missing=tuple(missing),
        extra=tuple(name for name in state if name not in own),
        sizes=tuple(sizes),
    )


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if hasattr(value, "shape") else None


def _asked(found: Sequence[_Candidate], key: str, file: Path) -> list[_Candidate]:
    mine = [one for one in found if f".{key}." in f".{one.where}."]
    if not mine:
        places = [one.where for one in found if one.where]
        raise not_found(f"weights_key in {file.name}", key, places, "It is a key or a prefix.")
    exact = [one for one in mine if one.where == key]
    return exact or mine


def _head(module: nn.Module) -> str:
    """Path of the last linear layer; empty where there is none."""
    from torch import nn

    linear = [path for path, one in module.named_modules() if isinstance(one, nn.Linear)]
    return linear[-1] if linear else ""


def _lacks_only(one: _Candidate, head: str) -> bool:
    """Whether all that keeps weights from fitting is the last layer."""
    under = f"{head}."
    return bool(one.missing) and all(name.startswith(under) for name in (*one.missing, *one.extra))


def _choose(usable: Sequence[_Candidate], file: Path) -> tuple[_Candidate, str]:
    """The weights to take of several that fit, and the rule that says so.

    Raises:
        StudyError: when no rule does.
    """
    right = [one for one in usable if not one.sizes] or list(usable)
    left, rules = right, []
    for first, second, rule in _RULES:
        better = [one for one in left if re.search(first, one.where)]
        worse = [one for one in left if re.search(second, one.where) and one not in better]
        if better and worse:
            left = [one for one in left if one not in worse]
            rules.append(rule)
    if len(left) > 1 and not all(_alike(left[0], one) for one in left[1:]):
        places = ", ".join(repr(one.where) for one in left)
        raise StudyError(
            f"{file} holds several sets of weights that fit the network: {places}. Say which with "
            f"`weights_key = {left[0].where!r}` beside `weights`."
        )
    return left[0], "; ".join(rules)


def _alike(one: _Candidate, other: _Candidate) -> bool:
    import torch

    return one.state.keys() == other.state.keys() and all(
        isinstance(value, torch.Tensor) and torch.equal(value, other.state[name])
        for name, value in one.state.items()
    )


def _told(chosen: _Candidate, others: Sequence[str], rule: str, headless: str) -> str:
    parts = [f"weights taken from {chosen.where!r}"] if chosen.where else []
    if others:
        why = f" ({rule}; `weights_key` chooses otherwise)" if rule else " (equal numbers)"
        parts.append(f"not from {', '.join(repr(one) for one in others[:_LISTED])}{why}")
    if chosen.aside and chosen.where:
        parts.append(f"left out {_some(chosen.aside)}")
    if headless:
        parts.append(f"no weights for the last layer {headless!r}, which is left out")
    return ", ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def _unfit(found: Sequence[_Candidate], own: Mapping[str, object], file: Path) -> StudyError:
    """What differs from the network, by the weights that come nearest to it."""
    advice = "Give the weights of this very architecture."
    if not found:
        return StudyError(
            f"{file} does not fit the network: Missing keys: {_some(list(own))}; the file has none "
            f"of the network's names. {advice}"
        )
    best, parts = found[0], []
    if best.missing:
        close = nearest(best.missing[0], best.extra or best.state, n=1)
        told = f" (nearest there: {close[0]})" if close else ""
        parts.append(f"Missing keys: {_some(best.missing)}{told}.")
    if best.extra:
        close = nearest(best.extra[0], best.missing or own, n=1)
        told = f" (nearest in the network: {close[0]})" if close else ""
        parts.append(f"Unexpected keys: {_some(best.extra)}{told}.")
    place = f", of its entries under {best.where!r}" if best.where else ""
    return StudyError(f"{file} does not fit the network{place}: {' '.join(parts)} {advice}")


def _check_kinds(module: nn.Module, state: Mapping[str, object], file: Path) -> None:
    """Refuse numbers that loading would change: complex, whole and packed ones."""
    import torch

    for name, own in module.state_dict().items():
        value = state.get(name)
        if not (isinstance(own, torch.Tensor) and isinstance(value, torch.Tensor)):
            continue
        if _kind(value) != _kind(own) and (_kind(value), _kind(own)) != ("real", "complex"):
            raise StudyError(
                f"{file} holds {name} as {value.dtype}, and the network has it as {own.dtype}: "
                "loading would change its numbers (imaginary parts or scales are lost). Build the "
                "network with that type, or save the weights as the network's own, dequantised."
            )


def _kind(value: Any) -> str:
    if value.is_quantized:
        return "quantised"
    if value.is_complex():
        return "complex"
    return "real" if value.is_floating_point() else "whole"


def read(file: Path) -> Options:
    """What a weights file holds, as it stands there.

    Files of PyTorch, also of Python 2 and before 1.6, are read by `torch.load(weights_only=True)`,
    which builds tensors, numbers, texts and containers and runs no code of the file. Numbers of
    numpy, paths and the settings of argparse, which training scripts put beside the weights, are
    such values, too.

    Raises:
        StudyError: when the file is an archive of code, holds more than that, or is damaged.
    """
    import safetensors.torch

    if file.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(file))
        except safetensors.SafetensorError as error:
            raise StudyError(
                f"{file} is no sound safetensors file ({error}). Copy it anew."
            ) from error
    kind = _archive_of_code(file)
    if kind:
        raise StudyError(
            f"{file} is {kind}, a fixed graph without the layers that units are read from; such "
            "files are refused. Where it was made, save the network's weights instead: "
            "`safetensors.torch.save_file(network.state_dict(), 'weights.safetensors')`. Name that "
            "file in `weights`, and the architecture in `source`."
        )
    return _read_pytorch(file)


def _read_pytorch(file: Path) -> dict[str, Any]:
    from pickle import UnpicklingError

    import torch

    try:
        with torch.serialization.safe_globals(_plain_values()):
            found = torch.load(file, map_location="cpu", weights_only=True)
        return dict(found)
    except (UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        told = _unsafe(file, error)
        raise StudyError(
            f"{file} is refused: it does not load as tensors alone{told}. Where it was made, save "
            "the network's state_dict() as safetensors and name that file; of a checkpoint with "
            "more in it, `torch.save(checkpoint['state_dict'], 'weights.pt')`."
        ) from error


def _plain_values() -> list[Any]:
    """Classes of values without code that stand beside weights in training checkpoints."""
    import numpy as np

    kinds = [getattr(np.dtypes, name) for name in np.dtypes.__all__ if name != "ObjectDType"]
    core = np._core.multiarray  # type: ignore[attr-defined]
    scalars = [core.scalar, (core.scalar, "numpy.core.multiarray.scalar")]
    paths = [pathlib.PosixPath, pathlib.PurePosixPath]
    return [*kinds, np.dtype, *scalars, *paths, argparse.Namespace, collections.defaultdict]


def _unsafe(file: Path, error: Exception) -> str:
    """The names of what a file holds besides tensors, for a message."""
    import torch

    found = re.search(r"GLOBAL (\S+)", str(error))
    names = [found[1]] if found else []
    if zipfile.is_zipfile(file):
        try:
            with torch.serialization.safe_globals(_plain_values()):
                names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file)) or names
        except (RuntimeError, ValueError, EOFError, TypeError):
            pass  # a damaged file: the first error says so
    return f" (it holds {_some(sorted(names))})" if names else ""


def _archive_of_code(file: Path) -> str:
    """What kind of program a file is; empty for a file of weights."""
    if not zipfile.is_zipfile(file):
        return ""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    if any(name.rpartition("/")[2] in _EXPORTED or "/models/" in name for name in names):
        return "an archive of torch.export"
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        return "a TorchScript archive"
    return ""
