"""Explaining changes, comparing runs, verifying and rebuilding the store."""

import shutil

import pytest
from PIL import Image

from dnd_assets.assets.registry import STAGES
from dnd_assets.engine import gc, verify
from dnd_assets.engine.cache.heat_maps import MAPS, map_item
from dnd_assets.engine.cache.shared_results import shared_row
from dnd_assets.engine.context_builder import build_context
from dnd_assets.errors import NotFoundError
from dnd_assets.lineage.explain import pair
from dnd_assets.results import diff
from dnd_assets.study.study import parse_study
from resources.servers.calls import StoredCall
from tests.studies import changed, computed, label, versions, write_images

UNIT = "net/colours/0"


@pytest.fixture
def again(labelled, tmp_path):
    """A copy of the labelled study, free to be changed."""
    shutil.copytree(labelled[0], tmp_path / "copy")
    return tmp_path / "copy"


def _bench(table, folder):
    return build_context(parse_study(table, folder), folder / "state")


def _causes(table, folder, asset="labels", against=None):
    context = _bench(table, folder)
    old, new = pair(context.lineage.query, context.study.name, asset, UNIT, against)
    return [str(one) for one in diff.changes(context, asset, UNIT, old, new)]


def test_a_changed_setting_is_named_with_both_values(again, colours):
    table = changed(colours, dissection__crop_overlap=0.4)
    label(table, again, ["net/colours"], run="second")
    assert _causes(table, again, "crops") == ["crops: parameter crop_overlap 0.5 → 0.4"]


def test_a_cause_far_upstream_is_found_from_the_label(again, colours):
    table = changed(colours, captioner__max_new_tokens=4)
    label(table, again, ["net/colours"], run="second")
    assert _causes(table, again) == ["captions: captioner max_new_tokens 6 → 4"]


def test_a_changed_probing_set_names_the_images(again, colours):
    context = _bench(colours, again)
    before = set(_hashes(context))
    write_images(again / "new", 1, seed=5)
    (again / "new" / "000.png").rename(again / "images" / "new.png")
    (again / "images" / "002.png").unlink()
    label(colours, again, ["net/colours"], run="second")
    after = set(_hashes(context))
    assert len(after - before) == 1
    (new,) = after - before
    causes = [one for one in _causes(colours, again, "activations") if ": image " in one]
    assert causes[0] == f"probing_set: image {new[:12]}… added"
    assert len(causes) == 2
    assert causes[1].endswith("removed")


def test_a_product_made_in_one_way_only_says_so(again, colours):
    label(colours, again, ["net/colours"], run="second")
    with pytest.raises(NotFoundError, match="made in one way only"):
        _causes(colours, again)
    assert _causes(colours, again, against="run") == []


def test_diff_lists_the_labels_that_changed_and_why(again, colours):
    table = changed(colours, text_to_image__prompt="A drawing of {concept}")
    second = label(table, again, ["net/colours"], run="second")
    context = _bench(table, again)
    found = {one.unit: one for one in diff.diff(context, "run", "second")}
    first = {row["unit"]: row["label"] for row in _labels(context, "run")}
    expected = {
        key
        for (asset, key), one in second.items()
        if asset == "labels" and one.product.payload.get("label") != first[key]
    }
    assert set(found) == expected
    for one in found.values():
        assert [str(cause) for cause in one.why] == [
            'synthetic_images: text_to_image prompt "One realistic image of {concept}" → '
            '"A drawing of {concept}"'
        ]
    assert diff.diff(context, "run", "second", "labels") == list(found.values())
    with pytest.raises(NotFoundError, match="no labels 'label'; nearest: labels"):
        diff.diff(context, "run", "second", "label")
    with pytest.raises(NotFoundError, match="no run 'third'"):
        diff.find_run(context, "third")


def test_verify_finds_every_kind_of_damage(again, colours):
    context = _bench(colours, again)
    assert verify.verify(context).clean
    files = sorted((again / "state" / "store").rglob("*.safetensors"))
    flipped, emptied, gone = files[0], files[1], files[2]
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    emptied.write_bytes(b"")
    gone.unlink()
    (again / "state" / "store" / "stray.json").write_text("{}")
    segment = sorted((again / "state" / "journal").glob("*.json"))[0]
    segment.write_bytes(segment.read_bytes() + b" ")
    report = verify.verify(context)
    assert report.changed == sorted([flipped.name, emptied.name])
    assert report.missing == [gone.name]
    assert report.orphaned == ["stray.json"]
    assert report.segments == [segment.name]
    assert not report.clean


def test_products_come_out_the_same_when_rebuilt_from_nothing(again, colours):
    table = changed(colours)
    table["models"][0]["layers"] = [{"path": "colours", "neurons": [1]}]
    label(table, again, run="second")
    found = verify.rebuild(_bench(table, again), STAGES, 3)
    assert len(found) == 3
    assert all(one.same for one in found)
    assert all(one.recorded for one in found)


def _labels(context, run):
    sql = (
        "SELECT m.unit, p.payload ->> 'label' AS label FROM materializations m "
        "JOIN products p USING (key) WHERE m.asset = 'labels' AND m.run = ?"
    )
    return context.lineage.query(sql, [run])


def _hashes(context):
    from dnd_assets.study.probing_images import image_paths, scan

    return scan(image_paths(context.study, context.home), 10**8).images


def test_gc_removes_what_no_kept_run_reaches_and_nothing_else(again, colours):
    table = changed(colours, dissection__crop_size=40)
    kept = label(table, again, run="second")
    context = _bench(table, again)
    label(table, again, run="third")
    found = gc.find_garbage(context, runs=1)
    assert found.files
    first = _pack_of(context, "run")
    assert first <= set(found.files), "crops of the first run are not reached any more"
    gc.collect(context, found)
    assert verify.verify(context).clean
    assert gc.find_garbage(context).files == ()
    after = label(table, again, run="fourth")
    assert computed(after) == set()
    assert versions(after) == versions(kept)
    back = label(colours, again, run="fifth")
    assert {asset for asset, _ in computed(back)} <= {"crops", "synthetic_images"}


def test_gc_keeps_heat_maps_of_kept_pictures_and_paid_pictures(again, colours):
    table = changed(colours)
    label(table, again, run="second")
    context = _bench(table, again)
    (row, *_) = context.lineage.query(
        "SELECT image FROM exemplars WHERE unit = 'net/colours/0' ORDER BY image LIMIT 1"
    )
    files = {}
    for name, image in (("kept", row["image"]), ("gone", "ab" * 32)):
        files[name], hashes = context.store.put_pack([f"map {name}".encode()])
        value = {"file": files[name], "map": hashes[0]}
        context.lineage.commit({"shared": [shared_row(MAPS, "p", map_item(image, 0, 32), value)]})
    paid, (picture,) = context.pictures.keep([Image.new("RGB", (3, 3), "teal")])
    lost, _ = context.pictures.keep([Image.new("RGB", (3, 3), "pink")])
    call = StoredCall("r", {"prompt": "x"}, {"data": [{"b64_json": f"sha256:{picture}"}]})
    context.lineage.commit({"llm_calls": [call.row()]})
    found = set(gc.find_garbage(context, runs=9).files)
    assert {files["gone"], lost} <= found
    assert not {files["kept"], paid} & found


def _pack_of(context, run):
    sql = (
        "SELECT DISTINCT unnest((p.notes -> '$.files')::VARCHAR[]) AS file FROM materializations m "
        "JOIN products p USING (key) WHERE m.asset = 'crops' AND m.run = ?"
    )
    return {row["file"] for row in context.lineage.query(sql, [run])}
