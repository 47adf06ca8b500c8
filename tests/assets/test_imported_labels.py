"""Labels imported from files: what is read, what reruns, what is refused, what is harmless."""

import time

import dagster as dg
import pytest
from typer.testing import CliRunner

from dnd_assets.analysis.evaluate import evaluate
from dnd_assets.assets.registry import stages_of
from dnd_assets.cli import app
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.engine.materialize import materialize
from dnd_assets.engine.plan import plan
from dnd_assets.engine.resolve import Graph
from dnd_assets.engine.verify import rebuild
from dnd_assets.errors import DndError, NotFoundError, StudyError, TableError
from dnd_assets.lineage.explain import pair
from dnd_assets.lineage.trace import trace
from dnd_assets.results.diff import changes
from dnd_assets.results.labels import export
from dnd_assets.results.labels import labels as read_labels
from dnd_assets.results.trace_tree import tree
from dnd_assets.study.label_files import check_imported
from dnd_assets.study.study import parse_study
from dnd_assets.workflow.definitions import build_definitions
from dnd_assets.workflow.external_sources import sources_for, sources_of
from tests.studies import changed

ASSET = "published_labels"
KEYED = "unit,label\nnet/colours/0,red\nnet/colours/1,green\nnet/colours/2,\nnet/spoilt/0,sea\n"


def _study(colours, folder, text=KEYED, **section):
    if text is not None:
        data = text if isinstance(text, bytes) else text.encode()
        (folder / "published.csv").write_bytes(data)
    entry = {"file": "published.csv", **section} if section else "published.csv"
    return parse_study(changed(colours, imported_labels={"published": entry}), folder)


def _run(study, run="run", units=()):
    context = build_context(study, study.folder / "state")
    stages = stages_of(study)
    chosen = find_units(context).select(units)
    found = {a.unit.key: a for a in materialize(Graph(context, stages), stages[ASSET], chosen, run)}
    return context, found


def test_each_unit_has_its_row_or_a_typed_status(colours, colour_folder):
    _, found = _run(_study(colours, colour_folder))
    payload = found["net/colours/0"].product.payload
    assert payload == {"label": "red", "labels": [{"label": "red"}]}
    status = {key: (one.record.status, one.record.reason) for key, one in found.items()}
    assert status["net/colours/1"] == ("ok", "")
    assert status["net/colours/2"] == ("no_label", "published.csv: its label is blank")
    assert status["net/colours/3"] == ("no_label", "published.csv: the file does not hold it")
    assert len(found) == 8


def test_one_changed_row_reruns_one_unit(colours, colour_folder):
    _run(_study(colours, colour_folder))
    edited = _study(colours, colour_folder, KEYED.replace("green", "lime") + "net/spoilt/7,x\n")
    context = build_context(edited, edited.folder / "state")
    (planned,) = plan(context, stages_of(edited), list(find_units(context).values()), [ASSET])
    assert (planned.compute, planned.reuse) == (1, 7)
    assert planned.why == {f'{ASSET}: parameter label "green" → "lime"': 1}
    context, found = _run(edited, "second")
    fresh = {key for key, one in found.items() if not one.record.reused}
    assert fresh == {"net/colours/1"}
    old, new = pair(context.lineage.query, "colours", ASSET, "net/colours/1", None)
    (change,) = changes(context, ASSET, "net/colours/1", old, new)
    assert (change.before, change.after) == ('"green"', '"lime"')


def test_moving_and_reordering_the_file_changes_nothing(colours, colour_folder):
    _run(_study(colours, colour_folder))
    head, *rows = KEYED.splitlines()
    (colour_folder / "other.csv").write_text("\n".join([head, *rows[::-1], rows[0]]))
    _, found = _run(_study(colours, colour_folder, file="other.csv"), "second")
    assert all(one.record.reused for one in found.values())


def test_numbers_need_a_layer_where_there_are_several(colours, colour_folder):
    numbered = "unit,label\n0,red\n1,green\n"
    study = _study(colours, colour_folder, numbered)
    with pytest.raises(StudyError, match=r"layer = 'net/colours' .* net/colours/0"):
        _run(study)
    _, found = _run(_study(colours, colour_folder, numbered, layer="net/spoilt"))
    ok = [key for key, one in found.items() if one.record.status == "ok"]
    assert ok == ["net/spoilt/0", "net/spoilt/1"]
    wrong = _study(colours, colour_folder, numbered, layer="net/spoiled")
    with pytest.raises(NotFoundError, match="nearest: net/spoilt"):
        _run(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit,text\nnet/colours/0,red\n", "no column for the label; .*Rename one"),
        ("name,label\nnet/colours/0,red\n", "no column for the unit; .*Rename one"),
        ('unit,label\nnet/colours/0,"red\n', "line 2: .*Close every quote"),
        ("unit,label\nnet/colours/0,red, blue\n", "line 2: 3 fields.* into quotes"),
        ("unit,label\n,red\n", "line 2: no unit. Fill it in or remove"),
        ("unit,label\nnet/colours/0,red\nnet/colours/0,blue\n", "line 3: .*Keep one of the rows"),
        (b"unit,label\nnet/colours/0,caf\xe9\n", "line 2: not UTF-8.*Save it as CSV in UTF-8"),
        ("unit,label\n", "a header but no rows"),
        ("", "no header and no rows"),
        ("unit,label\nnet/other/0,red\n", "holds none of the units"),
        (None, "no file .*published.csv"),
    ],
)
def test_a_bad_file_is_told_before_anything_is_computed(colours, colour_folder, text, message):
    study = _study(colours, colour_folder, text)
    context = build_context(study, study.folder / "state")
    units = list(find_units(context).values())
    started = time.perf_counter()
    with pytest.raises(DndError, match=message):
        check_imported(study, units)
    assert time.perf_counter() - started < 1
    if text is not None and "other" not in str(text):
        with pytest.raises(TableError):
            _run(study)
    assert context.lineage.query("SELECT count(*) AS n FROM products")[0]["n"] == 0


def test_a_formula_stays_text_and_is_harmless_in_exports(colours, colour_folder):
    formula = '=HYPERLINK("http://x","y")'
    quoted = formula.replace('"', '""')
    text = f'unit,label\nnet/colours/0,"{quoted}"\nnet/colours/1,\'@sum\nnet/colours/2,[red]x\n'
    context, found = _run(_study(colours, colour_folder, text))
    said = [found[f"net/colours/{n}"].product.payload["label"] for n in range(3)]
    assert said == [formula, "@sum", "[red]x"]
    exported = export(read_labels(context.lineage, "colours", ASSET), "csv").decode()
    assert "\"'=HYPERLINK(" in exported
    assert "\"'@sum" in exported
    traced = trace(context.lineage.query, "colours", "net/colours/2", ASSET)
    assert any("\\[red]x" in str(one.label) for one in tree(traced).children[0].children)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"Bad name": "x.csv"}, "'Bad name' names no method"),
        ({"milan_labels": "x.csv"}, "without `_labels`"),
        ({"x": {"fil": "x.csv"}}, "imported_labels"),
        ({"x": ""}, "imported_labels"),
    ],
)
def test_wrong_settings_are_told(colours, tmp_path, section, message):
    with pytest.raises(StudyError, match=message):
        parse_study(changed(colours, imported_labels=section), tmp_path)


def test_a_name_of_the_projects_own_is_refused(colours, tmp_path):
    study = parse_study(changed(colours, imported_labels={"milan": "x.csv"}), tmp_path)
    with pytest.raises(StudyError, match="call the file's method milan_published"):
        stages_of(study)


def test_dagster_has_the_file_as_a_source(colours, colour_folder):
    study = _study(colours, colour_folder)
    (source,) = sources_of(stages_of(study)[ASSET])
    assert source.name == "published_file"
    assert source.name in {one.name for one in sources_for(study)}
    context = build_context(study, study.folder / "state")
    before = source.describe(context)
    definitions = build_definitions(study, study.folder / "state")
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        ends = {"start": "net/colours/0", "end": "net/colours/3"}
        done = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(ASSET)],
            tags={f"dagster/asset_partition_range_{end}": key for end, key in ends.items()},
        )
        assert done.success
        events = instance.fetch_materializations(dg.AssetKey(ASSET), limit=9).records
        shown = {one.partition_key: one.asset_materialization.metadata for one in events}
        assert shown["net/colours/0"]["label"].value == "red"
        assert shown["net/colours/2"]["status"].value == "no_label"
    (colour_folder / "published.csv").write_text(KEYED + "net/spoilt/1,sky\n")
    assert source.describe(context) != before


def test_products_are_methods_of_a_comparison_and_rebuild_alike(colours, colour_folder, labelled):
    study = _study(colours, colour_folder)
    context, _ = _run(study)
    found = rebuild(context, {ASSET: stages_of(study)[ASSET]}, 3)
    assert [one.same for one in found] == [True] * 3


def test_the_command_line_refuses_early_and_reads_the_labels(colours, colour_folder, monkeypatch):
    _run(_study(colours, colour_folder))
    lines = [
        'name = "colours"', "[[models]]", 'name = "net"',
        'source = "module:tests.networks:colour_net"', "[[models.layers]]", 'path = "colours"',
        "[probing_set]", 'folders = ["images"]', "[imported_labels]",
        'published = "published.csv"',
    ]  # fmt: skip
    (colour_folder / "study.toml").write_text("\n".join(lines))
    monkeypatch.setenv("DND_HOME", str(colour_folder / "state"))
    asked = ["--study", str(colour_folder / "study.toml")]
    shown = CliRunner().invoke(app, ["labels", *asked, "--asset", ASSET])
    assert "green" in shown.output
    (colour_folder / "published.csv").write_text("unit,text\n0,x\n")
    refused = CliRunner().invoke(app, ["run", *asked, "--assets", ASSET])
    assert "no column for the label" in str(refused.exception)


FILE = "published/milan_resnet50_fc.csv"


class Fixed:
    """An encoder of words as counts of their letters."""

    def encode(self, texts):
        import numpy as np

        found = np.array(
            [[text.lower().count(c) + 1e-3 for c in map(chr, range(97, 123))] for text in texts]
        )
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_all_published_labels_of_a_resnet_are_imported(shared_dir, tmp_path, colours, one_thread):
    """The thousand labels that MILAN's authors publish for the last layer of ResNet-50."""
    (tmp_path / "images").mkdir()
    model = {
        "name": "resnet50",
        "source": "module:torchvision.models:resnet50",
        "layers": [{"path": "fc"}],
    }
    table = changed(colours, models=[model], imported_labels={"published": str(shared_dir / FILE)})
    study = parse_study(table, tmp_path)
    context, found = _run(study)
    assert len(found) == 1000
    assert {one.record.status for one in found.values()} == {"ok"}
    assert found["resnet50/fc/1"].product.payload["label"] == "Fish in pictures"
    # The figure of `dnd evaluate` from the exported labels is that of the file.
    exported = tmp_path / "labels.csv"
    exported.write_bytes(export(read_labels(context.lineage, study.name, ASSET), "csv"))
    truths = shared_dir / "published" / "imagenet_classes.txt"
    ours = evaluate(exported, truths, Fixed())
    theirs = evaluate(shared_dir / FILE, truths, Fixed())
    assert ours.units == theirs.units == 1000
    assert ours.similarity == pytest.approx(theirs.similarity, abs=1e-12)
