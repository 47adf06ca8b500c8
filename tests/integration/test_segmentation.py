"""Network Dissection, compositions and INVERT as assets, on maps and masks known by hand."""

import json
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from dnd_assets.assets import concept_masks
from dnd_assets.assets.registry import STAGES, chosen_assets, stages_of
from dnd_assets.assets.segmentation import map_parts, map_passes
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.gc import collect, find_garbage
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.plan import plan
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.stage import study_assets_of
from dnd_assets.engine.verify import rebuild, verify
from dnd_assets.errors import NotFoundError, StoreError, StudyError, UpstreamError
from dnd_assets.files.atomic import sha256_file
from dnd_assets.lineage.explain import pair
from dnd_assets.lineage.trace import trace
from dnd_assets.results.diff import changes
from dnd_assets.results.labels import labels as read_labels
from dnd_assets.study.mask_sets import check_masks
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.definitions import build_definitions
from dnd_assets.workflow.external_sources import MASK_FILES, sources_for
from dnd_assets.workflow.run import observe, run
from resources.targets.networks import TargetNetworks
from tests.studies import changed, table

NET, FORMULA, AUC = ASSETS = ["network_dissection_labels", "compositions_labels", "invert_labels"]
UNITS = [f"net/{layer}/{n}" for layer in ("colours", "spoilt") for n in range(4)]
SIDE = 16
WIDE, REST, GREEN, BOTTOM = (
    (slice(0, 4), slice(0, 8)),
    (slice(0, 4), slice(4, 8)),
    (slice(8, 12), slice(8, 12)),
    (slice(15, 16), slice(0, 16)),
)


def write_case(folder):
    """Eight black images of 16 x 16: red squares on four, green ones on four, one blue pixel."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    rows = []
    for i in range(8):
        pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        if i < 4:
            pixels[0:4, 0:4, 0] = 255 if i < 2 else 128
        else:
            pixels[GREEN][..., 1] = 255
        pixels[15, i, 2] = 255
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        boxes = {"wide": WIDE, "rest": REST} if i < 4 else {"green": GREEN}
        for concept, box in {**boxes, "bottom": BOTTOM}.items():
            write_mask(folder / "masks" / f"{i}-{concept}.png", box)
            rows.append(f"{i}.png,{i}-{concept}.png,{concept}")
    write_table(folder, rows)


def write_mask(path, *boxes, side=SIDE):
    mask = np.zeros((side, side), dtype=np.uint8)
    for box in boxes:
        mask[box] = 255
    Image.fromarray(mask).save(path)


def write_table(folder, rows):
    (folder / "table.csv").write_text("\n".join(["file,mask,caption", *rows]) + "\n")


def rows_of(folder):
    return (folder / "table.csv").read_text().splitlines()[1:]


@pytest.fixture(scope="module")
def study():
    """The table of a study; 103 of 2,048 positions are at or above a threshold."""
    section = {"table": {"file": "table.csv", "images": "images", "masks": "masks"}}
    return changed(table(Path("b"), Path("c"), Path("p")), segmentation={**section, "share": 0.05})


@pytest.fixture
def folder(tmp_path):
    write_case(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def first(study, tmp_path_factory):
    """The case, labelled once: its folder and the announcements. Not to be changed."""
    folder = tmp_path_factory.mktemp("first")
    write_case(folder)
    return folder, _label(study, folder)


@pytest.fixture
def again(first, tmp_path):
    """A copy of the labelled case, free to be changed, and the announcements."""
    shutil.copytree(first[0], tmp_path / "copy")
    return tmp_path / "copy", first[1]


def _bench(study, folder, home=None):
    return build_context(parse_study(study, folder), home or folder / "state")


def _label(study, folder, units=(), run="run", home=None, assets=ASSETS):
    """Only the labels from masks; announcements by (asset, unit)."""
    context = _bench(study, folder, home)
    concept_masks.materialize(context, run)
    stages = stages_of(context.study)
    chosen = find_units(context).select(units)
    graph = Graph(context, stages)
    return {
        (name, one.unit.key): one
        for name in assets
        for one in materialize(graph, stages[name], chosen, run)
    }


def _payload(found, asset, unit):
    return found[asset, unit].product.payload


def _content(found):
    return {key: one.product.payload for key, one in found.items()}


def _computed(found):
    return {key for key, one in found.items() if not one.record.reused}


def _statuses(found, asset):
    return {key: one.record.status for (name, key), one in found.items() if name == asset}


def _work(context, run):
    sql = "SELECT asset, count FROM work WHERE run = ? AND what = 'forward passes'"
    return {row["asset"]: row["count"] for row in context.lineage.query(sql, [run])}


def test_labels_are_those_worked_out_by_hand(first):
    found = first[1]
    # 64 pixels are red, fewer than 102: the threshold is 0, and the unit is on where there is red.
    red = _payload(found, NET, "net/colours/0")
    assert red["threshold"] == 0
    assert red["labels"] == [{"label": "wide", "score": 64 / 128}]
    assert (red["label"], red["score"], red["interpretable"]) == ("wide", 0.5, True)
    green = _payload(found, NET, "net/colours/1")
    assert green["labels"] == [{"label": "green", "score": 1.0}]
    blue = _payload(found, NET, "net/colours/2")
    assert blue["labels"] == [{"label": "bottom", "score": 8 / 128}]

    both = _payload(found, FORMULA, "net/colours/0")
    assert (both["label"], both["score"]) == ("wide AND NOT rest", 1.0)
    assert both["threshold"] == 0
    assert {"label": "wide", "score": 0.5} in both["labels"]
    assert _payload(found, FORMULA, "net/colours/1")["label"] == "green"

    # "wide" is on the same images as "rest", and so is not listed. Without red all are equal.
    auc = _payload(found, AUC, "net/colours/0")
    assert auc["labels"] == [{"label": "rest", "score": 1.0}, {"label": "green", "score": 0.0}]
    assert _payload(found, AUC, "net/spoilt/1")["label"] == "green"


def test_the_threshold_leaves_the_brighter_half(folder, study):
    # 33rd largest of 2,048: the first below the 32 brightest pixels, 128 of 255, rounded.
    found = _label(changed(study, segmentation__share=32 / 2048), folder, assets=[NET])
    red = _payload(found, NET, "net/colours/0")
    assert red["threshold"] == pytest.approx(128 / 255, rel=2**-14)
    assert red["labels"] == [{"label": "wide", "score": 32 / 128}]
    assert [one["activation"] for one in red["images"]] == pytest.approx(
        [1, 1, 128 / 255, 128 / 255, 0], rel=2**-14
    )
    names = {sha256_file(folder / "images" / f"{i}.png") for i in (0, 1)}
    assert {one["image"] for one in red["images"][:2]} == names


def test_units_below_the_cutoff_keep_their_label(folder, study):
    found = _label(changed(study, segmentation__cutoff=0.1), folder, assets=[NET, FORMULA])
    for asset in (NET, FORMULA):
        blue = _payload(found, asset, "net/colours/2")
        assert (blue["label"], blue["interpretable"]) == ("bottom", False)
        assert _payload(found, asset, "net/colours/0")["interpretable"]


def test_silent_units_and_layers_without_maps_have_a_status(first):
    found = first[1]
    for asset in (NET, FORMULA):
        assert _statuses(found, asset) == {
            **dict.fromkeys(UNITS[:3], "ok"),
            "net/colours/3": "dead",
            **dict.fromkeys(UNITS[4:], "no_map"),
        }
        assert "layer 'spoilt' has no maps" in found[asset, "net/spoilt/0"].record.reason
        reason = found[asset, "net/colours/3"].record.reason
        assert reason == "its map is 0 everywhere on 8 images"
    # Each image has one blue pixel: the mean of the map is the same on all.
    assert _statuses(found, AUC) == {
        **dict.fromkeys(UNITS, "ok"),
        **dict.fromkeys(("net/colours/2", "net/colours/3", "net/spoilt/2"), "dead"),
        "net/spoilt/3": "not_finite",
    }


def test_a_unit_that_meets_no_mask_has_no_label(folder, study):
    write_table(folder, [row for row in rows_of(folder) if not row.endswith("green")])
    found = _label(study, folder, assets=[NET, FORMULA])
    for asset in (NET, FORMULA):
        assert found[asset, "net/colours/1"].record.status == "no_concepts"
        assert "meet no concept's mask" in found[asset, "net/colours/1"].record.reason


def test_concepts_of_any_share_may_be_left_out(folder, study):
    table = changed(study, segmentation__invert={"min_share": 0.6, "max_share": 0.9})
    found = _label(table, folder, assets=[AUC])
    assert found[AUC, "net/colours/0"].record.status == "no_concepts"
    assert "between 0.6 and 0.9" in found[AUC, "net/colours/0"].record.reason


def test_formulas_of_image_labels(folder, study):
    for i in (0, 1):  # the brighter half of red is called bright
        write_mask(folder / "masks" / f"{i}-bright.png", REST)
    rows = rows_of(folder) + [f"{i}.png,{i}-bright.png,bright" for i in (0, 1)]
    write_table(folder, rows)
    found = _label(changed(study, segmentation__invert={"length": 2}), folder, assets=[AUC])
    assert _payload(found, AUC, "net/colours/0")["label"] == "bright"
    assert len(_payload(found, AUC, "net/colours/0")["labels"]) == 5


def test_a_label_depends_on_no_other_unit_and_no_batch(first, study):
    other = changed(study, compute__batch__target=3)
    alone = _label(other, first[0], ["net/colours/1"], home=first[0] / "other")
    every = _content(first[1])
    assert _content(alone) == {key: every[key] for key in every if key[1] == "net/colours/1"}


def test_order_and_names_of_files_do_not_matter(first, study, tmp_path):
    other = tmp_path / "copy"
    shutil.copytree(first[0], other, ignore=shutil.ignore_patterns("state"))
    for file in sorted((other / "images").iterdir()):
        file.rename(file.with_name(f"x{9 - int(file.stem)}.png"))
    rows = [f"x{9 - int(row[0])}{row[1:]}" for row in rows_of(other)]
    write_table(other, rows[::-1])
    assert _content(_label(study, other)) == _content(first[1])


def test_a_second_unit_of_the_layer_costs_no_pass(folder, study):
    context = _bench(study, folder)
    _label(study, folder, ["net/colours/0"], run="first", assets=[NET])
    assert _work(context, "first") == {NET: 16}
    _label(study, folder, ["net/colours/1"], run="second", assets=[NET])
    assert _work(context, "second") == {}
    _label(study, folder, ["net/colours/0"], run="third", assets=[FORMULA])
    assert _work(context, "third") == {FORMULA: 8}, "thresholds are known"
    longer = changed(study, segmentation__length=2, segmentation__top=1)
    again = _label(longer, folder, ["net/colours/0"], run="fourth", assets=[FORMULA])
    assert _computed(again)
    assert _work(context, "fourth") == {}, "what is in each region is known"


def test_equal_content_stops_and_a_changed_mask_reruns_only_these(again, study):
    folder, _ = again
    context = _bench(study, folder)
    assert _computed(_label(study, folder, run="second")) == set()
    write_table(folder, rows_of(folder)[::-1])
    assert _computed(_label(study, folder, run="third")) == set(), "another order of the table"
    write_mask(folder / "masks" / "4-green.png", GREEN, REST)
    found = _label(study, folder, run="fourth")
    assert {asset for asset, _ in _computed(found)} == set(ASSETS)
    assert _work(context, "fourth") == {NET: 8, FORMULA: 8}, "thresholds need no mask"
    assert _payload(found, NET, "net/colours/1")["score"] == 64 / 80


def test_a_mask_that_changed_since_the_scan_is_refused(folder, study):
    context = _bench(study, folder)
    path = folder / "masks" / "4-green.png"
    write_mask(path, GREEN, REST)
    concept_masks.materialize(context, "run")
    write_mask(path, REST)
    stages = stages_of(context.study)
    units = find_units(context).select(["net/colours/1"])
    for asset in (NET, FORMULA, AUC):
        with pytest.raises(StoreError, match=r"4-green\.png has changed.*--assets concept_masks"):
            list(materialize(Graph(context, stages), stages[asset], units, "run"))


def test_masks_that_swap_their_files_are_found(again, study):
    folder, found = again
    before = _content(found)
    one, other = folder / "masks" / "0-wide.png", folder / "masks" / "0-rest.png"
    data = one.read_bytes(), other.read_bytes()
    one.write_bytes(data[1])
    other.write_bytes(data[0])
    swapped = [
        row.replace("0-wide", "x").replace("0-rest", "0-wide").replace("x", "0-rest")
        for row in rows_of(folder)
    ]
    write_table(folder, swapped)
    found = _label(study, folder, run="second")
    assert _content(found) == before
    assert _computed(found) == set()


def test_what_cannot_be_used_is_set_aside(again, study):
    folder, found = again
    plain = _content(found)
    write_mask(folder / "masks" / "small.png", (slice(0, 4), slice(0, 4)), side=8)
    data = (folder / "images" / "7.png").read_bytes()
    (folder / "images" / "torn.png").write_bytes(data[: len(data) // 2 + 20])
    extra = ["0.png,small.png,wide", "1.png,none.png,wide", "9.png,0-wide.png,wide"]
    write_table(folder, [*rows_of(folder), *extra, "torn.png,0-wide.png,wide"])
    product, scan = concept_masks.materialize(_bench(study, folder), "second")
    reasons = [reason for _, reason in scan.set_aside]
    assert len(reasons) == 4
    for part in ("8 x 8 pixels, not 16 x 16", "none.png is missing", "9.png is missing", "torn"):
        assert any(part in reason for reason in reasons), reasons
    assert product.outcome.notes["found"] == 12
    assert _content(_label(study, folder, run="third")) == plain


def test_masks_that_cannot_be_used_at_all_are_an_error(folder, study):
    write_table(folder, ["9.png,0-wide.png,wide"])
    with pytest.raises(StudyError, match="gives no image with masks"):
        _label(study, folder)


def test_unchanged_files_are_hashed_once(folder, study, monkeypatch):
    context = _bench(study, folder)
    concept_masks.materialize(context, "run")
    read = []
    from dnd_assets.study import probing_images

    inspect = probing_images.inspect
    monkeypatch.setattr(
        probing_images,
        "inspect",
        lambda path, limit: (read.append(path.name), inspect(path, limit))[1],
    )
    concept_masks.observe(context)
    assert read == []
    write_mask(folder / "masks" / "4-green.png", REST)
    concept_masks.observe(context)
    assert read == ["4-green.png"]


def _plan(study, folder, assets):
    context = _bench(study, folder)
    stages = stages_of(context.study)
    units = list(find_units(context).values())
    seen = [concept_masks.observe(context)]
    return {one.asset: one for one in plan(context, stages, units, assets, *seen)}


@pytest.mark.parametrize("before", [[], [FORMULA]])
def test_the_plan_is_what_the_run_does(folder, study, before):
    _label(study, folder, ["net/colours/0"], run="before", assets=before)
    planned = _plan(study, folder, ASSETS)
    _label(study, folder, run="run")
    done = _work(_bench(study, folder), "run")
    assert {name: one.cost.get("forward passes", 0) for name, one in planned.items()} == {
        name: done.get(name, 0) for name in ASSETS
    }
    after = _plan(study, folder, ASSETS).values()
    assert [(one.compute, one.reuse, one.cost) for one in after] == [(0, 8, {})] * 3


def test_a_pass_that_dies_goes_on_where_it_was(first, folder, study, monkeypatch):
    whole = _content(first[1])
    monkeypatch.setattr(map_passes, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(map_parts, "IMAGES", 1)
    table = changed(study, compute__batch__target=3)
    layer_maps = TargetNetworks.layer_maps
    calls = []

    class Killed(BaseException):
        pass

    def fragile(self, model, layers, images, batch_size=16):
        calls.append(len(images))
        if len(calls) % 4 == 0:
            raise Killed
        return layer_maps(self, model, layers, images, batch_size)

    monkeypatch.setattr(TargetNetworks, "layer_maps", fragile)
    context = _bench(table, folder)
    done = 0
    for attempt in range(20):
        left = sum(
            one.cost.get("forward passes", 0) for one in _plan(table, folder, ASSETS[:2]).values()
        )
        assert left == 24 - done, "the plan knows what is left"
        before = len(calls)
        try:
            found = _label(table, folder, run=f"run {attempt}", assets=[NET, FORMULA])
        except Killed:
            done += sum(calls[before:-1])
            continue
        done += sum(calls[before:])
        break
    assert done == 24, "no image was passed twice"
    assert len(calls) > 9, "it was killed at work"
    assert {k: one.product.payload for k, one in found.items()} == {
        k: payload for k, payload in whole.items() if k[0] != AUC
    }
    assert list((context.home / "passes").iterdir()) == []


def test_torn_notes_of_a_pass_are_not_trusted(folder, study, monkeypatch):
    monkeypatch.setattr(map_passes, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(map_passes.Pass, "forget", lambda self: None)
    _label(study, folder, assets=[NET])
    notes = list((folder / "state" / "passes").iterdir())
    assert len(notes) == 2
    for note in notes:
        note.write_bytes(note.read_bytes()[:-1])
    shutil.rmtree(folder / "state" / "store")
    assert _plan(study, folder, [NET])[NET].cost == {"forward passes": 16}


def test_products_come_out_the_same_when_rebuilt_and_the_store_is_sound(first, study):
    context = _bench(study, first[0])
    stages = {name: stages_of(context.study)[name] for name in ASSETS}
    found = rebuild(context, stages, 8)
    assert {one.asset for one in found} == set(ASSETS)
    assert [one for one in found if not one.same] == []
    report = verify(context)
    assert report.clean
    assert report.orphaned == []


def test_what_is_kept_is_no_garbage(folder, study):
    context = _bench(study, folder)
    _label(study, folder, ["net/colours/0"], assets=[NET, AUC])
    collect(context, find_garbage(context))
    _label(study, folder, ["net/colours/0", "net/colours/1"], run="second", assets=[NET, AUC])
    assert _work(context, "second") == {}
    assert verify(context).clean


def test_explain_and_trace_name_the_masks(again, study):
    folder, _ = again
    study = changed(study, segmentation__methods=["network_dissection"])
    write_mask(folder / "masks" / "4-green.png", GREEN, REST)
    _label(study, folder, [UNITS[1]], run="second", assets=[NET])
    context, key = _bench(study, folder), "net/colours/1"
    old, new = pair(context.lineage.query, "colours", NET, key, None)
    change = changes(context, NET, key, old, new)[-1]  # the copied folder is another path, too
    assert (change.asset, change.what) == ("concept_masks", "images with masks")
    assert "8 of 4 concepts" in change.before
    traced = trace(context.lineage.query, "colours", key, NET)
    assert set(traced.steps) == {NET, "concept_masks"}
    assert len(traced.images) == 5


def test_missing_masks_are_named_with_what_to_run(folder, study):
    context = _bench(study, folder)
    stages = stages_of(context.study)
    with pytest.raises(UpstreamError, match="dnd run --assets concept_masks"):
        list(
            materialize(Graph(context, stages), stages[NET], find_units(context).select([]), "run")
        )


@pytest.mark.parametrize(
    ("key", "value", "assets"),
    [
        ("share", 0.04, {NET, FORMULA}),
        ("cutoff", 0.2, {NET, FORMULA}),
        ("beam", 3, {FORMULA}),
        ("length", 1, {FORMULA}),
        ("invert", {"min_share": 0.1}, {AUC}),
        ("top", 2, set(ASSETS)),
    ],
)
def test_a_setting_reruns_what_it_decides(first, study, key, value, assets):
    assert _due(changed(study, **{f"segmentation__{key}": value}), first[0]) == assets


def test_pooling_matters_to_invert_alone(first, study):
    study = changed(study)
    study["models"][0]["layers"][0]["pooling"] = "max"
    assert _due(study, first[0]) == {AUC}


def _due(study, folder):
    """Assets that have no product of a unit under the settings of a study."""
    context = _bench(study, folder)
    graph, units = Graph(context, stages_of(context.study)), find_units(context).select([UNITS[0]])
    with context.lineage.connect():
        return {name for name in ASSETS if graph.resolve(name, units)[units[0]].head is None}


def test_without_the_section_nothing_is_there(folder, study):
    plain = {name: value for name, value in study.items() if name != "segmentation"}
    parsed = parse_study(plain, folder)
    assert stages_of(parsed) == STAGES
    assert MASK_FILES not in sources_for(parsed)
    check_masks(parsed)
    with pytest.raises(NotFoundError, match=r"needs a section \[segmentation\]"):
        chosen_assets(parsed, [NET])


def test_methods_can_be_chosen(folder, study):
    parsed = parse_study(changed(study, segmentation__methods=["invert"]), folder)
    assert [name for name in stages_of(parsed) if name not in STAGES] == [AUC]
    assert list(study_assets_of(stages_of(parsed))) == ["probing_set", "concept_masks"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {},
            "takes exactly one of table, broden, index, world, scenes; none was given",
        ),
        ({"world": {}, "broden": {"folder": "x"}}, "broden and world were given"),
        ({"world": {}, "methods": []}, "segmentation.methods"),
        ({"world": {}, "methods": ["invert", "invert"]}, "names a method twice"),
        ({"world": {}, "methods": ["disection"]}, "'disection' is not known; nearest: network_di"),
        ({"world": {"count": 0}}, "segmentation.world.count: 0 is wrong"),
        ({"world": {"number": 5}}, "segmentation.world.number: unknown key; nearest: count"),
        ({"table": {"file": "x"}}, "segmentation.table.images: is missing"),
        ({"world": {}, "share": 0.0}, "segmentation.share: 0.0 is wrong"),
        ({"world": {}, "share": 1.0}, "segmentation.share: 1.0 is wrong"),
        ({"world": {}, "cutoff": 2}, "segmentation.cutoff: 2 is wrong"),
        ({"world": {}, "length": 0}, "segmentation.length: 0 is wrong"),
        ({"world": {}, "invert": {"min_share": 0.5, "max_share": 0.2}}, "is not below max_share"),
    ],
)
def test_wrong_settings_are_told_in_a_line(folder, study, section, message):
    with pytest.raises(StudyError, match=message) as error:
        parse_study(changed(study, segmentation=section), folder)
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            {"table": {"file": "tabel.csv", "images": "images", "masks": "masks"}},
            r"segmentation\.table\.file: there is no file .*tabel\.csv; .* holds: table\.csv",
        ),
        (
            {"table": {"file": "table.csv", "images": "images", "masks": "mask"}},
            r"segmentation\.table\.masks: there is no folder .*; .* holds: masks",
        ),
        ({"broden": {"folder": "nowhere/broden"}}, "folder .*nowhere does not exist either"),
        (
            {"index": {"images": "images", "masks": "masks", "names": "names.csv"}},
            r"segmentation\.index\.names: there is no file",
        ),
    ],
)
def test_missing_files_are_told_before_a_run(folder, study, layout, message):
    with pytest.raises(StudyError, match=message):
        check_masks(parse_study(changed(study, segmentation=layout), folder))


def test_index_masks_and_broden_give_the_same_labels(folder, study):
    names = ["green", "wide"]
    (folder / "index").mkdir()
    (folder / "names.csv").write_text("index,name\n1,green\n2,wide\n")
    broden = folder / "broden"
    (broden / "images").mkdir(parents=True)
    lines = ["image,split,ih,iw,sh,sw,object"]
    for i in range(8):
        codes = np.zeros((SIDE, SIDE), dtype=np.uint8)
        codes[WIDE if i < 4 else GREEN] = 2 if i < 4 else 1
        Image.fromarray(codes).save(folder / "index" / f"{i}.png")
        shutil.copy(folder / "images" / f"{i}.png", broden / "images")
        colours = np.stack([codes, codes * 0, codes * 0], axis=2)
        Image.fromarray(colours).save(broden / "images" / f"{i}_object.png")
        lines.append(f"{i}.png,train,16,16,16,16,{i}_object.png")
    (broden / "index.csv").write_text("\n".join(lines) + "\n")
    (broden / "label.csv").write_text("number,name\n1,green\n2,wide\n")
    write_table(folder, [row for row in rows_of(folder) if row.split(",")[2] in names])
    index = {"images": "images", "masks": "index", "names": "names.csv"}
    kinds = [study["segmentation"]["table"], index, {"folder": "broden", "split": "train"}]
    found = [
        _content(
            _label(
                changed(study, segmentation={kind: layout, "share": 0.05}),
                folder,
                home=folder / kind,
                assets=[NET],
            )
        )
        for kind, layout in zip(("table", "index", "broden"), kinds, strict=True)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0][NET, "net/colours/1"]["score"] == 1.0


def test_concepts_of_one_name_are_told_apart_by_category(folder, study):
    lines = (folder / "table.csv").read_text().splitlines()
    head, *rows = lines
    text = [f"{row},{'wide' if row.endswith('rest') else ''}" for row in rows]
    (folder / "table.csv").write_text("\n".join([f"{head},group", *text]) + "\n")
    table = changed(study, segmentation__table__concepts=["caption", "group"])
    found = _label(table, folder, ["net/colours/0"], assets=[NET])
    assert _payload(found, NET, "net/colours/0")["label"] == "wide (caption)"


def _run_in_dagster(definitions, instance):
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = {"start": UNITS[0], "end": UNITS[-1]}
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in ("concept_masks", *ASSETS)],
        tags={f"dagster/asset_partition_range_{end}": key for end, key in keys.items()},
    )


def test_dagster_shows_labels_tables_and_pictures(folder, study):
    definitions = build_definitions(parse_study(study, folder), folder / "state")
    with dg.DagsterInstance.ephemeral() as instance:
        done = _run_in_dagster(definitions, instance)
        assert done.success
        for asset in ASSETS:
            events = instance.fetch_materializations(dg.AssetKey(asset), limit=99).records
            shown = {one.partition_key: one.asset_materialization.metadata for one in events}
            assert sorted(shown) == UNITS
            unit = shown["net/colours/1"]
            assert unit["label"].value == "green"
            assert unit["top concepts"].records[0].data["concept"] == "green"
            picture = unit["best images"].value
            assert picture.startswith("![best images](data:image/webp;base64,")
            assert len(picture) < 100_000
            assert "best images" not in shown["net/colours/3"]
        results = {
            (one.asset_key.to_user_string(), one.check_name): one.passed
            for one in done.get_asset_check_evaluations()
        }
        assert results["concept_masks", "few_images_quarantined"]
        for asset in ASSETS:
            assert results[asset, "every_unit_answered"]
            assert results[asset, "artefacts_in_store"]
        observed = definitions.resolve_job_def("observe_sources")
        key = dg.AssetKey(MASK_FILES.name)
        assert observed.execute_in_process(instance=instance, asset_selection=[key]).success


def test_a_run_from_the_command_line_computes_and_then_has_nothing_to_do(
    folder, study, monkeypatch
):
    home = folder / "state"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    parsed = parse_study(study, folder)
    asked = [f"+{name}" for name in ASSETS]
    done = run(parsed, home, assets=asked, log=lambda _: None)
    assert done.computed == {"concept_masks": 1, **dict.fromkeys(ASSETS, 8)}
    assert done.work == {"forward passes": 32}
    assert run(parsed, home, assets=asked, log=lambda _: None).id == ""
    assert len(observe(_bench(study, folder))) == 2


def test_labels_are_read_as_a_table(first, study):
    found = read_labels(_bench(study, first[0]).lineage, "colours", FORMULA).set_index("unit")
    assert found.loc["net/colours/0", "label"] == "wide AND NOT rest"
    assert found.loc["net/spoilt/0", "status"] == "no_map"


def test_a_world_with_exact_masks(folder, study):
    from dnd_assets.known_answers.render import render_with_mask
    from dnd_assets.known_answers.world import probing_seed, scene

    table = changed(study, segmentation={"world": {"count": 6, "seed": 3}})
    context = _bench(table, folder)
    product, _ = concept_masks.materialize(context, "run")
    masks = json.loads(context.store.get(product.payload["masks"]))
    assert len(masks["images"]) == 6
    assert len(masks["concepts"]) == 29
    stages = stages_of(context.study)
    unit = find_units(context).select(["net/colours/0"])[0]
    from dnd_assets.assets.segmentation.masked_images import masked_images
    from dnd_assets.engine.resolve import load_inputs

    (work,) = load_inputs(Graph(context, stages), stages[NET], [unit])
    images = masked_images(context, work)
    views = images.views("net")
    where = {sha256_file(path): path for path in (context.home / "masks").rglob("images/*.png")}
    for index, name in enumerate(images.hashes):
        number = probing_seed(int(where[name].stem), 3)
        shown, (_, mask) = scene(number), render_with_mask(scene(number), number)
        concepts, found = images.masks(index, views)
        by_name = dict(zip((images.names[c] for c in concepts), found, strict=True))
        words = {shown.colour, shown.shape, shown.texture, shown.size}
        assert set(by_name) - {shown.background, "one", "two", "three"} == words
        for word in words:
            assert np.array_equal(by_name[word], mask)
        assert np.array_equal(by_name[shown.background], ~mask)
        assert by_name[["one", "two", "three"][shown.count - 1]].all()
    again, _ = concept_masks.materialize(context, "second")
    assert again.key == product.key
    shutil.rmtree(context.home / "masks")
    anew, _ = concept_masks.materialize(context, "third")
    assert anew.key == product.key


def test_an_exact_search_tells_whether_a_formula_is_the_best_of_all(study, folder):
    """With room for all formulas the label is the best; with none there is a bound above it."""
    section = {**study["segmentation"], "beam": 1, "exact_budget": 100_000}
    found = _label(changed(study, segmentation=section), folder, assets=[FORMULA])
    short = {**section, "exact_budget": 1}
    bounded = _label(
        changed(study, segmentation=short), folder, home=folder / "short", assets=[FORMULA]
    )
    judged = 0
    for (_, unit), one in found.items():
        payload = one.product.payload
        if one.record.status != "ok":
            continue
        exact, other = payload["exact"], _payload(bounded, FORMULA, unit)
        assert exact["complete"]
        assert exact["missed"] == 0
        assert exact["bound"] == payload["score"] >= exact["beam"]
        assert other["score"] == other["exact"]["beam"]
        assert other["score"] <= payload["score"] <= other["exact"]["bound"] + 1e-12
        judged += 1
    assert judged > 2
