"""Code versions see whatever a product's code leads to, and nothing else."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dnd_assets
from dnd_assets.assets.label_metrics import LabelMetrics
from dnd_assets.assets.registry import OPTIONAL, STAGES
from dnd_assets.lineage.code import Node, Project, code_version, method_version, project
from dnd_assets.lineage.code_limits import ENTERED_ALL_THE_SAME, NOT_PART_OF_RESULTS
from resources.captioner import BlipCaptioner
from resources.chat_captioner import ChatCaptioner
from resources.clip import OpenClip
from resources.concept_captioner import ConceptCaptioner
from resources.conse import Conse
from resources.image_server import ServedTextToImage
from resources.language_model import LanguageModel
from resources.retrieval import RetrievalCaptioner, RetrievalTextToImage
from resources.sentence_encoder import SentenceEncoder
from resources.summariser import CaptionsAsConcepts, ChatSummariser, ConsensusSummariser
from resources.targets import _READING, TargetNetworks
from resources.text_to_image import DiffusersTextToImage
from resources.vlm import Blip2Captioner, VlmCaptioner
from resources.world_painter import WorldPainter

ROOT = Path(dnd_assets.__file__).parents[1]
EVERY = [*STAGES.values(), *(one for some in OPTIONAL.values() for one in some)]
STAGE_NODES = {
    one.name: [Node(type(one).__module__, type(one).__name__, "compute")]
    for one in [*EVERY, LabelMetrics("labels")]
}
MODELS = (
    BlipCaptioner, VlmCaptioner, Blip2Captioner, ChatCaptioner, ConceptCaptioner,
    RetrievalCaptioner, ConsensusSummariser, ChatSummariser, CaptionsAsConcepts,
    DiffusersTextToImage, WorldPainter, ServedTextToImage, RetrievalTextToImage, OpenClip, Conse,
    SentenceEncoder, LanguageModel,
)  # fmt: skip
NODES = STAGE_NODES | {
    **{one.__name__: [Node(one.__module__, one.__name__)] for one in MODELS},
    "TargetNetworks": [Node(TargetNetworks.__module__, "TargetNetworks", name) for name in _READING],
}


class Edited(Project):
    """The project with other text in some of its modules."""

    def __init__(self, texts):
        super().__init__(ROOT)
        self._texts = texts

    def _read(self, name):
        if name not in self._texts:
            return project().module(name)
        from dnd_assets.lineage.code import Module

        return Module(name, ast.parse(self._texts[name]), self._file(name).name == "__init__.py")


def versions(of, names=NODES):
    return {name: of.version(NODES[name]) for name in names}


@pytest.fixture(scope="module")
def before():
    return versions(project())


def source(module):
    return project()._file(module).read_text()


def edited(module, before, after):
    text = source(module)
    assert text.count(before) == 1, (module, before)
    return Edited({module: text.replace(before, after)})


def test_the_versions_of_products_and_models_are_those_of_these_nodes(before):
    assert {one.name: one.code() for one in EVERY}.items() <= before.items()
    assert LabelMetrics("labels").code() == before["labels_metrics"]
    for one in MODELS:
        assert code_version(one) == before[one.__name__]
    assert method_version(TargetNetworks, *_READING) == before["TargetNetworks"]


@pytest.mark.parametrize("name", NODES)
def test_a_change_of_any_function_that_is_reached_changes_the_version(name, before):
    """Every function and constant in reach, one at a time, within the very trees."""
    reached = project().closure(NODES[name])
    missed = []
    changed = 0
    for node in reached:
        holder = project()._holder(node) if node.member else None
        module, owner = holder if holder else (project().module(node.module), node.name)
        if node.name == "*":
            continue
        statements = (module.members(owner) if node.member else module.defined)[
            node.member or owner
        ]
        for one in statements:
            if not isinstance(one, ast.FunctionDef):
                continue
            changed += 1
            pieces, known = project()._pieces, dict(project()._pieces)
            kept = list(one.body)
            one.body = [*kept, ast.Expr(ast.Constant(12345))]
            pieces.clear()
            if project().version(NODES[name]) == before[name]:
                missed.append(node)
            one.body = kept
            pieces.clear()
            pieces.update(known)
            break
        if changed >= 12:
            break
    assert changed
    assert not missed
    assert project().version(NODES[name]) == before[name]
