"""Sections on computing: devices, precision, sizes of batches."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from dnd_assets.errors import nearest
from dnd_assets.settings import Positive, Section

Role = Literal["target", "captioner", "text_to_image", "clip"]
"""What the study uses a model for."""
Precision = Literal["float32", "bfloat16", "float16"]
_DEVICES: Final = ("auto", "cpu", "cuda", "mps")
_CARD: Final = re.compile(r"cuda:\d+")
_HANDED_TO: Final = re.compile(
    r"local:[1-9]\d{0,2}|cards|ray|parsl:[^:]+\.py:\w+|[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*"
)
_EXAMPLES: Final = ("local:4", "cards", "parsl:site.py:config", "ray", "package.module:factory")


def _known_device(value: str) -> str:
    if value not in _DEVICES and not _CARD.fullmatch(value):
        close = ", ".join(nearest(value, [*_DEVICES, "cuda:1"]))
        raise ValueError(f"{value!r} is not known; nearest: {close}")
    return value


def _known_workers(value: int | str) -> int | str:
    if isinstance(value, int):
        if not 0 <= value <= 256:
            raise ValueError(f"{value} threads are none or too many; write 0 to 256")
        return value
    if not _HANDED_TO.fullmatch(value):
        close = ", ".join(nearest(value, _EXAMPLES))
        raise ValueError(
            f"{value!r} says neither how many threads prepare pictures (a number) nor who does "
            f"the work; nearest: {close}"
        )
    return value


class BatchSizes(Section):
    """Images per batch in each stage; halved by itself when memory runs out.

    `"auto"` looks for the size with the most images a second, once for each model and device, and
    begins with the usual one; on the CPU, where nothing is gained, the usual one stays.

    Attributes:
        auto: the stages that were given as `"auto"`; need not be written.
    """

    target: Positive = 64
    captioner: Positive = 16
    text_to_image: Positive = 8
    clip: Positive = 64
    auto: list[Role] = Field(default=[])

    @model_validator(mode="before")
    @classmethod
    def _auto_noted(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        auto_stages = [name for name, size in value.items() if size == "auto"]
        invalid = [size for size in value.values() if isinstance(size, str) and size != "auto"]
        if invalid:
            raise ValueError(f'{invalid[0]!r} is no size of a batch; write a number, or "auto"')
        sizes = {name: size for name, size in value.items() if size != "auto"}
        auto = [*sizes.get("auto", []), *auto_stages]
        return {**sizes, "auto": list(dict.fromkeys(auto))} if auto_stages else sizes


class Precisions(Section):
    """Precision of single models; None is `compute.dtype`."""

    target: Precision | None = None
    captioner: Precision | None = None
    text_to_image: Precision | None = None
    clip: Precision | None = None


class ComputeSettings(Section):
    """Where the models run.

    Attributes:
        device: `auto` is the best one that is there, `cuda:1` the second card.
        dtype: precision of all models.
        precision: of single ones.
        compile: let torch compile text-to-image, which takes minutes once and is faster then; the
            last bits of pictures change.
        models_gb: memory that models may take, in 10^9 bytes, before those that were not used for
            the longest leave it; None is half of a CUDA card, and no limit elsewhere.
        workers: a number: threads that decode and transform pictures ahead; None for as many as
            help. A text: who does the work, other processes (`local:4`, `cards`) or other machines
            (`parsl:site.py:config`, `ray`, or a factory of an executor as `package.module:name`).
        batch: images per batch.
    """

    device: Annotated[str, AfterValidator(_known_device)] = "auto"
    dtype: Precision = "float32"
    precision: Precisions = Precisions()
    compile: bool = False
    models_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    workers: Annotated[int | str, AfterValidator(_known_workers)] | None = None
    batch: BatchSizes = BatchSizes()

    @property
    def threads(self) -> int | None:
        """Threads that decode and transform pictures ahead; None for as many as help."""
        return self.workers if isinstance(self.workers, int) else None

    @property
    def handed_to(self) -> str | None:
        """Who does the work; None where this process does it."""
        return self.workers if isinstance(self.workers, str) else None

    def dtype_of(self, role: Role | None) -> Precision:
        """Precision of the model in a role; without a role, `dtype`."""
        precision: Precision | None = getattr(self.precision, role) if role else None
        return precision or self.dtype
