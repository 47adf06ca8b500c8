"""What a study's models are, where they came from, and what `dnd doctor` says of them."""

import io
import json
import os
import shutil
import socket
import sys
import time
import tomllib
from unittest.mock import Mock

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from dnd_assets.cli import app
from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.models import assumptions, inventory, require_models
from dnd_assets.errors import StudyError
from dnd_assets.lineage.trace import trace
from dnd_assets.results.trace_tree import tree
from dnd_assets.study.study import embedded_studies, load_study, parse_study
from dnd_assets.workflow import doctor
from dnd_assets.workflow.doctor import examine, look
from dnd_assets.workflow.doctor_report import examined, pins, show
from dnd_assets.workflow.run import run
from resources.captioners.base import Captioner
from resources.captioners.language_model import LanguageModel
from resources.checkpoints import Checkpoint, resolve
from resources.licences import licence_of
from resources.lineage_db.database import Lineage
from resources.servers.keys import read_key
from tests import light, studies
from tests.resources import hub, tiny

COMMIT = hub.COMMIT
UNIT = "net/colours/0"


@pytest.fixture(scope="module")
def folders(tmp_path_factory, clip_folder, sentences_folder, one_thread):
    """A project, and a hub's cache beside it that holds every model of its study."""
    place = tmp_path_factory.mktemp("doctor")
    blip, painter = tiny.blip(place / "blip"), tiny.stable_diffusion(place / "sd")
    (blip / "README.md").write_text("---\nlicense: bsd-3-clause\ntags: [x]\n---\n# BLIP\n")
    (painter / "README.md").write_text("---\nlicense: other\nlicense_name: sai-nc\n---\n")
    made = {"blip": blip, "sd": painter, "clip": clip_folder, "mpnet": sentences_folder}
    for name, folder in {**made, "vit": tiny.vit(place / "vit"), "lm": sentences_folder}.items():
        hub.publish(place / "hub", f"org/{name}", folder)
    studies.write_images(place / "images")
    studies.write_images(place / "fresh", count=6, seed=1)
    return place


@pytest.fixture
def cache(folders, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folders / "hub"))
    return folders / "hub"


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("DND_IMAGENET_VAL", "DND_BRODEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def table(**changes):
    made = studies.table("org/blip", "org/clip", "org/sd")
    vit = {"name": "vit", "source": "hf:org/vit", "layers": [{"path": "classifier"}]}
    return studies.changed({**made, "models": [*made["models"], vit]}, **changes)


EVERYTHING = {
    "evaluation": {"folders": ["fresh"], "sentence_encoder": "org/mpnet"},
    "milan": {"language_model": "org/lm"},
    "summariser": {"kind": "chat", "model": "llama", "base_url": "https://llm.example/v1"},
}


def bench_of(folders, home, **changes):
    return build_context(parse_study(table(**changes), folders), home)


def _dnd(home, *arguments, **environment):
    variables = {"DND_HOME": str(home), "COLUMNS": "200", **environment}
    return CliRunner().invoke(app, [str(one) for one in arguments], env=variables)


def test_every_model_is_listed_with_where_it_came_from(folders, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary-of-a-key")
    found = inventory(bench_of(folders, tmp_path, **EVERYTHING))

    assert [(one.name, one.part.source, one.part.revision) for one in found] == [
        ("target: net", "module:tests.networks:colour_net", ""),
        ("target: vit", "hf:org/vit", COMMIT),
        ("captioner", "org/blip", COMMIT),
        ("summariser", "llama", ""),
        ("text to image", "org/sd", COMMIT),
        ("image-text encoder", "org/clip", COMMIT),
        ("sentence encoder", "org/mpnet", COMMIT),
        ("language model", "org/lm", COMMIT),
    ]
    assert all(one.part.present for one in found)
    by_name = {one.name: one.part for one in found}
    assert by_name["captioner"].licence == "bsd-3-clause"
    assert by_name["text to image"].licence == "sai-nc"
    assert by_name["image-text encoder"].licence == "unknown"
    assert by_name["summariser"].server == "https://llm.example/v1"
    assert "canary" not in repr(found)


def test_sizes_are_those_of_the_files_that_are_loaded(folders, cache):
    before = resolve("org/sd", needs=("model_index.json",)).size()
    plain = Checkpoint(folders / "sd", "sd")
    assert plain.size() == before > 1000

    weights = folders / "sd" / "unet" / "diffusion_pytorch_model.safetensors"
    copies = [weights.with_suffix(".fp16.safetensors"), folders / "sd" / "sd-v1.safetensors"]
    try:
        for copy in copies:  # the same weights again, in half precision and for another program
            copy.write_bytes(weights.read_bytes())
        assert plain.size() == before
        weights.unlink()
        assert plain.size() == before  # only the variant is left, and it is what is loaded
    finally:
        copies[0].rename(weights)
        copies[1].unlink()


def test_a_new_captioner_is_listed_by_what_it_checks(cache):
    class Own(Captioner):
        checkpoint: str
        revision: str | None = None

        def title(self):
            return self.checkpoint

        def check(self):
            return resolve(self.checkpoint, self.revision)

    (there,), (absent,) = Own(checkpoint="org/blip").parts(), Own(checkpoint="org/none").parts()

    assert (there.revision, there.licence, there.pin) == (
        COMMIT,
        "bsd-3-clause",
        ("revision", COMMIT),
    )
    assert there.size == resolve("org/blip").size()
    assert (absent.present, absent.command) == (False, "hf download org/none")


def test_a_key_that_is_not_set_keeps_no_run_from_beginning(folders, cache, tmp_path, monkeypatch):
    """Stored answers are replayed without it; the doctor says that it is missing."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    context = bench_of(folders, tmp_path, **EVERYTHING)
    (chat,) = [one.part for one in inventory(context) if one.role == "summariser"]

    require_models(context)
    assert (chat.present, chat.command) == (False, "export OPENAI_API_KEY=KEY")


def test_licences_come_from_card_package_or_table(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    bare = Checkpoint(tmp_path, "CompVis/stable-diffusion-v1-4@v1", "c" * 40)
    assert licence_of(bare) == "creativeml-openrail-m"  # no card: the table
    assert licence_of(Checkpoint(tmp_path, "org/other", "c" * 40)) == "unknown"
    assert licence_of(Checkpoint(tmp_path, "package:timm/models")) == "Apache-2.0"

    for text, name in (
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("---\ntags: [x]\n---\n", "creativeml-openrail-m"),
        ("---\nlicense: [\n---\n", "creativeml-openrail-m"),  # no YAML
        ("plain words", "creativeml-openrail-m"),
    ):
        (tmp_path / "README.md").write_text(text)
        assert licence_of(bare) == name
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    alone = Checkpoint.of_file(tmp_path / "model.safetensors", "model.safetensors")
    assert licence_of(alone) == "unknown"  # a file among others: the README may be of anything


def test_a_captioner_at_a_server_is_listed_with_it(monkeypatch):
    class Own(Captioner):
        base_url: str = "https://vision.example/v1"
        model: str = "sees"
        api_key_env: str = "OWN_KEY"

        def title(self):
            return "sees at a server"

        def check(self):
            read_key(self.api_key_env)

    monkeypatch.delenv("OWN_KEY", raising=False)
    (absent,) = Own().parts()
    monkeypatch.setenv("OWN_KEY", "canary-of-a-key")
    (there,) = Own().parts()

    assert (absent.present, absent.command) == (False, "export OWN_KEY=KEY")
    assert (there.present, there.source, there.server) == (
        True,
        "sees",
        "https://vision.example/v1",
    )
    assert "canary" not in repr(there)


def test_conse_lists_both_its_models(folders, cache, tmp_path):
    changes = {"clip": {"kind": "conse", "classifier": "hf:org/vit", "sentences": "org/mpnet"}}
    context = bench_of(folders, tmp_path, **changes)
    found = [one for one in inventory(context) if one.section == "clip"]

    assert [one.name for one in found] == [
        "image-text encoder: classifier",
        "image-text encoder: sentences",
    ]
    assert [one.part.pin for one in found] == [
        ("classifier", f"hf:org/vit@{COMMIT}"),
        ("revision", COMMIT),
    ]


def test_pins_are_a_study_that_gives_the_same_keys(folders, cache, tmp_path):
    changes = {**EVERYTHING, "summariser": {}}
    free = bench_of(folders, tmp_path, **changes)
    report = examine(free.study, tmp_path)
    text = pins(report)
    lines = tomllib.loads(text)

    assert lines == {
        "source": f"hf:org/vit@{COMMIT}",
        "captioner": {"revision": COMMIT},
        "summariser": {},
        "text_to_image": {"revision": COMMIT},
        "clip": {"revision": COMMIT},
        "evaluation": {"sentence_encoder": f"org/mpnet@{COMMIT}"},
        "milan": {"language_model": f"org/lm@{COMMIT}"},
    }
    pinned_table = table(**changes)
    pinned_table["models"][1]["source"] = lines.pop("source")
    for section, values in lines.items():
        pinned_table[section] = {**pinned_table.get(section, {}), **values}
    pinned = build_context(parse_study(pinned_table, folders), tmp_path)
    for name in ("captioner", "text_to_image", "clip", "sentences"):
        assert getattr(pinned, name).fingerprint() == getattr(free, name).fingerprint()
    assert pinned.targets.fingerprint("vit") == free.targets.fingerprint("vit")


def test_a_pin_that_is_not_what_is_cached_is_an_error(folders, cache, tmp_path):
    other = "f" * 40
    for changes, model in (
        ({"captioner__revision": other}, "org/blip"),
        ({"text_to_image__revision": other}, "org/sd"),
        ({"clip__revision": other}, "org/clip"),
    ):
        context = bench_of(folders, tmp_path, **changes)
        with pytest.raises(StudyError, match=rf"{model}' at revision '{other}'.*{COMMIT}") as error:
            require_models(context)
        assert f"hf download {model} --revision {other}" in str(error.value)


@pytest.fixture(scope="module")
def labelled(folders):
    """A unit labelled with models of the hub, in a state folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folders / "hub"))
        made = table()
        study = parse_study({**made, "models": made["models"][:1]}, folders)
        home = folders / "state"
        studies.label({**made, "models": made["models"][:1]}, folders, [UNIT], home)
    return study, home


def test_a_run_records_the_revision_of_each_model(labelled):
    study, home = labelled
    sql = "SELECT asset, role, part, source, revision, licence FROM models ORDER BY ALL"
    rows = [tuple(row.values()) for row in Lineage(root=str(home)).query(sql)]

    net = ("target", "net", "module:tests.networks:colour_net", "", "unknown")
    clip = ("image-text encoder", "", "org/clip", COMMIT, "unknown")
    assert rows == [
        ("activations", *net),
        ("candidate_concepts", "summariser", "", "consensus of the captions", "",
         "part of this package"),
        ("captions", "captioner", "", "org/blip", COMMIT, "bsd-3-clause"),
        ("crops", *net),
        ("scores", *clip),
        ("scores", *net),
        ("synthetic_images", "text to image", "", "org/sd", COMMIT, "sai-nc"),
    ]  # fmt: skip
    assert study.captioner.revision is None  # nothing was pinned


def test_a_trace_tells_the_revision(labelled):
    study, home = labelled
    found = trace(Lineage(root=str(home)).query, study.name, UNIT)

    (captioner,) = found.as_json()["products"]["captions"]["models"]
    assert (captioner["source"], captioner["revision"]) == ("org/blip", COMMIT)
    out = Console(width=200, file=io.StringIO())
    out.print(tree(found))
    assert f"model: captioner, org/blip ({COMMIT}, licence bsd-3-clause)" in out.file.getvalue()


def test_models_are_recorded_again_from_the_journal(labelled):
    _, home = labelled
    lineage = Lineage(root=str(home))
    before = lineage.query("SELECT * FROM models ORDER BY ALL")

    lineage.rebuild()

    assert before == lineage.query("SELECT * FROM models ORDER BY ALL")


def test_a_run_with_a_missing_model_begins_nothing(folders, cache, tmp_path):
    made = table(captioner__checkpoint="org/none")
    study = parse_study({**made, "models": made["models"][:1]}, folders)

    with pytest.raises(StudyError, match=r"captions needs the captioner.*hf download org/none"):
        run(study, tmp_path, [UNIT], log=lambda _: None)

    assert Lineage(root=str(tmp_path)).query("SELECT count(*) AS n FROM products")[0]["n"] == 0
    done = run(study, tmp_path, [UNIT], ["+activations"], log=lambda _: None)
    assert done.computed["activations"] == 1  # it needs no captioner


def test_embedded_studies_can_be_read():
    for name in embedded_studies():
        unset = {}
        study = load_study(name, unset)
        assert study.name == name
        assert study.description
        assert all(variable.startswith("DND_") for variable in unset)


def test_the_paper_s_study_has_the_paper_s_values(nowhere):
    """Every parameter of the paper, from its text (METHODS) and not from our defaults."""
    study = load_study("paper-resnet50", {})

    assert study.models[0].source == "torchvision:resnet50@IMAGENET1K_V1"
    assert [layer.path for layer in study.models[0].layers] == [f"layer{n}" for n in (1, 2, 3, 4)]
    chosen = study.dissection
    counts = (chosen.exemplars, chosen.crops_per_image, chosen.candidates)
    assert counts == (10, 4, 5)
    assert (chosen.images_per_concept, chosen.top_images, chosen.beta) == (10, 10, 5)
    assert (chosen.crop_overlap, chosen.whole_image) == (0.5, 0.8)
    assert (study.captioner.max_new_tokens, study.captioner.min_length) == (32, 5)
    assert (study.summariser.model, study.summariser.temperature) == ("gpt-3.5-turbo", 0.3)
    assert (study.text_to_image.steps, study.text_to_image.scheduler) == (50, "dpmsolver++")
    assert study.text_to_image.prompt == "One realistic image of {concept}"
    assert (study.clip.model, study.clip.pretrained) == ("ViT-B-16", "openai")


def test_the_doctor_tells_all_that_the_paper_s_study_lacks(nowhere):
    started = time.perf_counter()
    result = _dnd(nowhere, "doctor", "--study", "paper-resnet50", "--format", "json")
    seconds = time.perf_counter() - started

    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["commands"] == [
        "export DND_IMAGENET_VAL=FOLDER",
        "export DND_BRODEN=FOLDER",
        "python -c \"from torchvision.models import get_model; get_model('resnet50', "
        "weights='IMAGENET1K_V1')\"",
        "hf download Salesforce/blip-image-captioning-base",
        "export OPENAI_API_KEY=KEY",
        "hf download CompVis/stable-diffusion-v1-4",
        "hf download timm/vit_base_patch16_clip_224.openai open_clip_model.safetensors",
    ]
    assert [one["licence"] for one in told["models"]][1] == "bsd-3-clause"
    checks = {one["what"]: one["found"] for one in told["checks"] if not one["good"]}
    assert checks == {
        "variable DND_IMAGENET_VAL": "probing_set.folders reads it, and it is not set",
        "variable DND_BRODEN": "probing_set.folders reads it, and it is not set",
        "probing set": "waits for ${DND_IMAGENET_VAL}, ${DND_BRODEN}",
        "units": "waits for target: resnet50",
    }
    assert seconds < 30.0  # seconds, most of them for importing torchvision where nothing else has


def test_the_doctor_shows_a_table_and_the_commands(nowhere):
    text = _dnd(nowhere, "doctor", "--study", "paper-resnet50").output

    rows = [line for line in text.splitlines() if line.startswith("captioner ")]
    (row,) = rows
    words = ["captioner", "Salesforce/blip-image-captioning-base", "-", "-", "bsd-3-clause"]
    assert row.split() == [*words, "missing"]
    after = text.partition("This is missing. Run:")[2]
    assert "  hf download CompVis/stable-diffusion-v1-4\n" in after


def test_what_is_assumed_is_told_and_keeps_no_run_from_beginning(
    folders, cache, tmp_path, sentences_folder
):
    bare = shutil.copytree(sentences_folder, tmp_path / "bare")
    shutil.rmtree(bare / "1_Pooling")
    sure = examine(bench_of(folders, tmp_path).study, tmp_path)
    assert sure.assumed == ()
    evaluation = {"folders": ["fresh"], "sentence_encoder": str(bare)}
    report = examine(bench_of(folders, tmp_path, evaluation=evaluation).study, tmp_path)

    assert report.good
    ((name, text),) = report.assumed
    assert (name, "the mean of its tokens" in text) == ("sentence encoder", True)
    assert json.loads(report.as_json())["assumptions"] == [{"of": name, "assumed": text}]
    out = Console(file=io.StringIO(), width=80)
    show(report, out)
    shown = out.file.getvalue()
    assert f"This is assumed, as nothing says it:\n  {name}: {text}\n" in shown


def test_the_layers_of_a_network_come_with_what_is_assumed_of_it(tmp_path):
    (tmp_path / "plain_network.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 8, 8))\n"
    )
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "plain"\n[probing_set]\nfolders = ["images"]\n[compute]\ndevice = "cpu"\n'
        '[[models]]\nname = "net"\nsource = "module:plain_network:make"\n'
        'layers = [{path = "0"}]\n'
    )
    result = _dnd(tmp_path / "state", "layers", "net", "--study", study)

    assert result.exit_code == 0, result.output
    assert "assumed: plain_network has no function transforms(), so ImageNet's" in result.output


MIXED = """
import torch
from torch import nn
from torchvision.transforms import v2


class Turned(nn.Module):
    def forward(self, maps):
        return maps.transpose(2, 3)


def transforms():
    return v2.Compose([v2.Resize((24, 24)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Turned(), nn.Flatten(), nn.Linear(2304, 2))
"""


def test_layers_whose_layout_nothing_proves_are_told(folders, tmp_path):
    (folders / "mixed.py").write_text(MIXED)
    layers = [{"path": "0"}, {"path": "1", "layout": "ncxx"}, {"path": "3"}]
    models = [{"name": "net", "source": "module:mixed:make", "layers": layers}]
    report = examine(bench_of(folders, tmp_path, models=models).study, tmp_path)

    told = [text for name, text in report.assumed if "layer" in text]
    assert told == ["layer 1 has no map, so no crops: declared without places"]


def test_layers_of_a_network_tell_what_nothing_proves_of_them(tmp_path):
    (tmp_path / "mixed.py").write_text(MIXED)
    study = tmp_path / "study.toml"
    study.write_text(_toml_of("mixed", "", '{path = "0"}, {path = "1", layout = "ncxx"}'))
    result = _dnd(tmp_path / "state", "layers", "net", "--study", study)

    assert result.exit_code == 0, result.output
    said = "assumed of 1 layer: no map, so no crops: declared without places\n  1\n"
    assert said in result.output
    assert "loaded:" not in result.output


def _toml_of(name, weights, layers):
    return (
        f'name = "{name}"\n[probing_set]\nfolders = ["images"]\n[compute]\ndevice = "cpu"\n'
        f'[[models]]\nname = "net"\nsource = "module:{name}:make"\n{weights}layers = [{layers}]\n'
    )


WRAPPED = MIXED.replace("Turned(), nn.Flatten(), nn.Linear(2304, 2)", "nn.ReLU()")


def test_what_was_done_to_weights_is_told_by_layers_and_doctor(folders, tmp_path):
    (folders / "wrapped.py").write_text(WRAPPED)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1))
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": state}, folders / "wrapped.pt")
    study = folders / "wrapped.toml"
    study.write_text(_toml_of("wrapped", 'weights = "wrapped.pt"\n', '{path = "0"}'))
    shown = _dnd(tmp_path / "state", "layers", "net", "--study", study)
    report = examine(load_study(study), tmp_path / "state")

    ((name, told),) = report.loaded
    assert (name, "module" in told) == ("target: net", True), told
    assert f"loaded: {told}\n" in shown.output
    assert json.loads(report.as_json())["loaded"] == [{"of": name, "told": told}]
    out = Console(file=io.StringIO(), width=80)
    show(report, out)
    assert f"\n{name}: {told}\n" in out.file.getvalue()


OPEN = "unit,label\n1,red\n3,blue\n"


@pytest.mark.parametrize(("first", "count"), [(None, 2), (0, 0), (1, 0)])
def test_files_that_leave_open_how_they_count_are_warned_of(folders, tmp_path, first, count):
    (folders / "open.csv").write_text(OPEN)
    (folders / "truths.csv").write_text(OPEN.replace("label", "truth"))
    section = {"file": "open.csv", "layer": "net/colours", "first_unit": first}
    evaluation = {"folders": ["fresh"], "truths": "truths.csv", "first_unit": first}
    model = studies.table("org/blip", "org/clip", "org/sd")["models"][0]
    models = [{**model, "layers": [{"path": "colours"}]}]
    context = bench_of(
        folders, tmp_path, models=models, evaluation=evaluation, imported_labels={"theirs": section}
    )
    report = examine(context.study, tmp_path)

    told = [(name, text) for name, text in report.assumed if "counted from 0" in text]
    assert [name for name, _ in told] == ["labels of theirs", "truths"][:count]
    assert all("first_unit = 1" in text for _, text in told)
    checks = {one.what: one for one in report.findings}
    assert checks["imported labels"].good
    assert checks["truths"].good


def test_truths_that_fit_no_unit_are_found_before_a_run(folders, tmp_path):
    (folders / "other.csv").write_text("unit,truth\nother/fc/1,red\n")
    evaluation = {"folders": ["fresh"], "truths": "other.csv"}
    models = studies.table("org/blip", "org/clip", "org/sd")["models"]
    context = bench_of(folders, tmp_path, models=models, evaluation=evaluation)
    (truths,) = [one for one in examine(context.study, tmp_path).findings if one.what == "truths"]
    assert not truths.good
    assert "holds none of the units" in truths.found


def test_what_the_language_model_of_milan_assumes_is_told(folders, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(LanguageModel, "assumptions", lambda self: [f"{self.model} is a guess"])
    context = bench_of(folders, tmp_path, **EVERYTHING)
    assert ("language model", "org/lm is a guess") in assumptions(context)
    assert "language model" not in dict(assumptions(bench_of(folders, tmp_path)))


def test_a_server_on_this_machine_is_asked_whether_it_is_there(folders, cache, tmp_path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert _server(folders, tmp_path, port) == ("server, answers", True)
    state, good = _server(folders, tmp_path, port)

    assert (state.startswith(f"nothing answers at http://127.0.0.1:{port}/v1"), good) == (
        True,
        False,
    )


def _server(folders, home, port):
    chat = {"kind": "chat", "base_url": f"http://127.0.0.1:{port}/v1", "api_key_env": ""}
    report = examine(bench_of(folders, home, summariser=chat).study, home)
    (entry,) = [one for one in report.models if one.listed.role == "summariser"]
    return entry.state, entry.good


@pytest.fixture
def small(tmp_path, monkeypatch, clip_folder):
    """A project in which nothing is missing, its report kept, and how often it was looked at."""
    clip = shutil.copytree(clip_folder, tmp_path / "clip")
    place = light.project(tmp_path / "project", clip)
    study = (place / "study.toml").read_text().replace('"images"', '"${DND_PICTURES}"')
    (place / "study.toml").write_text(study)
    monkeypatch.setenv("DND_PICTURES", "images")
    (tmp_path / "state").mkdir()
    # Where buckets were asked in this process nothing is kept; other tests may have done so.
    monkeypatch.delitem(sys.modules, "obstore", raising=False)
    looks = []
    monkeypatch.setattr(doctor, "look", lambda *a: looks.append(look(*a)) or looks[-1])
    monkeypatch.syspath_prepend(str(tmp_path))
    time.sleep(0.05)
    first = _examined(tmp_path)  # writes the network's card
    second = _examined(tmp_path)
    assert first == second
    assert second.good, second
    looks.clear()
    assert _examined(tmp_path) == second
    assert not looks, "it was kept"
    return tmp_path, looks


def _examined(place):
    unset = {}
    study = load_study(place / "project" / "study.toml", unset)
    return examined(study, place / "state", unset)


def _swapped(place, monkeypatch):
    """Other weights in the same file, with the times of before, as far as they can be set."""
    (file,) = sorted((place / "clip").glob("*.safetensors"))
    before, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _one_picture_more(place, monkeypatch):
    images = place / "project" / "images"
    shutil.copy(images / "000.png", images / "more.png")


CHANGES = {
    "weights swapped in place": (_swapped, "sha256:"),
    "a model removed": (lambda place, _: shutil.rmtree(place / "clip"), "Correct the name"),
    "one picture more": (_one_picture_more, "10 image files"),
    "own code changed": (
        lambda place, _: (place / "project" / "light_captioner.py").unlink(), "light_captioner"
    ),
    "a variable gone": (lambda _, patch: patch.delenv("DND_PICTURES"), "it is not set"),
    "another library": (lambda place, _: (place / "x-2.0.dist-info").mkdir(), "image files"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "told"), CHANGES.values(), ids=CHANGES)
def test_what_was_found_before_hides_no_change(small, monkeypatch, change, told):
    place, looks = small
    before = _examined(place)
    change(place, monkeypatch)

    now = _examined(place)

    assert len(looks) == 1, "it was looked at again"
    assert told in now.as_json()
    assert (now == before) is (change is CHANGES["another library"][0])


def test_a_full_disk_shows_though_nothing_is_looked_at_again(small, monkeypatch):
    place, looks = small
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Mock(free=10**6))
    report = _examined(place)
    assert not report.good
    assert "has 1 MB free" in report.as_json()
    assert not looks


def test_a_server_is_asked_each_time(folders, cache, tmp_path, monkeypatch):
    chat = {"kind": "chat", "base_url": "http://127.0.0.1:1/v1", "api_key_env": ""}
    study = bench_of(folders, tmp_path, summariser=chat).study
    states = iter((True, True, False))
    monkeypatch.setattr("dnd_assets.workflow.doctor_report.answers", lambda _: next(states))
    assert [examined(study, tmp_path).good for _ in range(3)] == [True, True, False]
