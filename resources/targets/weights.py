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
    content: Mapping[str, object], module: nn.Module, file: Path, key: str | None = None
) -> Fitted:
    """The weights in a file that fit a network, wherever they stand in it.

    Args:
        content: what `read` gave.
        module: the network.
        file: for messages.
        key: where they stand (`state_dict_ema`, `student`), if not where the rules say.

    Raises:
        StudyError: when none fit, or several do and no rule tells which to take.
        NotFoundError: when nothing stands under `key`.
    """
    expected = module.state_dict()
    candidates = _candidates(content, expected)
    if key is not None:
        candidates = _under_key(candidates, key, file)
    head = _head(module)
    exact = [candidate for candidate in candidates if candidate.fits]
    usable = exact or [
        candidate for candidate in candidates if head and _lacks_only(candidate, head)
    ]
    if not usable:
        raise _unfit(candidates, expected, file)
    chosen, rule = _choose(usable, file)
    headless = "" if chosen.fits else head
    passed_over = [candidate.where for candidate in usable if candidate is not chosen]
    note = _account(chosen, passed_over, rule, headless)
    state = {name: value for name, value in chosen.state.items() if name in expected}
    return Fitted(
        state if headless else chosen.state, f"{file.name}: {note}" if note else "", headless
    )


def _candidates(content: Mapping[str, object], expected: Mapping[str, object]) -> list[_Candidate]:
    """All sets of entries in the file that share names with the network, best first."""
    candidates: list[_Candidate] = []
    for key, entries in _containers(content, ""):
        names = {_unwrapped(name, expected): value for name, value in entries.items()}
        candidates += [
            _candidate(key, prefix, names, expected) for prefix in _prefixes(names, expected)
        ]
    return sorted(
        candidates,
        key=lambda candidate: (len(candidate.missing) + len(candidate.extra), len(candidate.where)),
    )


def _containers(values: Mapping[str, object], key: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Each dictionary in a file that holds tensors, with the keys that lead to it."""
    import torch

    entries = {n: v for n, v in values.items() if isinstance(n, str) and not isinstance(v, Mapping)}
    if any(isinstance(value, torch.Tensor) for value in entries.values()):
        yield key, entries
    for name, value in values.items():
        within_depth = key.count(".") + 1 < _DEPTH
        if within_depth and isinstance(value, Mapping) and not _NO_WEIGHTS.search(str(name)):
            yield from _containers(value, f"{key}.{name}".strip("."))


def _unwrapped(name: str, expected: Mapping[str, object]) -> str:
    if name in expected:
        return name
    for part in _WRAPPERS:
        name = name.replace(part, "")
    return name


def _prefixes(names: Iterable[str], expected: Mapping[str, object]) -> list[str]:
    """The likely prefixes: what precedes the network's parameter names in names of the file."""
    counts: collections.Counter[str] = collections.Counter()
    for name in names:
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            if name[start:] in expected:
                counts[name[:start]] += 1
    highest = max(counts.values(), default=0)
    return sorted(prefix for prefix, count in counts.items() if 2 * count >= highest)


def _candidate(
    key: str, prefix: str, names: Mapping[str, object], expected: Mapping[str, object]
) -> _Candidate:
    state = {n.removeprefix(prefix): v for n, v in names.items() if n.startswith(prefix)}
    shared = {name: value for name, value in state.items() if name in expected}
    missing = [n for n in expected if n not in shared and n.rpartition(".")[2] != _COUNTERS]
    sizes = [n for n, value in shared.items() if _shape_of(value) != _shape_of(expected[n])]
    return _Candidate(
        where=f"{key}.{prefix}".strip("."),
        state=state,
        aside=tuple(name for name in names if not name.startswith(prefix)),
        missing=tuple(missing),
        extra=tuple(name for name in state if name not in expected),
        sizes=tuple(sizes),
    )


def _shape_of(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if hasattr(value, "shape") else None


def _under_key(candidates: Sequence[_Candidate], key: str, file: Path) -> list[_Candidate]:
    matches = [candidate for candidate in candidates if f".{key}." in f".{candidate.where}."]
    if not matches:
        places = [candidate.where for candidate in candidates if candidate.where]
        raise not_found(f"weights_key in {file.name}", key, places, "It is a key or a prefix.")
    exact = [candidate for candidate in matches if candidate.where == key]
    return exact or matches


def _head(module: nn.Module) -> str:
    """Path of the last linear layer; empty where there is none."""
    from torch import nn

    linear = [
        path for path, submodule in module.named_modules() if isinstance(submodule, nn.Linear)
    ]
    return linear[-1] if linear else ""


def _lacks_only(candidate: _Candidate, head: str) -> bool:
    """Whether all that keeps weights from fitting is the last layer."""
    prefix = f"{head}."
    return bool(candidate.missing) and all(
        name.startswith(prefix) for name in (*candidate.missing, *candidate.extra)
    )


def _choose(usable: Sequence[_Candidate], file: Path) -> tuple[_Candidate, str]:
    """The weights to take of several that fit, and the rule that says so.

    Raises:
        StudyError: when no rule does.
    """
    same_sizes = [candidate for candidate in usable if not candidate.sizes] or list(usable)
    remaining, rules = same_sizes, []
    for preferred, inferior, rule in _RULES:
        better = [candidate for candidate in remaining if re.search(preferred, candidate.where)]
        worse = [
            candidate
            for candidate in remaining
            if re.search(inferior, candidate.where) and candidate not in better
        ]
        if better and worse:
            remaining = [candidate for candidate in remaining if candidate not in worse]
            rules.append(rule)
    if len(remaining) > 1 and not all(
        _equal_weights(remaining[0], candidate) for candidate in remaining[1:]
    ):
        places = ", ".join(repr(candidate.where) for candidate in remaining)
        raise StudyError(
            f"{file} holds several sets of weights that fit the network: {places}. Say which with "
            f"`weights_key = {remaining[0].where!r}` beside `weights`."
        )
    return remaining[0], "; ".join(rules)


def _equal_weights(first: _Candidate, second: _Candidate) -> bool:
    import torch

    return first.state.keys() == second.state.keys() and all(
        isinstance(value, torch.Tensor) and torch.equal(value, second.state[name])
        for name, value in first.state.items()
    )


def _account(chosen: _Candidate, passed_over: Sequence[str], rule: str, headless: str) -> str:
    parts = [f"weights taken from {chosen.where!r}"] if chosen.where else []
    if passed_over:
        reason = f" ({rule}; `weights_key` chooses otherwise)" if rule else " (equal numbers)"
        parts.append(
            f"not from {', '.join(repr(place) for place in passed_over[:_LISTED])}{reason}"
        )
    if chosen.aside and chosen.where:
        parts.append(f"left out {_listed(chosen.aside)}")
    if headless:
        parts.append(f"no weights for the last layer {headless!r}, which is left out")
    return ", ".join(parts)


def _listed(names: Sequence[str]) -> str:
    ending = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{ending}"


def _unfit(
    candidates: Sequence[_Candidate], expected: Mapping[str, object], file: Path
) -> StudyError:
    """The error that says what differs, for the weights that come nearest to the network."""
    advice = "Give the weights of this very architecture."
    if not candidates:
        return StudyError(
            f"{file} does not fit the network: Missing keys: {_listed(list(expected))}; the file "
            f"has none of the network's names. {advice}"
        )
    best, parts = candidates[0], []
    if best.missing:
        suggestions = nearest(best.missing[0], best.extra or best.state, n=1)
        hint = f" (nearest there: {suggestions[0]})" if suggestions else ""
        parts.append(f"Missing keys: {_listed(best.missing)}{hint}.")
    if best.extra:
        suggestions = nearest(best.extra[0], best.missing or expected, n=1)
        hint = f" (nearest in the network: {suggestions[0]})" if suggestions else ""
        parts.append(f"Unexpected keys: {_listed(best.extra)}{hint}.")
    place = f", of its entries under {best.where!r}" if best.where else ""
    return StudyError(f"{file} does not fit the network{place}: {' '.join(parts)} {advice}")


def _check_kinds(module: nn.Module, state: Mapping[str, object], file: Path) -> None:
    """Refuse numbers that loading would change: complex, whole and packed ones."""
    import torch

    for name, expected in module.state_dict().items():
        value = state.get(name)
        if not (isinstance(expected, torch.Tensor) and isinstance(value, torch.Tensor)):
            continue
        kinds = _number_kind(value), _number_kind(expected)
        if kinds[0] != kinds[1] and kinds != ("real", "complex"):
            raise StudyError(
                f"{file} holds {name} as {value.dtype}, and the network has it as "
                f"{expected.dtype}: loading would change its numbers (imaginary parts or scales "
                "are lost). Build the network with that type, or save the weights as the network's "
                "own, dequantised."
            )


def _number_kind(value: Any) -> str:
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
            content = torch.load(file, map_location="cpu", weights_only=True)
        return dict(content)
    except (UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        unsafe_names = _unsafe(file, error)
        raise StudyError(
            f"{file} is refused: it does not load as tensors alone{unsafe_names}. Where it was "
            "made, save the network's state_dict() as safetensors and name that file; of a "
            "checkpoint with more in it, `torch.save(checkpoint['state_dict'], 'weights.pt')`."
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

    match = re.search(r"GLOBAL (\S+)", str(error))
    names = [match[1]] if match else []
    if zipfile.is_zipfile(file):
        try:
            with torch.serialization.safe_globals(_plain_values()):
                names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file)) or names
        except (RuntimeError, ValueError, EOFError, TypeError):
            pass  # a damaged file: the first error says so
    return f" (it holds {_listed(sorted(names))})" if names else ""


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
