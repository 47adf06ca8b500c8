"""Models stay loaded for later runs of the process, as long as memory allows.

Several models share one card: what has not been used for the longest goes first, when models take
more than their share of the memory, or when memory runs out. A model that is taken out of memory is
loaded again from its files when it is asked for; whoever still holds it may go on using it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Final, TypeVar

from resources.runtime.memory import free_memory, is_out_of_memory

T = TypeVar("T")

_SHARE: Final = 0.5
"""Share of a CUDA card that models may take; the rest is for what runs through them."""
_DEPTH: Final = 2

_loaded: dict[Hashable, Any] = {}
"""What was loaded, least recently used first."""
_sizes: dict[Hashable, int] = {}
"""Bytes of the parameters of what was ever loaded."""
_loading = threading.RLock()
_limit: list[float | None] = [None]
"""The last limit that `limit_models` was called with, in units of 10^9 bytes."""


def load_once(key: Hashable, load: Callable[[], T]) -> T:
    """What `load` returns, from memory when this process loaded `key` before and kept it.

    Dagster makes new resource objects for every run; the models behind them stay loaded. When
    memory runs out while loading, all other models leave it and loading is tried once more.
    """
    with _loading:
        if key in _loaded:
            model: T = _loaded.pop(key)
            _loaded[key] = model  # the most recently used comes last
            return model
        _keep_within(spare=_sizes.get(key, 0))
        loaded = _load(load)
        _loaded[key] = loaded
        _sizes[key] = model_bytes(loaded)
        if _sizes[key]:
            _keep_within(keep=key)
        return loaded


def rename_loaded(key: Hashable, name: Hashable) -> None:
    """Keep under another key from now on what was loaded under one."""
    with _loading:
        if key in _loaded and key != name:
            _loaded[name] = _loaded.pop(key)
            _sizes[name] = _sizes.get(key, 0)


def limit_models(gigabytes: float | None) -> None:
    """How much memory models may take from now on; what exceeds it leaves at once.

    Args:
        gigabytes: 10^9 bytes of parameters and buffers; None for half of a CUDA card, and no limit
            elsewhere.
    """
    with _loading:
        _limit[0] = gigabytes
        _keep_within()


def unload_others() -> int:
    """Let go of all models but the one used last; how many went."""
    with _loading:
        others = loaded_models()[:-1]
        _unload(others)
        return len(others)


def forget(key: Hashable) -> None:
    """Let go of one model, so that it is loaded anew when it is asked for."""
    with _loading:
        _unload([loaded_key for loaded_key in _loaded if loaded_key == key])


def unload_all() -> None:
    """Let go of all models."""
    with _loading:
        _unload(loaded_models())


def loaded_models() -> list[Hashable]:
    """Keys of what is in memory and has parameters, least recently used first."""
    return [key for key in _loaded if _sizes.get(key, 0) > 0]


def model_bytes(value: object) -> int:
    """Bytes of all parameters and buffers in `value`: a module, a pipeline, or what holds some."""
    if "torch" not in sys.modules:
        return 0
    tensors = {
        id(tensor): tensor.numel() * tensor.element_size()
        for module in _modules(value, _DEPTH)
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(tensors.values())


def _modules(value: object, depth: int) -> Iterator[Any]:
    if isinstance(value, sys.modules["torch"].nn.Module):
        yield value
        return
    if depth == 0:
        return
    for part in _parts(value):
        yield from _modules(part, depth - 1)


def _parts(value: object) -> list[object]:
    if isinstance(value, tuple | list):
        return list(value)
    if isinstance(value, Mapping):
        return list(value.values())
    components = getattr(value, "components", None)  # of a pipeline of diffusers
    if isinstance(components, Mapping):
        return list(components.values())
    return list(vars(value).values()) if hasattr(value, "__dict__") else []


def _load(load: Callable[[], T]) -> T:
    try:
        return load()
    except (RuntimeError, MemoryError) as error:
        if not (is_out_of_memory(error) and loaded_models()):
            raise
    unload_all()
    return load()


def _keep_within(keep: Hashable = None, spare: int = 0) -> None:
    """Unload the least recently used models until the rest and `spare` bytes fit the limit."""
    limit = _allowed_bytes()
    if limit is None:
        return
    removable = [key for key in loaded_models() if key != keep]
    total = spare + sum(_sizes[key] for key in loaded_models())
    unwanted = []
    for key in removable:
        if total <= limit:
            break
        unwanted.append(key)
        total -= _sizes[key]
    _unload(unwanted)


def _unload(keys: list[Hashable]) -> None:
    for key in keys:
        del _loaded[key]
    if keys:
        free_memory()


def _allowed_bytes() -> float | None:
    """Bytes that models may take together; None for no limit."""
    if _limit[0] is not None:
        return _limit[0] * 1e9
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return float(_SHARE * torch.cuda.get_device_properties(0).total_memory)
