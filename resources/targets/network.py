"""A network that was loaded, and the source that it is loaded from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from PIL.Image import Image, new

from dnd_assets.errors import StudyError
from dnd_assets.files.rasters.raster import Raster
from resources.checkpoints import Checkpoint
from resources.own_code.closure import ObservedUse
from resources.own_code.own_function import OwnCode
from resources.runtime.exact_passes import ALONE, Exact, ThreadCopies
from resources.targets.inputs import BandTransform
from resources.targets.pixels import checked, survey_picture

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class Network:
    """A loaded network.

    Attributes:
        module: in eval mode, on its device, without gradients.
        transform: a picture (RGB) as the float tensor (3, H, W) that the network takes.
        categories: names of the outputs of its last layer, if they are known.
        call: runs the module on (B, 3, H, W).
        pixel_range: lowest and highest value of the pixels that it takes, where its author says
            so; None for the usual.
        own_transform: whether the transform is a user's, and not of the library.
        weights: hash of all parameters and buffers as built, before they change precision.
        behaviour: hash of what decides its outputs besides, for a network of the user's own.
        told: what was done to the weights of a file before they were put in, for people.
        seen: what own code was seen to use while it was built.
        own_types: whether the parameters keep their types, instead of becoming float32.
        exact: how it runs on the CPU so that no bit depends on other pictures.
    """

    module: "nn.Module"
    transform: Callable[[Image], "Tensor"]
    categories: list[str] | None = None
    call: Callable[["nn.Module", "Tensor"], Any] = lambda module, pixels: module(pixels)
    pixel_range: tuple[float, float] | None = None
    own_transform: bool = False
    weights: str = ""
    behaviour: str = ""
    told: str = ""
    seen: ObservedUse = field(default_factory=ObservedUse)
    own_types: bool = False
    exact: Exact = ALONE

    @cached_property
    def copies(self) -> ThreadCopies:
        """The module for each thread, where several run it at once."""
        return ThreadCopies(self.module)

    @property
    def here(self) -> "nn.Module":
        """The module for the thread that asks."""
        return self.copies.here() if self.exact.at_once else self.module

    @property
    def bands(self) -> BandTransform | None:
        """The transform of a network that takes bands; None for one that takes RGB pictures."""
        return self.transform if isinstance(self.transform, BandTransform) else None

    def pixels(self, image: Image | Raster) -> "Tensor":
        """A picture of any mode as the network takes it, float32 (3, H, W), or (bands, H, W).

        Raises:
            StudyError: when the transform gives something else.
        """
        if self.bands is not None:
            return checked(self.bands(image))
        assert not isinstance(image, Raster), "networks that take no bands get renderings"
        return checked(self.transform(image.convert("RGB")))

    def made_up(self, seed: int) -> "Tensor":
        """A made-up picture of soft random values, as the network takes it."""
        if self.bands is not None:
            return checked(self.bands.made_up(seed))
        return self.pixels(survey_picture(seed))

    def blank(self) -> "Tensor":
        """An even picture as the network takes it."""
        if self.bands is not None:
            return checked(self.bands.blank())
        return self.pixels(new("RGB", (256, 256), (128, 128, 128)))


@dataclass(frozen=True)
class NetworkSource:
    """Where a network comes from: found, not yet loaded.

    Attributes:
        content: hash of the files that it is loaded from, so that changed files load anew.
        build: makes the network with its weights.
        library: installed package that defines the network.
        own: the user's own code that defines the network, where no library does.
        sized: makes the network for so many classes, without weights; None where the source has
            no such choice.
        files: where its weights lie; None for a network without any.
        licence: of the weights, where something other than their card says it.
        assumed: tells what is taken for granted of it, one sentence each.
    """

    content: str
    build: Callable[[], Network]
    library: str = "torch"
    own: OwnCode | None = None
    sized: Callable[[int], Network] | None = None
    files: Checkpoint | None = None
    licence: str = ""
    assumed: Callable[[], Sequence[str]] = tuple


def changed_network(model: str, changed: Sequence[str]) -> StudyError:
    """The error for a network that is another one than its results are made for.

    Args:
        model: its name in the study.
        changed: what of it differs; empty where its files or its code do.
    """
    difference = (
        f" (its {' and its '.join(changed)} differ)" if changed else " (its files or code changed)"
    )
    return StudyError(
        f"network {model!r} is not the one that its results are made for{difference}, so nothing "
        "of it is kept. Where you have just changed it, run again; where you have not, its factory "
        "gives another network each time: seed it, or save its state_dict() and name it in "
        "`weights`."
    )
