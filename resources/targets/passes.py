"""What layers give in a forward pass, read by hooks while the pass runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dnd_assets.errors import StudyError
from resources.targets.attention import heads_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Read = Callable[["Tensor"], Any]
"""Makes of a layer's output what is wanted of it."""

Found = dict[str, Any]
"""What readers made, by layer path: what each is, its reader decides."""


@dataclass(frozen=True)
class OfInput:
    """A reader of a layer's input instead of its output."""

    read: Read

    def __call__(self, values: "Tensor") -> object:
        """What the reader makes of it."""
        return self.read(values)


@contextmanager
def captured(module: "nn.Module", readers: Mapping[str, "Read"]) -> Iterator[Found]:
    """Within the block, results of `readers` on layers' outputs are collected in the dictionary.

    A reader runs at once, before a later layer can change the tensor in place; of a layer that
    runs more than once, the last output stays. Outputs without a tensor are left out.

    Args:
        module: the network.
        readers: by path in `named_modules()`.
    """
    from torch.nn import MultiheadAttention

    from dnd_assets.methods.pooling import tensor_of

    outputs: Found = {}
    modules = dict(module.named_modules())

    def hook(path: str) -> Callable[..., None]:
        def read(
            module: "nn.Module", inputs: tuple[object, ...], kwargs: dict[str, object],
            output: object,
        ) -> None:  # fmt: skip
            of_input = isinstance(readers[path], OfInput)
            try:
                if of_input and isinstance(module, MultiheadAttention):
                    values = heads_of(module, inputs, kwargs)
                else:
                    values = tensor_of(inputs if of_input else output)
            except StudyError:
                return
            values = values.dequantize() if values.is_quantized else values
            outputs[path] = readers[path](values)

        return read

    handles = [
        modules[path].register_forward_hook(hook(path), with_kwargs=True) for path in readers
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
