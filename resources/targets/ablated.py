"""Forward passes without some units: a hook puts other values in their place while a pass runs.

A picture passes the layers up to the ablated one once; there its row becomes as many as there are
groups, each without its own units, and these pass the rest together. Where a network does not let
its batch grow so, it is given as many copies of the picture from the start.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.ablation.latents import ablatable, ablated_latents, latent_means
from dnd_assets.methods.ablation.replacing import (
    Group,
    Replacement,
    ablated,
    unit_means,
    with_tensor,
)
from dnd_assets.methods.layer_axes import Layout
from dnd_assets.methods.sae.coded_layout import CodedLayout
from dnd_assets.methods.sae.heads import Heads
from resources.targets.attention import heads_of, moved_output
from resources.targets.heads import check_heads

if TYPE_CHECKING:
    from torch import Tensor, nn

GROWN_ROWS: Final = 32
COPIED_ROWS: Final = 8
"""Rows of every pass: always so many, so that no result depends on how many groups there are."""
_TRIED: Final = 4096
"""Units that are ablated together to see whether a network lets its batch grow."""
Call = Callable[["Tensor"], object]


@dataclass(frozen=True)
class AblatedPasses:
    """How groups of one layer are ablated.

    Attributes:
        layer: the module.
        axes: letters of its output's layout.
        grown: whether rows become many at the layer, instead of at the input.
        heads: heads that are the units, in what the layer is given; None for its own units.
        coded: how latents or directions are read that are the units; None for its own.
    """

    layer: "nn.Module"
    axes: str
    grown: bool = False
    heads: Heads | None = None
    coded: CodedLayout | None = None

    @property
    def rows(self) -> int:
        """Groups in a pass."""
        return GROWN_ROWS if self.grown else COPIED_ROWS

    def scores(
        self, call: Call, picture: "Tensor", groups: Sequence[Group], replacement: Replacement
    ) -> "Tensor":
        """What the network returns without each of some groups, float32 (groups, outputs).

        Args:
            call: runs the network on a batch.
            picture: float (bands, H, W), on the device.
            groups: neurons that are ablated together.
            replacement: what stands in their place.
        """
        import torch

        parts = [groups[start : start + self.rows] for start in range(0, len(groups), self.rows)]
        return torch.cat([self._scores(call, picture, part, replacement) for part in parts])

    def _scores(
        self, call: Call, picture: "Tensor", groups: Sequence[Group], replacement: Replacement
    ) -> "Tensor":
        """As `scores`, of as many groups as there are rows at most."""
        import torch

        channels = list(groups) if self.heads is None else list(map(self.heads.channels, groups))
        padded = [*channels, *[()] * (self.rows - len(groups))]
        axis = self.axes.index("n")

        def replaced(values: "Tensor") -> "Tensor":
            grows_here = self.grown and values.shape[axis] == 1
            if self.coded is not None:
                return ablated_latents(values, self.coded, padded, replacement)
            rows = values.repeat_interleave(len(padded), dim=axis) if grows_here else values
            return ablated(rows, self.axes, padded, replacement)

        with self._hooked(replaced):
            output = call(picture[None] if self.grown else torch.stack([picture] * len(padded)))
        scores = getattr(output, "logits", output)
        if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
            raise StudyError("the network returns no scores of classes, (pictures, classes).")
        return scores[: len(groups)].float()

    def given(self, call: Call, picture: "Tensor") -> "Tensor":
        """The tensor that the units are read from, for one picture that serves as a donor."""
        captured: list[Tensor] = []

        def keep(values: "Tensor") -> "Tensor":
            captured.append(values.clone())  # a later layer may change it in place
            return values

        with self._hooked(keep):
            call(picture[None])
        return captured[-1]

    @contextmanager
    def _hooked(self, change: Callable[["Tensor"], "Tensor"]) -> Iterator[None]:
        """Within the block, `change` is applied to the tensor that the units are read from."""
        from torch.nn import MultiheadAttention

        from dnd_assets.methods.pooling import tensor_of

        def changed(values: object) -> object:
            tensor = tensor_of(values)
            return with_tensor(values, tensor, change(tensor))

        def changed_heads(
            module: "nn.Module",
            inputs: tuple[object, ...],
            kwargs: dict[str, object],
            output: object,
        ) -> object:
            assert isinstance(module, MultiheadAttention), "hooked there alone"
            tensor, before = tensor_of(output), heads_of(module, inputs, kwargs)
            return with_tensor(output, tensor, moved_output(module, tensor, before, change(before)))

        if self.heads is None:
            handle = self.layer.register_forward_hook(
                lambda _module, _inputs, output: changed(output)
            )
        elif isinstance(self.layer, MultiheadAttention):
            handle = self.layer.register_forward_hook(changed_heads, with_kwargs=True)
        else:
            handle = self.layer.register_forward_pre_hook(lambda _module, inputs: changed(inputs))
        try:
            yield
        finally:
            handle.remove()


def grows(passes: AblatedPasses, call: Call, picture: "Tensor", units: int) -> bool:
    """Whether ablating in rows that are made at the layer gives the same as rows made at the input.

    Args:
        passes: how the layer is ablated, in either way.
        call: runs the network on a batch.
        picture: any picture as the network takes it.
        units: how many units the layer has.
    """
    import torch

    groups: list[Group] = [(), tuple(range(min(units, _TRIED))), (0,), (units - 1,)]
    width = units if passes.heads is None else passes.heads.width
    zero = Replacement(fill=torch.zeros(width, device=picture.device))
    copied = replace(passes, grown=False).scores(call, picture, groups, zero)
    try:
        grown = replace(passes, grown=True).scores(call, picture, groups, zero)
    except (RuntimeError, ValueError, IndexError, StudyError):
        return False  # whatever a network does with a batch that has grown on its way
    if grown.shape != copied.shape:
        return False
    close = torch.isclose(grown, copied, rtol=1e-3, atol=1e-4, equal_nan=True)
    return bool(close.all())


def passes_of(network: "nn.Module", path: str, layout: Layout) -> AblatedPasses:
    """The passes that ablate units of a layer, with rows made at the input.

    Raises:
        StudyError: when they cannot be.
    """
    coding = getattr(layout, "coding", None)
    heads = coding if isinstance(coding, Heads) else None
    coded = layout if isinstance(layout, CodedLayout) and heads is None else None
    if heads is not None:
        check_heads(network, path, heads.latents)
    if coded is not None:
        ablatable(coded)
    return AblatedPasses(network.get_submodule(path), layout.axes, heads=heads, coded=coded)


def means_of(values: "Tensor", layout: Layout) -> "Tensor":
    """Per picture, the mean over places of the values that ablation replaces, (pictures, units)."""
    if isinstance(layout, CodedLayout) and not isinstance(layout.coding, Heads):
        return latent_means(values, layout)
    return unit_means(values, layout.axes)
