"""Forward passes without some units: a hook puts other values in their place while a pass runs.

A picture passes the layers up to the ablated one once; there its row becomes as many as there are
groups, each without its own units, and these pass the rest together. Where a network does not let
its batch grow so, it is given as many copies of the picture from the start.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dnd_assets.errors import StudyError
from dnd_assets.methods.ablation.replacing import Group, Replacement, ablated, with_tensor

if TYPE_CHECKING:
    from torch import Tensor, nn

GROWN_ROWS: Final = 32
COPIED_ROWS: Final = 8
"""Rows of every pass: always so many, so that no result depends on how many groups there are."""


@dataclass(frozen=True)
class AblatedPasses:
    """How groups of one layer are ablated.

    Attributes:
        layer: the module.
        axes: letters of its output's layout.
        grown: whether rows become many at the layer, instead of at the input.
    """

    layer: "nn.Module"
    axes: str
    grown: bool

    @property
    def rows(self) -> int:
        """Groups in a pass."""
        return GROWN_ROWS if self.grown else COPIED_ROWS

    def scores(
        self,
        call: Callable[["Tensor"], Any],
        picture: "Tensor",
        groups: Sequence[Group],
        fill: "Tensor | None",
        donor: "Tensor | None",
    ) -> "Tensor":
        """What the network returns without each of some groups, float32 (groups, outputs).

        Args:
            call: runs the network on a batch.
            picture: float (bands, H, W), on the device.
            groups: at most `rows`.
            fill: see `Replacement`.
            donor: another picture, whose output stands in the place of the units'.
        """
        import torch

        padded = [*groups, *[()] * (self.rows - len(groups))]
        copies = 1 if self.grown else len(padded)
        batch = [picture] * copies + ([] if donor is None else [donor])
        with self._replaced(padded, fill, donor is not None):
            found = call(torch.stack(batch))
        scores = getattr(found, "logits", found)
        if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
            raise StudyError("the network returns no scores of classes, (pictures, classes).")
        return scores[: len(groups)].float()

    @contextmanager
    def _replaced(
        self, groups: Sequence[Group], fill: "Tensor | None", with_donor: bool
    ) -> Iterator[None]:
        from dnd_assets.methods.pooling import tensor_of

        axis = self.axes.index("n")

        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            values = tensor_of(output)
            count = values.shape[axis]
            own = count - 1 if with_donor else count
            donor = values.narrow(axis, own, 1) if with_donor else None
            mine = values.narrow(axis, 0, own)
            if self.grown and own == 1:
                mine = mine.repeat_interleave(len(groups), dim=axis)
            new = ablated(mine, self.axes, groups, Replacement(fill, donor))
            if with_donor:
                new = _joined(new, donor, axis)
            return with_tensor(output, values, new)

        handle = self.layer.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


def _joined(rows: "Tensor", donor: "Tensor | None", axis: int) -> "Tensor":
    import torch

    assert donor is not None, "only where there is one"
    return torch.cat([rows, donor.to(rows.dtype)], dim=axis)


def grows(
    layer: "nn.Module", axes: str, call: Callable[["Tensor"], Any], picture: "Tensor", units: int
) -> bool:
    """Whether a network gives the same, whether rows become many at a layer or at the input.

    Args:
        layer: the module.
        axes: letters of its output's layout.
        call: runs the network on a batch.
        picture: any picture as the network takes it.
        units: how many units the layer has.
    """
    import torch

    groups: list[Group] = [(), tuple(range(units)), (0,), (units - 1,)]
    zero = torch.zeros(units, device=picture.device)
    copied = AblatedPasses(layer, axes, grown=False).scores(call, picture, groups, zero, None)
    try:
        grown = AblatedPasses(layer, axes, grown=True).scores(call, picture, groups, zero, None)
    except (RuntimeError, ValueError, IndexError, StudyError):
        return False  # whatever a network does with a batch that has grown on its way
    if grown.shape != copied.shape:
        return False
    close = torch.isclose(grown, copied, rtol=1e-3, atol=1e-4, equal_nan=True)
    return bool(close.all())
