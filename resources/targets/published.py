"""Which published weights a file is: their preprocessing belongs to it.

torchvision and timm name a file of weights by the start of its SHA-256, so that a file is known by
its bytes, whatever it is called. A file that is not known is prepared as a guess, which is told.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from dnd_assets.errors import StudyError
from dnd_assets.settings import Options
from resources.checkpoints import file_hash

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

_HASH: Final = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+(\.tar)?$")
_INPUT_TRANSFORMED: Final = ("googlenet", "inception_v3")
"""Networks of torchvision that turn ImageNet's normalisation into their own, when pretrained."""


@dataclass(frozen=True)
class Training:
    """What is known of how a file of weights was trained.

    Attributes:
        weights: the published weights whose preprocessing is used: torchvision's member, or the
            name of timm; None for none.
        assumed: why that is a guess; empty where it is known.
    """

    weights: Any
    assumed: str = ""


def of_torchvision(name: str, file: Path) -> Training:
    """The weights of a torchvision network that a file is, or is prepared as.

    Known by the bytes. Else guessed: the published weights that the file is named like, or those
    of the architecture, where all are prepared alike.

    Args:
        name: of the network.
        file: the weights.
    """
    from torchvision import models

    every = list(models.get_model_weights(name))
    found = [one for one in every if is_published(file, one.url)]
    if found:
        return Training(found[0])
    say = (
        f"Write torchvision:{name}@TAG as its source, if it was trained like one of: "
        + ", ".join(one.name for one in every)
    )
    named = [one for one in every if Path(one.url).name == file.name]
    if named:
        return Training(
            named[0],
            f"{file.name} is called as the published weights {named[0].name} of {name} are, but "
            f"its bytes are others (SHA-256 {file_hash(file)[:8]}…); their preprocessing is used "
            f"all the same. {say}.",
        )
    if len({str(one.transforms()) for one in every}) == 1:
        return Training(
            every[0],
            f"{file.name} is no published file of {name}; the preprocessing of {every[0].name} is "
            f"used, on which all published weights of it agree. {say}.",
        )
    return Training(
        None,
        f"{file.name} is no published file of {name}; ImageNet's usual preprocessing is used "
        f"(short side to 256, centre of 224 pixels, ImageNet's mean and deviation). {say}.",
    )


def check_tag(chosen: "WeightsEnum", name: str, file: Path) -> None:
    """Refuse a file that is said to be trained like some weights and is known to be others.

    Args:
        chosen: torchvision's member of weights.
        name: of the network.
        file: the weights.

    Raises:
        StudyError: naming the weights that it is.
    """
    known = of_torchvision(name, file)
    if known.assumed or known.weights is chosen:
        return
    if str(known.weights.transforms()) != str(chosen.transforms()):
        raise StudyError(
            f"{file} holds the published weights {known.weights.name} of {name}, and the source "
            f"says {chosen.name}, which are prepared otherwise. Write "
            f"torchvision:{name}@{known.weights.name}, or leave `weights` out."
        )


def torchvision_shape(name: str, weights: "WeightsEnum") -> Options:
    """What torchvision builds a network with for some weights, beside the number of classes.

    Args:
        name: of the network.
        weights: torchvision's member; None for a network from scratch.
    """
    if weights is None:
        return {}
    if name in _INPUT_TRANSFORMED:
        return {"transform_input": True}
    if name.startswith("vit_"):
        return {"image_size": weights.meta["min_size"][0]}
    return {}


def of_timm(timm: ModuleType, name: str, file: Path) -> Training:
    """The weights of a timm network that a file is, or is prepared as.

    Args:
        timm: the library.
        name: of the network, without a tag.
        file: the weights.
    """
    tags = [one for one in timm.list_pretrained(f"{name}.*") if one.partition(".")[0] == name]
    place = {part.removeprefix("models--").replace("--", "/", 1) for part in file.absolute().parts}
    for one in tags:
        config = timm.get_pretrained_cfg(one)
        if config.hf_hub_id in place or is_published(file, str(config.url or "")):
            return Training(one)
    config = timm.get_pretrained_cfg(name)
    usual = f"{name}.{config.tag}" if config is not None and config.tag else name
    told = f" Name one in its source, if it was trained like it: {', '.join(tags)}." if tags else ""
    return Training(
        name,
        f"{file.name} is no published file of timm:{name}; the preprocessing of {usual} is used "
        f"({_timm_words(timm, name)}).{told}",
    )


def is_published(file: Path, address: str) -> bool:
    """Whether a file has the bytes of the one at an address, by the hash in its name."""
    found = _HASH.search(address)
    return found is not None and file_hash(file).startswith(found[1])


def _timm_words(timm: ModuleType, name: str) -> str:
    config: Options = timm.data.resolve_data_config({}, model=_Described(timm, name))
    size = " x ".join(str(side) for side in config["input_size"][1:])
    return f"{size} pixels, {config['interpolation']}, crop_pct {config['crop_pct']}"


class _Described:
    """A network that is not built: timm reads its preprocessing from `pretrained_cfg` alone."""

    def __init__(self, timm: ModuleType, name: str) -> None:
        config = timm.get_pretrained_cfg(name)
        self.pretrained_cfg = {} if config is None else config.to_dict()
