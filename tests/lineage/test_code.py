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
from dnd_assets.lineage.code import Project, code_version, method_version, project
from dnd_assets.lineage.code_limits import ENTERED_ALL_THE_SAME, NOT_PART_OF_RESULTS
from dnd_assets.lineage.code_modules import Node
from dnd_assets.lineage.records import UNPARTITIONED
from resources.captioners.base import BlipCaptioner
from resources.captioners.chat import ChatCaptioner
from resources.captioners.concepts import ConceptCaptioner
from resources.captioners.language_model import LanguageModel
from resources.captioners.retrieval import RetrievalCaptioner, RetrievalTextToImage
from resources.captioners.vlm import Blip2Captioner, VlmCaptioner
from resources.encoders.conse import Conse
from resources.encoders.open_clip import OpenClip
from resources.encoders.sentence import SentenceEncoder
from resources.summarisers.base import CaptionsAsConcepts, ChatSummariser, ConsensusSummariser
from resources.targets.known_networks import _READING
from resources.targets.networks import TargetNetworks
from resources.text_to_image.base import DiffusersTextToImage
from resources.text_to_image.image_server import ServedTextToImage
from resources.text_to_image.known_answers import WorldPainter

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
STUDY_ASSETS = {one.name: one for stage in [*EVERY, LabelMetrics("labels")] for one in stage.wholes}
WHOLE_NODES = {
    name: [Node(type(one).__module__, type(one).__name__, "observe")]
    for name, one in STUDY_ASSETS.items()
}
NODES = STAGE_NODES | WHOLE_NODES | {
    **{one.__name__: [Node(one.__module__, one.__name__)] for one in MODELS},
    "TargetNetworks": [
        Node(TargetNetworks.__module__, "TargetNetworks", name) for name in _READING
    ],
    "IMAGE_SETS": [
        Node("dnd_assets.study.probing_images",
            "image_paths"), Node("dnd_assets.study.probing_images", "inspect"),
    ],
}  # fmt: skip


class Edited(Project):
    """The project with other text in some of its modules."""

    def __init__(self, texts):
        super().__init__(ROOT)
        self._texts = texts

    def _read(self, name):
        if name not in self._texts:
            return project().module(name)
        from dnd_assets.lineage.code_modules import Module

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
    assert set(STUDY_ASSETS) == UNPARTITIONED
    assert {name: one.code() for name, one in STUDY_ASSETS.items()}.items() <= before.items()
    for one in MODELS:
        assert code_version(one) == before[one.__name__]
    assert method_version(TargetNetworks, *_READING) == before["TargetNetworks"]


HELPERS = [
    ("dnd_assets.assets.synthetic_images", "hashes[:count]", "hashes[-count:]",
     {"polysemantic_labels", "synthetic_images"}),
    ("dnd_assets.assets.activations", "silent(values) if not_finite or dead",
     "silent(values) if not_finite",
     {"activations", "polysemantic_labels", "milan_labels", "invert_labels"}),
    ("dnd_assets.assets.activations", "values[[rows[name] for name in images]]",
     "values[[rows[name] for name in sorted(images)]]",
     {"activations", "clip_dissect_labels", "milan_labels", "invert_labels",
      "polysemantic_labels"}),
    ("dnd_assets.assets.compositions_labels", "text[1:-1] if", "text if",
     {"compositions_labels", "invert_labels"}),
    ("dnd_assets.assets.segmentation.masked_images", "packed.astype(bool)", "~packed.astype(bool)",
     {"compositions_labels", "invert_labels"}),
    ("dnd_assets.assets.segmentation.map_labels", "if index >= 0", "if index > 0",
     {"compositions_labels", "network_dissection_labels"}),
    ("dnd_assets.files.concept_sets", "template.format(", "template.strip().format(",
     {"clip_dissect_labels", "named_directions_labels"}),
    ("dnd_assets.engine.cache.shared_results", "in RETRYABLE", "not in RETRYABLE", {"captions"}),
    ("dnd_assets.assets.scores", "-entry", "+entry", {"scores", "polysemantic_labels"}),
    ("dnd_assets.assets.label_metrics", "_DIGITS = ", "_DIGITS = 1 + ", {"labels_metrics"}),
    ("dnd_assets.assets.candidate_concepts", "setting.candidates,\n        setting.seed",
     "setting.candidates,\n        1 + setting.seed",
     {"candidate_concepts", "polysemantic_labels"}),
    ("dnd_assets.files.images", "_to_rgb(_upright(image))", "_upright(_to_rgb(image))",
     {"activations", "crops", "milan_labels", "IMAGE_SETS"}),
    ("dnd_assets.engine.cache.caption_likelihoods", "math.nan if value is None",
     "0.0 if value is None",
     {"milan_labels"}),
    ("resources.captioners.base", "num_beams=1", "num_beams=2", {"BlipCaptioner"}),
    ("resources.targets.passes", "outputs[path] = readers[path](",
     "outputs[path] = readers[path](+", {"TargetNetworks"}),
    ("resources.encoders.open_clip_towers", 'image.convert("RGB")', "image", {"OpenClip"}),
]  # fmt: skip
"""Helpers by module, a change of each, and what it has to change at least."""
_SERVED = {"ChatCaptioner", "ChatSummariser", "ServedTextToImage"}
_FROM_FILES = {"probing_set", "held_out_images", "concept_masks"}
FURTHER = [
    ("dnd_assets.methods.text.words", "return _WORD.findall(text)", "return text.split()",
     {"ConsensusSummariser"}),
    ("dnd_assets.methods.text.spaceless", '"han": 1', '"han": 2', {"ConsensusSummariser"}),
    ("dnd_assets.methods.text.answer_text", "closes[-1].end()", "closes[0].end()",
     {"captions", "ChatCaptioner", "ChatSummariser"}),
    ("dnd_assets.methods.text.refusals", "if is_refusal(plain)", "if not is_refusal(plain)",
     {"captions", "ChatCaptioner"}),
    ("dnd_assets.methods.text.caption_text", "_REPEATS: Final = 3", "_REPEATS: Final = 4",
     {"captions"}),
    ("dnd_assets.methods.dissection.painted", "pixels[:1, :1]", "pixels[:1, 1:]",
     {"DiffusersTextToImage"}),
    ("dnd_assets.files.image_suffixes", "_SNIFFED: Final = 32", "_SNIFFED: Final = 8",
     {"IMAGE_SETS", *_FROM_FILES}),
    ("dnd_assets.files.images", "_to_rgb(_upright(image))", "_upright(_to_rgb(image))",
     _FROM_FILES),
    ("dnd_assets.assets.image_sets", "if name not in left_out", "if name in left_out",
     {"probing_set", "held_out_images"}),
    ("dnd_assets.assets.held_out_images", "intersection(", "union(", {"held_out_images"}),
    ("dnd_assets.known_answers.world", "_STRIDE: Final = 1", "_STRIDE: Final = 2",
     _FROM_FILES),
    ("dnd_assets.study.mask_sets", "mask_set.set_aside", "mask_set.images[:0]",
     {"concept_masks"}),
    ("dnd_assets.files.segmentation_masks", "(5, 6, 7, 8)", "(5, 6, 7)", {"concept_masks"}),
    ("dnd_assets.files.concept_sets", "template.format(", "template.strip().format(",
     {"concept_activations"}),
    ("dnd_assets.study.study_concepts", "read_concepts(", "read_concepts(*()) or read_concepts(",
     {"concept_activations"}),
    ("resources.encoders.clip_settings", "shared[0] if shared", "shared[-1] if shared",
     {"OpenClip"}),
    ("resources.targets.published", "{8,64}", "{6,64}", {"TargetNetworks"}),
    ("resources.text_to_image.few_step", "MOST_STEPS: Final = 8", "MOST_STEPS: Final = 9",
     {"DiffusersTextToImage"}),
    ("resources.text_to_image.image_options", "_ALWAYS_BASE64.match(model) is None", "True",
     {"ServedTextToImage"}),
    ("resources.servers.server_errors", "bool(codes & _FILTER_CODES)", "bool(codes)", _SERVED),
    ("resources.servers.messages", '("reasoning_content")', '("thoughts")',
     {"ChatCaptioner", "ChatSummariser"}),
    ("resources.servers.answers", "_LEAST: Final = 1_024", "_LEAST: Final = 2_048",
     {"ChatCaptioner", "ChatSummariser"}),
    ("resources.servers.options", "sent_as != name", "sent_as == name", _SERVED),
    ("resources.servers.responses", '"store": False', '"store": True',
     {"ChatCaptioner", "ChatSummariser"}),
    ("resources.servers.calls", "ANSWERED: Final[frozenset[Status]] = frozenset({",
     "ANSWERED: Final[frozenset[Status]] = frozenset({'cut_off', ", _SERVED),
    ("resources.servers.chat_server", '"interrupted"', '"never"', _SERVED - {"ServedTextToImage"}),
    ("resources.servers.conversations", "_PATIENCE = 12", "_PATIENCE = 1", _SERVED),
]  # fmt: skip
"""As above; of these only what has to change is looked at."""


@pytest.mark.parametrize(("module", "old", "new", "touched"), HELPERS)
def test_a_changed_helper_changes_what_leads_to_it(module, old, new, touched, before):
    text = source(module)
    assert old in text, (module, old)
    after = versions(Edited({module: text.replace(old, new, 1)}))
    changed = {name for name in NODES if after[name] != before[name]}
    assert changed, "nothing saw it"
    assert changed >= touched
    assert changed < set(NODES), "and not everything leads to it"


@pytest.mark.parametrize(("module", "old", "new", "touched"), FURTHER)
def test_helpers_of_answers_models_and_image_sets_count(module, old, new, touched, before):
    text = source(module)
    assert old in text, (module, old)
    after = versions(Edited({module: text.replace(old, new, 1)}), touched)
    assert {name for name in touched if after[name] == before[name]} == set()


def test_no_product_of_the_project_lists_its_sources_by_hand():
    assert [one.name for one in EVERY if one.sources] == []


def test_what_products_ask_of_networks_is_in_the_version_of_these():
    """Products end at the methods of networks, whose version must therefore cover them."""
    covered = {node.member for node in project().closure(NODES["TargetNetworks"])}
    reached = {node.module for nodes in STAGE_NODES.values() for node in project().closure(nodes)}
    asked = {name for module in reached for name in re.findall(r"targets\.(\w+)\(", source(module))}
    assert {"activations", "maps", "layer_maps"} <= asked
    # What these give is in keys itself: transforms in networks' fingerprints, truths as they are.
    # The code of ablation is a parameter of what it gives, so that activations keep their keys.
    inside = {"fingerprint", "transforms", "categories", "final_layers"}
    assert asked - covered <= inside | {"outputs_without", "values_replaced"}


@pytest.mark.parametrize(("module", "old", "new"), [
    ("resources.targets.ablated", "self.rows - len(groups)", "self.rows + 1 - len(groups)"),
    ("dnd_assets.methods.ablation.replacing", "moved[row, units] = fill", "moved[row] = fill"),
    ("dnd_assets.methods.ablation.replacing", "low == high", "low >= high"),
])  # fmt: skip
def test_the_code_of_ablation_counts_for_its_effects(module, old, new):
    nodes = [Node(TargetNetworks.__module__, "TargetNetworks", name)
             for name in ("outputs_without", "values_replaced")]  # fmt: skip
    assert edited(module, old, new).version(nodes) != project().version(nodes)


@pytest.mark.parametrize("name", NODES)
def test_every_function_that_is_reached_counts(name, before):
    """Some dozens of those in reach, each with a statement more, one at a time."""
    reached = [node for node in project().closure(NODES[name]) if node.name != "*"]
    for node in reached[:: max(1, len(reached) // 12)]:
        of = Edited({})
        holder = (
            project()._holder(node) if node.member else (project().module(node.module), node.name)
        )
        of._piece(*holder, node.member).text += "one more"
        after = of.version(NODES[name])
        assert after != before[name], node
    assert Edited({}).version(NODES[name]) == before[name]


def test_docstrings_comments_and_layout_change_nothing(before):
    texts = {}
    ours = [name for name, found in project()._modules.items() if found and project()._file(name)]
    for name in ours:
        tree = ast.parse(source(name))
        for node in ast.walk(tree):
            first = getattr(node, "body", [None])
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(
                node
            ):
                first[0].value.value = "Another text."
        texts[name] = "# a comment\n" + ast.unparse(tree)
    assert versions(Edited(texts)) == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("dnd_assets.cli.run", "Materialize assets", "Make assets"),
        ("dnd_assets.engine.materialize", "_COMMIT = 256", "_COMMIT = 255"),
        ("resources.lineage_db.index", "_PATIENCE_S = 1.0", "_PATIENCE_S = 6.0"),
        ("resources.lineage_db.reader", "_FEW = 200", "_FEW = 20"),
        ("resources.servers.budget", "_WITHOUT_LIMIT: Final = 4_096", "_WITHOUT_LIMIT: Final = 1"),
        ("resources.servers.server_errors", "_SHOWN: Final = 300", "_SHOWN: Final = 3"),
        ("dnd_assets.workflow.freshness", "*/10 * * * *", "*/5 * * * *"),
        ("dnd_assets.lineage.remarks", "_KEPT: Final = 100", "_KEPT: Final = 10"),
        (
            "resources.runtime.progress",
            "def advance",
            "def _other(self) -> None: ...\n    def advance",
        ),
        ("dnd_assets.assets.crops", "maps * setting.crops_per_image", "maps"),
        ("dnd_assets.workflow.metadata", "import", "import math, "),
    ],
)
def test_plumbing_changes_nothing(module, old, new, before):
    text = source(module)
    assert old in text
    if module.endswith("metadata"):
        text = text + "\nMORE = 1\n"
        old = new = ""
    assert versions(Edited({module: text.replace(old, new, 1)})) == before


def _moved(folder, moves):
    """A copy of both packages in which modules lie elsewhere, with all imports rewritten."""
    for package in ("dnd_assets", "resources"):
        shutil.copytree(
            ROOT / package, folder / package,
            ignore=shutil.ignore_patterns("checkpoints", "__pycache__", "static", "studies"),
        )  # fmt: skip
    for old, new in moves.items():
        target = folder.joinpath(*new.split(".")).with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        (target.parent / "__init__.py").touch()
        folder.joinpath(*old.split(".")).with_suffix(".py").rename(target)
    for file in folder.rglob("*.py"):
        file.write_text(_rewritten(file.read_text(), moves))


def _rewritten(text, moves):
    """A source text that imports moved modules from where they lie now."""

    def one(found):
        indent, package, listed = found.groups()
        if package in moves:
            return f"{indent}from {moves[package]} import {listed}"
        names = [part.split("#")[0].strip(" ()\n") for part in listed.split(",")]
        lines = []
        for name in filter(None, names):
            plain, _, alias = name.partition(" as ")
            place = moves.get(f"{package}.{plain}", f"{package}.{plain}").rpartition(".")
            lines.append(f"{indent}from {place[0]} import {place[2]} as {alias or plain}")
        return "\n".join(lines)

    names = r"\([^)]*\)|[^\n]+"
    return re.sub(rf"(?m)^([ ]*)from ((?:dnd_assets|resources)[\w.]*) import ({names})", one, text)


def _modules_to_move():
    """Every module that a product leads to, and those at which versions end."""
    reached = {node.module for nodes in NODES.values() for node in project().closure(nodes)}
    listed = {one.partition(":")[0] for one in NOT_PART_OF_RESULTS}
    return sorted(
        name
        for name in reached | listed
        if project()._file(name) is not None and project()._file(name).name != "__init__.py"
    )


def test_moving_modules_changes_no_version(tmp_path, before):
    moves = {}
    for name in _modules_to_move():
        package, _, leaf = name.rpartition(".")
        moves[name] = f"{package}.moved.{leaf}"
    _moved(tmp_path, moves)
    of = Project(tmp_path)
    nodes = {
        name: [Node(moves.get(one.module, one.module), one.name, one.member) for one in found]
        for name, found in NODES.items()
    }
    assert {name: of.version(found) for name, found in nodes.items()} == before


def test_moving_one_module_or_one_function_changes_no_version(tmp_path, before):
    old = "dnd_assets.methods.dissection.attention_crops"
    _moved(tmp_path, {old: "dnd_assets.methods.crops"})
    of = Project(tmp_path)
    assert {name: of.version(found) for name, found in NODES.items()} == before
    # `accepted` goes to another module.
    home = tmp_path / "dnd_assets" / "assets" / "synthetic_images.py"
    text = home.read_text()
    start, end = text.index("def accepted("), text.index("def paint(")
    helper = text[start:end]
    moved = text[:start] + text[end:]
    home.write_text(
        moved.replace("\nROUNDS", "\nfrom dnd_assets.chosen import accepted\n\nROUNDS", 1)
    )
    (tmp_path / "dnd_assets" / "chosen.py").write_text(
        "from typing import Any\nImages = list[dict[str, Any]]\n" + helper
    )
    of = Project(tmp_path)
    assert {name: of.version(found) for name, found in NODES.items()} == before


def test_which_of_two_functions_of_one_name_is_meant_counts(tmp_path):
    package = tmp_path / "dnd_assets"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("def helper(x):\n    return x + 1\n")
    (package / "two.py").write_text("def helper(x):\n    return x + 2\n")
    found = []
    for first, second in (("one", "two"), ("two", "one")):
        (package / "work.py").write_text(
            f"from dnd_assets.{first} import helper\nfrom dnd_assets.{second} import helper as h\n"
            "def work(x):\n    return 2 * helper(x) + h(x)\n"
        )
        found.append(Project(tmp_path).version([Node("dnd_assets.work", "work")]))
    assert found[0] != found[1]


def test_circles_and_scopes_are_read_as_python_reads_them(tmp_path):
    package = tmp_path / "dnd_assets"
    package.mkdir()
    (package / "__init__.py").touch()
    text = (
        "SIZE = 1\nOTHER = 2\n"
        "def even(n):\n    return n == 0 or odd(n - 1)\n"
        "def odd(n):\n    return n != 0 and even(n - 1)\n"
        "def work(n, OTHER):\n"
        "    def inner(SIZE):\n        return SIZE\n"
        "    return even(n) + SIZE + OTHER + inner(1)\n"
    )
    (package / "work.py").write_text(text)
    node = Node("dnd_assets.work", "work")
    reached = {one.name for one in Project(tmp_path).closure([node])}
    assert reached == {"work", "even", "odd", "SIZE"}
    version = Project(tmp_path).version([node])
    for old, new, same in (
        ("OTHER = 2", "OTHER = 3", True), ("SIZE = 1", "SIZE = 5", False),
        ("n != 0", "n != 1", False),
    ):  # fmt: skip
        (package / "work.py").write_text(text.replace(old, new))
        assert (Project(tmp_path).version([node]) == version) == same, old


@pytest.mark.parametrize("seed", ["1", "2"])
def test_every_process_finds_the_same_versions_and_imports_nothing_for_it(seed, before):
    script = (
        "import sys\n"
        "from dnd_assets.lineage.code import Node, project\n"
        "n = [Node('dnd_assets.assets.polysemantic_labels', 'PolysemanticLabels', 'compute')]\n"
        "print(project().version(n))\n"
        "print(any(name in sys.modules for name in ('torch', 'dagster', 'numpy')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.split() == [before["polysemantic_labels"], "False"]


def test_every_limit_is_of_something_that_is_there():
    for one in (*NOT_PART_OF_RESULTS, *ENTERED_ALL_THE_SAME):
        module, _, name = one.partition(":")
        place = ROOT.joinpath(*module.split("."))
        assert place.is_dir() or place.with_suffix(".py").is_file(), one
        owner, _, member = name.partition(".")
        known = project().module(module)
        assert not name or owner in known.defined, one
        assert not member or member in known.members(owner), one
