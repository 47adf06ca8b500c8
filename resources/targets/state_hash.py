"""The hash of a network's state: what two networks of one hash have in common is everything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dnd_assets.errors import StudyError
from resources.own_code.own_places import plain_name

if TYPE_CHECKING:
    from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, type(None))
_LEFT_OUT = frozenset({"training", "name_or_path"})


def state_hash(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers.

    Quantised weights count by their integers and scales, packed ones by what they unpack to,
    complex ones with their imaginary parts.

    Raises:
        StudyError: when a value is of a kind whose content cannot be read.
    """
    return _hash(sorted(module.state_dict().items()))


def behaviour_hash(module: nn.Module) -> str:
    """SHA-256 over what decides a network's outputs and is not in its state.

    These are the classes and settings of its modules, their plain attributes, and tensors that are
    neither parameters nor persistent buffers.
    """
    return _hash(_behaviour(module))


def _hash(items: Any) -> str:
    hashed = hashlib.sha256()
    for name, value in items:
        for line in _content(name, value):
            hashed.update(line)
    return hashed.hexdigest()


def _content(name: str, value: object) -> Iterator[bytes | memoryview]:
    """The bytes that tell a named value from every other."""
    import torch

    if isinstance(value, torch.Tensor):
        yield from _tensor(name, value)
    elif isinstance(value, (*_PLAIN, bytes, torch.dtype, torch.qscheme)):
        yield f"{name} {type(value).__name__} {value!r}\n".encode()
    elif isinstance(value, Mapping):
        yield f"{name} mapping {len(value)}\n".encode()
        for key, one in value.items():
            yield from _content(f"{name}.{key}", one)
    elif isinstance(value, tuple | list):
        yield f"{name} sequence {len(value)}\n".encode()
        for index, one in enumerate(value):
            yield from _content(f"{name}.{index}", one)
    elif hasattr(value, "unpack"):  # packed weights of a quantised layer
        yield from _content(name, value.unpack())
    elif hasattr(value, "__getstate__") and isinstance(value, torch.ScriptObject):
        yield from _content(name, value.__getstate__())
    else:
        raise StudyError(
            f"the network's state has {name} as {type(value).__name__}, whose content cannot be "
            "hashed, so that a change of it would go unseen. Give the network in plain tensors, "
            "dequantised."
        )


def _tensor(name: str, value: Tensor) -> Iterator[bytes | memoryview]:
    import torch

    value = value.detach()
    yield f"{name} {value.dtype} {tuple(value.shape)}\n".encode()
    if hasattr(value, "__tensor_flatten__"):
        names, context = value.__tensor_flatten__()
        yield f"{type(value).__name__} {context}\n".encode()
        for inner in names:
            yield from _content(f"{name}.{inner}", getattr(value, inner))
    elif value.is_quantized:
        yield from _tensor(f"{name} integers", value.int_repr())
        yield from _scales(name, value)
    elif value.layout != torch.strided:
        yield f"{value.layout}\n".encode()
        whole = value.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
        yield from _tensor(f"{name} indices", whole.indices())
        yield from _tensor(f"{name} values", whole.values())
    else:
        plain = value.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        yield plain.view(torch.uint8).numpy().data if plain.numel() else b""


def _scales(name: str, value: Tensor) -> Iterator[bytes | memoryview]:
    import torch

    if value.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        yield from _tensor(f"{name} scales", value.q_per_channel_scales())
        yield from _tensor(f"{name} zeros", value.q_per_channel_zero_points())
    else:
        yield f"{name} {value.qscheme()} {value.q_scale()!r} {value.q_zero_point()}\n".encode()


def _behaviour(module: nn.Module) -> Iterator[tuple[str, object]]:
    import torch

    persistent = module.state_dict().keys()
    for path, one in module.named_modules():
        yield path, f"{plain_name(type(one).__qualname__)} {plain_name(_settings(one))}"
        for name, value in sorted(vars(one).items()):
            plain = _is_plain(value) and not name.startswith("_") and name not in _LEFT_OUT
            if plain or isinstance(value, torch.Tensor):
                yield f"{path}.{name}", value
    for name, value in module.named_buffers():
        if name not in persistent:
            yield name, value


def _settings(module: nn.Module) -> str:
    text = str(module.extra_repr())
    return "" if " at 0x" in text else text


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return not value.startswith(("/", "~"))  # a place on disk
    if isinstance(value, tuple | list):
        return all(_is_plain(one) for one in value)
    return isinstance(value, _PLAIN)
