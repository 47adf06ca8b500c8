"""Which layers of an unknown network are worth labelling first: its last block, its output."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from resources.targets.cards import LayerInfo

_NUMBERED = re.compile(r"\d$")


def chosen_layers(layers: Sequence[LayerInfo], final: Collection[str]) -> list[LayerInfo]:
    """The last block with maps, and the layer that gives the network's output.

    Args:
        layers: the network's modules in the order of `named_modules()`.
        final: paths of those whose output is the network's own.

    Returns:
        One or two layers with units, the block first; none when no layer has units.
    """
    with_units = [layer for layer in layers if layer.units]
    block = last_block(with_units)
    output = next((layer for layer in reversed(with_units) if layer.path in final), None)
    if output is None:
        output = next((layer for layer in reversed(with_units) if not layer.has_map), None)
    layers_to_label = [layer for layer in (block, output) if layer is not None]
    return list(dict.fromkeys(layers_to_label or with_units[-1:]))


def last_block(layers: Sequence[LayerInfo]) -> LayerInfo | None:
    """The last module with maps that holds several with units, else the last with maps.

    Of modules inside each other that give maps of one shape, the outermost whose name ends in a
    number is taken, or else the outermost: `layer4` rather than `layer4.2`, but `encoder.layer.11`
    rather than `encoder`.
    """
    by_path = {layer.path: layer for layer in layers if layer.has_map}
    holders = Counter(layer.path.rpartition(".")[0] for layer in layers)
    inner = [path for path in by_path if holders[path] > 1] or list(by_path)
    if not inner:
        return None
    chain = [inner[-1]]
    while (parent := chain[-1].rpartition(".")[0]) in by_path:
        if by_path[parent].shape != by_path[chain[0]].shape:
            break
        chain.append(parent)
    numbered = [path for path in chain if _NUMBERED.search(path)]
    return by_path[(numbered or chain)[-1]]


def worth_showing(
    layers: Sequence[LayerInfo], chosen: Collection[LayerInfo], most: int
) -> list[LayerInfo]:
    """At most so many layers with units, blocks and the chosen ones before their parts."""
    with_units = [layer for layer in layers if layer.units]
    if len(with_units) <= most:
        return with_units
    by_depth = sorted(
        with_units, key=lambda candidate: (candidate not in chosen, candidate.path.count("."))
    )
    paths = {candidate.path for candidate in by_depth[:most]}
    return [candidate for candidate in with_units if candidate.path in paths]
