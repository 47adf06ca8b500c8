"""CLIP: pictures and texts in one space (DnD, section 3.3; paper: CLIP ViT-B/16), by open_clip."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from dagster import ResourceDependency
from PIL.Image import Image

from dnd_assets.errors import MissingError, StudyError, not_found
from dnd_assets.lineage.fingerprint import Json, digest
from resources.checkpoints import (
    PACKAGE,
    Checkpoint,
    download_command,
    file_hash,
    held_of,
    hub_file,
    local_path,
    quiet,
    resolve,
    resolve_file,
)
from resources.compute import Compute, load_once
from resources.image_text import Embeddings, ImageTextEncoder
from resources.model import ModelPart, find_part
from resources.progress import Progress

if TYPE_CHECKING:
    import torch

    Encode = Callable[[Sequence[Any]], "torch.Tensor"]

_NEEDS: Final = ("open_clip_config.json", "*.safetensors")
_TOKENIZER: Final = ("tokenizer_config.json",)
_HUB: Final = "hf-hub:"
_LOCAL: Final = "local-dir:"
_FILES: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class _Weights:
    """What open_clip loads.

    Attributes:
        model: architecture, or `local-dir:` and a folder.
        content: hash of all that decides an embedding, not of the place.
        file: weights of an architecture; a folder brings its own.
        tag: the preprocessing that belongs to these weights.
        found: where they lie.
    """

    model: str
    content: str
    found: Checkpoint
    file: Path | None = None
    tag: str = ""


class OpenClip(ImageTextEncoder):
    """An open_clip model with its own preprocessing and tokenizer.

    Attributes:
        model: an architecture of open_clip (`ViT-B-16`), or a folder, `package:…` or hub id
            that holds `open_clip_config.json` and its weights.
        pretrained: tag of an architecture's weights (`openai`), or a weights file; not used
            for a folder.
        revision: branch, tag or commit of the hub model that the weights come from.
        base: folder that relative paths start from.
        compute: device and precision. Below float32 the towers run under autocast.
    """

    model: str
    pretrained: str = ""
    revision: str | None = None
    base: str | None = None
    compute: ResourceDependency[Compute]

    def title(self) -> str:
        """Architecture and tag, or the folder."""
        return " ".join(filter(None, (self.model, self.pretrained)))

    def check(self) -> Checkpoint:
        """Find the weights without loading them.

        Raises:
            StudyError: when they are not on this machine, naming the command that gets them, or
                when the architecture or tag is unknown, naming the nearest.
        """
        found = self._find()
        _tokenizer_files(found)
        return found.found

    def parts(self) -> list[ModelPart]:
        """The weights, and the tokenizer where it is a hub model of its own."""
        repository = _repository(self.model, self.pretrained)
        weights = find_part(self.title(), lambda: self._find().found, "", "revision", repository)
        if not weights.present:
            return [weights]
        found = self._find()
        named = _tokenizer_name(found)
        if not named or found.file is None:
            return [weights]
        return [weights, find_part(named, lambda: _tokenizer_files(found), "tokenizer")]

    def fingerprint(self) -> dict[str, Json]:
        """Everything about the encoder that may change an embedding."""
        return {
            "weights": self._find().content,
            "code": self.code(),
            **self.compute.fingerprint(),
            "dtype": self.compute.mixed,
            "open_clip": version("open_clip_torch"),
            "torch": version("torch"),
        }

    def embed_images(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[Embeddings]], None] | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Unit vectors of pictures by the image tower, float32 (N, D)."""
        net = self._load()
        return self._embed(
            net, net.pictures, images, batch_size, on_batch, progress, prepare=net.pixels
        )

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64) -> Embeddings:
        """Unit vectors of texts, float32 (N, D); texts beyond the context are cut off."""
        net = self._load()
        return self._embed(net, net.texts, texts, batch_size, None, None)

    def _embed(
        self,
        net: "_Encoder",
        encode: "Encode",
        items: Sequence[Any],
        batch_size: int,
        on_batch: Callable[[Sequence[Any], Sequence[Embeddings]], None] | None,
        progress: Progress | None,
        prepare: Callable[[Image], "torch.Tensor"] | None = None,
    ) -> Embeddings:
        import torch

        from dnd_assets.methods.pooling import stabilise

        def run(batch: Sequence[Any]) -> list[Embeddings]:
            with torch.inference_mode(), self.compute.autocast():
                vectors = torch.nn.functional.normalize(encode(batch).float(), dim=-1)
            return list(stabilise(vectors).cpu().numpy())

        rows = self.compute.in_batches(
            items,
            run,
            batch_size,
            prepare=prepare,
            pad=True,
            exact=True,
            on_batch=on_batch,
            progress=progress,
        )
        return np.stack(rows) if rows else np.zeros((0, net.width), np.float32)

    def _find(self) -> _Weights:
        name = self.model.removeprefix(_LOCAL).removeprefix(_HUB)
        here = local_path(name, self.base)
        if name != self.model or name.startswith(PACKAGE) or (here and here.is_dir()):
            return self._folder(name)
        import open_clip

        architecture = name.replace("/", "-")
        if architecture in open_clip.list_models():
            return _named(architecture, self.pretrained, self.base, self.revision)
        if "/" in name:
            return self._folder(name)
        advice = "Give an architecture of open_clip, or the folder of a model."
        raise not_found("CLIP architecture", name, open_clip.list_models(), advice)

    def _folder(self, name: str) -> _Weights:
        found = resolve(name, self.revision, self.base, _NEEDS)
        if _own_tokenizer(found):  # its words are looked for beside its weights
            found = resolve(name, self.revision, self.base, (*_NEEDS, *_TOKENIZER))
        return _Weights(f"{_LOCAL}{found.folder}", found.fingerprint()["files"], found)

    def _load(self) -> "_Encoder":
        found = self._find()
        key = ("clip", found.content, str(self.compute.torch_device()), self.compute.channels_last)
        return load_once(key, lambda: _Encoder(found, self.compute))


class _Encoder:
    """A loaded model: turns pictures or texts into vectors (B, D)."""

    def __init__(self, found: _Weights, compute: Compute) -> None:
        import open_clip
        import torch

        with quiet("transformers"):
            model, _, self._transform = open_clip.create_model_and_transforms(
                found.model, str(found.file) if found.file else None, **_preprocessing(found)
            )
            self._tokenize = _tokenizer(found)
        self._compute, self._device = compute, compute.torch_device()
        self._model = model.to(self._device, torch.float32)
        self._model.eval().requires_grad_(requires_grad=False)
        if compute.channels_last:
            self._model.to(memory_format=torch.channels_last)
        self.width = self.texts(["x"]).shape[1]

    def pixels(self, image: Image) -> "torch.Tensor":
        """A picture as the image tower takes it, (3, H, W)."""
        found: torch.Tensor = self._transform(image.convert("RGB"))
        return found

    def pictures(self, batch: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """Vectors of pictures as `pixels` gives them."""
        import torch

        vectors: torch.Tensor = self._model.encode_image(
            self._compute.place(torch.stack(list(batch)))
        )
        return vectors

    def texts(self, texts: Sequence[str]) -> "torch.Tensor":
        import torch

        with torch.inference_mode():
            tokens = self._tokenize(list(texts)).to(self._device)
            vectors: torch.Tensor = self._model.encode_text(tokens)
        return vectors


def _own_tokenizer(found: Checkpoint) -> bool:
    """Whether a model's folder has to hold a tokenizer of transformers, as those of SigLIP do."""
    path = found.folder / _NEEDS[0]
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return bool(config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{path} is no configuration of open_clip ({error!r}); copy {found.source!r} again."
        ) from error


def _named(architecture: str, pretrained: str, base: str | None, revision: str | None) -> _Weights:
    """Weights of a named architecture: a file, or a tag whose file is in the local cache."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained in tags:
        found = _cached(architecture, pretrained, revision)
        file = found.folder / found.only[0]
        content = digest([architecture, pretrained, file_hash(file)])
        return _Weights(architecture, content, found, file, pretrained)
    path = local_path(pretrained, base) if pretrained else None
    if path is None or not (path.is_file() or path.suffix):
        raise not_found(f"weights of {architecture}", pretrained, tags, "Set clip.pretrained.")
    file = resolve_file(pretrained, base)
    if revision:
        raise StudyError(
            f"clip.revision = {revision!r} pins a hub model, but clip.pretrained names the file "
            f"{file}, which is known by its bytes. Leave `revision` out."
        )
    found = Checkpoint.of_file(file, pretrained)
    return _Weights(architecture, digest([architecture, "", file_hash(file)]), found, file)


def _cached(architecture: str, tag: str, revision: str | None) -> Checkpoint:
    """The weights file of a tag, from the cache of the Hugging Face hub or of open_clip.

    Raises:
        MissingError: when it was never downloaded.
    """
    import open_clip

    config = open_clip.get_pretrained_cfg(architecture, tag)
    repository, _, name = str(config.get("hf_hub", "")).rpartition("/")
    names = [str(Path(name).with_suffix(".safetensors")), name] if name else _FILES
    place = Path.home() / ".cache" / "clip" / str(config.get("url", "")).rpartition("/")[2]
    for file in names if repository else ():
        place, found = hub_file(repository, file, revision)
        if found is not None:
            return Checkpoint.of_file(found, repository)
    if not repository and place.is_file():
        return Checkpoint.of_file(place, place.name)
    command = f'python -c "import open_clip; open_clip.create_model({architecture!r}, {tag!r})"'
    if repository:
        command = download_command(repository, revision, names[0])
    at = f" at revision {revision!r}" if revision else ""
    raise MissingError(
        f"weights {tag!r} of {architecture}{at} are not on this machine; looked in {place}"
        f"{held_of(place, repository) if repository else ''}. Studies never download: run "
        f"`{command}` once.",
        command,
    )


def _repository(architecture: str, tag: str) -> str:
    """The hub model that holds a tag's weights; the architecture's own name where there is none."""
    import open_clip

    if tag not in open_clip.list_pretrained_tags_by_model(architecture):
        return architecture
    config = open_clip.get_pretrained_cfg(architecture, tag)
    return str(config.get("hf_hub", "")).rpartition("/")[0] or architecture


def _tokenizer_name(found: _Weights) -> str | None:
    """The hub model whose tokenizer an architecture takes; None for CLIP's own."""
    import open_clip

    name: str | None = open_clip.get_model_config(found.model)["text_cfg"].get("hf_tokenizer_name")
    return name


def _tokenizer_files(found: _Weights) -> Checkpoint | None:
    """The tokenizer of a named architecture, where it is a hub model of its own.

    Raises:
        MissingError: when it is not on this machine.
    """
    name = _tokenizer_name(found) if found.file is not None else None
    return resolve(name, needs=_TOKENIZER) if name else None


def _preprocessing(found: _Weights) -> dict[str, Any]:
    """Mean, deviation and resizing that belong to a tag's weights; a folder brings its own."""
    if not found.tag:
        return {}
    import open_clip

    config = open_clip.get_pretrained_cfg(found.model, found.tag)
    names = ("mean", "std", "interpolation", "resize_mode")
    return {f"image_{name}": config[name] for name in names if config.get(name) is not None}


def _tokenizer(found: _Weights) -> Callable[[list[str]], "torch.Tensor"]:
    """The tokenizer of the architecture, or the folder's own where it holds one."""
    import open_clip
    from open_clip.tokenizer import HFTokenizer

    named = _tokenizer_name(found)
    text = open_clip.get_model_config(found.model)["text_cfg"]
    folder = Path(found.model.removeprefix(_LOCAL))
    if found.file is None and not named and (folder / "tokenizer_config.json").is_file():
        own: Callable[[list[str]], torch.Tensor] = HFTokenizer(
            str(folder), context_length=text.get("context_length", 77), local_files_only=True
        )
        return own
    extra = {"local_files_only": True} if named else {}
    _tokenizer_files(found)
    tokenizer: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(found.model, **extra)
    return tokenizer
