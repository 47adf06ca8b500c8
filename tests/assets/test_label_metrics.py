"""Metrics of labels as assets: figures worked by hand, what is shared, reruns, is refused."""

import csv
import json
import shutil
from dataclasses import replace

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from dnd_assets.assets import probing_set
from dnd_assets.assets.held_out_images import HeldOutImages
from dnd_assets.assets.image_sets import images_of
from dnd_assets.assets.label_metrics import LabelMetrics
from dnd_assets.assets.registry import STAGES, chosen_assets, stages_of
from dnd_assets.assets.truths import check_truths, truths_of
from dnd_assets.engine.cache.shared_results import embeddings, text_embeddings
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.gc import collect, find_garbage
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.plan import plan
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.stage import Work, study_assets_of
from dnd_assets.engine.verify import rebuild, verify
from dnd_assets.errors import NotFoundError, StudyError, TableError
from dnd_assets.lineage.explain import pair
from dnd_assets.lineage.records import HELD_OUT_IMAGES, Outcome, Product
from dnd_assets.lineage.trace import trace
from dnd_assets.methods.metrics.image_level import USUAL
from dnd_assets.methods.metrics.presence import presence, shown
from dnd_assets.methods.seeds import content_seed
from dnd_assets.results.diff import changes
from dnd_assets.results.trace_tree import tree
from dnd_assets.study.study import load_study, parse_study
from dnd_assets.units import Unit
from dnd_assets.workflow.definitions import build_definitions
from dnd_assets.workflow.external_sources import HELD_OUT, SENTENCES, sources_for
from dnd_assets.workflow.run import observe, run
from resources.text_to_image.base import Painting, TextToImage
from tests import networks
from tests.studies import changed, computed, label, statuses, versions, write_images

MINE = "labels_metrics"
THEIRS = "clip_dissect_labels_metrics"
FRESH = 2
HELD = 12
UNITS = [f"net/{layer}/{n}" for layer in ("colours", "spoilt") for n in range(4)]
ON_IMAGES = ("cosy_auc", "cosy_mad", *USUAL)
AGAINST_TRUTH = ("clip_cos", "mpnet_cos", "bertscore_f1", "exact")
WORDS = {"red", "green", "blue", "broken"}


@pytest.fixture(scope="module")
def judged(colours, sentences_folder):
    """The table of the small study with an evaluation of its labels."""
    section = {
        "folders": ["held"],
        "images_per_label": FRESH,
        "truths": "categories",
        "sentence_encoder": str(sentences_folder),
    }
    return changed(colours, evaluation=section)


@pytest.fixture(scope="module")
def both(judged):
    """The same with CLIP-Dissect, whose labels are measured, too."""
    return changed(judged, clip_dissect={"concepts": "concepts.txt", "top_images": 6})


def _prepare(folder):
    write_images(folder / "held", HELD, seed=7)
    (folder / "concepts.txt").write_text("red\ngreen\nblue\ncircle\nsquare\nsand\n")


@pytest.fixture(scope="module")
def first(labelled, both, tmp_path_factory):
    """The labelled study, then measured in a second run: folder and announcements."""
    folder = tmp_path_factory.mktemp("judged") / "copy"
    shutil.copytree(labelled[0], folder)
    _prepare(folder)
    return folder, label(both, folder, run="first", last=THEIRS)


@pytest.fixture
def again(first, tmp_path):
    """A copy of the measured study, free to be changed."""
    shutil.copytree(first[0], tmp_path / "copy")
    return tmp_path / "copy", first[1]


@pytest.fixture
def unmeasured(labelled, tmp_path):
    """A copy of the labelled study before anything is measured."""
    folder = tmp_path / "copy"
    shutil.copytree(labelled[0], folder)
    _prepare(folder)
    return folder


def _bench(table, folder, **overrides):
    return replace(build_context(parse_study(table, folder), folder / "state"), **overrides)


def _content(found, asset=MINE):
    return {key: one.product.payload for (name, key), one in found.items() if name == asset}


def _work(context, run, asset=None):
    sql = "SELECT what, sum(count) AS n FROM work WHERE run = ? AND asset LIKE ? GROUP BY what"
    rows = context.lineage.query(sql, [run, asset or "%"])
    return {row["what"]: int(row["n"]) for row in rows}


def _held_out(context):
    return images_of(context, HeldOutImages().observe(context))


def _measure(context, said):
    """Payloads of the metrics of labels that are given by hand, by unit key."""
    seen = HeldOutImages().observe(context)
    work = [
        Work(unit, {"labels": _product("labels", {"label": text}), HELD_OUT_IMAGES: seen})
        for unit, text in said.items()
    ]
    found = LabelMetrics("labels", sentences=context.sentences is not None).compute(context, work)
    return {one.unit.key: outcome for one, outcome in found}


def _product(asset, payload):
    image = {"asset": asset, "code": "1", "parameters": {}, "weights": {}, "inputs": {}}
    return Product(f"key of {payload}", asset, image, Outcome("ok", payload))


def _by_eye(images, neuron):
    """What a unit of the network makes of pictures, in numpy: its mean over all pixels."""
    weights = np.full(3, -0.5)
    weights[neuron] = 1.0
    pixels = np.stack([networks.transforms()(image).numpy() for image in images])
    maps = np.maximum(np.tensordot(pixels.astype(float), weights, axes=([1], [0])), 0)
    return maps.mean(axis=(1, 2))


def _average_precision(positive, scores):
    """The sum of what each threshold adds to recall, times its precision."""
    tops = [scores >= value for value in sorted(set(scores), reverse=True)]
    recalls = [0.0, *(positive[top].sum() / positive.sum() for top in tops)]
    return sum(np.diff(recalls) * [positive[top].mean() for top in tops])


def _f1(active, present):
    return 2 * (active & present).sum() / (active.sum() + present.sum())


@pytest.mark.parametrize("neuron", [networks.RED, networks.GREEN, networks.BLUE])
def test_the_figures_are_those_worked_by_hand(first, both, neuron):
    folder, found = first
    context = _bench(both, folder)
    payload = found[MINE, f"net/colours/{neuron}"].product.payload
    painted = [one["image"] for one in payload["pictures"]]
    assert len(painted) == FRESH
    images = _held_out(context)
    a1, a0 = (_by_eye(context.pictures.load(names), neuron) for names in (painted, images))
    rows, faces = embeddings(context, images)
    text = text_embeddings(context, [payload["label"]])[0]
    there = presence(faces[[rows[name] for name in images]], text)
    present = shown(there)
    active = a0 == a0.max()  # a twentieth of twelve images is one
    expected = {
        "cosy_auc": np.mean([(x > y) + (x == y) / 2 for x in a1 for y in a0]),
        "cosy_mad": (a1.mean() - a0.mean()) / a0.std(),
        "pearson": np.corrcoef(a0, there)[0, 1],
        "cosine": a0 @ present / np.linalg.norm(a0) / np.sqrt(present.sum()),
        "auprc": _average_precision(active, there),
        "f1": _f1(active, present),
        "iou": (active & present).sum() / (active | present).sum(),
        "inverse_auprc": _average_precision(present, a0),
        "simulation": np.corrcoef(a0, present.astype(float))[0, 1],
    }
    assert payload["metrics"] == pytest.approx(expected, abs=2e-4)
    assert list(payload["metrics"]) == list(ON_IMAGES), "no truth is known of a hidden unit"
    assert (payload["images"], payload["shown"]) == (HELD, present.sum())
    assert payload["truth"] is None
    assert payload["reasons"] == {}


def test_the_truth_is_compared_where_it_is_known(first, both):
    folder, found = first
    context = _bench(both, folder)
    for neuron, truth in enumerate(["red", "green", "blue"]):
        payload = found[MINE, f"net/spoilt/{neuron}"].product.payload
        said = payload["label"]
        assert payload["truth"] == truth
        assert list(payload["metrics"]) == [*ON_IMAGES, *AGAINST_TRUTH]
        spaces = (context.clip, context.sentences)
        clip, words = (np.asarray(one.encode([said, truth]), float) for one in spaces)
        assert payload["metrics"]["clip_cos"] == pytest.approx(clip[0] @ clip[1], abs=1e-3)
        cosine = words[0] @ words[1] / np.linalg.norm(words, axis=1).prod()  # vectors are rounded
        assert payload["metrics"]["mpnet_cos"] == pytest.approx(cosine, abs=1e-6)
        assert payload["metrics"]["exact"] == float(said == truth)
        one, other = (t.vectors / np.linalg.norm(t.vectors, axis=1, keepdims=True)
                      for t in context.sentences.encode_tokens([said, truth]))  # fmt: skip
        cosines = one[1:-1] @ other.T, one @ other[1:-1].T
        p, r = cosines[0].max(axis=1).mean(), cosines[1].max(axis=0).mean()
        assert payload["metrics"]["bertscore_f1"] == pytest.approx(2 * p * r / (p + r), abs=1e-4)


def test_the_right_label_beats_a_wrong_one_as_text(first, both):
    context = _bench(both, first[0])
    red = Unit("net", "spoilt", 0)
    right, wrong = (_measure(context, {red: text})[red.key].payload for text in ("red", "blue"))
    assert right["metrics"]["exact"] == 1.0
    assert right["metrics"]["clip_cos"] == pytest.approx(1, abs=1e-3)
    assert right["metrics"]["bertscore_f1"] == pytest.approx(1)
    assert wrong["metrics"]["exact"] == 0.0
    assert wrong["metrics"]["mpnet_cos"] < right["metrics"]["mpnet_cos"] == pytest.approx(1)


def test_right_labels_beat_those_of_other_units_on_the_known_answers(tmp_path):
    worlds = {"probing_set": {"world": {"count": 4}}}
    section = {"world": {"count": 96, "seed": 5}, "images_per_label": 4, "truths": "categories"}
    # The renderer paints what a text says, so that the metrics alone are tried.
    worlds["text_to_image"] = {"kind": "world"}
    table = load_study("known-answers").model_dump() | worlds | {"evaluation": section}
    context = build_context(parse_study(table, tmp_path), tmp_path / "state")
    names = context.targets.categories("worldnet")
    units = [Unit("worldnet", "head", neuron) for neuron in (0, 2, 4, 22, 23, 25)]
    right = {unit: names[unit.neuron] for unit in units}
    turned = dict(zip(units, [*list(right.values())[1:], right[units[0]]], strict=True))
    own, other = (_measure(context, said) for said in (right, turned))
    for unit in units:
        good, bad = (found[unit.key].payload["metrics"] for found in (own, other))
        assert good["exact"] == 1.0
        assert bad["exact"] == 0.0
        for name in ("cosy_auc", "cosy_mad", *USUAL, "clip_cos"):
            assert good[name] > bad[name], (unit.key, name)
        assert good["cosy_auc"] > 0.85
        assert good["pearson"] > 0.5
    assert not {unit.key for unit in units}.symmetric_difference(own)


def test_a_unit_without_a_label_passes_its_status_on(first):
    found = statuses(first[1], MINE)
    assert found == dict.fromkeys(UNITS, "ok") | {
        "net/colours/3": "dead", "net/spoilt/3": "not_finite",
    }  # fmt: skip
    for key in ("net/colours/3", "net/spoilt/3"):
        mine, theirs = (first[1][asset, key] for asset in (MINE, "labels"))
        assert mine.record.reason == theirs.record.reason
        assert mine.product.payload == {}


def test_fresh_pictures_are_none_of_those_that_chose_the_label(first):
    found = first[1]
    for key, payload in _content(found).items():
        if not payload:
            continue
        chosen = found["synthetic_images", key].product.payload["concepts"]
        before = {image["image"] for concept in chosen for image in concept["images"]}
        assert before.isdisjoint(one["image"] for one in payload["pictures"])
        seeds = [one["seed"] for one in payload["pictures"]]
        said = payload["label"]
        assert seeds == [content_seed("evaluation image", said, i, 0) for i in range(FRESH)]


def test_equal_labels_share_their_pictures_whatever_the_method(first, both):
    folder, found = first
    every = [one for asset in (MINE, THEIRS) for one in _content(found, asset).values() if one]
    pictures = {}
    for one in every:
        names = [picture["image"] for picture in one["pictures"]]
        assert pictures.setdefault(one["label"], names) == names
    assert len(pictures) < len(every), "some labels are equal"
    work = _work(_bench(both, folder), "first")
    assert work["paintings"] == FRESH * len(pictures)
    assert work["forward passes"] == FRESH * len(pictures) + HELD, "each picture passes once"
    assert _work(_bench(both, folder), "first", MINE)["embeddings"] == HELD
    assert "embeddings" not in _work(_bench(both, folder), "first", THEIRS)


@pytest.mark.parametrize("key", ["net/colours/1", "net/spoilt/2"])
def test_figures_depend_on_no_other_unit_and_no_batch(unmeasured, first, judged, key):
    sizes = {"target": 5, "captioner": 3, "text_to_image": 3, "clip": 7}
    table = changed(judged, compute__batch=sizes)
    alone = label(table, unmeasured, [key], run="alone", last=MINE)
    assert computed(alone) == {(MINE, key)}
    assert alone[MINE, key].product.data_version == first[1][MINE, key].product.data_version


def test_what_cannot_be_computed_is_null_with_a_reason(unmeasured, judged):
    shutil.rmtree(unmeasured / "held")
    for index in range(4):  # bluish greys: no redness anywhere
        (unmeasured / "held").mkdir(exist_ok=True)
        colour = (60, 60, 100 + index)
        Image.new("RGB", (32, 32), colour).save(unmeasured / "held" / f"{index}.png")
    table = changed(judged, evaluation__truths="truths.csv")
    (unmeasured / "truths.csv").write_text("unit,truth\nnet/colours/0,red\n")
    found = label(table, unmeasured, run="grey", last=MINE)
    payload = found[MINE, "net/colours/0"].product.payload
    for name in ("cosy_mad", "pearson", "cosine", "simulation"):
        assert payload["metrics"][name] is None
        assert payload["reasons"][name].endswith("activation is the same on every held-out image")
    assert set(payload["reasons"]) == {"cosy_mad", "pearson", "cosine", "simulation"}
    assert payload["metrics"]["cosy_auc"] >= 0.5, "nothing is less red"
    share = payload["shown"] / 4
    assert payload["metrics"]["inverse_auprc"] == pytest.approx(share), "a constant finds by chance"
    assert payload["truth"] == "red"
    assert statuses(found, MINE)["net/colours/2"] == "ok"
    assert found[MINE, "net/colours/2"].product.payload["reasons"] == {}


def test_equal_held_out_images_show_no_label(unmeasured, judged):
    shutil.rmtree(unmeasured / "held")
    (unmeasured / "held").mkdir()
    image = Image.new("RGB", (32, 32), (200, 90, 90))
    image.save(unmeasured / "held" / "a.png")
    image.save(unmeasured / "held" / "b.bmp")
    found = label(judged, unmeasured, run="same", last=MINE)
    payload = found[MINE, "net/colours/1"].product.payload
    assert (payload["images"], payload["shown"]) == (2, 0)
    assert [name for name, value in payload["metrics"].items() if value is None] == [
        "cosy_mad", "pearson", "cosine", "inverse_auprc", "simulation",
    ]  # fmt: skip


class Strict:
    """A painter whose safety checker rejects pictures of some concepts, or their first."""

    paint_each, calls_to_make = TextToImage.paint_each, TextToImage.calls_to_make

    def __init__(self, painter, rejects):
        self._painter, self._rejects = painter, rejects

    def fingerprint(self):
        return {**self._painter.fingerprint(), "strict": True}

    def paint(self, requests, batch, *others):
        done = self._painter.paint(requests, batch, *others)
        return [
            Painting(one.image, self._rejects(request))
            for request, one in zip(requests, done, strict=True)
        ]


def test_a_rejected_picture_is_replaced_by_the_next(unmeasured, judged):
    context = _bench(judged, unmeasured)
    unit = Unit("net", "colours", 0)
    seeds = [content_seed("evaluation image", "red", index, 0) for index in range(3)]
    strict = Strict(context.text_to_image, lambda request: request.seed == seeds[0])
    found = _measure(replace(context, text_to_image=strict), {unit: "red"})[unit.key]
    assert [one["seed"] for one in found.payload["pictures"]] == seeds
    assert [one["rejected"] for one in found.payload["pictures"]] == [True, False, False]
    nothing = Strict(context.text_to_image, lambda request: request.concept == "sad")
    found = _measure(replace(context, text_to_image=nothing), {unit: "sad"})[unit.key]
    assert found.status == "ok"
    assert found.payload["metrics"]["cosy_auc"] is found.payload["metrics"]["cosy_mad"] is None
    assert found.payload["reasons"]["cosy_auc"] == (
        "the safety checker rejected all 4 pictures of the label"
    )
    assert found.payload["metrics"]["pearson"] is not None


def _plan(table, folder, assets=()):
    context = _bench(table, folder)
    for whole in study_assets_of(stages_of(context.study)).values():
        whole.materialize(context, "scan")
    stages = stages_of(context.study)
    units = list(find_units(context).values())
    asked = list(assets or stages)
    return {one.asset: one for one in plan(context, stages, units, asked, *observe(context))}


def test_the_run_does_what_the_plan_said(unmeasured, judged):
    planned = _plan(judged, unmeasured)[MINE]
    assert planned.why == {"never made": 8}
    assert set(planned.cost) == {
        "paintings", "forward passes", "embeddings", "text embeddings", "sentence embeddings",
    }  # fmt: skip
    label(judged, unmeasured, run="run", last=MINE)
    assert _work(_bench(judged, unmeasured), "run", MINE) == planned.cost
    after = _plan(judged, unmeasured)[MINE]
    assert (after.compute, after.reuse, after.cost) == (0, 8, {})


def test_two_methods_cost_what_the_plan_said_in_any_order(unmeasured, both):
    label(both, unmeasured, run="labels", last="clip_dissect_labels")
    planned = _plan(both, unmeasured)
    total = {}
    for name in (MINE, THEIRS):
        for what, count in planned[name].cost.items():
            total[what] = total.get(what, 0) + count
    stages = stages_of(parse_study(both, unmeasured))
    context = _bench(both, unmeasured)
    units = list(find_units(context).values())
    graph = Graph(context, stages)
    for name in (THEIRS, MINE):
        assert len(list(materialize(graph, stages[name], units, "turned"))) == 8
    assert _work(context, "turned") == total


def test_before_labels_the_plan_tells_the_most(colour_folder, judged):
    _prepare(colour_folder)
    planned = _plan(judged, colour_folder)[MINE]
    assert (planned.compute, planned.may, planned.cost) == (0, 8, {})
    label(judged, colour_folder, run="run", last=MINE)
    for what, count in _work(_bench(judged, colour_folder), "run", MINE).items():
        assert 0 < count <= planned.most[what]


def test_a_known_rejection_is_part_of_the_plan(unmeasured, judged):
    context = _bench(judged, unmeasured)
    rejects = {content_seed("evaluation image", "red", 0, 0)}
    strict = Strict(context.text_to_image, lambda request: request.seed in rejects)
    context = replace(context, text_to_image=strict)
    unit = Unit("net", "colours", 0)
    _measure(context, {unit: "red"})
    work = [Work(unit, {
        "labels": _product("labels", {"label": "red"}),
        HELD_OUT_IMAGES: HeldOutImages().observe(context),
    })]  # fmt: skip
    cost = LabelMetrics("labels").cost(context, work)
    assert {what: count for what, count in cost.items() if count} == {}


def test_another_held_out_image_reruns_only_the_metrics(again, both):
    folder, before = again
    (folder / "held" / "000.png").rename(folder / "held" / "renamed.png")
    assert computed(label(both, folder, run="second", last=THEIRS)) == set()
    write_images(folder / "more", 1, seed=99)
    (folder / "more" / "000.png").rename(folder / "held" / "new.png")
    planned = _plan(both, folder)
    found = label(both, folder, run="fourth", last=THEIRS)
    assert {asset for asset, _ in computed(found)} == {MINE, THEIRS}
    work = _work(_bench(both, folder), "fourth")
    assert {k: v for k, v in work.items() if not k.startswith("sent")} == {
        "forward passes": 1, "embeddings": 1,
    }  # fmt: skip
    assert planned[MINE].why == {f"{MINE}: other held_out_images": 8}
    labels = {pair for pair in versions(before) if not pair[0].endswith("_metrics")}
    assert {pair: versions(found)[pair] for pair in labels} == {
        pair: versions(before)[pair] for pair in labels
    }


@pytest.mark.parametrize(
    ("change", "value", "reruns"),
    [
        ("evaluation__seed", 3, {MINE, THEIRS}),
        ("evaluation__images_per_label", 3, {MINE, THEIRS}),
        ("evaluation__methods", ["labels"], set()),
        ("evaluation__truths", None, {MINE, THEIRS}),
        ("dissection__labels", 1, {"labels", MINE}),
        ("clip_dissect__top", 2, {"clip_dissect_labels", THEIRS}),
    ],
)
def test_what_a_setting_reruns(first, both, change, value, reruns):
    context = _bench(changed(both, **{change: value}), first[0])
    stages, units = stages_of(context.study), list(find_units(context).values())
    found = {
        one.asset: one for one in plan(context, stages, units, list(stages), *observe(context))
    }
    assert {name for name, one in found.items() if one.compute or one.may} == reruns
    if change == "evaluation__truths":
        assert (found[MINE].compute, found[MINE].reuse) == (4, 4), "the layer with truths"


def test_a_changed_truth_reruns_its_layer_alone(again, both):
    folder, _ = again
    rows = [("unit", "truth"), ("net/spoilt/0", "red"), ("net/spoilt/1", "grün")]
    table = changed(both, evaluation__truths="truths.csv", evaluation__methods=["labels"])

    def write():
        with (folder / "truths.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)

    write()
    label(table, folder, run="second", last=MINE)
    rows[2] = ("net/spoilt/1", "green")
    write()
    found = label(table, folder, run="third", last=MINE)
    assert computed(found) == {(MINE, key) for key in UNITS[4:]}
    old, new = pair(_bench(table, folder).lineage.query, "colours", MINE, "net/spoilt/1", None)
    told = [str(one) for one in changes(_bench(table, folder), MINE, "net/spoilt/1", old, new)]
    assert told == [f'{MINE}: truths of.1 "grün" → "green"']
    assert found[MINE, "net/spoilt/2"].product.payload["truth"] is None


def test_images_of_the_probing_set_are_left_out_and_counted(unmeasured, judged):
    for name in ("000.png", "001.png"):
        shutil.copy(unmeasured / "images" / name, unmeasured / "held" / f"copy-{name}")
    context = _bench(judged, unmeasured)
    found = HeldOutImages().materialize(context, "run")
    assert found.payload["images"] == HELD
    assert found.outcome.notes["in_probing_set"] == 2
    own = probing_set.observe(context)
    assert set(images_of(context, own)).isdisjoint(images_of(context, found))


@pytest.mark.parametrize("own", [0, 1])
def test_too_few_images_left_are_refused(unmeasured, judged, own):
    shutil.rmtree(unmeasured / "held")
    shutil.copytree(unmeasured / "images", unmeasured / "held")
    write_images(unmeasured / "more", 1, seed=99)
    if own:
        shutil.copy(unmeasured / "more" / "000.png", unmeasured / "held" / "new.png")
    told = rf"of {18 + own} held-out images 18 are in the probing set, too, which leaves {own}"
    with pytest.raises(StudyError, match=told):
        HeldOutImages().materialize(_bench(judged, unmeasured), "run")


def test_the_generated_world_makes_images_of_its_own(tmp_path):
    study = {
        "name": "world",
        "models": [{"name": "n", "source": "timm:x", "layers": [{"path": "fc"}]}],
        "probing_set": {"world": {"count": 6, "seed": 1}},
        "evaluation": {"world": {"count": 4, "seed": 5}},
    }
    context = build_context(parse_study(study, tmp_path), tmp_path / "state")
    found = HeldOutImages().materialize(context, "run")
    assert (found.payload["images"], found.outcome.notes["in_probing_set"]) == (4, 0)
    same = parse_study(changed(study, evaluation__world={"count": 4, "seed": 1}), tmp_path)
    with pytest.raises(StudyError, match="4 are in the probing set"):
        HeldOutImages().materialize(build_context(same, tmp_path / "state"), "run")


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        ({}, StudyError, "names no images"),
        ({"folders": ["held"], "images": 3}, StudyError, "evaluation.images: unknown key"),
        ({"folders": ["held"], "images_per_label": 0}, StudyError, "images_per_label: 0 is wrong"),
        ({"folders": ["held"], "methods": []}, StudyError, "evaluation.methods"),
        ({"folders": ["held"], "methods": ["label"]}, NotFoundError,
         "no asset of labels 'label'; nearest: labels"),
    ],
)  # fmt: skip
def test_wrong_settings_are_told(colours, tmp_path, section, error, message):
    with pytest.raises(error, match=message):
        stages_of(parse_study(changed(colours, evaluation=section), tmp_path))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, NotFoundError, "no file .*truths.csv"),
        ("unit,truth\nother/fc/0,red\n", TableError, "holds none of the units"),
        ("unit,truth\n0,red\n", TableError, "does not tell the layers"),
        ("thing,truth\n0,red\n", TableError, "no column for the unit"),
    ],
)
def test_a_bad_file_of_truths_fails_early(unmeasured, judged, text, error, message):
    if text is not None:
        (unmeasured / "truths.csv").write_text(text)
    table = changed(judged, evaluation__truths="truths.csv")
    units = list(find_units(_bench(table, unmeasured)).values())
    with pytest.raises(error, match=message):
        check_truths(parse_study(table, unmeasured), units)
    with pytest.raises(error, match=message):
        truths_of(_bench(table, unmeasured), "net", "spoilt")


def test_a_missing_folder_is_told_with_its_section(unmeasured, judged):
    table = changed(judged, evaluation__folders=["hold"])
    with pytest.raises(StudyError, match=r"evaluation.folders names 'hold'.*held"):
        HeldOutImages().observe(_bench(table, unmeasured))


def test_class_names_are_for_the_layer_of_the_outputs(first, both):
    context = _bench(both, first[0])
    assert truths_of(context, "net", "colours") == {}
    assert set(truths_of(context, "net", "spoilt").values()) == WORDS
    assert context.targets.final_layers("net") == ["spoilt"]


def test_without_the_section_nothing_is_there(colours, labelled):
    study = parse_study(colours, labelled[0])
    assert stages_of(study) == STAGES
    assert [one.name for one in sources_for(study)][-1] == "image_text_weights"
    for name in (MINE, HELD_OUT_IMAGES):
        with pytest.raises(NotFoundError, match=r"needs a section \[evaluation\]"):
            chosen_assets(study, [name])
    with pytest.raises(StudyError, match=r"no section \[evaluation\]"):
        HeldOutImages().observe(_bench(colours, labelled[0]))


def test_upstream_brings_the_labels_and_the_images(both, first):
    study = parse_study(both, first[0])
    assert chosen_assets(study, [f"+{THEIRS}"]) == [
        "probing_set", "concept_activations", HELD_OUT_IMAGES, "clip_dissect_labels", THEIRS,
    ]  # fmt: skip
    assert [one for one in sources_for(study) if one in (HELD_OUT, SENTENCES)] == [
        HELD_OUT, SENTENCES,
    ]  # fmt: skip


def test_explain_and_trace_name_what_matters(again, both):
    folder, _ = again
    write_images(folder / "more", 1, seed=99)
    shutil.copy(folder / "more" / "000.png", folder / "held" / "new.png")
    label(both, folder, ["net/spoilt/0"], run="second", last=THEIRS)
    context, key = _bench(both, folder), "net/spoilt/0"
    old, new = pair(context.lineage.query, "colours", MINE, key, None)
    told = [str(one) for one in changes(context, MINE, key, old, new)]
    assert f"{HELD_OUT_IMAGES}: images {HELD} → {HELD + 1}" in told
    traced = trace(context.lineage.query, "colours", key, MINE)
    assert {MINE, HELD_OUT_IMAGES, "labels", "synthetic_images", "probing_set"} <= set(traced.steps)
    assert tree(traced).children


def test_explain_goes_through_the_label_to_the_probing_images(again, both):
    folder, _ = again
    write_images(folder / "more", 3, seed=50)
    for name in ("000.png", "001.png", "002.png"):
        shutil.copy(folder / "more" / name, folder / "images" / f"new-{name}")
    label(both, folder, ["net/colours"], run="second", last=THEIRS)
    context, key = _bench(both, folder), "net/colours/0"
    old, new = pair(context.lineage.query, "colours", THEIRS, key, None)
    told = [str(one) for one in changes(context, THEIRS, key, old, new)]
    assert sum(one.startswith("probing_set: image") for one in told) == 3


def test_products_come_out_the_same_when_rebuilt_and_the_store_is_sound(again, judged):
    folder, _ = again
    table = changed(judged)
    table["models"][0]["layers"] = [{"path": "spoilt", "neurons": [1]}]
    label(table, folder, run="second", last=MINE)
    context = _bench(table, folder)
    stages = stages_of(context.study)
    assert list(stages)[-1] == MINE
    seed = next(s for s in range(99) if _first_choice(list(stages), s) == MINE)
    found = rebuild(context, stages, 1, seed)
    assert [(one.asset, one.same) for one in found] == [(MINE, True)]
    assert verify(context).clean
    assert verify(context).orphaned == []


def _first_choice(names, seed):
    import random

    random.Random(seed).shuffle(names)
    return names[0]


def test_what_is_kept_is_no_garbage(again, both):
    folder, _ = again
    context = _bench(both, folder)
    collect(context, find_garbage(context))
    assert computed(label(both, folder, run="second", last=THEIRS)) == set()


def _run(definitions, instance, assets):
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = {"start": "net/colours/1", "end": "net/spoilt/1"}
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags={f"dagster/asset_partition_range_{end}": key for end, key in keys.items()},
    )


def test_dagster_shows_figures_pictures_and_reasons(first, both):
    folder, found = first
    definitions = build_definitions(parse_study(both, folder), folder / "state")
    graph = definitions.resolve_asset_graph()
    for name in (MINE, THEIRS, HELD_OUT_IMAGES):
        assert graph.get(dg.AssetKey(name)).group_name == "evaluation"
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey(MINE)).parent_keys}
    assert {"labels", HELD_OUT_IMAGES, "sentence_encoder_weights"} < parents
    with dg.DagsterInstance.ephemeral() as instance:
        done = _run(definitions, instance, [HELD_OUT_IMAGES, MINE])
        assert done.success
        events = instance.fetch_materializations(dg.AssetKey(MINE), limit=99).records
        shown_as = {one.partition_key: one.asset_materialization for one in events}
        assert sorted(shown_as) == UNITS[1:6]
        event, payload = shown_as["net/spoilt/0"], found[MINE, "net/spoilt/0"].product.payload
        assert event.metadata["truth"].value == "red"
        assert event.metadata["cosy_auc"].value == pytest.approx(
            payload["metrics"]["cosy_auc"], rel=1e-3
        )
        passed = {
            (one.asset_key.to_user_string(), one.check_name): one.passed
            for one in done.get_asset_check_evaluations()
        }
        assert passed[HELD_OUT_IMAGES, "few_images_quarantined"]
        assert passed[MINE, "artefacts_in_store"]
        rows = [row.data["metric"] for row in event.metadata["metrics"].records]
        assert rows == [*ON_IMAGES, *AGAINST_TRUTH]
        (held,) = instance.fetch_materializations(dg.AssetKey(HELD_OUT_IMAGES), limit=9).records
        assert held.asset_materialization.metadata["images"].value == HELD


def test_a_run_from_the_command_line_computes_and_then_has_nothing_to_do(
    unmeasured, both, monkeypatch
):
    home = unmeasured / "state"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    study = parse_study(both, unmeasured)
    assets = [HELD_OUT_IMAGES, f"+{THEIRS}", MINE]
    done = run(study, home, assets=assets, log=lambda _: None)
    assert {name: done.computed[name] for name in (MINE, THEIRS, HELD_OUT_IMAGES)} == {
        MINE: 8, THEIRS: 8, HELD_OUT_IMAGES: 1,
    }  # fmt: skip
    assert run(study, home, assets=assets, log=lambda _: None).id == ""
    rows = build_context(study, home).lineage.query(
        "SELECT payload FROM latest WHERE asset = ? AND unit = 'net/spoilt/0'", [MINE]
    )
    assert json.loads(rows[0]["payload"])["truth"] == "red"
