"""Every setting of a study reaches some product's key, or stands in the list of those that do not.

A setting added without either fails here.
"""

import copy
import importlib.metadata
import json
import sys
import typing
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import safetensors.torch
import torch

from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.stage import study_assets_of
from dnd_assets.settings import Section
from dnd_assets.study.deciding import _DISSECTION, NO_RESULT, deciding, upstream_of
from dnd_assets.study.method_settings import DissectionSettings
from dnd_assets.study.study import Study, parse_study
from resources.lineage_db.reader import LineageReader
from resources.text_to_image.base import DiffusersTextToImage
from tests import networks
from tests.resources import tiny
from tests.studies import write_images

HERE = "http://127.0.0.1:9/v1"


def fields(section=Study, at=""):
    """Every setting by dotted name; `[]` stands for a list of sections, `.*` for own names."""
    for name, info in section.model_fields.items():
        inner, mark = [], ""
        todo = [info.annotation]
        while todo:
            one = todo.pop()
            origin = typing.get_origin(one)
            if origin in (list, dict) and any(
                isinstance(a, type) and issubclass(a, Section) for a in typing.get_args(one)
            ):
                mark = "[]" if origin is list else ".*"
            if isinstance(one, type) and issubclass(one, Section):
                inner.append(one)
            else:
                todo += typing.get_args(one)
        plain = [a for a in typing.get_args(info.annotation) if a is not type(None)]
        if not inner or (len(plain) > len(inner) and mark != ".*"):
            yield f"{at}{name}"
        for one in inner:
            yield from fields(one, f"{at}{name}{mark}.")


@pytest.fixture(scope="module", autouse=True)
def _versions_of_packages_read_once():
    """They are asked for hundreds of times here, and each time read from a file."""
    plain, once = importlib.metadata.version, cache(importlib.metadata.version)
    asking = [one for name, one in sys.modules.items() if name.startswith("resources.")]
    with pytest.MonkeyPatch.context() as patch:
        for module in asking:
            if getattr(module, "version", None) is plain:
                patch.setattr(module, "version", once)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all that the studies below name."""
    folder = tmp_path_factory.mktemp("settings")
    write_images(folder / "images", 4)
    write_images(folder / "others", 3, seed=1)
    for name, lines in (
        ("concepts.txt", "red\ngreen\n"), ("more.txt", "red\nblue\n"),
        ("list.txt", "others/000.png\n"), ("classes.txt", "one\ntwo\nthree\nfour\n"),
        ("kinds.txt", "five\nsix\nseven\neight\n"),
        ("labels.csv", "unit,label\nnet/colours/0,red\n"),
        ("other.csv", "unit,label\nnet/colours/0,blue\n"),
        ("numbers.csv", "unit,label\n0,red\n1,green\n"),
        ("from_one.csv", "unit,label\n1,red\n2,green\n"),
        ("truths_from_one.csv", "unit,truth\n1,red\n2,green\n"),
        ("truths.csv", "unit,truth\nnet/colours/0,red\n"),
        ("pictures.csv", "file,caption\n000.png,a red square\n"),
        ("fewer.csv", "file,caption\n001.png,a green square\n"),
        ("my_captioner.py",
         "def caption(image):\n    return 'a'\n\ndef other(image):\n    return ''\n"),
        ("my_metric.py", "def metric(values, present):\n    return 1.0\n"),
        ("my_methods.py",
         "from dnd_assets.assets.custom_labels import OwnMethod\n\n\n"
         "class First(OwnMethod):\n    upstream = ('captions',)\n"
         "    def labels(self, inputs):\n        return []\n\n"
         "class Second(First):\n    def labels(self, inputs):\n        return [('red', 1.0)]\n"),
        ("answers.csv", "file,class\n000.png,one\n"),
    ):  # fmt: skip
        (folder / name).write_text(lines)
    for number, name in enumerate(("scenes", "scenes2")):
        (folder / name).mkdir()
        (folder / name / "cdl_codes.csv").write_text("code,land cover\n1,Rice\n")
        scene = np.random.default_rng(number).integers(1, 3, (8, 8, 4), dtype=np.uint8)
        np.save(folder / name / "one.npy", scene)
    for number, name in enumerate(("weights.safetensors", "weights2.safetensors")):
        torch.manual_seed(number)
        state = {n: torch.rand_like(v) for n, v in networks.colour_net().state_dict().items()}
        safetensors.torch.save_file(state, folder / name)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    painter = tiny.stable_diffusion(folder / "painter", safety_threshold=0.5)
    return {
        "painter2": str(painter),
        "sentences": str(tiny.sentences(folder / "sentences")),
        "sentences2": str(_altered(tiny.sentences(folder / "sentences2"))),
    }


def _altered(folder):
    (folder / "added_tokens.json").write_text("{}")
    file = next(folder.glob("*.safetensors"))
    state = safetensors.torch.load_file(file)
    safetensors.torch.save_file({n: v + 1 for n, v in state.items()}, file)
    return folder


CHAT = {"captioner": {"kind": "chat", "base_url": HERE, "model": "m"}, "milan": None}
SUMMARY = {"summariser": {"kind": "chat", "base_url": HERE, "model": "m"}}
IMAGES = {"text_to_image": {"kind": "images", "base_url": HERE, "model": "m"}}
WORDS = {"captioner": {"kind": "concepts", "concepts": "concepts.txt"}, "milan": None}
OWN = {"captioner": {"kind": "own", "source": "my_captioner:caption"}, "milan": None}
NEAR = {
    "captioner": {"kind": "retrieval"}, "milan": None,
    "collection": {"tables": ["pictures.csv"], "folders": ["images"]},
}  # fmt: skip
NAMED = {"clip": {"model": "ViT-B-32", "weights": "weights.safetensors"}}
FROM_ONE = {"file": "from_one.csv", "layer": "net/colours", "first_unit": 0}
ONE_LAYER = {
    "models": [{"name": "net", "source": "module:tests.networks:colour_net",
                "layers": [{"path": "colours"}]}],
    "imported_labels": None,
    "evaluation": {"folders": ["others"], "truths": "truths_from_one.csv", "first_unit": 0},
}  # fmt: skip
CONSE = {"clip": {"kind": "conse", "classifier": "module:tests.networks:colour_net"}}
TABLE = {"table": {"file": "labels.csv", "images": "images", "masks": "images"}}
BRODEN = {"broden": {"folder": "images"}}
MAPPED = {
    section: {section: {"kind": "land_cover", "scenes": "scenes", "tile_side": 4}, "milan": None}
    for section in ("captioner", "text_to_image", "clip")
}
SCENES = {"scenes": {"folder": "scenes", "side": 4}}
INDEX = {"index": {"images": "images", "masks": "images", "names": "classes.txt"}}
DETECTED = {"dissection": {
    "crop_size": 32, "images_per_concept": 3, "exemplars": 5, "candidates": 2,
    "select": "detection",
}}  # fmt: skip
FOUR = {"source": "module:tests.band_networks:four", "layers": [{"path": "bands"}], "name": "net"}
BANDS = {
    "models": [{**FOUR, "input": {"size": 16, "scale": 10.0, "missing": "zero"}}],
    "imported_labels": None,
}
UNSCALED = {
    "models": [{**FOUR, "input": {"size": 16}}], "imported_labels": None,
    "probing_set": {"folders": ["images"], "scale": 10.0},
}  # fmt: skip
LISTED = {"segmentation": {"world": None}}
TOKENS = {"price_prompt": 1.0, "price_completion": 1.0}


def _server(section, base):
    changes = {
        "api_key_env": "OTHER_KEY", "timeout_s": 5.0, "max_retries": 1, "max_concurrency": 1,
        "max_cost": 1.0, "allow_insecure_http": True,
    }  # fmt: skip
    return {f"{section}.{name}": (base, value) for name, value in changes.items()}


def _chat(section, base):
    changes = {
        "api": "responses", "top_p": 0.5, "send_seed": False, "send_limit": False,
        "reasoning_effort": "low", "extra": {"repetition_penalty": 1.1},
    }  # fmt: skip
    return {f"{section}.{name}": (base, value) for name, value in changes.items()}


CASES = {
    "name": ({}, "another"), "description": ({}, "words"),
    "models[].name": ({}, "other"), "models[].source": ({}, "module:tests.networks:ColourNet"),
    "models[].weights": ({}, "weights.safetensors"),
    "models[].layers[].path": ({}, "pooled"), "models[].layers[].neurons": ({}, [0]),
    "models[].layers[].neurons.sample": ({}, {"sample": 2}),
    "models[].layers[].neurons.seed": ({}, {"sample": 2, "seed": 5}),
    "models[].layers[].pooling": ({}, "max"),
    "probing_set.folders": ({}, ["others"]), "probing_set.image_list": ({}, "list.txt"),
    "probing_set.world.count": ({"probing_set": {"world": {"count": 2}}}, 3),
    "probing_set.hard_world.count": ({"probing_set": {"hard_world": {"count": 2}}}, 3),
    "probing_set.hard_world.seed": ({"probing_set": {"hard_world": {"count": 2}}}, 1),
    "probing_set.world.seed": ({"probing_set": {"world": {"count": 2}}}, 1),
    "probing_set.max_quarantined": ({}, 0.5), "probing_set.max_pixels": ({}, 5000),
    **{f"dissection.{name}": ({}, value) for name, value in {
        "exemplars": 4, "crop": False, "crops_per_image": 2, "crop_overlap": 0.1,
        "whole_image": 0.5, "crop_size": 20, "candidates": 3, "images_per_concept": 2,
        "top_images": 2, "beta": 2, "scoring": "mean_rank", "select": "first", "labels": 1,
        "seed": 9}.items()},
    **{f"dissection.{name}": (DETECTED, value) for name, value in {
        "reference_images": 3, "contrast_phrases": 2, "margin": 0.1, "min_confidence": 0.9,
        "presence": "both",
        }.items()},
    "captioner.kind": (CHAT, "concepts:concepts.txt"),
    "captioner.source": (OWN, "my_captioner:other"),
    "captioner.checkpoint": ({}, "BLIP2"), "captioner.revision": (None, "main"),
    "captioner.max_new_tokens": ({}, 4), "captioner.min_length": ({}, 2),
    "captioner.prompt": (CHAT, "What is it?"), "captioner.concepts": (WORDS, "more.txt"),
    "captioner.top": (WORDS, 2), "captioner.base_url": (CHAT, f"{HERE}/2"),
    "captioner.model": (CHAT, "n"), "captioner.temperature": (CHAT, 0.5),
    "captioner.detail": (CHAT, "low"), "captioner.max_side": (CHAT, 100),
    "captioner.picture_tokens": (CHAT, 9), "captioner.max_tokens": (CHAT, 900),
    "captioner.price_prompt": (CHAT, 1.0), "captioner.price_completion": (CHAT, 1.0),
    **_server("captioner", CHAT), **_chat("captioner", CHAT),
    "summariser.kind": ({}, "none"), "summariser.base_url": (SUMMARY, f"{HERE}/2"),
    "summariser.model": (SUMMARY, "n"), "summariser.temperature": (SUMMARY, 1.0),
    "summariser.max_tokens": (SUMMARY, 900), "summariser.price_prompt": (SUMMARY, 1.0),
    "summariser.price_completion": (SUMMARY, 1.0), **_server("summariser", SUMMARY),
    **_chat("summariser", SUMMARY), "summariser.max_new_tokens": (SUMMARY, 900),
    "summariser.response_format": (SUMMARY, "json_object"),
    "summariser.prompt": (SUMMARY, "Name what these share."),
    "summariser.shorten_prompt": (SUMMARY, "Shorten these."),
    "summariser.domain": (SUMMARY, "Satellite images."),
    "evaluation.metrics": ({}, ["f1"]), "evaluation.active_share": ({}, 0.1),
    "text_to_image.kind": (IMAGES, "world"), "text_to_image.checkpoint": ({}, "PAINTER2"),
    "text_to_image.revision": (None, "main"), "text_to_image.variant": (None, "fp16"),
    "text_to_image.scheduler": ({}, "checkpoint"), "text_to_image.steps": ({}, 2),
    "text_to_image.guidance": ({}, 3.0), "text_to_image.width": ({}, 32),
    "text_to_image.height": ({}, 32), "text_to_image.prompt": ({}, "A {concept}"),
    "text_to_image.few_step": ({}, False),
    "text_to_image.base_url": (IMAGES, f"{HERE}/2"), "text_to_image.model": (IMAGES, "n"),
    "text_to_image.size": (IMAGES, "256x256"), "text_to_image.quality": (IMAGES, "low"),
    "text_to_image.response_format": (IMAGES, ""), "text_to_image.send_seed": (IMAGES, True),
    "text_to_image.max_pictures": (IMAGES, 9), "text_to_image.price_per_picture": (IMAGES, 1.0),
    **_server("text_to_image", IMAGES),
    "clip.kind": (NAMED, "conse"), "clip.model": (NAMED, "ViT-B-16"),
    "clip.pretrained": (NAMED, "laion2b_e16"), "clip.revision": (None, "main"),
    "clip.weights": (NAMED, "weights2.safetensors"),
    "clip.classifier": (CONSE, "module:tests.networks:ColourNet"),
    "clip.classifier_weights": (CONSE, "weights.safetensors"),
    "clip.sentences": (CONSE, "SENTENCES2"), "clip.top": (CONSE, 2),
    **{f"{section}.{name}": (MAPPED[section], value)
       for section in MAPPED for name, value in {"scenes": "scenes2", "tile_side": 3}.items()},
    "collection.tables": (NEAR, ["fewer.csv"]), "collection.folders": (NEAR, ["others"]),
    **{f"named_directions.{name}": ({}, value) for name, value in {
        "concepts": "more.txt", "prompt": "a {concept}", "top": 2}.items()},
    **{f"clip_dissect.{name}": ({}, value) for name, value in {
        "concepts": "more.txt", "prompt": "a {concept}", "similarity": "wpmi", "top": 2,
        "cutoff": 0.5, "pairs": 2, "top_images": 2}.items()},
    **{f"polysemantic.{name}": ({}, value) for name, value in {
        "exemplars": 9, "reach": 0.5, "shared": 0.1, "smallest": 2, "response": 0.1,
        "seed": 4}.items()},
    **{f"milan.{name}": ({}, value) for name, value in {
        "exemplars": 3, "candidates": 2, "lam": 0.5, "how": "mixture", "masked": True,
        "top": 2}.items()},
    "imported_labels.*.file": ({}, "other.csv"), "imported_labels.*.layer": (
        {"imported_labels": {"theirs": {"file": "numbers.csv", "layer": "net/colours"}}},
        "net/spoilt"),
    "imported_labels.*.first_unit": ({"imported_labels": {"theirs": FROM_ONE}}, 1),
    "evaluation.first_unit": (ONE_LAYER, 1),
    "own_methods": ({}, {"mine": "my_methods:Second"}),
    "evaluation.folders": ({}, ["images"]), "evaluation.image_list": ({}, "list.txt"),
    "evaluation.world.count": ({"evaluation": {"world": {"count": 2}}}, 3),
    "evaluation.hard_world.count": ({"evaluation": {"hard_world": {"count": 2}}}, 3),
    "evaluation.hard_world.seed": ({"evaluation": {"hard_world": {"count": 2}}}, 1),
    "evaluation.world.seed": ({"evaluation": {"world": {"count": 2}}}, 1),
    "evaluation.methods": ({}, ["labels"]), "evaluation.images_per_label": ({}, 3),
    "evaluation.truths": ({}, "truths.csv"),
    "evaluation.sentence_encoder": ({"evaluation": {"folders": ["others"], "truths": "truths.csv"}},
                                    "SENTENCES2"),
    "evaluation.own_metrics": ({}, {"mine": "my_metric:metric"}), "evaluation.seed": ({}, 4),
    "segmentation.table.file": (TABLE, "other.csv"), "segmentation.table.images": (TABLE, "others"),
    "segmentation.table.masks": (TABLE, "others"),
    "segmentation.table.concepts": (TABLE, ["label"]),
    "segmentation.broden.folder": (BRODEN, "others"), "segmentation.broden.split": (BRODEN, "val"),
    "segmentation.index.images": (INDEX, "others"), "segmentation.index.masks": (INDEX, "others"),
    "segmentation.index.names": (INDEX, "more.txt"), "segmentation.index.category": (INDEX, "part"),
    "segmentation.world.count": ({}, 3), "segmentation.world.seed": ({}, 1),
    "segmentation.scenes.folder": (SCENES, "scenes2"), "segmentation.scenes.side": (SCENES, 3),
    "segmentation.methods": ({}, ["invert"]),
    **{f"{name}.scenes.{key}": ({name: {"scenes": {"folder": "scenes", "side": 4}}}, value)
       for name in ("probing_set", "evaluation")
       for key, value in {"folder": "scenes2", "side": 3}.items()},
    **{f"{name}.columns.{key}": ({}, "other") for name in ("probing_set", "evaluation")
       for key in ("image", "caption", "label")},
    **{f"{name}.tiles.{key}": ({name: {"folders": ["others"], "tiles": {"side": 32}}}, value)
       for name in ("probing_set", "evaluation")
       for key, value in {"side": 64, "level": 1, "tissue": 0.5}.items()},
    **{f"ablation.{name}": ({}, value) for name, value in {
        "how": "zero", "images": 3, "classes": "answers.csv", "top": 2}.items()},
    "ablation.groups": (
        {"ablation": {"groups": {"two": ["net/colours/0-1"]}}}, {"two": ["net/colours/0"]}),
    "ablation.random_groups": ({"ablation": {"groups": {"two": ["net/colours/0-1"]}}}, 3),
    "ablation.probe": ({"ablation": {"classes": "answers.csv"}}, True),
    **{f"image_labels.{name}": ({"image_labels": {"file": "answers.csv"}}, value)
       for name, value in {
        "methods": ["image_invert"], "length": 2, "min_share": 0.1, "max_share": 0.5, "beam": 3,
        "top": 2, "significance": 0.1, "terms": 2, "least_gain": 0.1, "held_out": 0.4,
        "seed": 1}.items()},
    **{f"segmentation.{name}": ({}, value) for name, value in {
        "exact_budget": 1000, "share": 0.1, "cutoff": 0.5, "beam": 2, "length": 2, "top": 2,
        "invert.length": 2, "invert.min_share": 0.1, "invert.max_share": 0.5}.items()},
    **{f"probing_set.{name}": ({}, value) for name, value in {
        "bands": [1, 2], "nodata": 0, "pages": "bands", "axes": "chw", "array": "x", "window": 2,
        "rendering.bands": [2], "rendering.range": [0, 10],
        "rendering.colour_map": "viridis"}.items()},
    "probing_set.scale": (UNSCALED, 20.0),
    **{f"models[].input.{name}": (BANDS, value) for name, value in {
        "bands": [4, 3, 2, 1], "scale": 20.0, "mean": 0.5, "std": 0.5, "size": 8,
        "missing": "grey", "convention": "torchgeo-sentinel2"}.items()},
    "compute.device": (None, "cuda"), "compute.dtype": ({}, "bfloat16"),
    **{f"compute.precision.{name}": ({}, "bfloat16")
       for name in ("target", "captioner", "text_to_image", "clip")},
    "compute.compile": ({}, True), "compute.models_gb": ({}, 1.0), "compute.workers": ({}, 0),
    **{f"compute.batch.{name}": ({}, 3)
       for name in ("target", "captioner", "text_to_image", "clip")},
    "compute.batch.auto": ({}, ["target"]),
}  # fmt: skip
"""By setting: what the study has besides, and another value. `None`: see the tests below."""
BY_CONTENT = {"captioner.revision", "text_to_image.revision", "clip.revision"}
TESTED_ELSEWHERE = {
    "image_labels.file", "image_labels.parents",  # by content: tests/assets/test_image_level_labels
    "models[].categories", "milan.language_model", "models[].layers[].layout",
    "models[].layers[].grid", "models[].layers[].prefix_tokens",
    "named_directions.vectors", "named_directions.columns",
    *(f"models[].layers[].sae.{name}" for name in (
        "path", "tokens", "layout", "activation", "k", "threshold", "subtract_b_dec", "scale")),
    *(f"models[].layers[].directions.{name}" for name in (
        "path", "tokens", "tensor", "columns", "reading", "mean", "bias")),
    *(f"models[].layers[].heads.{name}" for name in ("count", "tokens")),
}  # fmt: skip


def test_every_setting_has_a_case_or_a_reason():
    every = set(fields())
    # A language model runs in tests/assets/test_milan_labels.py; names of classes are tested below;
    # what a layer declares has to fit its network, see tests/resources/test_layer_declarations.py;
    # so has an autoencoder, see tests/resources/targets/test_codings.py.
    assert set(NO_RESULT) <= every, "the list names what there is"
    assert every - set(CASES) - set(NO_RESULT) == TESTED_ELSEWHERE - set(CASES) - set(NO_RESULT)
    assert all(len(reason) > 5 for reason in NO_RESULT.values())


def _table(colours, models, context):
    table = copy.deepcopy(colours) | {
        "clip_dissect": {"concepts": "concepts.txt"},
        "named_directions": {"concepts": "concepts.txt"}, "polysemantic": {}, "milan": {},
        "imported_labels": {"theirs": "labels.csv"}, "own_methods": {"mine": "my_methods:First"},
        "evaluation": {"folders": ["others"]}, "segmentation": {"world": {"count": 2}},
        "ablation": {},
    }  # fmt: skip
    for name, section in (context or {}).items():
        if name in ("table", "broden", "index", "scenes"):
            table["segmentation"] = {name: section}
        elif section is None:
            table.pop(name)
        else:
            table[name] = copy.deepcopy(section)
    if table["clip"].get("kind") == "conse":
        table["clip"].setdefault("sentences", models["sentences"])
    return table


def _set(table, name, value):
    section, *rest = name.replace("[]", ".0").replace("*", "theirs").split(".")
    if name.startswith("models[].layers[].neurons"):
        rest = ["0", "layers", "0", "neurons"]
    if section == "segmentation" and rest[0] in ("world",):
        table["segmentation"] = {"world": dict(table["segmentation"]["world"])}
    place, keys = table, [section, *rest]
    for key in keys[:-1]:
        if isinstance(place, list):
            place = place[int(key)]
        else:
            inner = place.get(key)
            place[key] = {"file": inner} if isinstance(inner, str) else (inner or {})
            place = place[key]
    place[keys[-1]] = value


_KNOWN = {}


def _keys(table, folder):
    """What of each product's key the settings decide, by product."""
    text = str(folder) + json.dumps(table, sort_keys=True)
    if text not in _KNOWN:
        _KNOWN[text] = _worked_out(table, folder)
    return _KNOWN[text]


def _worked_out(table, folder):
    study = parse_study(table, folder)
    study_context = build_context(study, folder / "state")
    study_context = replace(
        study_context, lineage=LineageReader(root=study_context.lineage.root)
    )  # records nothing
    unit = next(iter(find_units(study_context).values()))
    stages = stages_of(study)
    found = {
        name: [
            stage.parameters(study_context), stage.weights(study_context, unit),
            stage.external_inputs(study_context, [unit]),
            stage.code(),
        ]
        for name, stage in stages.items()
    }  # fmt: skip
    return found | {
        name: whole.settings(study_context) for name, whole in study_assets_of(stages).items()
    }


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[0] is not None])
def test_a_setting_reaches_the_key_of_a_product_unless_it_is_listed(
    name, colours, place, models, request
):
    context, value = CASES[name]
    before = _table(colours, models, context)
    after = copy.deepcopy(before)
    if value == "BLIP2":
        value = str(request.getfixturevalue("blip_folder"))
    if value == "PAINTER2":
        value = str(models["painter2"])
    value = models["sentences2"] if value == "SENTENCES2" else value
    if name.startswith("models[]."):
        before["imported_labels"] = after["imported_labels"] = {}  # each unit has its own row
    if name == "captioner.kind":
        after["captioner"] = {"kind": "concepts", "concepts": "concepts.txt"}
    elif name in ("text_to_image.kind", "clip.kind"):
        section = name.partition(".")[0]
        after[section] = {"kind": value}
        if value == "conse":
            after[section] |= {**CONSE["clip"], "sentences": models["sentences"]}
    else:
        _set(after, name, value)
    if name.endswith("max_cost"):
        prices = {"price_per_picture": 1.0} if name.startswith("text") else TOKENS
        for table in (before, after):
            table[name.partition(".")[0]] |= prices
    _compare(name, before, after, place)


def _compare(name, before, after, place):
    first, second = _keys(before, place), _keys(after, place)
    both = first.keys() & second.keys()
    differing = {one for one in both if first[one] != second[one]}
    if name in NO_RESULT:
        assert differing == set(), f"{name} is in a key, and in the list of those that are not"
        return
    assert differing, f"{name} reaches no key"
    studies = [parse_study(table, place) for table in (before, after)]
    for asset in differing:
        then, now = (deciding(one, asset, "net", "colours") for one in studies)
        assert then != now, f"{name} decides {asset}, which readers do not know"


def test_the_names_of_classes_count_where_they_are_the_truth(colours, place, models):
    before = _table(
        colours, models, {"evaluation": {"folders": ["others"], "truths": "categories"}}
    )
    before["models"] = [{**before["models"][0], "layers": [{"path": "spoilt"}]}]
    before["imported_labels"] = {}
    before["models"][0]["categories"] = "classes.txt"
    after = copy.deepcopy(before)
    after["models"][0]["categories"] = "kinds.txt"
    _compare("models[].categories", before, after, place)


def test_a_painters_variant_counts(colours, place, models, monkeypatch):
    found = DiffusersTextToImage(
        checkpoint=colours["text_to_image"]["checkpoint"],
        compute=build_context(parse_study(_table(colours, models, {}), place), place / "s").compute,
    ).check()
    monkeypatch.setattr(DiffusersTextToImage, "check", lambda self: found)
    before = _table(colours, models, {})
    after = copy.deepcopy(before)
    after["text_to_image"]["variant"] = "fp16"
    _compare("text_to_image.variant", before, after, place)


def test_another_kind_of_device_counts_and_a_plan_says_so(colours, place, models):
    before = _table(colours, models, {})
    after = copy.deepcopy(before)
    after["compute"]["device"] = "cuda"
    for one in (before, after):
        one["milan"], one["evaluation"] = {}, {"folders": ["others"]}
    after_bench = build_context(parse_study(after, place), place / "state")
    assert after_bench.clip.fingerprint()["device"] == "cuda", "whether it is here or not"
    assert after_bench.captioner.fingerprint()["device"] == "cuda"
    assert after_bench.text_to_image.fingerprint()["device"] == "cuda"
    assert (
        build_context(parse_study(before, place), place / "state").clip.fingerprint()["device"]
        == "cpu"
    )


def test_a_name_that_is_no_setting_is_an_error_at_once():
    with pytest.raises(ValueError, match=r"no setting 'exemplar'; nearest: exemplars"):
        DissectionSettings().chosen("labels", "exemplar")
    with pytest.raises(ValueError, match="no setting"):
        DissectionSettings().all_but("exemplar")
    for names in _DISSECTION.values():
        assert DissectionSettings().chosen(*names).keys() == set(names)


def test_what_readers_know_of_the_graph_is_what_the_stages_say(colours, place, models):
    optional = {
        "image_labels": {"file": "answers.csv"},
        "ablation": {"groups": {"two": ["net/colours/0-1"]}},
    }
    for context in ({}, DETECTED):
        study = parse_study(_table(colours, models, context | optional), place)
        stages = stages_of(study)
        for name, above in upstream_of(study).items():
            assert stages[name].upstream == above, name


def test_another_selection_counts_for_what_it_decides(colours, place, models):
    tables = [_table(colours, models, context) for context in ({}, DETECTED)]
    then, now = (_keys(table, place) for table in tables)
    assert now.keys() - then.keys() == {"detection_scores"}
    differing = {name for name in then if then[name] != now[name]}
    assert differing == {"labels"}, "groups of exemplars are labelled by scores either way"
    for asset in ("synthetic_images", "scores", "labels"):
        one, other = (
            deciding(parse_study(table, place), asset, "net", "colours") for table in tables
        )
        assert one != other, asset
