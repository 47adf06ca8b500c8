"""CLIP: pictures and texts in one space (DnD, section 3.3; paper: CLIP ViT-B/16), by open_clip."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL.Image import Image

from dnd_assets.errors import DndError, MissingError, StudyError, not_found
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.settings import Options
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
from resources.encoders import clip_settings
from resources.encoders.base import Embeddings, ImageTextEncoder
from resources.encoders.clip_settings import Settings
from resources.encoders.open_clip_towers import Encode, Towers
from resources.model import ModelPart, find_part
from resources.runtime.compute import Compute, load_once
from resources.runtime.exact_passes import Exact, one_shape_at_a_time
from resources.runtime.progress import Progress

if TYPE_CHECKING:
    import open_clip
    import torch

_NEEDS: Final = (clip_settings.CONFIG, "*.safetensors")
_TOKENIZER: Final = ("tokenizer_config.json",)
_WORDS: Final = ("token", "vocab", "merges", "special", "added", "spiece", "sentencepiece")
"""How names of the files begin that make a tokenizer."""
_HUB: Final = "hf-hub:"
_LOCAL: Final = "local-dir:"
_ENDINGS: Final = (".safetensors", ".bin", ".pth")
_USUAL: Final = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "model.safetensors",
    "pytorch_model.bin", "pytorch_model.pth", "model.pth",
)  # fmt: skip
"""Names of weights that open_clip looks for in a folder, the first that is there."""
_FILES: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class _Weights:
    """What open_clip loads.

    Attributes:
        model: architecture, or `local-dir:` and a folder.
        content: hash of all that decides an embedding, not of the place.
        checkpoint: where they lie.
        file: weights of an architecture; a folder brings its own.
        settings: what the weights of an architecture were trained with; a folder brings its own.
    """

    model: str
    content: str
    checkpoint: Checkpoint
    file: Path | None = None
    settings: Settings | None = None


class OpenClip(ImageTextEncoder):
    """An open_clip model with its own preprocessing and tokenizer.

    Attributes:
        model: an architecture of open_clip (`ViT-B-16`), or a folder, `package:…` or hub id
            that holds `open_clip_config.json` and its weights.
        pretrained: tag of an architecture's weights (`openai`), which also says what they were
            trained with; or a weights file, see `clip_settings.of_file`; not used for a folder.
        weights: a file that holds weights trained like those of the tag, instead of its own.
        revision: branch, tag or commit of the hub model that the weights come from.
        base: folder that relative paths start from.
        compute: device and precision. Below float32 the towers run under autocast.
    """

    model: str
    pretrained: str = ""
    weights: str | None = None
    revision: str | None = None
    base: str | None = None
    compute: Compute

    def title(self) -> str:
        """Architecture, tag and file, or the folder."""
        return " ".join(filter(None, (self.model, self.pretrained, self.weights)))

    def check(self) -> Checkpoint:
        """Find the weights without loading them.

        Raises:
            StudyError: when they are not on this machine, naming the command that gets them, or
                when the architecture or tag is unknown, naming the nearest.
        """
        weights = self._find()
        _tokenizer_files(weights)
        return weights.checkpoint

    def parts(self) -> list[ModelPart]:
        """The weights, and the tokenizer where it is a hub model of its own."""
        repository = _repository(self.model, self.pretrained)
        part = find_part(self.title(), lambda: self._find().checkpoint, "", "revision", repository)
        if not part.present:
            return [part]
        weights = self._find()
        tokenizer = _tokenizer_name(weights)
        if not tokenizer or weights.file is None:
            return [part]
        return [part, find_part(tokenizer, lambda: _tokenizer_files(weights), "tokenizer")]

    def assumptions(self) -> list[str]:
        """What a weights file was trained with, and how words are cut, where nothing says it."""
        try:
            weights = self._find()
            text = weights.settings.assumed if weights.settings else _assumed_tokenizer(weights)
        except DndError:
            return []  # `check` tells
        return [text] if text else []

    def fingerprint(self) -> dict[str, Json]:
        """Everything about the encoder that may change an embedding."""
        weights = self._find()
        return {
            "weights": weights.content,
            "settings": weights.settings.as_json() if weights.settings else {},
            "tokenizer": _tokenizer_content(weights),
            "code": self.code(),
            **self.compute.fingerprint(),
            "dtype": self.compute.mixed,
            **{name: version(name) for name in _libraries(weights)},
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
            net,
            net.pictures,
            net.exact_pictures,
            images,
            batch_size,
            on_batch,
            progress,
            prepare=net.pixels,
        )

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64) -> Embeddings:
        """Unit vectors of texts, float32 (N, D); texts beyond the context are cut off."""
        net = self._load()
        tokens = net.tokens(texts) if texts else []  # not every tokenizer takes none

        def encode(rows: Sequence[Any]) -> Sequence[Embeddings]:
            return list(self._embed(net, net.texts, net.exact_texts, rows, batch_size, None, None))

        vectors = one_shape_at_a_time(tokens, len, encode)
        return np.stack(vectors) if vectors else np.zeros((0, net.width), np.float32)

    def _embed(
        self,
        net: Towers,
        encode: Encode,
        exact: Exact,
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
            exact=exact,
            on_batch=on_batch,
            progress=progress,
        )
        return np.stack(rows) if rows else np.zeros((0, net.width), np.float32)

    def _find(self) -> _Weights:
        name = self.model.removeprefix(_LOCAL).removeprefix(_HUB)
        path = local_path(name, self.base)
        if name != self.model or name.startswith(PACKAGE) or (path and path.is_dir()):
            return self._folder(name)
        import open_clip

        architecture = name.replace("/", "-")
        if architecture in open_clip.list_models():
            return self._named(architecture)
        if "/" in name:
            return self._folder(name)
        advice = "Give an architecture of open_clip, or the folder of a model."
        raise not_found("CLIP architecture", name, open_clip.list_models(), advice)

    def _named(self, architecture: str) -> _Weights:
        """Weights of a named architecture: those of a tag, or a file."""
        import open_clip

        tags = open_clip.list_pretrained_tags_by_model(architecture)
        tag = _tag(self.pretrained)
        if tag in tags and self.weights is None:
            checkpoint = _cached(architecture, tag, self.revision)
            settings = clip_settings.of_tag(architecture, tag)
            return _of_architecture(architecture, checkpoint, settings)
        path = local_path(self.pretrained, self.base) if self.pretrained else None
        is_file = path is not None and (path.is_file() or path.suffix != "")
        if tag not in tags and (self.weights is not None or not is_file):
            advice = "Set clip.pretrained to the tag that the weights were trained like."
            raise not_found(f"weights of {architecture}", self.pretrained, tags, advice)
        name = self.weights or self.pretrained
        file = resolve_file(name, self.base)
        if self.revision:
            raise StudyError(
                f"clip.revision = {self.revision!r} pins a hub model, but the study names the file "
                f"{file}, which is known by its bytes. Leave `revision` out."
            )
        if self.weights is None:
            settings = clip_settings.of_file(architecture, file, name)
        else:
            clip_settings.check_declared(architecture, tag, file)
            settings = clip_settings.of_tag(architecture, tag)
        return _of_architecture(architecture, Checkpoint.of_file(file, name), settings)

    def _folder(self, name: str) -> _Weights:
        if self.weights is not None:
            raise StudyError(
                f"clip.model = {self.model!r} is a folder, which brings its own weights. Leave "
                "clip.weights out, or name an architecture and a tag."
            )
        checkpoint = resolve(name, self.revision, self.base, _NEEDS)
        if _own_tokenizer(checkpoint):  # its words are looked for beside its weights
            checkpoint = resolve(name, self.revision, self.base, (*_NEEDS, *_TOKENIZER))
        content = digest([checkpoint.fingerprint()["files"], file_hash(_weights_of(checkpoint))])
        return _Weights(f"{_LOCAL}{checkpoint.folder}", content, checkpoint)

    def _load(self) -> Towers:
        weights = self._find()
        device = str(self.compute.torch_device())
        key = ("clip", weights.content, device, self.compute.channels_last)
        return load_once(key, lambda: _loaded(weights, self.compute))


def _loaded(weights: _Weights, compute: Compute) -> Towers:
    with quiet("transformers"):
        model, transform = _built(weights)
        return Towers(model, transform, _tokenizer(weights), compute)


def _own_tokenizer(checkpoint: Checkpoint) -> bool:
    """Whether a model's folder has to hold a tokenizer of transformers, as those of SigLIP do."""
    path = checkpoint.folder / _NEEDS[0]
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return bool(config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{path} is no configuration of open_clip ({error!r}); copy {checkpoint.source!r} "
            "again."
        ) from error


def _tag(name: str) -> str:
    """A tag as open_clip reads it: `laion2B-s34B-b88K` is `laion2b_s34b_b88k`."""
    return name.lower().replace("-", "_")


def _weights_of(checkpoint: Checkpoint) -> Path:
    """The file of a folder that open_clip loads, among several, without waiting for open_clip.

    As `open_clip.factory._find_checkpoint_in_dir`, which a test compares it with.
    """
    files = [path for ending in _ENDINGS for path in sorted(checkpoint.folder.glob(f"*{ending}"))]
    return min(files, key=lambda path: _rank(path.name))


def _rank(name: str) -> tuple[bool, int, bool, str]:
    """The files with usual names come first, in their order; then safetensors, then by name."""
    usual = name in _USUAL
    return (not usual, _USUAL.index(name) if usual else 0, not name.endswith(_ENDINGS[0]), name)


def _configuration(model: str) -> Options:
    """The shape of a model; that of a folder without waiting for open_clip."""
    if model.startswith(_LOCAL):
        text = (Path(model.removeprefix(_LOCAL)) / clip_settings.CONFIG).read_text(encoding="utf-8")
        content = json.loads(text)
        config: Options = content.get("model_cfg", content)
        return config
    import open_clip

    return dict(open_clip.get_model_config(model))


def _of_architecture(architecture: str, checkpoint: Checkpoint, settings: Settings) -> _Weights:
    """A weights file of a named architecture: known by its bytes, the shape and the settings."""
    import open_clip

    file = checkpoint.folder / checkpoint.only[0]
    shape = open_clip.get_model_config(architecture)
    content = digest([architecture, shape, settings.as_json(), file_hash(file)])
    return _Weights(architecture, content, checkpoint, file, settings)


def _libraries(weights: _Weights) -> list[str]:
    """What builds the model, prepares its pictures and cuts its texts."""
    config = _configuration(weights.model)
    timm = ["timm"] if config["vision_cfg"].get("timm_model_name") else []
    names = ("hf_model_name", "hf_tokenizer_name")
    hugging = any(config["text_cfg"].get(name) for name in names) or _unnamed_tokenizer(weights)
    return ["open_clip_torch", "torch", "torchvision", *timm, *["transformers"] * bool(hugging)]


def _cached(architecture: str, tag: str, revision: str | None) -> Checkpoint:
    """The weights file of a tag, from the cache of the Hugging Face hub or of open_clip.

    Raises:
        MissingError: when it was never downloaded.
    """
    import open_clip

    config = open_clip.get_pretrained_cfg(architecture, tag)
    repository, _, name = str(config.get("hf_hub", "")).rpartition("/")
    names = [str(Path(name).with_suffix(".safetensors")), name] if name else _FILES
    cache = Path.home() / ".cache" / "clip" / str(config.get("url", "")).rpartition("/")[2]
    for file in names if repository else ():
        cache, path = hub_file(repository, file, revision)
        if path is not None:
            return Checkpoint.of_file(path, repository)
    if not repository and cache.is_file():
        return Checkpoint.of_file(cache, cache.name)
    command = f'python -c "import open_clip; open_clip.create_model({architecture!r}, {tag!r})"'
    if repository:
        command = download_command(repository, revision, names[0])
    pinned = f" at revision {revision!r}" if revision else ""
    raise MissingError(
        f"weights {tag!r} of {architecture}{pinned} are not on this machine; looked in {cache}"
        f"{held_of(cache, repository) if repository else ''}. Studies never download: run "
        f"`{command}` once.",
        command,
    )


def _repository(architecture: str, tag: str) -> str:
    """The hub model that holds a tag's weights; the architecture's own name where there is none."""
    if not tag or architecture.startswith(_LOCAL):
        return architecture
    import open_clip

    if _tag(tag) not in open_clip.list_pretrained_tags_by_model(architecture):
        return architecture
    config = open_clip.get_pretrained_cfg(architecture, tag)
    return str(config.get("hf_hub", "")).rpartition("/")[0] or architecture


def _tokenizer_name(weights: _Weights) -> str | None:
    """The hub model whose tokenizer an architecture takes; None for CLIP's own."""
    name: str | None = _configuration(weights.model)["text_cfg"].get("hf_tokenizer_name")
    return name


def _tokenizer_files(weights: _Weights) -> Checkpoint | None:
    """The tokenizer of a named architecture, where it is a hub model of its own.

    Raises:
        MissingError: when it is not on this machine.
    """
    name = _tokenizer_name(weights) if weights.file is not None else None
    return resolve(name, needs=_TOKENIZER) if name else None


def _tokenizer_content(weights: _Weights) -> str:
    """Hash of the files of a tokenizer that is a hub model of its own; empty for any other.

    Raises:
        MissingError: when it is not on this machine.
    """
    tokenizer = _tokenizer_files(weights)
    if tokenizer is None:
        return ""
    names = sorted(path.name for path in tokenizer.folder.iterdir() if path.name.startswith(_WORDS))
    return replace(tokenizer, only=tuple(names)).fingerprint()["files"]


def _unnamed_tokenizer(weights: _Weights) -> str:
    """The class of a tokenizer that lies in a folder whose configuration does not name it.

    Empty where there is none, and for CLIP's own, which open_clip takes from itself: a folder of
    the hub often holds it for transformers.
    """
    if weights.file is not None or _tokenizer_name(weights):
        return ""
    path = weights.checkpoint.folder / _TOKENIZER[0]
    if not path.is_file():
        return ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StudyError(f"{path} is no JSON ({error}); copy the model again.") from error
    kind = str(content.get("tokenizer_class", "tokenizer"))
    return "" if kind.startswith("CLIPTokenizer") else kind


def _assumed_tokenizer(weights: _Weights) -> str:
    kind = _unnamed_tokenizer(weights)
    if not kind:
        return ""
    return (
        f"{weights.checkpoint.source} holds a {kind}, which its {_NEEDS[0]} does not name "
        "(text_cfg.hf_tokenizer_name); texts are taken to be cut by it, and not by CLIP's own."
    )


def _built(weights: _Weights) -> tuple["open_clip.CLIP", Callable[[Image], "torch.Tensor"]]:
    """The model with its weights, and its transform of pictures, both made by open_clip."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    options: dict[str, object] = {}
    if weights.settings is not None:
        options = {
            "quick_gelu": weights.settings.quick_gelu,
            "force_preprocess_cfg": dict(weights.settings.preprocess),
        }
    model = open_clip.create_model(
        weights.model, str(weights.file) if weights.file else None, **options
    )
    config = PreprocessCfg(**model.visual.preprocess_cfg)
    return model, image_transform_v2(config, is_train=False)


def _tokenizer(weights: _Weights) -> Callable[[list[str]], "torch.Tensor"]:
    """The tokenizer of the architecture, or the folder's own where it holds one."""
    import open_clip
    from open_clip.tokenizer import HFTokenizer

    name = _tokenizer_name(weights)
    config = _configuration(weights.model)["text_cfg"]
    if _unnamed_tokenizer(weights):
        folder_tokenizer: Callable[[list[str]], torch.Tensor] = HFTokenizer(
            str(weights.checkpoint.folder),
            context_length=config.get("context_length", 77),
            local_files_only=True,
        )
        return folder_tokenizer
    options = {"local_files_only": True} if name else {}
    _tokenizer_files(weights)
    tokenizer: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(
        weights.model, **options
    )
    return tokenizer
