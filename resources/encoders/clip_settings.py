"""With which settings weights of open_clip were trained: what its tags, files and folders say.

An architecture of open_clip is a shape; which activation its weights were trained with (GELU or
QuickGELU) and how pictures were prepared for them, the tag of the weights says. open_clip itself
only warns when the two differ in their activation. A weights file without a tag says neither.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dnd_assets.errors import StudyError
from dnd_assets.lineage.fingerprint import Json
from resources.checkpoints import file_hash

CONFIG: Final = "open_clip_config.json"
_HASHES: Final = (
    re.compile(r"openaipublic.*/([0-9a-f]{64})/[^/]+$"),
    re.compile(r"mlfoundations.*-([0-9a-f]{8})\.[a-z]+$"),
)
"""Where addresses of weights hold the SHA-256 of the file or its start, as open_clip reads them."""


@dataclass(frozen=True)
class Settings:
    """What weights were trained with.

    Attributes:
        quick_gelu: whether the activation is QuickGELU, else GELU.
        preprocess: mean, std, interpolation, resize mode and the like, as open_clip names them;
            what is not said is open_clip's default. The size is always the architecture's.
        assumed: why nobody knows that these are the settings; empty where it is known.
    """

    quick_gelu: bool
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    assumed: str = ""

    def as_json(self) -> dict[str, Json]:
        """What is part of the encoder's key."""
        preprocess = {name: _json_value(value) for name, value in sorted(self.preprocess.items())}
        return {"quick_gelu": self.quick_gelu, "preprocess": preprocess}

    def words(self) -> str:
        """The settings in words."""
        details = ", ".join(
            f"{name} {_json_value(value)}" for name, value in self.preprocess.items()
        )
        return (
            f"{'QuickGELU' if self.quick_gelu else 'GELU'}, {details or 'preprocessing of OpenAI'}"
        )


def of_tag(architecture: str, tag: str) -> Settings:
    """The settings that a tag's weights were trained with.

    A tag that says nothing of the activation leaves it to the architecture: `roberta-ViT-B-32` was
    trained with the QuickGELU that its own file names.
    """
    import open_clip

    config = open_clip.get_pretrained_cfg(architecture, tag)
    default = bool(open_clip.get_model_config(architecture).get("quick_gelu", False))
    return Settings(bool(config.get("quick_gelu", default)), _preprocess(config))


def of_file(architecture: str, file: Path, name: str) -> Settings:
    """The settings of a weights file that is named without its tag.

    They are those of the published weights that the file is, by its bytes or its place in the
    hub's cache; else those of an `open_clip_config.json` beside it; else those that all published
    weights of the architecture share, which is an assumption.

    Args:
        architecture: of open_clip.
        file: where it is.
        name: as the study writes it.

    Raises:
        StudyError: when none of these says it.
    """
    import open_clip

    tag = published_tag(architecture, file)
    if tag:
        return of_tag(architecture, tag)
    if (file.parent / CONFIG).is_file():
        return _of_config(architecture, file.parent / CONFIG)
    groups: dict[str, list[str]] = {}
    for known_tag in open_clip.list_pretrained_tags_by_model(architecture):
        groups.setdefault(of_tag(architecture, known_tag).words(), []).append(known_tag)
    if len(groups) > 1:
        choices = "; ".join(f"{', '.join(tags)} ({words})" for words, tags in groups.items())
        raise StudyError(
            f"clip.pretrained = {name!r} is a file that no tag of {architecture} is known by, and "
            f"its tags were trained with different settings: {choices}. Write the tag that the "
            f"file was trained like as clip.pretrained, and clip.weights = {name!r}."
        )
    default = bool(open_clip.get_model_config(architecture).get("quick_gelu", False))
    shared = [of_tag(architecture, tags[0]) for tags in groups.values()]
    settings = shared[0] if shared else Settings(default)
    basis = "as all published weights of it are" if shared else "with open_clip's defaults"
    return Settings(
        settings.quick_gelu,
        settings.preprocess,
        f"the weights file {name!r} of {architecture} names no tag, so it is taken to be trained "
        f"{basis}: {settings.words()}. An {CONFIG} beside it, or clip.weights beside a tag in "
        "clip.pretrained, makes it sure.",
    )


def published_tag(architecture: str, file: Path) -> str:
    """The tag whose published weights a file is; empty when none is known to be.

    By the SHA-256 in the weights' address, or by the place of the file in the hub's cache.
    """
    import open_clip

    folders = {
        part.removeprefix("models--").replace("--", "/", 1) for part in file.absolute().parts
    }
    for tag in open_clip.list_pretrained_tags_by_model(architecture):
        config = open_clip.get_pretrained_cfg(architecture, tag)
        repository = str(config.get("hf_hub") or "").rpartition("/")[0]
        hash_start = _known_hash(str(config.get("url") or ""))
        if repository in folders or (hash_start and file_hash(file).startswith(hash_start)):
            return str(tag)
    return ""


def check_declared(architecture: str, tag: str, file: Path) -> None:
    """Refuse a file that is said to be of one tag, and is known to be of another.

    Raises:
        StudyError: naming the tag.
    """
    actual = published_tag(architecture, file)
    if actual and of_tag(architecture, actual) != of_tag(architecture, tag):
        raise StudyError(
            f"{file} holds the weights {actual!r} of {architecture}, and clip.pretrained says "
            f"{tag!r}, which were trained with other settings. Write clip.pretrained = {actual!r}."
        )


def _of_config(architecture: str, path: Path) -> Settings:
    """The settings in a configuration that lies beside weights.

    Raises:
        StudyError: when it is no configuration of open_clip, or one of another architecture.
    """
    import open_clip

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config, preprocess = content["model_cfg"], content.get("preprocess_cfg") or {}
        towers = {name: dict(config[name]) for name in ("vision_cfg", "text_cfg")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{path} is no configuration of open_clip ({error!r}).") from error
    shape = open_clip.get_model_config(architecture)
    pairs = [("embed_dim", shape["embed_dim"], config.get("embed_dim"))]
    for name, tower in towers.items():
        keys = shape[name].keys() & tower.keys()
        pairs += [(f"{name}.{key}", shape[name][key], tower[key]) for key in sorted(keys)]
    for name, expected, value in pairs:
        if expected != value and not name.endswith("pretrained"):
            raise StudyError(
                f"{path} is of another architecture than {architecture}: {name} is {value!r}, not "
                f"{expected!r}. Write clip.model = {str(path.parent)!r}, which takes the folder "
                "whole."
            )
    return Settings(bool(config.get("quick_gelu", False)), _preprocess(preprocess))


def _preprocess(config: Mapping[str, object]) -> dict[str, object]:
    """The preprocessing in a configuration, by open_clip's own rule."""
    from open_clip.transform import merge_preprocess_dict

    merged = merge_preprocess_dict({}, dict(config))
    merged.pop("size", None)  # open_clip takes that of the architecture
    return dict(merged)


def _known_hash(address: str) -> str:
    hashes = [match[1] for match in (pattern.search(address) for pattern in _HASHES) if match]
    return hashes[0] if hashes else ""


def _json_value(value: object) -> Json:
    return list(value) if isinstance(value, tuple) else value
