"""Under which licence a model was published, as far as this machine can tell.

First its own word: the front matter of the model card beside its files, or the metadata of the
package that ships it. A model that is not here yet, or whose card says nothing, is looked up in a
small table. What neither knows is `unknown`; nothing is asked of any server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions
from pathlib import Path
from typing import Final

from resources.checkpoints import PACKAGE, Checkpoint, split_revision

UNKNOWN: Final = "unknown"

KNOWN: Final[Mapping[str, str]] = {
    # Model cards at https://huggingface.co/<id>, field `license` of the front matter.
    "Salesforce/blip-image-captioning-base": "bsd-3-clause",
    "CompVis/stable-diffusion-v1-4": "creativeml-openrail-m",
    "Qwen/Qwen3-VL-8B-Instruct": "apache-2.0",
    "stabilityai/sdxl-turbo": "sai-nc-community",
    "sentence-transformers/all-mpnet-base-v2": "apache-2.0",
    "openai-community/gpt2": "mit",
    "facebook/dinov2-base": "apache-2.0",
    "timm/vit_base_patch32_clip_224.openai": "apache-2.0",
    # https://github.com/CSAILVision/places365, README, "Acknowledgements and License"
    "resnet18_places365.pth.tar": "cc-by",
    "resnet50_places365.pth.tar": "cc-by",
    "alexnet_places365.pth.tar": "cc-by",
    "densenet161_places365.pth.tar": "cc-by",
    # torchvision names this address for its SWAG weights; its README, "Pre-trained Model License"
    "https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "cc-by-nc-4.0",
}
"""Licences by hub id, file name or address."""
_LONGEST: Final = 60


def licence_of(checkpoint: Checkpoint) -> str:
    """The licence of model files that are here: their card's, their package's, or the table's."""
    # What lies beside a single file may belong to any other model.
    single_file = checkpoint.only and checkpoint.revision is None
    card = "" if single_file else _card(checkpoint.folder)
    if card:
        return card
    if checkpoint.source.startswith(PACKAGE):
        return package_licence(
            checkpoint.source.removeprefix(PACKAGE).partition("/")[0].partition(".")[0]
        )
    return known_licence(checkpoint.source)


def known_licence(name: str) -> str:
    """The licence that the table has for a hub id, a path or an address."""
    source = split_revision(name)[0]
    return KNOWN.get(source) or KNOWN.get(source.rpartition("/")[2]) or UNKNOWN


@lru_cache
def package_licence(module: str) -> str:
    """The licence in the metadata of the package that provides a module.

    Kept for this process: which package provides a module is a search of all that are installed.
    """
    names = packages_distributions().get(module, [module])
    try:
        fields = metadata(names[0])
    except PackageNotFoundError:
        return UNKNOWN
    classified = [
        line.rpartition(" :: ")[2]
        for line in fields.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    for text in (fields["License-Expression"], fields["License"], *classified):
        if text and text.strip() and text.lower() != UNKNOWN and len(text) <= _LONGEST:
            return str(text).strip()
    return UNKNOWN


def _card(folder: Path) -> str:
    """What the front matter of a model card says; empty when there is none or it says nothing."""
    file = folder / "README.md"
    if not file.is_file():
        return ""
    from huggingface_hub.repocard import metadata_load
    from yaml import YAMLError

    try:
        fields: dict[str, object] = metadata_load(file) or {}
    except (OSError, ValueError, YAMLError):
        return ""
    name = fields.get("license")
    if name in ("other", None):
        name = fields.get("license_name") or name
    text = ", ".join(map(str, name)) if isinstance(name, list) else str(name or "")
    return re.sub(r"\s+", " ", text)[:_LONGEST]
