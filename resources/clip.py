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

from dnd_assets.errors import StudyError, not_found
from dnd_assets.lineage.fingerprint import Json, digest
from resources.checkpoints import (
    PACKAGE,
    Checkpoint,
    download_command,
    file_hash,
    local_path,
    quiet,
    resolve,
    resolve_file,
)
from resources.compute import Compute, load_once
from resources.image_text import Embeddings, ImageTextEncoder
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
    """

    model: str
    content: str
    file: Path | None = None
    tag: str = ""


class OpenClip(ImageTextEncoder):
    """An open_clip model with its own preprocessing and tokenizer.

    Attributes:
        model: an architecture of open_clip (`ViT-B-16`), or a folder, `package:…` or hub id
            that holds `open_clip_config.json` and its weights.
        pretrained: tag of an architecture's weights (`openai`), or a weights file; not used
            for a folder.
        base: folder that relative paths start from.
        compute: device and precision.
    """

    model: str
    pretrained: str = ""
    base: str | None = None
    compute: ResourceDependency[Compute]

    def title(self) -> str:
        """Architecture and tag, or the folder."""
        return " ".join(filter(None, (self.model, self.pretrained)))

    def check(self) -> None:
        """Find the weights without loading them.

        Raises:
            StudyError: when they are not on this machine, naming the command that gets them, or
                when the architecture or tag is unknown, naming the nearest.
        """
        self._find()

    def fingerprint(self) -> dict[str, Json]:
        """Everything about the encoder that may change an embedding."""
        return {
            "weights": self._find().content,
            "dtype": self.compute.dtype,
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
        return self._embed(net, net.pictures, images, batch_size, on_batch, progress)

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
    ) -> Embeddings:
        import torch

        from dnd_assets.methods.pooling import stabilise

        def run(batch: Sequence[Any]) -> list[Embeddings]:
            with torch.inference_mode():
                vectors = torch.nn.functional.normalize(encode(batch).float(), dim=-1)
            return list(stabilise(vectors).cpu().numpy())

        rows = self.compute.in_batches(
            items, run, batch_size, pad=True, exact=True, on_batch=on_batch, progress=progress
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
            return _named(architecture, self.pretrained, self.base)
        if "/" in name:
            return self._folder(name)
        advice = "Give an architecture of open_clip, or the folder of a model."
        raise not_found("CLIP architecture", name, open_clip.list_models(), advice)

    def _folder(self, name: str) -> _Weights:
        found = resolve(name, None, self.base, _NEEDS)
        if _own_tokenizer(found):  # its words are looked for beside its weights
            found = resolve(name, None, self.base, (*_NEEDS, *_TOKENIZER))
        return _Weights(f"{_LOCAL}{found.folder}", found.fingerprint()["files"])

    def _load(self) -> "_Encoder":
        found = self._find()
        device, dtype = self.compute.torch_device(), self.compute.torch_dtype()
        key = ("clip", found.content, str(device), str(dtype))
        return load_once(key, lambda: _Encoder(found, device, dtype))


class _Encoder:
    """A loaded model: turns pictures or texts into vectors (B, D)."""

    def __init__(self, found: _Weights, device: "torch.device", dtype: "torch.dtype") -> None:
        import open_clip

        with quiet("transformers"):
            model, _, self._transform = open_clip.create_model_and_transforms(
                found.model, str(found.file) if found.file else None, **_preprocessing(found)
            )
            self._tokenize = _tokenizer(found)
        self._model = model.to(device, dtype).eval().requires_grad_(requires_grad=False)
        self._device, self._dtype = device, dtype
        self.width = self.texts(["x"]).shape[1]

    def pictures(self, images: Sequence[Image]) -> "torch.Tensor":
        import torch

        pixels = torch.stack([self._transform(image.convert("RGB")) for image in images])
        vectors: torch.Tensor = self._model.encode_image(pixels.to(self._device, self._dtype))
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


def _named(architecture: str, pretrained: str, base: str | None) -> _Weights:
    """Weights of a named architecture: a file, or a tag whose file is in the local cache."""
    import open_clip

    tokenizer = open_clip.get_model_config(architecture)["text_cfg"].get("hf_tokenizer_name")
    if tokenizer:
        resolve(tokenizer, needs=_TOKENIZER)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained in tags:
        file = _cached(architecture, pretrained)
        content = digest([architecture, pretrained, file_hash(file)])
        return _Weights(architecture, content, file, pretrained)
    path = local_path(pretrained, base) if pretrained else None
    if path is None or not (path.is_file() or path.suffix):
        raise not_found(f"weights of {architecture}", pretrained, tags, "Set clip.pretrained.")
    file = resolve_file(pretrained, base)
    return _Weights(architecture, digest([architecture, "", file_hash(file)]), file)


def _cached(architecture: str, tag: str) -> Path:
    """The weights file of a tag, from the cache of the Hugging Face hub or of open_clip.

    Raises:
        StudyError: when it was never downloaded.
    """
    import open_clip
    from huggingface_hub import constants, try_to_load_from_cache

    config = open_clip.get_pretrained_cfg(architecture, tag)
    repository, _, name = str(config.get("hf_hub", "")).rpartition("/")
    names = [str(Path(name).with_suffix(".safetensors")), name] if name else _FILES
    cache = Path(constants.HF_HUB_CACHE)
    for file in names if repository else ():
        found = try_to_load_from_cache(repository, file, cache_dir=cache)
        if isinstance(found, str):
            return Path(found)
    url = str(config.get("url", ""))
    old = Path.home() / ".cache" / "clip" / url.rpartition("/")[2]
    if not repository and old.is_file():
        return old
    command = f'python -c "import open_clip; open_clip.create_model({architecture!r}, {tag!r})"'
    raise StudyError(
        f"weights {tag!r} of {architecture} are not on this machine; looked in "
        f"{cache if repository else old}. Studies never download: run "
        f"`{download_command(repository, file=names[0]) if repository else command}` once."
    )


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

    text = open_clip.get_model_config(found.model)["text_cfg"]
    named = text.get("hf_tokenizer_name")
    folder = Path(found.model.removeprefix(_LOCAL))
    if found.file is None and not named and (folder / "tokenizer_config.json").is_file():
        own: Callable[[list[str]], torch.Tensor] = HFTokenizer(
            str(folder), context_length=text.get("context_length", 77), local_files_only=True
        )
        return own
    extra = {"local_files_only": True} if named else {}
    tokenizer: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(found.model, **extra)
    return tokenizer
