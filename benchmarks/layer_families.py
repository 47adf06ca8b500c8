"""The layouts of layers, family by family, against what each family's own code says of them.

    python -m benchmarks.layer_families --source timm --output table.md

One network of each family of timm and torchvision, and of the vision models of transformers, with
random weights and few, narrow layers, at its published size and at another one. Units, maps and
pooled values of representative layers, as `resources.targets.layer_layout` reads them, are compared
with an independent account of the same activations: timm's `forward_intermediates` (maps and prefix
tokens), transformers' hidden states placed by its configuration, and for torchvision the layouts
that its documentation names.
"""

from __future__ import annotations

import argparse
import copy
import gc
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from dnd_assets.errors import StudyError
from dnd_assets.methods.pooling import pool, spatial_maps, tensor_of
from resources.targets.layer_declared import layouts_of
from resources.targets.layer_layout import KnownLayout
from resources.targets.survey import look

Call = Callable[[nn.Module, Tensor], Any]
_TOLERANCE: Final = 1e-4
_SMALL: Final = (
    "test_", "atto", "femto", "pico", "nano", "xxs", "xxt", "micro", "_xs", "extra_small", "tiny",
    "_ti", "mini", "_t_", "_t0", "_0", "b0", "_s0", "_m0", "_18", "small", "_s_", "_s", "10", "_26",
)  # fmt: skip
"""Parts of the names of small variants, smallest first."""
_SHALLOW: Final[Sequence[dict[str, Any]]] = (
    {"depth": 2, "embed_dim": 96, "num_heads": 3},
    {"depth": 2},
    {"depths": (1, 1, 1, 1)},
    {"depths": (1, 1, 1)},
    {"layers": (1, 1, 1, 1)},
    {},
)


@dataclass(frozen=True)
class Expected:
    """What a family's own code says of some layer's activations.

    Attributes:
        maps: (B, C, H, W).
        prefix: tokens before the patches, (B, P, C); None where there are none.
        class_token: whether the first of them is a class token.
        layer: the layer's path, where the family's code names it.
    """

    maps: Tensor
    prefix: Tensor | None = None
    class_token: bool = False
    layer: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    source: str
    family: str
    network: str
    size: str
    layer: str
    layout: str
    known: str
    units: str
    verdict: str


def outputs(module: nn.Module, call: Call, pixels: Tensor) -> dict[str, Tensor]:
    """The first tensor that each layer gives."""
    found: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            try:
                found[path] = tensor_of(output).detach().clone()
            except StudyError:
                return

        return hook

    handles = [m.register_forward_hook(keep(p)) for p, m in module.named_modules() if p]
    try:
        with torch.inference_mode():
            call(module, pixels)
    finally:
        for handle in handles:
            handle.remove()
    return found


def read(found: KnownLayout, values: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Map, class token and mean over the places, as the product reads them."""
    layout = found.layout
    assert layout is not None
    arranged = layout.arranged(values.float())
    maps = spatial_maps(arranged, layout.prefix_tokens, layout.grid) if layout.places else None
    if layout.kind == "tokens":
        how = "token_mean" if arranged.shape[1] > layout.prefix_tokens else "class_token"
        mean = pool(arranged, how, layout.prefix_tokens, layout.class_token)
        token = arranged[:, 0] if layout.class_token else None
        return maps, token, mean
    return maps, None, pool(arranged, "auto")


def compare(found: KnownLayout, values: Tensor, expected: Expected) -> str:
    """`equal`, or what differs."""
    if found.layout is None:
        return f"no units: {found.reason}"
    maps, token, mean = read(found, values)
    if found.layout.units(values.shape) != expected.maps.shape[1]:
        return f"WRONG units {found.layout.units(values.shape)}, not {expected.maps.shape[1]}"
    wanted = expected.maps.float()
    if not _close(mean, wanted.mean(dim=(2, 3))):
        return "WRONG mean"
    if expected.class_token and (
        token is None or expected.prefix is None or not _close(token, expected.prefix[:, 0])
    ):
        return "WRONG class token"
    if not expected.class_token and token is not None:
        return "WRONG: a class token that is none"
    if maps is None:
        return f"no map ({found.reason}); units and mean equal"
    return "equal" if _close(maps, wanted) else "WRONG map"


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scale = float(other.abs().max()) or 1.0
    return float((one - other).abs().max()) <= _TOLERANCE * scale


def rows(
    source: str,
    family: str,
    name: str,
    module: nn.Module,
    call: Call,
    size: tuple[int, int],
    told: Callable[[nn.Module, Tensor], list[Expected]],
) -> Iterator[Row]:
    """The lines of one network at one size."""
    torch.manual_seed(0)
    pixels = torch.nn.functional.interpolate(torch.randn(2, 3, 9, 9), size, mode="bicubic")
    # A picture of another size changes some networks for good; the product loads them anew, too.
    looked_at = copy.deepcopy(module)
    with torch.inference_mode():
        surveyed = look(looked_at, lambda given: call(looked_at, given), pixels[:1], pixels[1:])
    known = layouts_of(module, surveyed)
    values = outputs(module, call, pixels)
    with torch.inference_mode():
        expectations = told(module, pixels)
    spelled = f"{size[0]} x {size[1]}"
    for expected in expectations:
        layer, verdict = best_match(known, values, expected)
        found = known.get(layer, KnownLayout(None, reason="does not run"))
        layout = found.layout
        grid = f" {layout.grid[0]}x{layout.grid[1]}+{layout.prefix_tokens}" if (
            layout and layout.grid) else ""  # fmt: skip
        yield Row(
            source, family, name, spelled, layer, f"{layout.axes if layout else '-'}{grid}",
            found.known, str(layout.units(values[layer].shape)) if layout else "-", verdict,
        )  # fmt: skip
    maps = sum(one.layout is not None and one.layout.places for one in known.values())
    units = sum(one.layout is not None for one in known.values())
    yield Row(
        source, family, name, spelled, f"all {len(known)} that run", "", "",
        "", f"{units} with units, {maps} with places",
    )  # fmt: skip


def best_match(
    known: dict[str, KnownLayout], values: dict[str, Tensor], expected: Expected
) -> tuple[str, str]:
    """The layer that the account is of, and how they compare."""
    if expected.layer in known:
        return expected.layer, compare(known[expected.layer], values[expected.layer], expected)
    wanted = sorted(expected.maps.shape[1:])
    best = ("-", "no layer gives these numbers as they are")
    for path, one in known.items():
        if one.layout is None or path not in values:
            continue
        sides = sorted(one.layout.arranged_shape(values[path].shape))
        if sides != wanted and one.layout.kind == "maps":
            continue
        said = compare(one, values[path], expected)
        if said == "equal":
            return path, said
        if said.startswith("no map") and best[0] == "-":
            best = (path, said)
    return best


# --- timm


def timm_networks(only: str) -> Iterator[tuple[str, str]]:
    """Family and the name of its smallest network, as far as names tell."""
    import timm

    for family in (one for one in timm.list_modules() if re.search(only, one)):
        names = [n for n in timm.list_models(module=family) if "384" not in n and "512" not in n]
        if names:
            yield family, min(names, key=_rank)


def _rank(name: str) -> tuple[int, int, str]:
    place = next((i for i, part in enumerate(_SMALL) if part in name), len(_SMALL))
    return place, len(name), name


def timm_model(name: str, **more: Any) -> nn.Module:
    """The network with few and narrow layers, where it lets itself be made so."""
    import timm

    for shallow in _SHALLOW:
        try:
            torch.manual_seed(0)
            made: nn.Module = timm.create_model(name, pretrained=False, **shallow, **more)
        except Exception as error:  # noqa: BLE001 - whatever a family's constructor raises
            failed = error
            continue
        return made.eval()
    raise failed


def _of_crossvit(module: Any) -> dict[str, tuple[int, int]]:
    """Blocks of both branches, each with the grid of the branch's patches."""
    grids = [
        (one.img_size[0] // one.patch_size[0], one.img_size[1] // one.patch_size[1])
        for one in module.patch_embed
    ]
    return {f"blocks.0.blocks.{branch}": grid for branch, grid in enumerate(grids)}


def _of_coat(module: Any) -> dict[str, tuple[int, int]]:
    """The last block of each scale, with the grid of its patches."""
    grids = {scale: getattr(module, f"patch_embed{scale}").grid_size for scale in (1, 4)}
    last = {scale: len(getattr(module, f"serial_blocks{scale}")) - 1 for scale in grids}
    return {f"serial_blocks{s}.{last[s]}": grid for s, grid in grids.items()}


_CLASS_FIRST: Final[dict[str, Callable[[Any], dict[str, tuple[int, int]]]]] = {
    "CrossVit": _of_crossvit,
    "CoaT": _of_coat,
}
"""Layers that give a class token and then the patches row by row, by class of network.

Their `forward_intermediates` give maps of several scales without their class tokens.
"""


def _class_first(module: Any, pixels: Tensor) -> list[Expected]:
    """By the network's definition: the class token, then the patches row by row."""
    values = outputs(module, lambda m, x: m(x), pixels)
    layers = _CLASS_FIRST[type(module).__name__](module)
    return [
        Expected(
            values[layer][:, 1:].transpose(1, 2).unflatten(2, grid),
            values[layer][:, :1], class_token=True, layer=layer,
        )
        for layer, grid in layers.items()
    ]  # fmt: skip


def timm_told(module: Any, pixels: Tensor) -> list[Expected]:
    """The own account of timm of its blocks, by `forward_intermediates`."""
    if type(module).__name__ in _CLASS_FIRST:
        return _class_first(module, pixels)
    if not hasattr(module, "forward_intermediates"):
        return _by_hooks(module, pixels)
    more: dict[str, Any] = {"intermediates_only": True, "output_fmt": "NCHW"}
    try:
        given = module.forward_intermediates(pixels, return_prefix_tokens=True, **more)
    except TypeError:
        given = module.forward_intermediates(pixels, **more)
    has_class = bool(
        getattr(module, "has_class_token", getattr(module, "cls_token", None) is not None)
    )
    found = []
    for one in given:
        maps, prefix = one if isinstance(one, tuple) else (one, None)
        there = prefix is not None and prefix.shape[1] > 0
        found.append(Expected(maps, prefix if there else None, has_class and there))
    return found[:1] + found[-1:] if len(found) > 1 else found


def _by_hooks(module: Any, pixels: Tensor) -> list[Expected]:
    """The layers that timm says hold features, of networks of convolutions."""
    names = [one["module"] for one in getattr(module, "feature_info", None) or []]
    there = outputs(module, lambda m, x: m(x), pixels)
    found = [Expected(there[n], layer=n) for n in names if n in there and there[n].ndim == 4]
    return found[:1] + found[-1:] if len(found) > 1 else found


def timm_sizes(module: Any) -> list[tuple[int, int]]:
    """Published size, and another, not square one where it is taken."""
    config = getattr(module, "pretrained_cfg", {})
    _, height, width = config.get("input_size", (3, 224, 224))
    sizes = [(height, width)]
    other = (height, width - 64) if width > 128 else (height + 32, width)
    return [*sizes, other]


# --- torchvision

_TORCHVISION: Final = {
    "alexnet": ("alexnet", "features.5"),
    "convnext": ("convnext_tiny", "features.3"),
    "densenet": ("densenet121", "features.denseblock2"),
    "efficientnet": ("efficientnet_b0", "features.4"),
    "googlenet": ("googlenet", "inception3b"),
    "inception": ("inception_v3", "Mixed_5d"),
    "maxvit": ("maxvit_t", "blocks.1"),
    "mnasnet": ("mnasnet0_5", "layers.9"),
    "mobilenetv2": ("mobilenet_v2", "features.7"),
    "mobilenetv3": ("mobilenet_v3_small", "features.6"),
    "regnet": ("regnet_y_400mf", "trunk_output.block3"),
    "resnet": ("resnet18", "layer3"),
    "shufflenetv2": ("shufflenet_v2_x0_5", "stage3"),
    "squeezenet": ("squeezenet1_1", "classifier.1"),
    "swin": ("swin_t", "features.3"),
    "swin v2": ("swin_v2_t", "features.5"),
    "vgg": ("vgg11", "features.10"),
    "vision_transformer": ("vit_b_32", "encoder.layers.encoder_layer_1"),
}


def torchvision_told(family: str, layer: str) -> Callable[[Any, Tensor], list[Expected]]:
    """By its documentation: maps are NCHW, those of Swin NHWC; ViT has a class token first."""

    def told(module: Any, pixels: Tensor) -> list[Expected]:
        values = outputs(module, lambda m, x: m(x), pixels)[layer]
        if family.startswith("swin"):
            return [Expected(values.permute(0, 3, 1, 2), layer=layer)]
        if family != "vision_transformer":
            return [Expected(values, layer=layer)]
        side = module.image_size // module.patch_size
        maps = values[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        return [Expected(maps, values[:, :1], class_token=True, layer=layer)]

    return told


def torchvision_rows(only: str, places: Sequence[int]) -> Iterator[Row]:
    """All families of torchvision's classifiers."""
    from torchvision import models

    for family, (name, layer) in _TORCHVISION.items():
        if not re.search(only, family):
            continue
        torch.manual_seed(0)
        module = models.get_model(name, weights=None).eval()
        published = (299, 299) if family == "inception" else (224, 224)
        for size in _chosen((published, (published[0], published[1] - 64)), places):
            yield from attempt(
                "torchvision", family, name, module, lambda m, x: m(x), size,
                torchvision_told(family, layer),
            )  # fmt: skip


# --- transformers

_PREFIX: Final = {
    "vit": (1, True), "deit": (2, True), "beit": (1, True), "data2vec-vision": (1, True),
    "dinov2": (1, True), "dinov2_with_registers": (5, True), "dinov3_vit": (5, True),
    "clip": (1, True), "vit_msn": (1, True), "siglip": (0, False), "siglip2": (0, False),
    "ijepa": (0, False), "metaclip_2": (1, True), "segformer": (0, False),
}  # fmt: skip
"""Tokens before the patches, and whether the first is a class token, by type of model."""
_SKIPPED: Final = {
    "perceiver": "takes its pictures flattened (pixel_values of a preprocessor)",
    "timm_wrapper": "is timm's",
    "siglip2": "takes patches, not pictures",
    "imagegpt": "takes numbers of colours, not pictures",
    "shieldgemma2": "is a language model of four thousand million weights",
}


def transformers_told(kind: str) -> Callable[[Any, Tensor], list[Expected]]:
    """By its hidden states, placed by its configuration."""

    def told(module: Any, pixels: Tensor) -> list[Expected]:
        given = module(pixel_values=pixels, output_hidden_states=True)
        placed = getattr(given, "reshaped_hidden_states", None)
        states = list(placed or getattr(given, "hidden_states", None) or [])
        found = []
        for state in states[1:]:
            if isinstance(state, Tensor) and state.ndim == 4:
                found.append(Expected(state))
            elif isinstance(state, Tensor) and state.ndim == 3 and kind in _PREFIX:
                found.append(_by_configuration(module.config, state, kind, pixels))
        return found[:1] + found[-2:-1] if len(found) > 1 else found

    return told


def _by_configuration(config: Any, state: Tensor, kind: str, pixels: Tensor) -> Expected:
    before, has_class = _PREFIX[kind]
    config = getattr(config, "vision_config", config)
    patch = config.patch_size
    patch = patch if isinstance(patch, int) else patch[0]
    grid = (pixels.shape[2] // patch, pixels.shape[3] // patch)
    maps = state[:, before:].transpose(1, 2).unflatten(2, grid)
    return Expected(maps, state[:, :before] if before else None, has_class)


_NARROW: Final = {"hidden_size": 96, "num_attention_heads": 3, "intermediate_size": 192}


def small_configuration(config: Any) -> Any:
    """The configuration with few and narrow layers; of EfficientNets the smallest, B0 at 224."""
    if config.model_type == "efficientnet":
        config.width_coefficient = config.depth_coefficient = 1.0
        config.image_size, config.hidden_dim = 224, 1280
    for one in (config, getattr(config, "vision_config", config)):
        if all(isinstance(getattr(one, name, None), int) for name in _NARROW):
            for name, value in _NARROW.items():
                setattr(one, name, value)
        for name in ("num_hidden_layers", "num_layers"):
            staged = hasattr(one, "depths") or hasattr(one, "layer_depths")
            if not staged and isinstance(getattr(one, name, None), int) and getattr(one, name) > 2:
                setattr(one, name, 2)
        for name in ("depths", "layer_depths"):
            depths = getattr(one, name, None)
            if isinstance(depths, list | tuple):
                setattr(one, name, [1 for _ in depths])
    return config


def transformers_rows(only: str, places: Sequence[int]) -> Iterator[Row]:
    """Every image classifier of transformers that can be made from its default configuration."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    for kind, classes in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.items():
        if not re.search(only, kind):
            continue
        name = classes[0] if isinstance(classes, tuple) else classes
        if kind in _SKIPPED:
            yield Row("transformers", kind, name, "", "", "", "", "", f"left out: {_SKIPPED[kind]}")
            continue
        try:
            config = small_configuration(CONFIG_MAPPING[kind]())
            torch.manual_seed(0)
            module = getattr(transformers, name)(config).eval()
        except Exception as error:  # noqa: BLE001 - whatever a family's constructor raises
            line = str(error).strip().splitlines()[0][:120] if str(error).strip() else ""
            yield Row("transformers", kind, name, "", "", "", "", "", f"left out: {line}")
            continue
        inner = getattr(config, "vision_config", config)
        side = getattr(inner, "image_size", None) or 224
        size = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
        other = (size[0], size[1] - 64 if size[1] > 128 else size[1] + 32)
        for chosen in _chosen((size, other), places):
            yield from attempt(
                "transformers", kind, name, module, lambda m, x: m(pixel_values=x), chosen,
                transformers_told(kind),
            )  # fmt: skip


def _chosen(sizes: Sequence[tuple[int, int]], places: Sequence[int]) -> list[tuple[int, int]]:
    return [size for place, size in enumerate(sizes) if place in places]


def timm_rows(only: str, places: Sequence[int]) -> Iterator[Row]:
    """Every family of timm."""
    for family, name in timm_networks(only):
        try:
            module = timm_model(name)
        except Exception as error:  # noqa: BLE001 - whatever a family's constructor raises
            yield Row("timm", family, name, "", "", "", "", "", f"left out: {str(error)[:120]}")
            continue
        published, other = timm_sizes(module)
        for size in _chosen((published, other), places):
            made = module if size == published else timm_sized(name, size, module)
            yield from attempt("timm", family, name, made, _plain, size, timm_told)
        del module, made
        gc.collect()


def timm_sized(name: str, size: tuple[int, int], published: nn.Module) -> nn.Module:
    """The network made for a size of picture; the published one where none can be so made."""
    try:
        return timm_model(name, img_size=size)
    except Exception:  # noqa: BLE001 - whatever a family's constructor raises
        return published


def _plain(module: nn.Module, pixels: Tensor) -> Any:
    return module(pixels)


def attempt(
    source: str,
    family: str,
    name: str,
    module: nn.Module,
    call: Call,
    size: tuple[int, int],
    told: Callable[[Any, Tensor], list[Expected]],
) -> list[Row]:
    """The lines of one network at one size, or the line that says why there are none."""
    try:
        return list(rows(source, family, name, module, call, size, told))
    except StudyError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - whatever a family's own account raises
        why = f"{type(error).__name__}: {error}"
    spelled = f"{size[0]} x {size[1]}"
    return [Row(source, family, name, spelled, "", "", "", "", f"refused: {why[:200]}")]


def line(row: Row) -> str:
    """A line of a Markdown table."""
    cells = [getattr(row, name).replace("|", "/") for name in Row.__dataclass_fields__]
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", choices=("timm", "torchvision", "transformers"), nargs="+",
                        default=["torchvision", "transformers", "timm"])  # fmt: skip
    parser.add_argument("--only", default="", help="regular expression of families")
    parser.add_argument("--sizes", choices=("published", "other", "both"), default="both")
    parser.add_argument("--output", type=Path, help="file that the lines are added to")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    makers = {"timm": timm_rows, "torchvision": torchvision_rows, "transformers": transformers_rows}
    out = chosen.output.open("a", encoding="utf-8") if chosen.output else sys.stdout
    names = list(Row.__dataclass_fields__)
    out.write("| " + " | ".join(names) + " |\n|" + "---|" * len(names) + "\n")
    places = {"published": [0], "other": [1], "both": [0, 1]}[chosen.sizes]
    started = time.process_time()
    for source in chosen.source:
        for row in makers[source](chosen.only, places):
            out.write(line(row) + "\n")
            out.flush()
    sys.stderr.write(f"{time.process_time() - started:.0f} s of one core\n")


if __name__ == "__main__":
    main()
