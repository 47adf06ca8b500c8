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

    published = list(models.get_model_weights(name))
    matches = [weights for weights in published if is_published(file, weights.url)]
    if matches:
        return Training(matches[0])
    advice = (
        f"Write torchvision:{name}@TAG as its source, if it was trained like one of: "
        + ", ".join(weights.name for weights in published)
    )
    namesakes = [weights for weights in published if Path(weights.url).name == file.name]
    if namesakes:
        return Training(
            namesakes[0],
            f"{file.name} is called as the published weights {namesakes[0].name} of {name} are, "
            f"but its bytes are others (SHA-256 {file_hash(file)[:8]}…); their preprocessing is "
            f"used all the same. {advice}.",
        )
    if len({str(weights.transforms()) for weights in published}) == 1:
        return Training(
            published[0],
            f"{file.name} is no published file of {name}; the preprocessing of {published[0].name} "
            f"is used, on which all published weights of it agree. {advice}.",
        )
    return Training(
        None,
        f"{file.name} is no published file of {name}; ImageNet's usual preprocessing is used "
        f"(short side to 256, centre of 224 pixels, ImageNet's mean and deviation). {advice}.",
    )


def check_tag(declared: "WeightsEnum", name: str, file: Path) -> None:
    """Refuse a file that is declared as some published weights and is known to be others.

    Args:
        declared: torchvision's member of weights.
        name: of the network.
        file: the weights.

    Raises:
        StudyError: naming the weights that it is.
    """
    training = of_torchvision(name, file)
    if training.assumed or training.weights is declared:
        return
    if str(training.weights.transforms()) != str(declared.transforms()):
        raise StudyError(
            f"{file} holds the published weights {training.weights.name} of {name}, and the source "
            f"says {declared.name}, which are prepared otherwise. Write "
            f"torchvision:{name}@{training.weights.name}, or leave `weights` out."
        )


def torchvision_shape(name: str, weights: "WeightsEnum") -> Options:
    """Arguments that torchvision needs to build a network for some weights, without classes.

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
    tags = [tag for tag in timm.list_pretrained(f"{name}.*") if tag.partition(".")[0] == name]
    path_parts = {
        part.removeprefix("models--").replace("--", "/", 1) for part in file.absolute().parts
    }
    for tag in tags:
        config = timm.get_pretrained_cfg(tag)
        if config.hf_hub_id in path_parts or is_published(file, str(config.url or "")):
            return Training(tag)
    config = timm.get_pretrained_cfg(name)
    assumed_name = f"{name}.{config.tag}" if config is not None and config.tag else name
    advice = (
        f" Name one in its source, if it was trained like it: {', '.join(tags)}." if tags else ""
    )
    return Training(
        name,
        f"{file.name} is no published file of timm:{name}; the preprocessing of {assumed_name} is "
        f"used ({_timm_preprocessing(timm, name)}).{advice}",
    )


def is_published(file: Path, url: str) -> bool:
    """Whether a file has the bytes of the one at an address, by the hash in its name."""
    match = _HASH.search(url)
    return match is not None and file_hash(file).startswith(match[1])


def _timm_preprocessing(timm: ModuleType, name: str) -> str:
    config: Options = timm.data.resolve_data_config({}, model=_NetworkStub(timm, name))
    size = " x ".join(str(side) for side in config["input_size"][1:])
    return f"{size} pixels, {config['interpolation']}, crop_pct {config['crop_pct']}"


class _NetworkStub:
    """A network that is not built: timm reads its preprocessing from `pretrained_cfg` alone."""

    def __init__(self, timm: ModuleType, name: str) -> None:
        config = timm.get_pretrained_cfg(name)
        self.pretrained_cfg = {} if config is None else config.to_dict()
