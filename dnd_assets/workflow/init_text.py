"""The text of a study that `dnd init` writes: TOML with a comment on every choice."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dnd_assets.workflow.init_layers import worth_showing
from resources.targets.cards import LayerInfo

_SHOWN: Final = 24
_SAMPLE: Final = 20
_WIDTH: Final = 96
ENOUGH_TO_DETECT: Final = 100
"""Images from which on labels are chosen by detection: among fewer, what goes with a unit's
activity cannot be told from chance."""
_DETECTS: Final = (
    "A unit is named after what detects where it is active, with a probability of being right, or "
    "not at all. The paper's choice, by the strongest pictures: select = 'scores'."
)
_TOO_FEW: Final = (
    f"Labels are chosen as in the paper. With {ENOUGH_TO_DETECT} images or more, "
    "select = 'detection' names a unit after what detects where it is active, and says how sure "
    "that is."
)
_WORD: Final = re.compile(r"`[^`]*`\S*|\S+")
_ABOUT: Final[Mapping[str, str]] = {
    "captioner": "Step 2, images to text (paper: BLIP base). kind = 'retrieval' takes captions of "
    "your own from [collection].",
    "summariser": "Step 2, captions to concepts. 'consensus' needs no language model; 'chat' takes "
    "any OpenAI-compatible server (base_url, model, api_key_env), as the paper's GPT-3.5 Turbo.",
    "text_to_image": "Step 3, concepts to pictures (paper: Stable Diffusion v1-4). kind = "
    "'retrieval' takes pictures of your own from [collection].",
    "clip": "Step 3, pictures and texts in one space (paper: CLIP ViT-B/16).",
}


@dataclass(frozen=True)
class Choice:
    """A section of the study.

    Attributes:
        options: its keys and values.
        missing: what the machine lacks for it, with the command that gets it; empty when nothing.
    """

    options: Mapping[str, object]
    missing: str = ""


@dataclass(frozen=True)
class ImageFolder:
    """What lies in the folder of images.

    Attributes:
        folder: as the study names it.
        files: image files.
        opened: how many of them were opened.
        readable: how many of those are sound.
        collection: the section of a captioned collection; empty when there is none.
        captioned: rows of it that have a caption.
    """

    folder: str
    files: int
    opened: int
    readable: int
    collection: Mapping[str, object] = field(default_factory=dict)
    captioned: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything the study is written from.

    Attributes:
        file: name of the study's file.
        name: of the study.
        model: the section of the network, without layers.
        untrained: why the network was looked at without its weights; empty when it has them.
        layers: every module of it.
        chosen: those to label.
        images: the folder of images.
        sections: captioner, summariser, text_to_image and clip.
        dissection: settings that differ from the paper's.
    """

    file: str
    name: str
    model: Mapping[str, str]
    untrained: str
    layers: Sequence[LayerInfo]
    chosen: Sequence[LayerInfo]
    images: ImageFolder
    sections: Mapping[str, Choice]
    dissection: Mapping[str, int | str]


def toml_value(value: object) -> str:
    """A text, number, list or table as TOML on one line, whatever the text holds.

    TOML's basic strings are JSON's, besides DEL, which TOML wants written out.

    >>> toml_value({"sample": 20, "seed": 0})
    '{ sample = 20, seed = 0 }'
    """
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {toml_value(inner)}' for key, inner in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(inner) for inner in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def comment(text: str, indent: str = "# ") -> list[str]:
    """A text as comment lines; commands in backticks stay whole, to be copied.

    What TOML forbids in comments is shown as in a string.
    """
    printable = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    printable = printable.encode("utf-8", "backslashreplace").decode()
    lines, line = [], ""
    for word in _WORD.findall(printable):
        if line and len(line) + len(word) + 1 > _WIDTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [f"{indent}{output_line}".rstrip() for output_line in (*lines, line)]


def study_text(plan: Plan) -> str:
    """The study as TOML."""
    parts = [
        _head(plan),
        _model(plan),
        *(_layer(layer, plan) for layer in plan.chosen),
        _other_layers(plan),
        _images(plan),
        _dissection(plan),
        *(_section(name, choice) for name, choice in plan.sections.items()),
        _collection(plan),
        _more(),
    ]
    return "\n".join("\n".join(part) + "\n" for part in parts if part)


def _head(plan: Plan) -> list[str]:
    return [
        *comment("A study: what to label, with which images and models. Paths start at this file."),
        *comment(
            "Every key that is not here has the paper's value; `dnd doctor` checks all of it."
        ),
        f"name = {toml_value(plan.name)}",
        'description = ""',
    ]


def _model(plan: Plan) -> list[str]:
    missing = comment(f"Not on this machine yet: {plan.untrained}") if plan.untrained else []
    return [
        "[[models]]",
        *missing,
        *(f"{key} = {toml_value(value)}" for key, value in plan.model.items()),
    ]


def _layer(layer: LayerInfo, plan: Plan) -> list[str]:
    units = layer.units or 0
    neurons = {"sample": _SAMPLE, "seed": 0} if units > _SAMPLE else "all"
    return [
        "[[models.layers]]",
        *comment(f"{layer.kind}, {units:,} units{_size(layer)}"),
        f"path = {toml_value(layer.path)}",
        f'neurons = {toml_value(neurons)}    # or "all", or [3, "10-19"]',
    ]


def _size(layer: LayerInfo) -> str:
    return f", {' x '.join(map(str, layer.shape or ()))}{'' if layer.has_map else ', no map'}"


def _other_layers(plan: Plan) -> list[str]:
    with_units = [layer for layer in plan.layers if layer.units]
    listed = worth_showing(plan.layers, plan.chosen, _SHOWN)
    head = f"Layers of {plan.model['name']} that can be labelled"
    if len(listed) < len(with_units):
        command = f"dnd layers {plan.model['name']} --study {plan.file}"
        head += f" ({len(listed)} of {len(with_units)}; `{command}` lists all)"
    lines = comment(f"{head}; copy a block as above to add one.")
    for shown_layer in listed:
        size = f"{shown_layer.units:,} units{_size(shown_layer)}"
        lines += comment(f"{shown_layer.path}  {shown_layer.kind}  {size}", "#   ")
    return lines


def _images(plan: Plan) -> list[str]:
    images = plan.images
    share = f"{images.readable / images.opened:.1%} of "
    share += "them" if images.opened == images.files else f"{images.opened:,} that were opened"
    return [
        "[probing_set]",
        *comment(f"{images.files:,} image files; {share} can be read."),
        f"folders = {toml_value([images.folder])}",
    ]


def _dissection(plan: Plan) -> list[str]:
    warning = "Fewer images than the paper's 10 exemplars of a unit; labels will be poor."
    return [
        "[dissection]",
        *comment(_DETECTS if "select" in plan.dissection else _TOO_FEW),
        *(comment(warning) if "exemplars" in plan.dissection else ()),
        *(f"{key} = {toml_value(value)}" for key, value in plan.dissection.items()),
    ]


def _section(name: str, choice: Choice) -> list[str]:
    missing = comment(f"Not on this machine yet: {choice.missing}") if choice.missing else []
    return [
        f"[{name}]",
        *comment(_ABOUT[name]),
        *missing,
        *(f"{key} = {toml_value(value)}" for key, value in choice.options.items()),
    ]


def _collection(plan: Plan) -> list[str]:
    if not plan.images.collection:
        return comment(
            "With a CSV file of columns file and caption, captions and pictures can be retrieved "
            "instead of generated: add [collection] with tables = ['captions.csv']."
        )
    return [
        "[collection]",
        *comment(
            f"{plan.images.captioned:,} captioned pictures were found. Better ones than those "
            "that units are probed with are others of the same kind."
        ),
        *(f"{key} = {toml_value(value)}" for key, value in plan.images.collection.items()),
    ]


def _more() -> Sequence[str]:
    return comment(
        "More sections, each of which adds assets: [clip_dissect] concepts = 'words.txt', "
        "[polysemantic], [milan], [segmentation], [evaluation], [imported_labels]."
    )
