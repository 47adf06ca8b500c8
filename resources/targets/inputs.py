"""Inputs of networks that take other than RGB pictures: bands, scaling of values, size.

Conventions of libraries stand for settings: `torchxrayvision`, one band from -1,024 to 1,024 and
224 pixels (`torchxrayvision.utils.normalize`); `torchgeo-sentinel2`, values divided by 10,000 (the
transforms of torchgeo's weights for Sentinel-2), 224 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from dnd_assets.errors import StudyError
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.settings import Options

if TYPE_CHECKING:
    from torch import nn

CONVENTIONS: Final[Mapping[str, Mapping[str, object]]] = {
    "torchxrayvision": {"bands": [1], "scale": "full", "mean": [0.5], "std": [1 / 2048],
                        "size": [224, 224]},
    "torchgeo-sentinel2": {"scale": 10_000.0, "size": [224, 224]},
}  # fmt: skip
"""Settings that a library's networks share, by its name."""
_SENTINEL_2: Final = 12
_SENTINEL_2_MOST: Final = 3000.0
_SIDE: Final = 256
_SCALE_ADVICE: Final = (
    "Write scale under [models.input]: a number that values are divided by, such as 10000; two "
    'values that become 0 and 1, such as [0, 4095]; "percentiles" or "standard", measured over the '
    'probing set; "full"; or "none"'
)


@dataclass(frozen=True)
class NetworkInput:
    """What a network takes, as a study says it.

    Attributes:
        bands: numbers of the bands of a file, from 1, in the network's order; None for as many as
            its first convolution takes, from the first.
        scale: a number to divide by; two values that become 0 and 1; such a pair for each band of
            the files; `full`, `none`; None where 8 bits or `mean` tell.
        clip: whether values beyond that pair are cut off.
        mean: taken off after scaling, one number or one for each of its bands.
        std: divided by afterwards, likewise.
        size: rows and columns; the short side is resized, and the middle cut out.
        missing: what bands get that painted pictures have not: `zero`, of the network's own input,
            or `grey`; None for an error.
        shown_bands: bands of the files that renderings show as red, green and blue; None for the
            usual.
        shown_range: values that renderings show as black and white; None where none are fixed.
        convention: the library whose convention it is; empty for none.
    """

    bands: tuple[int, ...] | None = None
    scale: Any = None
    clip: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    missing: str | None = None
    shown_bands: tuple[int, ...] | None = None
    shown_range: tuple[float, float] | None = None
    convention: str = ""

    @classmethod
    def of(cls, settings: Options) -> NetworkInput:
        """From plain values, as they stand in a study, with conventions written out."""
        convention = CONVENTIONS.get(str(settings.get("convention") or ""), {})
        merged = {
            **convention,
            **{name: value for name, value in settings.items() if value is not None},
        }
        for name in ("bands", "mean", "std", "size", "shown_bands", "shown_range"):
            if merged.get(name) is not None:
                merged[name] = tuple(merged[name])
        return cls(**merged)

    def told(self) -> str:
        """A description of the bands and their scaling, for people."""
        numbers = ", ".join(map(str, self.bands or ()))
        size = "" if self.size is None else f", {self.size[0]} x {self.size[1]} pixels"
        return f"band{'' if len(self.bands or ()) == 1 else 's'} {numbers}, {self._scaled()}{size}"

    def _scaled(self) -> str:
        if self.scale is None:
            return "8 bits divided by 255" if self.mean is None else "as `mean` and `std` say"
        if isinstance(self.scale, (int, float)):
            return f"divided by {self.scale:g}"
        if isinstance(self.scale, str):
            words = {"none": "as they are", "full": "by all that their type holds"}
            return words.get(self.scale, self.scale)
        if isinstance(self.scale[0], (int, float)):
            return f"from {self.scale[0]:g} to {self.scale[1]:g}"
        return "each band by its own two values"


def first_convolution(module: nn.Module) -> nn.Conv2d | None:
    """The convolution that sees the picture first, by the order of modules."""
    from torch import nn

    return next(
        (submodule for submodule in module.modules() if isinstance(submodule, nn.Conv2d)), None
    )


def with_channels(module: nn.Module, count: int) -> None:
    """Give the first convolution another number of channels, its weights to be loaded."""
    from torch import nn

    for name, convolution in module.named_modules():
        if not isinstance(convolution, nn.Conv2d):
            continue
        if convolution.in_channels == count or convolution.groups != 1:
            return
        kept_settings = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        settings: Options = {setting: getattr(convolution, setting) for setting in kept_settings}
        replacement = nn.Conv2d(
            count, convolution.out_channels, bias=convolution.bias is not None, **settings
        )
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, replacement)
        return


def fitted_input(declared: NetworkInput, module: nn.Module, *, own: bool) -> NetworkInput:
    """The input of a network that was built, its bands filled in.

    Args:
        declared: what the study says.
        module: the network.
        own: whether it brings a transform of its own.

    Raises:
        StudyError: when the study's bands are not as many as the network takes, or nothing says how
            large pictures are.
    """
    convolution = first_convolution(module)
    bands = declared.bands
    if convolution is not None:
        count = convolution.in_channels
        bands = bands or tuple(range(1, count + 1))
        if len(bands) != count:
            raise StudyError(
                f"its first convolution takes {_bands_text(count)}, and the study gives it "
                f"{_bands_text(len(bands))} ({', '.join(map(str, bands))}). Name {count} by "
                "`bands` under [models.input], or weights of a network that takes these."
            )
    if not bands:
        raise StudyError(
            "it has no convolution that would tell how many bands it takes. Name them by `bands` "
            "under [models.input]."
        )
    for name in ("mean", "std"):
        numbers = getattr(declared, name)
        if numbers is not None and len(numbers) not in (1, len(bands)):
            raise StudyError(
                f"models.input.{name} has {len(numbers)} numbers for {_bands_text(len(bands))}; "
                f"give one, or {len(bands)}."
            )
    if declared.size is None and not own:
        raise StudyError(
            "nothing says how large its pictures are. Write size = 224, or [rows, columns], under "
            "[models.input]."
        )
    return replace(declared, bands=bands)


def _bands_text(count: int) -> str:
    return "1 band" if count == 1 else f"{count:,} bands"


@dataclass
class BandTransform:
    """Turns a picture's bands into the network's input, float32 (bands, rows, columns).

    Attributes:
        input: what it takes.
        own: its own transform of such a tensor, after scaling; None for `mean`, `std` and `size`.
    """

    input: NetworkInput
    own: Callable[[Any], Any] | None = None
    config: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.config = f"{self.input} {'' if self.own is None else self.own}"

    def __call__(self, picture: Raster | PIL.Image.Image) -> Any:
        """The tensor of a picture; colours of a rendering go to the bands they were made from.

        Raises:
            StudyError: when the picture has not the bands, or nothing says how it is scaled.
        """
        if isinstance(picture, Raster) and not picture.rendered:
            return self._from_raster(picture)
        return self._painted(picture, self.input.missing, self._range())

    def loosely(self, picture: Raster | PIL.Image.Image) -> Any:
        """As a call, without errors of bands or range: for where pixels go, not their values."""
        return self._painted(picture, self.input.missing or "grey", None)

    def made_up(self, seed: int, side: int = _SIDE) -> Any:
        """The tensor of a made-up picture of soft random values."""
        rng = np.random.default_rng(seed)
        count = len(self.input.bands or ())
        parts = [
            np.asarray(
                PIL.Image.fromarray(noise).resize((side, side), PIL.Image.Resampling.BICUBIC)
            )
            for noise in rng.random((count, 9, 9), dtype=np.float32)
        ]
        return self._normalised(np.clip(np.stack(parts), 0, 1), None)

    def blank(self) -> Any:
        """The tensor of an even picture."""
        count = len(self.input.bands or ())
        return self._normalised(np.full((count, _SIDE, _SIDE), 0.5, np.float32), None)

    def _from_raster(self, raster: Raster) -> Any:
        bands = self.input.bands or ()
        if max(bands) > raster.bands:
            raise StudyError(
                f"a picture of {raster.told} has no band {max(bands)}, which a network gets. Name "
                "the bands of your files by `bands` under [models.input] or [probing_set]."
            )
        indices = [band - 1 for band in bands]
        values = self._scaled(raster.values[indices].astype(np.float32), raster, indices)
        return self._normalised(values, raster.valid)

    def _scaled(
        self, values: NDArray[np.float32], raster: Raster, indices: list[int]
    ) -> NDArray[np.float32]:
        scale = self.input.scale
        is_8_bit = raster.values.dtype == np.uint8 or raster.full == (0.0, 255.0)
        if scale is None and not is_8_bit and self.input.mean is None and self.own is None:
            raise StudyError(
                f"nothing says how values of {raster.values.dtype} become what a network takes. "
                f"{_SCALE_ADVICE}."
            )
        if scale is None:
            scale = "full" if is_8_bit else "none"
        if scale == "none":
            return values
        if scale == "full":
            low, high = self._full_range(raster)
        elif isinstance(scale, (int, float)):
            low, high = 0.0, float(scale)
        elif isinstance(scale[0], (int, float)):
            low, high = float(scale[0]), float(scale[1])
        else:
            return self._by_band(values, scale, indices)
        return (values - np.float32(low)) / np.float32(high - low)

    def _by_band(
        self, values: NDArray[np.float32], pairs: Sequence[tuple[float, float]], indices: list[int]
    ) -> NDArray[np.float32]:
        if max(indices) >= len(pairs) and len(pairs) != len(indices):
            raise StudyError(
                f"scale has {len(pairs)} pairs, for the {len(indices)} bands of a network, up to "
                f"band {max(indices) + 1}. Give one for each."
            )
        band_pairs = [pairs[index] for index in indices] if max(indices) < len(pairs) else pairs
        ends = np.asarray(band_pairs, np.float32)[..., None, None]
        spread = np.maximum(ends[:, 1] - ends[:, 0], np.float32(1e-12))
        scaled = (values - ends[:, 0]) / spread
        return np.asarray(np.clip(scaled, 0, 1) if self.input.clip else scaled, np.float32)

    def _full_range(self, raster: Raster) -> tuple[float, float]:
        if raster.full is not None:
            return raster.full
        if raster.values.dtype == np.uint8:
            return 0.0, 255.0
        raise StudyError(
            f"values of {raster.values.dtype} in {raster.kind} do not say how large they can be: "
            f"a 16-bit file may hold 12 bits. {_SCALE_ADVICE}."
        )

    def _normalised(self, values: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> Any:
        """After scaling: the network's own transform, or mean, deviation and size."""
        import torch
        from torchvision.transforms.v2 import functional

        if self.own is not None:
            if valid is not None:
                values = np.where(valid, values, np.float32(0))
            transformed = self.own(torch.from_numpy(np.ascontiguousarray(values)))
            is_batch_of_one = (
                isinstance(transformed, torch.Tensor)
                and transformed.ndim == 4
                and len(transformed) == 1
            )
            return transformed[0] if is_batch_of_one else transformed  # kornia gives a batch of one
        for operation, numbers in ((np.subtract, self.input.mean), (np.divide, self.input.std)):
            if numbers is not None:
                values = operation(values, np.asarray(numbers, np.float32)[:, None, None])
        if valid is not None:
            values = np.where(valid, values, np.float32(0))
        pixels = torch.from_numpy(np.array(values, np.float32))
        assert self.input.size is not None, "a network without it was refused"
        rows, columns = self.input.size
        height, width = pixels.shape[1:]
        ratio = max(rows / height, columns / width)
        sides = [max(rows, round(height * ratio)), max(columns, round(width * ratio))]
        if sides != [height, width]:
            pixels = functional.resize(pixels, sides, antialias=True)
        return functional.center_crop(pixels, [rows, columns])

    def _range(self) -> tuple[float, float] | None:
        """The values that black and white of a rendering stand for; None for 0 and 1 as scaled."""
        if self.input.shown_range is not None:
            return self.input.shown_range
        scale = self.input.scale
        if isinstance(scale, (int, float)):
            sentinel = len(self.input.bands or ()) >= _SENTINEL_2
            return 0.0, min(float(scale), _SENTINEL_2_MOST) if sentinel else float(scale)
        if scale == "none" or (scale is None and self.input.mean is not None):
            raise StudyError(
                "nothing says which values black and white of a painted picture stand for. Write "
                "range = [lowest, highest] under [probing_set.rendering]."
            )
        return None

    def _painted(
        self,
        picture: Raster | PIL.Image.Image,
        missing: str | None,
        ends: tuple[float, float] | None,
    ) -> Any:
        """A rendering as the network takes it: colours to their bands, others as declared."""
        if isinstance(picture, Raster):
            channels = picture.values if picture.bands == 3 else picture.values[[0, 0, 0]]
            rgb = channels.astype(np.float32) / 255
        else:
            rgb = np.moveaxis(np.asarray(picture.convert("RGB"), np.float32), 2, 0) / 255
        bands = self.input.bands or ()
        grey = (rgb * np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]).sum(axis=0)
        colours = self._colours()
        planes, absent = [], []
        for index, band in enumerate(bands):
            is_colour = len(bands) > 1 and band in colours
            planes.append(rgb[colours.index(band)] if is_colour else grey)
            if not is_colour and len(bands) > 1:
                absent.append(index)
        if absent and missing is None:
            raise StudyError(
                "pictures that are painted have red, green and blue alone, and a network gets "
                f"bands {', '.join(map(str, bands))} too, of which these are {colours}. Write "
                'missing = "zero" (the other bands are 0 in what the network takes) or "grey" '
                "under [models.input]."
            )
        values = np.stack(planes).astype(np.float32)
        if ends is not None:
            rendering = Raster(values * (ends[1] - ends[0]) + ends[0], "rendering", full=ends)
            values = self._scaled(rendering.values, rendering, [number - 1 for number in bands])
        pixels = self._normalised(values, None)
        if absent and missing == "zero":
            pixels[absent] = 0
        return pixels

    def _colours(self) -> list[int]:
        """The bands that are red, green and blue."""
        bands = list(self.input.bands or ())
        if self.input.shown_bands is not None:
            return list(self.input.shown_bands)
        return [4, 3, 2] if len(bands) >= _SENTINEL_2 else bands[:3]
