"""What a study declares of a layer whose units are latents or directions instead of neurons."""

from resources.runtime.resource import FrozenSettings


class DeclaredCoding(FrozenSettings):
    """An autoencoder or directions, attached to a layer; see `resources.targets.codings`.

    Attributes:
        path: of the layer, in `named_modules()`.
        file: the checkpoint, or the safetensors file of directions.
        kind: `sae`, `directions`, or `heads`, which have no file.
        tokens: which tokens count.
        layout: the library that wrote the checkpoint; None finds it.
        activation, k, threshold, subtract_b_dec, scale: answers to what a checkpoint leaves open.
        tensor: name of the tensor of directions; None where there is one matrix only.
        columns: whether directions are its columns; None where the layer's width tells.
        reading: how vectors are read along directions.
        mean: name of the tensor that is subtracted first.
        bias: name of the tensor that is added to projections.
        count: how many heads there are.
    """

    path: str
    file: str = ""
    kind: str = "sae"
    tokens: str | None = None
    layout: str | None = None
    activation: str | None = None
    k: int | None = None
    threshold: float | None = None
    subtract_b_dec: bool | None = None
    scale: float | None = None
    tensor: str | None = None
    columns: bool | None = None
    reading: str = "projection"
    mean: str | None = None
    bias: str | None = None
    count: int | None = None
