"""State folders that were filled apart, united: the same as one that was filled whole."""

import json
import shutil

import pytest

from dnd_assets.engine import verify
from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.merge import merge
from dnd_assets.errors import NotFoundError
from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.study.study import parse_study
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage
from tests import studies
from tests.lineage import handmade
from tests.resources.lineage_db.test_database import artefact

PRODUCTS = "SELECT key, asset, data_version, status, reason, payload, preimage FROM products "
PRODUCTS += "ORDER BY key"


@pytest.fixture(scope="module")
def halves(colours, tmp_path_factory):
    """A study run whole, and run in two parts that share nothing; for reading only."""
    folder = tmp_path_factory.mktemp("halves")
    studies.write_images(folder / "images")
    table = studies.changed(colours, probing_set__folders=[str(folder / "images")])
    table["models"][0]["layers"] = [{"path": "colours", "neurons": [0, 1, 2]}]
    whole = studies.label(table, folder / "whole")
    units = sorted({unit for _, unit in whole})
    for name, part in (("one", units[::2]), ("two", units[1::2])):
        studies.label(table, folder / name, part, run=name)
    return table, folder, whole


def state(folder):
    return folder / "state"


def lineage_of(folder):
    return Lineage(root=str(state(folder)))


def copied(folder, tmp_path, *names):
    return [shutil.copytree(folder / name, tmp_path / name) for name in names]


@pytest.mark.parametrize("into", ["an empty folder", "the first half"])
def test_two_halves_of_a_study_are_the_study_run_whole(halves, tmp_path, into):
    table, folder, whole = halves
    one, two = copied(folder, tmp_path, "one", "two")
    home = tmp_path / "home" if into == "an empty folder" else one
    others = [state(one), state(two)] if into == "an empty folder" else [state(two)]
    state(home).mkdir(parents=True, exist_ok=True)
    done = merge(state(home), others)
    assert (done.done, done.differences, done.damaged) == (True, [], [])
    assert lineage_of(home).query(PRODUCTS) == lineage_of(folder / "whole").query(PRODUCTS)

    found = studies.label(table, home, run="after")
    assert studies.computed(found) == set(), "nothing is left to do"
    assert studies.versions(found) == studies.versions(whole)
    context = build_context(parse_study(table, home), state(home))
    assert verify.verify(context).clean
    lineage_of(home).rebuild()
    assert lineage_of(home).query(PRODUCTS) == lineage_of(folder / "whole").query(PRODUCTS)


def test_a_merge_done_again_adds_nothing_and_others_are_not_touched(halves, tmp_path):
    _, folder, _ = halves
    one, two = copied(folder, tmp_path, "one", "two")
    before = sorted(
        (str(path), path.stat().st_mtime_ns) for path in two.rglob("*") if path.is_file()
    )
    assert merge(state(one), [state(two)]).files > 0
    again = merge(state(one), [state(two)])
    assert (again.files, sum(again.rows.values())) == (0, 0)
    after = sorted(
        (str(path), path.stat().st_mtime_ns) for path in two.rglob("*") if path.is_file()
    )
    assert after == before


def test_a_file_that_was_damaged_elsewhere_is_not_taken(halves, tmp_path):
    table, folder, whole = halves
    one, two = copied(folder, tmp_path, "one", "two")
    own = ArtefactStore(root=str(state(one) / "store")).names()
    theirs = ArtefactStore(root=str(state(two) / "store"))
    name = min(theirs.names().keys() - own.keys())
    theirs.path(name).write_bytes(b"damaged")
    done = merge(state(one), [state(two)])
    assert done.damaged == [name]
    assert name not in ArtefactStore(root=str(state(one) / "store")).names()
    found = studies.label(table, one, run="after")
    assert studies.versions(found) == studies.versions(whole), "what it held is made again"


def differing(tmp_path):
    """Two folders that made the same product and the same caption, and one thing more each."""
    for name, label in (("here", "red dot"), ("there", "blue dot")):
        lineage = Lineage(root=str(tmp_path / name))
        handmade.record(lineage, "mine", handmade.UNIT)
        row = {"kind": "caption", "provider": "p", "item": "i", "value": canonical(label)}
        own = {**row, "item": name}
        lineage.commit({"shared": [row, own], "artefacts": [artefact(name)]})
        product = {
            "key": "k", "asset": "labels", "data_version": label, "status": "ok", "reason": "",
            "payload": json.dumps({"label": label}), "preimage": "{}", "notes": "{}",
        }  # fmt: skip
        lineage.commit({"products": [product]})
    return tmp_path / "here", tmp_path / "there"


def test_what_was_made_twice_and_differs_is_said_and_nothing_is_added(tmp_path):
    here, there = differing(tmp_path)
    lineage = Lineage(root=str(here))
    before = lineage.query("SELECT * FROM segments ORDER BY ALL")
    done = merge(here, [there])
    assert not done.done
    found = {(one.what, one.of, one.here, one.there) for one in done.differences}
    assert found == {
        ("caption", "i", '"red dot"', '"blue dot"'),
        ("labels", "", "red dot", "blue dot"),
    }
    assert lineage.query("SELECT * FROM segments ORDER BY ALL") == before


def test_what_differs_stays_as_it_is_here_if_the_rest_is_asked_for(tmp_path):
    here, there = differing(tmp_path)
    done = merge(here, [there], keep=True)
    assert done.done
    assert len(done.differences) == 2
    lineage = Lineage(root=str(here))
    assert lineage.shared("caption", "p", ["i", "here", "there"]) == {
        "i": "red dot", "here": "red dot", "there": "blue dot",
    }  # fmt: skip
    assert lineage.heads(["k"])["k"].data_version == "red dot"
    assert lineage.locate(["here", "there"]) == {"here": "f", "there": "f"}


def test_sources_that_differ_from_one_another_are_said_too(tmp_path):
    here, there = differing(tmp_path)
    done = merge(tmp_path / "new", [here, there])
    assert not done.done
    assert {one.folders for one in done.differences} == {(str(here), str(there))}


def test_the_same_picture_in_another_pack_is_the_same(tmp_path):
    for name in ("here", "there"):
        row = {"kind": "painting", "provider": "p", "item": "i"}
        value = {"image": "a", "rejected": False, "file": f"pack of {name}"}
        Lineage(root=str(tmp_path / name)).commit({"shared": [{**row, "value": canonical(value)}]})
    assert merge(tmp_path / "here", [tmp_path / "there"]).differences == []


@pytest.mark.parametrize("name", ["nothing", "here"])
def test_what_is_no_other_state_folder_is_refused(tmp_path, name):
    here, _ = differing(tmp_path)
    with pytest.raises(NotFoundError, match=r"no state folder|state folder itself"):
        merge(here, [tmp_path / name])
