"""Exports: every product in every format comes back as it was; nothing half written is left."""

import json
from collections import defaultdict
from dataclasses import asdict

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import dnd_assets.results.export.export as exporting
from dnd_assets.cli import app
from dnd_assets.engine.cache.stored_pictures import Pictures
from dnd_assets.errors import StoreError, StudyError, TableError
from dnd_assets.files.atomic import sha256
from dnd_assets.files.csv_tables import guarded, unguarded
from dnd_assets.files.unit_texts import read_labels
from dnd_assets.lineage.records import Outcome
from dnd_assets.results.export.export import export, read_export
from dnd_assets.results.export.formats import FORMATS, as_frame, read, writer
from dnd_assets.results.tables.columns import Column
from dnd_assets.results.tables.dictionary import dictionary
from dnd_assets.results.tables.lineage_tables import WHOLE_TABLES
from dnd_assets.results.tables.registry import TABLES, tables_for
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.study.label_files import imported_labels
from dnd_assets.study.study import parse_study
from dnd_assets.units import Unit
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage
from tests.lineage import handmade
from tests.results.test_labels import HARD

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "'quoted'"]
TEXTS = [*HARD, *FORMULAS, "null", "NA", "\u2028 line", "{}", "0.1", "true"]
TYPED = (
    Column("text", "text", "t"),
    Column("int", "int", "i"),
    Column("uint", "uint", "u"),
    Column("number", "number", "n"),
    Column("flag", "flag", "f"),
    Column("texts", "texts", "ts"),
    Column("ints", "ints", "is"),
    Column("numbers", "numbers", "ns"),
    Column("scored", "scored", "s"),
)
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
_number = st.floats(allow_nan=False, allow_infinity=False)
_values = {
    "text": _text,
    "int": st.integers(-(2**63), 2**63 - 1),
    "uint": st.integers(0, 2**64 - 1),
    "number": _number,
    "flag": st.booleans(),
    "texts": st.lists(_text),
    "ints": st.lists(st.integers(-(2**63), 2**63 - 1)),
    "numbers": st.lists(_number),
    "scored": st.lists(
        st.fixed_dictionaries({"label": _text, "score": st.none() | _number}), max_size=3
    ),
}
_rows = st.lists(
    st.fixed_dictionaries({name: st.none() | value for name, value in _values.items()}), max_size=4
)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_type_and_text_comes_back(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)

    @given(_rows)
    def check(rows):
        with writer(folder, "table", TYPED, kind) as one:
            one.write(rows)
        found = read(one.files, TYPED, kind)
        expected = as_frame({c.name: [row[c.name] for row in rows] for c in TYPED}, TYPED)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        for name in ("texts", "ints", "numbers", "scored"):
            assert found[name].tolist() == [row[name] for row in rows]
        assert one.rows == len(rows)

    check()


@given(_text)
def test_a_guard_is_taken_off_again_and_stops_every_formula(text):
    assert unguarded(guarded(text)) == text
    assert not guarded(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def _hostile(lineage, study="mine"):
    """A study whose labels, captions and concepts are hard texts, by two methods, with a metric."""
    rows = defaultdict(list)

    def keep(found):
        for table, some in found.items():
            rows[table] += some

    for neuron, text in enumerate(TEXTS):
        unit = Unit("net", "fc", neuron)
        scored = {"label": text, "score": -0.1 * neuron, "labels": [{"label": text, "score": 0.3}]}
        changes = {
            "labels": Outcome("ok", scored),
            "captions": Outcome("ok", {"captions": [{"image": handmade.B, "caption": text}]}),
            "candidate_concepts": Outcome("ok", {"candidates": [text, "other"]}),
            "activations": Outcome(
                "ok", handmade.CONTENT["activations"],
                notes={"summary": {"images": 3, "mean": 0.1, "std": 1e-30, "positive": 1 / 3}},
            ),
        }  # fmt: skip
        keep(handmade.unit_rows(study, unit, changes=changes)[0])
        label = Outcome("ok", {"label": text, "labels": [{"label": text}], "interpretable": True})
        keep(handmade.announced(study, unit, "published_labels", label, {})[0])
        measured = {
            "label": text, "truth": None, "metrics": {"f1": 0.25, "cosine": None},
            "reasons": {"cosine": "no truth"}, "pictures": [],
        }  # fmt: skip
        keep(handmade.announced(study, unit, "labels_metrics", Outcome("ok", measured), {})[0])
    lineage.commit(rows)
    dead = Unit("net", "fc", len(TEXTS))
    handmade.announce(lineage, study, dead, "labels", Outcome("dead", {}, "never fires"), {})
    other = Unit("net", "fc", 99)
    handmade.announce(lineage, "another", other, "labels", Outcome("ok", scored), {})
    odd = Outcome("ok", {"anything": [1, {"b": text}]})
    handmade.announce(lineage, study, dead, "from_a_later_version", odd, {})


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    home = tmp_path_factory.mktemp("hostile")
    lineage = Lineage(root=str(home))
    _hostile(lineage)
    return home, lineage


def _pictures(home, lineage):
    return Pictures(lineage, ArtefactStore(root=str(home / "store")), 10**8)


@pytest.fixture(scope="module")
def exported(hostile, tmp_path_factory):
    home, lineage = hostile
    place = tmp_path_factory.mktemp("exported")
    for kind in FORMATS:
        export(TableSource(lineage, "mine"), _pictures(home, lineage), place / kind, kind)
    return place


@pytest.mark.parametrize("kind", FORMATS)
def test_hostile_texts_come_back_from_every_format(exported, kind):
    found = read_export(exported / kind)
    labels = found["labels"]

    assert labels["label"].tolist()[:-1] == TEXTS
    assert labels["label"].isna().tolist() == [False] * len(TEXTS) + [True]
    assert labels["status"].tolist() == ["ok"] * len(TEXTS) + ["dead"]
    assert labels["score"].tolist()[:-1] == [-0.1 * n for n in range(len(TEXTS))]
    assert labels["labels"].tolist()[2] == [{"label": TEXTS[2], "score": 0.3}]
    assert found["captions"]["caption"].tolist() == TEXTS
    assert found["published_labels"]["label"].tolist() == TEXTS
    assert found["published_labels"]["interpretable"].tolist() == [True] * len(TEXTS)
    assert found["candidate_concepts"]["concept"].tolist()[::2] == TEXTS
    assert found["activations"]["std"].tolist() == [1e-30] * len(TEXTS)
    assert found["metrics"]["reason"].tolist()[::2] == ["no truth"] * len(TEXTS)
    assert found["metrics"]["value"].isna().tolist() == [True, False] * len(TEXTS)
    assert found["synthetic_images"]["seed"].tolist()[0] == 2**63 + 5
    assert found["crops"]["box"].tolist()[0] == [1, 2, 3, 4]
    assert len(found["units"]) == len(TEXTS) + 1, "units of other studies stay out"


def test_every_format_gives_the_same_frames(exported):
    tables = {kind: read_export(exported / kind) for kind in FORMATS}
    for kind in FORMATS[1:]:
        assert list(tables[kind]) == list(tables["csv"])
        for name, frame in tables["csv"].items():
            pd.testing.assert_frame_equal(tables[kind][name], frame, check_exact=True)


def test_what_has_no_table_of_its_own_is_exported_too(exported):
    products = read_export(exported / "csv")["products"].set_index("asset")

    content = products.loc["from_a_later_version", "content"]
    assert json.loads(content) == {"anything": [1, {"b": TEXTS[-1]}]}
    assert json.loads(products.loc["probing_set", "content"])["images"] == 3
    assert products.loc["labels", "content"].isna().all()


def test_no_cell_of_a_csv_file_starts_a_formula(exported):
    for path in (exported / "csv").glob("*.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        kinds = {c["name"]: c["type"] for c in _manifest(exported / "csv")[path.stem]["columns"]}
        for name in frame.columns:
            if kinds[name] not in ("int", "uint", "number"):
                assert not frame[name].str.match(r"[=+\-@\t\r\n]").any(), (path, name)


def _manifest(folder):
    return json.loads((folder / "export.json").read_text(encoding="utf-8"))["tables"]


def test_exported_labels_can_be_imported(exported):
    read = read_labels(exported / "csv" / "labels.csv")
    kept = {f"net/fc/{n}": text.strip() for n, text in enumerate(TEXTS) if text.strip()}

    assert read.by_unit == kept
    assert f"net/fc/{len(TEXTS)}" in read.blank


def test_an_exported_table_of_labels_is_a_method_of_another_study(labelled, colours, tmp_path):
    folder, found = labelled
    lineage = Lineage(root=str(folder / "state"))
    source = TableSource(lineage, "colours")
    export(source, _pictures(folder / "state", lineage), tmp_path / "out", "csv")
    named = {"earlier": "out/labels.csv"}
    study = parse_study({**colours, "imported_labels": named}, tmp_path)
    units = [one.unit for (asset, _), one in found.items() if asset == "labels"]

    given = imported_labels(study, "earlier", units)
    for (asset, _), one in found.items():
        if asset == "labels":
            assert given[one.unit][0] == one.product.payload.get("label")


def test_the_hub_opens_it(exported, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra hub-tests is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = str(exported / "hf")
    frames = read_export(folder)
    held = [name for name, frame in frames.items() if len(frame)]

    assert datasets.get_dataset_config_names(folder) == held
    for name in held:
        found = datasets.load_dataset(folder, name, split="train", cache_dir=str(tmp_path))
        assert found.num_rows == len(frames[name])
        if name == "labels":
            assert list(found["label"])[:-1] == TEXTS
            assert found["labels"][2] == [{"label": TEXTS[2], "score": 0.3}]


def test_hub_features_stand_in_the_card_and_in_every_file(exported):
    import pyarrow.parquet as pq

    text = (exported / "hf" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    header = text.split("---\n")[1]
    for name, told in _manifest(exported / "hf").items():
        schema = pq.read_schema(exported / "hf" / told["files"][0])
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        assert list(features) == schema.names
        assert (f"- config_name: {name}\n" in header) == bool(told["rows"])
    assert features is not None
    pictures = _manifest(exported / "hf")["pictures"]["files"][0]
    schema = pq.read_schema(exported / "hf" / pictures)
    assert json.loads(schema.metadata[b"huggingface"])["info"]["features"]["picture"] == {
        "_type": "Image"
    }


def test_the_data_dictionary_is_up_to_date_and_holds_every_column(exported):
    from pathlib import Path

    document = Path(__file__).parents[3] / "docs" / "data-dictionary.md"
    assert document.read_text(encoding="utf-8") == dictionary(), (
        "run: dnd export --dictionary > docs/data-dictionary.md"
    )
    sections = {part.partition("\n")[0]: part for part in dictionary().split("\n## ")[1:]}
    for name, told in _manifest(exported / "csv").items():
        section = sections["labels" if name.endswith("_labels") else name]
        for column in told["columns"]:
            assert f"| `{column['name']}` |" in section
            assert column["meaning"] in section
    names = [table.name for table in (*TABLES, *WHOLE_TABLES)]
    assert set(sections) == set(names)


def test_each_asset_of_a_study_has_a_table():
    for asset in (
        "activations",
        "crops",
        "captions",
        "scores",
        "labels",
        "any_labels",
        "x_metrics",
    ):
        assert any(t.reads(asset) for t in tables_for([asset]) if t.name != "products"), asset


def test_pictures_as_files_and_inside(labelled, tmp_path):
    folder, _ = labelled
    lineage = Lineage(root=str(folder / "state"))
    source, known = TableSource(lineage, "colours"), _pictures(folder / "state", lineage)
    done = export(source, known, tmp_path / "jsonl", "jsonl", with_pictures=True)
    export(source, known, tmp_path / "hf", "hf", with_pictures=True)
    frames = read_export(tmp_path / "jsonl")

    listed = frames["pictures"].set_index("image")
    assert done.pictures == len(listed) == len(list((tmp_path / "jsonl" / "pictures").iterdir()))
    assert done.missing == 0
    for name, file in listed["file"].items():
        assert sha256((tmp_path / "jsonl" / file).read_bytes()) == name
    for name, column in (("exemplars", "image"), ("crops", "crop"), ("synthetic_images", "image")):
        assert set(frames[name][column]) <= set(listed.index)
        assert all(name in told for told in listed.loc[frames[name][column].unique(), "tables"])
    import pyarrow.parquet as pq

    inside = pq.read_table(tmp_path / "hf" / "data" / "pictures").to_pylist()
    assert {row["image"] for row in inside} == set(listed.index)
    assert all(sha256(row["picture"]["bytes"]) == row["image"] for row in inside)


def test_a_lost_picture_is_told_and_the_rest_goes_on(hostile, tmp_path):
    home, lineage = hostile
    source = TableSource(lineage, "mine")
    done = export(source, _pictures(home, lineage), tmp_path / "a", "csv", with_pictures=True)

    assert (done.pictures, done.missing) == (0, 5)
    told = read_export(tmp_path / "a")["pictures"]
    assert told["missing"].str.contains("is not where it was").all()
    assert told.set_index("image").loc[handmade.B, "paths"] == [
        "/images/also-b.jpg", "/images/b.jpg"
    ]  # fmt: skip


def test_a_failed_export_leaves_nothing(hostile, tmp_path, monkeypatch):
    home, lineage = hostile

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        export(TableSource(lineage, "mine"), _pictures(home, lineage), tmp_path / "a", "hf")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_as_it_is(hostile, tmp_path):
    home, lineage = hostile
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    source, known = TableSource(lineage, "mine"), _pictures(home, lineage)
    for name in ("mine", "link"):
        with pytest.raises(StudyError, match="is left as it is"):
            export(source, known, tmp_path / name, "csv")
    export(source, known, tmp_path / "empty", "csv")
    assert read_export(tmp_path / "empty")["labels"]["label"].tolist()[:-1] == TEXTS


def test_what_is_no_export_is_refused(exported, tmp_path):
    with pytest.raises(TableError, match="is no export"):
        read_export(tmp_path)
    column = asdict(Column("text", "text", "t"))
    told = {"files": ["../secret.csv"], "columns": [column]}
    (tmp_path.parent / "secret.csv").write_text("text\nsecret\n")
    (tmp_path / "export.json").write_text(json.dumps({"format": "csv", "tables": {"x": told}}))
    with pytest.raises(TableError, match="lacks"):
        read_export(tmp_path)


def test_an_export_of_another_version_is_refused(tmp_path):
    for told in ({"files": ["x.csv"]}, {"files": [], "columns": []},
                 {"files": ["x.csv"], "columns": [{"name": "a", "type": "colour", "meaning": ""}]},
                 {"files": ["x.csv"], "columns": [{"colour": "a"}]}):  # fmt: skip
        manifest = {"format": "csv", "tables": {"x": told}}
        (tmp_path / "export.json").write_text(json.dumps(manifest))
        with pytest.raises(TableError, match="this version does not know"):
            read_export(tmp_path)


def test_batches_hold_few_products_and_change_nothing(hostile, tmp_path, exported, monkeypatch):
    home, lineage = hostile
    sizes = []
    whole = Lineage.products

    def products(self, keys):
        found = whole(self, keys)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(Lineage, "products", products)
    monkeypatch.setattr("dnd_assets.results.tables.table_source._AT_ONCE", 9)
    export(TableSource(lineage, "mine"), _pictures(home, lineage), tmp_path / "a", "csv")
    assert max(sizes) == 9
    found = read_export(tmp_path / "a")
    for name, frame in read_export(exported / "csv").items():
        pd.testing.assert_frame_equal(found[name], frame)


def test_the_command_writes_a_folder_and_the_dictionary(labelled, colours, tmp_path):
    from tests.integration.test_command_line import _toml

    folder, _ = labelled
    (folder / "study.toml").write_text(_toml(colours), encoding="utf-8")
    environment = {"DND_HOME": str(folder / "state"), "DND_STUDY": str(folder / "study.toml")}

    def dnd(*arguments):
        return CliRunner().invoke(app, ["export", *map(str, arguments)], env=environment)

    done = dnd("--output", tmp_path / "out", "--format", "parquet")
    assert done.exit_code == 0, done.output
    assert " tables, " in done.stdout
    assert "products" in done.stderr, "progress"
    assert len(read_export(tmp_path / "out")["labels"]) == 8
    assert dnd("--dictionary").stdout == dictionary()
    assert dnd().exit_code != 0
    unknown = CliRunner().invoke(
        app, ["export", "-o", str(tmp_path / "x"), "-s", "known-answers"], env=environment
    )
    assert "has no products yet" in str(unknown.exception)
