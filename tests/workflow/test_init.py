"""`dnd init`: what it writes for a network and a folder loads, whatever they are called."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dnd_assets.cli import app
from dnd_assets.engine.context_builder import build_context
from dnd_assets.errors import NotFoundError, StudyError
from dnd_assets.study.study import load_study
from dnd_assets.workflow.init import _study_name, init
from dnd_assets.workflow.init_layers import chosen_layers, last_block, worth_showing
from dnd_assets.workflow.init_text import comment, toml_value
from resources.targets.cards import LayerInfo
from tests import studies

NETWORK = "module:tests.networks:colour_net"
HOSTILE = [
    'a "quoted" name',
    "two\nlines = 1",
    "]\n[models]",
    "tab\tand\x7f\x01",
    "back\\slash",
    "~somebody",
    "caf\u00e9 \U0001f408 \u202e",
    "'''",
]


def start(folder, name="images", output="mine.toml", network=NETWORK, count=12):
    if not (folder / name).exists():
        studies.write_images(folder / name, count)
    return init(network, folder / name, None, folder / output, folder / "state")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_study_for_any_folder_loads_and_finds_its_images(tmp_path, name):
    made = start(tmp_path, name)
    study = load_study(tmp_path / "mine.toml")

    (folder,) = study.probing_set.folders
    assert study.path(folder).samefile(tmp_path / name)
    assert [layer.path for layer in study.models[0].layers] == ["colours", "spoilt"]
    assert made.images.files == made.images.readable == 12


@given(st.text())
def test_any_text_comes_back_from_toml_and_no_comment_leaves_its_line(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    written = "\n".join([*comment(text), f"key = {toml_value([text])}", *comment(text)])

    assert tomllib.loads(written) == {"key": [text]}


def test_commands_in_comments_stay_whole():
    command = "`" + "word " * 40 + "end`"

    assert f"# {command}" in comment(f"not here; run {command} once")


def test_what_doctor_misses_is_what_the_study_says_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    made = start(tmp_path)
    text = (tmp_path / "mine.toml").read_text(encoding="utf-8")
    environment = {"DND_HOME": str(tmp_path), "COLUMNS": "1000"}
    doctor = CliRunner().invoke(
        app, ["doctor", "--study", str(tmp_path / "mine.toml")], env=environment
    )

    assert doctor.exit_code == 1
    assert "12 image files" in doctor.output
    assert "colour_net/colours: 4, colour_net/spoilt: 4" in doctor.output
    context = build_context(load_study(tmp_path / "mine.toml"), tmp_path)
    for section in ("captioner", "text_to_image", "clip"):
        with pytest.raises(StudyError) as missing:
            getattr(context, section).check()
        assert made.sections[section].missing == str(missing.value)
        command = str(missing.value).split("`")[1]
        assert f"`{command}`" in text
        assert command in doctor.output


def test_models_that_are_here_are_taken(tmp_path, monkeypatch, clip_folder, blip_folder):
    monkeypatch.setattr(
        "dnd_assets.workflow.init._ENCODERS",
        [{"model": "gone", "pretrained": ""}, {"model": str(clip_folder), "pretrained": ""}],
    )
    monkeypatch.setattr("dnd_assets.workflow.init._CAPTIONERS", [{"checkpoint": str(blip_folder)}])
    made = start(tmp_path)

    assert made.sections["clip"].options["model"] == str(clip_folder)
    assert not made.sections["clip"].missing
    assert not made.sections["captioner"].missing
    assert load_study(tmp_path / "mine.toml").captioner.checkpoint == str(blip_folder)


@pytest.mark.parametrize("beside", [True, False])
def test_captions_lead_to_retrieval(tmp_path, monkeypatch, beside):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    studies.write_images(tmp_path / "images", 12)
    rows = "".join(f'{n:03d}.png,"picture ""{n}"""\n' for n in range(12))
    table = (tmp_path if beside else tmp_path / "images") / "captions.csv"
    table.write_text(f"file,caption\n{rows}")
    made = start(tmp_path)
    study = load_study(tmp_path / "mine.toml")

    assert made.images.captioned == 12
    assert study.captioner.kind == study.text_to_image.kind == "retrieval"
    assert study.collection is not None
    assert [study.path(name) for name in study.collection.tables] == [table]
    assert study.collection.folders == (["images"] if beside else [])


def test_few_or_broken_images_are_told(tmp_path):
    studies.write_images(tmp_path / "images", 3)
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    made = start(tmp_path)

    assert (made.images.files, made.images.readable) == (4, 3)
    assert load_study(tmp_path / "mine.toml").dissection.exemplars == 3
    assert "75.0% of them can be read" in (tmp_path / "mine.toml").read_text()


@pytest.mark.parametrize(("file", "name"), [("study.toml", "net"), ("My birds.toml", "my-birds")])
def test_results_are_recorded_under_a_name_that_says_something(file, name):
    assert _study_name(Path(file), "net") == name


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.toml").write_text("mine")
    (tmp_path / "link.toml").symlink_to(tmp_path / "nowhere")
    for name in ("mine.toml", "link.toml"):
        with pytest.raises(StudyError, match="is left as it is"):
            start(tmp_path, output=name)
    assert (tmp_path / "mine.toml").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("network", "images", "error", "text"),
    [
        (NETWORK, "imagse", NotFoundError, "holds: images"),
        ("modul:tests.networks:colour_net", "images", StudyError, "nearest: module:"),
        ("module:tests.networks:color_net", "images", NotFoundError, "nearest: colour_net"),
        ("torchvision:resnet5@DEFAULT", "images", NotFoundError, "nearest: resnet50"),
        (NETWORK, "${DND_HOME}", StudyError, "environment variable"),
    ],
)
def test_wrong_names_name_the_nearest(tmp_path, network, images, error, text):
    studies.write_images(tmp_path / "images", 2)
    studies.write_images(tmp_path / "${DND_HOME}", 2)
    with pytest.raises(error) as raised:
        init(network, tmp_path / images, None, tmp_path / "mine.toml", tmp_path / "state")
    assert text in str(raised.value)
    assert not (tmp_path / "mine.toml").exists()


def test_a_network_whose_weights_are_missing_is_looked_at_without(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    network = "torchvision:squeezenet1_1@IMAGENET1K_V1"
    made = start(tmp_path, network=network)

    assert "squeezenet1_1" in made.untrained
    study = load_study(tmp_path / "mine.toml")
    assert study.models[0].source == network
    assert [layer.path for layer in study.models[0].layers] == ["features.12", "classifier.3"]


def test_the_command_tells_what_to_run_next(tmp_path):
    studies.write_images(tmp_path / "images", 10)
    arguments = ["init", "--network", NETWORK, "--images", tmp_path / "images"]
    output = tmp_path / "a study.toml"
    environment = {"DND_HOME": str(tmp_path / "state")}
    done = CliRunner().invoke(app, [*map(str, arguments), "-o", str(output)], env=environment)

    assert done.exit_code == 0, done.output
    assert f"dnd doctor --study '{output}'" in done.output
    assert load_study(output).name == "a-study"


def layer(path, units=8, side=7):
    shape = (units, side, side) if side else (units,)
    return LayerInfo(path, "Module", units, shape, has_map=side > 1)


def _layers(paths):
    return [layer(path) for path in paths.split()]


def test_the_last_block_is_the_outermost_numbered_module_of_its_shape():
    resnet = _layers("layer3.0 layer3.1 layer4 layer4.0 layer4.0.a layer4.1 layer4.1.a layer4.1.b")
    output = [layer("avgpool", side=1), layer("fc", 10, 0)]
    assert chosen_layers([*resnet, *output], {"fc"}) == [layer("layer4"), layer("fc", 10, 0)]
    vit = _layers("encoder encoder.layers encoder.layers.l_0 encoder.layers.l_1")
    mlp = _layers("encoder.layers.l_1.mlp encoder.layers.l_1.mlp.0 encoder.layers.l_1.mlp.1")
    assert last_block([*vit, *mlp, layer("encoder.ln")]) == layer("encoder.layers.l_1")
    lite = _layers("blocks.0 blocks.0.a blocks.0.b head head.pad")
    assert last_block(lite) == layer("blocks.0")
    assert last_block([layer("fc", 3, 0)]) is None
    assert chosen_layers([layer("fc", 3, 0)], {"fc"}) == [layer("fc", 3, 0)]
    assert chosen_layers([LayerInfo("x", "X", None, None)], set()) == []


def test_a_long_list_of_layers_keeps_the_chosen_ones_and_the_order():
    many = [layer(f"a.{n}.b.c") for n in range(20)] + [layer("block")]
    shown = worth_showing(many, [many[7]], 3)

    assert shown == [many[0], many[7], many[20]]


@pytest.mark.parametrize(("images", "select"), [(100, "detection"), (99, "scores")])
def test_labels_are_chosen_by_detection_where_there_are_images_enough(tmp_path, images, select):
    studies.write_images(tmp_path / "images", images)
    start(tmp_path)
    text = (tmp_path / "mine.toml").read_text()

    assert load_study(tmp_path / "mine.toml").dissection.select == select
    assert "select = 'scores'" in text if select == "detection" else "100 images or more" in text
