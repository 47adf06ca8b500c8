"""Cards of networks, in JSON files: what is known of a network and its layers once loaded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnd_assets.lineage.fingerprint import Json
from dnd_assets.methods.layer_axes import Layout

Array = NDArray[np.float32]


@dataclass(frozen=True)
class LayerInfo:
    """One module of a network, as seen by forward passes of made-up pictures.

    Attributes:
        path: name in `named_modules()`.
        kind: class of the module.
        units: number of neurons; None where the output has none that are known, or the module did
            not run.
        shape: of the output for one picture: (units,), (tokens, units) or (units, rows, columns);
            as it comes where it has no units; None if there is no such output.
        has_map: whether activations have a place in the picture, so that crops can be made.
        known: how it is known what the axes are: by type, tested, declared, from another layer.
        reason: why there are no units or no map.
        layout: how the output is read; None without units.
        raw: shape of the output as it comes for one picture, pictures included.
        proven: whether its own activations show where its places lie, or it has none.
    """

    path: str
    kind: str
    units: int | None
    shape: tuple[int, ...] | None
    has_map: bool = False
    known: str = ""
    reason: str = ""
    layout: Layout | None = None
    raw: tuple[int, ...] | None = None
    proven: bool = True

    @property
    def doubt(self) -> str:
        """A sentence on what is unproven of how the layer is read; empty where all is proven."""
        if not self.unproven or self.layout is None:
            return ""
        if not self.layout.places:
            return f"layer {self.path} has {self.unproven}"
        return f"the places of layer {self.path} are {self.unproven}"

    @property
    def unproven(self) -> str:
        """As `doubt`, without the layer's name, so that layers can be told of together."""
        if self.units is None or self.layout is None or self.proven:
            return ""
        if not self.layout.places:
            return f"no map, so no crops: {self.reason}"
        origin = (
            f"as the study declares them ({self.layout.axes})"
            if self.known == "declared"
            else f"known from elsewhere ({self.known})"
        )
        return f"{origin}; a bright patch that is moved over the picture does not show them"

    def as_json(self) -> dict[str, Json]:
        """The description as plain values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "layout": self.layout and self.layout.as_json()}

    @classmethod
    def of_json(cls, table: Mapping[str, Any]) -> "LayerInfo":
        """The description that `as_json` wrote.

        Raises:
            KeyError: when it lacks a value, as those of earlier versions do.
        """
        values = {field.name: table[field.name] for field in fields(cls)}
        for name in ("shape", "raw"):
            values[name] = None if values[name] is None else tuple(values[name])
        if values["layout"] is not None:
            values["layout"] = Layout.of_json(values["layout"])
        return cls(**values)


@dataclass(frozen=True)
class LastLinear:
    """The last linear layer of a network.

    Attributes:
        path: name in `named_modules()`.
        weight: float32 (outputs, inputs).
        inputs: what it was given for some pictures, float32 (N, inputs).
    """

    path: str
    weight: Array
    inputs: Array


@dataclass(frozen=True)
class NetworkInfo:
    """What was learned about a network by loading it once.

    Attributes:
        fingerprint: everything about it that may change an activation.
        layers: its modules, as forward passes show them.
        pixels: shape of a picture as its transform gives it, (channels, height, width).
        told: what was done to the weights of a file before they were put in.
    """

    fingerprint: dict[str, Json]
    layers: tuple[LayerInfo, ...]
    pixels: tuple[int, ...]
    told: str = ""

    def as_json(self) -> dict[str, Json]:
        """The card as plain values."""
        return {
            "fingerprint": self.fingerprint,
            "layers": [layer.as_json() for layer in self.layers],
            "pixels": list(self.pixels),
            "told": self.told,
        }

    @classmethod
    def read(cls, file: Path) -> "NetworkInfo | None":
        """The card in a file; None when there is none, or it is torn or of an earlier version."""
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
            layers = tuple(LayerInfo.of_json(entry) for entry in table["layers"])
            weight_changes = str(table.get("told", ""))
            return cls(table["fingerprint"], layers, tuple(table["pixels"]), weight_changes)
        except (OSError, ValueError, KeyError, TypeError):
            return None
