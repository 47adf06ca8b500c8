"""Hashes of a network's weights and of its behaviour: with equal hashes, outputs are equal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dnd_assets.errors import StudyError
from resources.own_code.own_places import plain_name

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIMPLE_TYPES = (bool, int, float, complex, str, type(None))
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
    return _hash(_behaviour_values(module))


def _hash(items: Any) -> str:
    hasher = hashlib.sha256()
    for name, value in items:
        for line in _value_bytes(name, value):
            hasher.update(line)
    return hasher.hexdigest()


def _value_bytes(name: str, value: object) -> Iterator[bytes | memoryview]:
    """The bytes to hash for a named value: name, type and content."""
    import torch

    if isinstance(value, torch.Tensor):
        yield from _tensor_bytes(name, value)
    elif isinstance(value, (*_SIMPLE_TYPES, bytes, torch.dtype, torch.qscheme)):
        yield f"{name} {type(value).__name__} {value!r}\n".encode()
    elif isinstance(value, Mapping):
        yield f"{name} mapping {len(value)}\n".encode()
        for key, item in value.items():
            yield from _value_bytes(f"{name}.{key}", item)
    elif isinstance(value, tuple | list):
        yield f"{name} sequence {len(value)}\n".encode()
        for index, item in enumerate(value):
            yield from _value_bytes(f"{name}.{index}", item)
    elif hasattr(value, "unpack"):  # packed weights of a quantised layer
        yield from _value_bytes(name, value.unpack())
    elif hasattr(value, "__getstate__") and isinstance(value, torch.ScriptObject):
        yield from _value_bytes(name, value.__getstate__())
    else:
        raise StudyError(
            f"the network's state has {name} as {type(value).__name__}, whose content cannot be "
            "hashed, so that a change of it would go unseen. Give the network in plain tensors, "
            "dequantised."
        )


def _tensor_bytes(name: str, value: Tensor) -> Iterator[bytes | memoryview]:
    import torch

    value = value.detach()
    yield f"{name} {value.dtype} {tuple(value.shape)}\n".encode()
    if hasattr(value, "__tensor_flatten__"):
        attributes, context = value.__tensor_flatten__()
        yield f"{type(value).__name__} {context}\n".encode()
        for attribute in attributes:
            yield from _value_bytes(f"{name}.{attribute}", getattr(value, attribute))
    elif value.is_quantized:
        yield from _tensor_bytes(f"{name} integers", value.int_repr())
        yield from _scale_bytes(name, value)
    elif value.layout != torch.strided:
        yield f"{value.layout}\n".encode()
        coo = value.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
        yield from _tensor_bytes(f"{name} indices", coo.indices())
        yield from _tensor_bytes(f"{name} values", coo.values())
    else:
        flat = value.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy().data if flat.numel() else b""


def _scale_bytes(name: str, value: Tensor) -> Iterator[bytes | memoryview]:
    import torch

    if value.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        yield from _tensor_bytes(f"{name} scales", value.q_per_channel_scales())
        yield from _tensor_bytes(f"{name} zeros", value.q_per_channel_zero_points())
    else:
        yield f"{name} {value.qscheme()} {value.q_scale()!r} {value.q_zero_point()}\n".encode()


def _behaviour_values(module: nn.Module) -> Iterator[tuple[str, object]]:
    import torch

    persistent = module.state_dict().keys()
    for path, submodule in module.named_modules():
        yield path, f"{plain_name(type(submodule).__qualname__)} {plain_name(_settings(submodule))}"
        for name, value in sorted(vars(submodule).items()):
            is_setting = _is_simple(value) and not name.startswith("_") and name not in _LEFT_OUT
            if is_setting or isinstance(value, torch.Tensor):
                yield f"{path}.{name}", value
    for name, value in module.named_buffers():
        if name not in persistent:
            yield name, value


def _settings(module: nn.Module) -> str:
    text = str(module.extra_repr())
    return "" if " at 0x" in text else text


def _is_simple(value: object) -> bool:
    if isinstance(value, str):
        return not value.startswith(("/", "~"))  # a place on disk
    if isinstance(value, tuple | list):
        return all(_is_simple(item) for item in value)
    return isinstance(value, _SIMPLE_TYPES)
