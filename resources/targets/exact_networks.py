"""How a network runs on the CPU so that no bit of its results depends on other pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.own_code.own_places import OURS
from resources.runtime.compute import Compute
from resources.runtime.exact_passes import ALONE, Exact, exact_of

if TYPE_CHECKING:
    from torch import Tensor

    from resources.targets.network import Network, NetworkSource


def exact_for(net: Network, source: NetworkSource, compute: Compute) -> Exact:
    """How a loaded network runs: several pictures at once only where a library defines it.

    Code of the user's own may keep something of a call where threads would meet.
    """
    import torch

    from dnd_assets.methods.pooling import tensor_of

    if source.own is not None and source.own.path.partition(".")[0] not in OURS:
        return ALONE

    def run(pixels: Tensor) -> Tensor:
        with torch.inference_mode(), compute.autocast():
            return tensor_of(net.call(net.module, pixels))

    return exact_of(
        net.module, run, lambda count: torch.stack([net.made_up(seed) for seed in range(count)])
    )
