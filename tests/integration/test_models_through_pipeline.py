"""Every adapter for real models, from a tiny checkpoint of the true format to a label.

Each case is a whole study: all seven products of three units that answer to colours and of one
that is dead. The paper's models and the servers are run by `dnd run`, the others without Dagster.
"""

import copy
import csv
import json
import tomllib
from dataclasses import dataclass

import pytest

from dnd_assets.assets.registry import STAGES
from dnd_assets.engine.context_builder import build_context
from dnd_assets.study.study import load_study
from resources.lineage_db.database import Lineage
from tests import studies
from tests.command_line import dnd, toml
from tests.painting_server import Painter
from tests.resources import tiny
from tests.vision_server import Vision

ALIVE = [f"net/colours/{index}" for index in range(3)]
DEAD = "net/colours/3"
FEW = {"steps": 1, "guidance": 0.0, "scheduler": "checkpoint"}


@dataclass(frozen=True)
class Case:
    """Three models of a study; a checkpoint is given by the name of what makes it.

    Attributes:
        captioner: section `captioner`.
        text_to_image: section `text_to_image`.
        clip: section `clip`.
        classes: the resources that have to come of it.
        loaded: the libraries' own classes behind captioner and painter, where they load any.
        command: whether `dnd run` makes it.
    """

    captioner: dict
    text_to_image: dict
    clip: dict
    classes: tuple[str, str, str]
    loaded: tuple[str, str] = ("", "")
    command: bool = False


CASES = {
    "the paper's models": Case(
        {"checkpoint": "blip", "max_new_tokens": 6},
        {"checkpoint": "stable_diffusion", "steps": 2},
        {"model": "clip", "pretrained": ""},
        ("BlipCaptioner", "DiffusersTextToImage", "OpenClip"),
        ("BlipForConditionalGeneration", "StableDiffusionPipeline"),
        command=True,
    ),
    "BLIP-2, SDXL-Turbo, SigLIP": Case(
        {"kind": "blip2", "checkpoint": "blip2", "max_new_tokens": 6},
        {"checkpoint": "sdxl_turbo", **FEW},
        {"model": "siglip", "pretrained": ""},
        ("Blip2Captioner", "DiffusersTextToImage", "OpenClip"),
        ("Blip2ForConditionalGeneration", "StableDiffusionXLPipeline"),
    ),
    "LLaVA, LCM, ConSE of mpnet": Case(
        {"kind": "vlm", "checkpoint": "llava", "max_new_tokens": 6},
        {"checkpoint": "latent_consistency", **FEW, "guidance": 1.0},
        {"kind": "conse", "classifier": "hf:vit", "sentences": "mpnet"},
        ("VlmCaptioner", "DiffusersTextToImage", "Conse"),
        ("LlavaForConditionalGeneration", "LatentConsistencyModelPipeline"),
    ),
    "Idefics3, PixArt, ConSE of a BERT": Case(
        {"kind": "vlm", "checkpoint": "idefics3", "max_new_tokens": 6, "prompt": "a red"},
        {"checkpoint": "pixart", "steps": 2, "guidance": 1.0},
        {"kind": "conse", "classifier": "hf:vit", "sentences": "bert"},
        ("VlmCaptioner", "DiffusersTextToImage", "Conse"),
        ("Idefics3ForConditionalGeneration", "PixArtAlphaPipeline"),
    ),
    "two servers": Case(
        {"kind": "chat", "base_url": "/v1", "model": "m", "api_key_env": ""},
        {"kind": "images", "base_url": "/v1", "model": "m", "api_key_env": ""},
        {"model": "clip", "pretrained": ""},
        ("ChatCaptioner", "ServedTextToImage", "OpenClip"),
        command=True,
    ),
    "concepts by SigLIP": Case(
        {"kind": "concepts", "concepts": "concepts.txt", "prompt": "a {concept} thing", "top": 2},
        {"checkpoint": "stable_diffusion", "steps": 1, "guidance": 1.0},
        {"model": "siglip", "pretrained": ""},
        ("ConceptCaptioner", "DiffusersTextToImage", "OpenClip"),
        ("", "StableDiffusionPipeline"),
    ),
    "a collection": Case(
        {"kind": "retrieval"},
        {"kind": "retrieval"},
        {"model": "clip", "pretrained": ""},
        ("RetrievalCaptioner", "RetrievalTextToImage", "OpenClip"),
    ),
}


@pytest.fixture(scope="module")
def web(running):
    Vision(running)
    Painter(running)
    return running


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Makes a checkpoint once, when first asked for."""
    place = tmp_path_factory.mktemp("checkpoints")
    special = {
        "blip": lambda folder: tiny.blip(folder, seed=22),
        "mpnet": lambda folder: tiny.sentences(folder, "mpnet"),
        "bert": lambda folder: tiny.sentences(folder, "bert"),
    }

    def get(name):
        folder = place / name
        if not folder.exists():
            special.get(name, getattr(tiny, name, None))(folder)
        return str(folder)

    return get


@pytest.fixture
def project(tmp_path, checkpoints, colours, web):
    """Makes a folder with the study of a case: a handful of images, one target network."""

    def make(case, **changes):
        studies.write_images(tmp_path / "images", 9)
        table = copy.deepcopy(colours)
        table["models"][0]["layers"] = [{"path": "colours"}]
        table["dissection"] |= {"images_per_concept": 2, "exemplars": 3, "crop": False}
        for section in ("captioner", "text_to_image", "clip"):
            table[section] = _found(getattr(case, section), checkpoints, web)
        if case.captioner.get("kind") == "retrieval":
            table["collection"] = {"tables": ["captions.csv"], "folders": ["images"]}
            _write_captions(tmp_path)
        (tmp_path / "concepts.txt").write_text("red circle\nblue square\nsand\n")
        table = studies.changed(table, **changes)
        (tmp_path / "study.toml").write_text(toml(table), encoding="utf-8")
        return tmp_path

    return make


def _found(section, checkpoints, web):
    """A section with its checkpoints made and its server's address filled in."""
    found = dict(section)
    for name in ("checkpoint", "model", "sentences"):
        if name in found and "base_url" not in found:
            found[name] = checkpoints(found[name])
    if "classifier" in found:
        found["classifier"] = f"hf:{checkpoints('vit')}"
    if "base_url" in found:
        found["base_url"] = web.url_for(found["base_url"])
    return found


def _write_captions(folder):
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "caption"])
        for index in range(9):
            rows.writerow([f"{index:03d}.png", f"a {list(studies.COLOURS)[index % 3]} square"])


def _rows(folder, asset):
    sql = "SELECT unit, status, reason, payload FROM latest WHERE asset = ?"
    lineage = Lineage(root=str(folder / "state"))
    return {row["unit"]: row for row in lineage.query(sql, [asset])}


@pytest.mark.parametrize("name", list(CASES))
def test_a_study_runs_from_checkpoints_to_labels(project, name):
    case = CASES[name]
    folder = project(case)

    if case.command:
        result = dnd(folder, "run")
        assert result.exit_code == 0, result.output
    else:
        studies.label(tomllib.loads((folder / "study.toml").read_text()), folder)
    context = build_context(load_study(folder / "study.toml"), folder / "state")
    used = (context.captioner, context.text_to_image, context.clip)
    assert tuple(type(one).__name__ for one in used) == case.classes
    for resource, loaded in zip(used, case.loaded, strict=False):
        if loaded:
            model = resource._load()
            assert type(model[0] if isinstance(model, tuple) else model).__name__ == loaded
    for asset in STAGES:
        assert set(_rows(folder, asset)) == {*ALIVE, DEAD}
    labels = _rows(folder, "labels")
    assert {unit: row["status"] for unit, row in labels.items()} == {
        **dict.fromkeys(ALIVE, "ok"),
        DEAD: "dead",
    }, {unit: row["reason"] for unit, row in labels.items()}
    candidates = _rows(folder, "candidate_concepts")
    for unit in ALIVE:
        label = json.loads(labels[unit]["payload"])["label"]
        assert label in json.loads(candidates[unit]["payload"])["candidates"]
