"""Studies: the paper's defaults, what loads, and what a mistake is told."""

import re
import tomllib
from pathlib import Path

import pytest

from dnd_assets.errors import NotFoundError, StudyError
from dnd_assets.study.study import Study, embedded_studies, load_study, parse_study

SMALL = """
name = "mine"

[[models]]
name = "net"
source = "torchvision:resnet18"
layers = [{ path = "fc" }]

[probing_set]
folders = ["images"]
"""
# METHODS, section 1: the paper's values.
PAPER = {
    ("dissection", "exemplars"): 10,  # K
    ("dissection", "crop"): True,
    ("dissection", "crops_per_image"): 4,  # alpha
    ("dissection", "crop_overlap"): 0.5,  # eta
    ("dissection", "whole_image"): 0.8,
    ("dissection", "crop_size"): 375,
    ("dissection", "candidates"): 5,  # N_c
    ("dissection", "images_per_concept"): 10,  # Q
    ("dissection", "top_images"): 10,  # t
    ("dissection", "beta"): 5,
    ("dissection", "scoring"): "topk_squared_image_products",
    ("dissection", "select"): "scores",
    ("dissection", "labels"): 3,  # the best three, in order
    ("captioner", "checkpoint"): "Salesforce/blip-image-captioning-base",
    ("captioner", "max_new_tokens"): 32,
    ("captioner", "min_length"): 5,
    ("summariser", "temperature"): 0.3,
    ("text_to_image", "checkpoint"): "CompVis/stable-diffusion-v1-4",
    ("text_to_image", "scheduler"): "dpmsolver++",
    ("text_to_image", "steps"): 50,
    ("text_to_image", "prompt"): "One realistic image of {concept}",
    ("clip", "model"): "ViT-B-16",
    ("clip", "pretrained"): "openai",
}


def table(**changes):
    """The small study as a table; `a__b=1` sets the key b of table a."""
    found = tomllib.loads(SMALL)
    for name, value in changes.items():
        section, _, key = name.rpartition("__")
        (found.setdefault(section, {}) if section else found)[key] = value
    return found


def read(**changes):
    return parse_study(table(**changes), Path("/studies"))


def message(**changes):
    with pytest.raises(StudyError) as caught:
        read(**changes)
    return str(caught.value)


def model(**changes):
    return {"name": "net", "source": "timm:x", "layers": [{"path": "fc"}], **changes}


def layer(**changes):
    return read(models=[model(layers=[{"path": "fc", **changes}])]).models[0].layers[0]


@pytest.mark.parametrize(
    ("where", "value"), PAPER.items(), ids=[".".join(where) for where in PAPER]
)
def test_every_default_is_the_papers(where, value):
    found = getattr(getattr(read(), where[0]), where[1])

    assert found == value
    assert type(found) is type(value)


def test_every_parameter_of_the_dissection_is_the_papers_or_listed_as_ours():
    every = {name for section, name in PAPER if section == "dissection"}

    ours = {
        "seed", "reference_images", "contrast_phrases", "margin", "min_confidence", "presence",
    }  # fmt: skip
    assert set(read().dissection.model_dump()) == every | ours


def test_the_rest_defaults_to_something_that_needs_no_key_and_no_network():
    study = read()

    assert study.summariser.kind == "consensus"
    assert not study.summariser.allow_insecure_http
    assert study.dissection.seed == 0
    assert study.compute.device == "auto"
    assert study.compute.dtype == "float32"
    assert study.models[0].layers[0].neurons == "all"
    assert study.models[0].layers[0].pooling == "auto"


def test_a_study_never_changes_after_loading():
    with pytest.raises(ValueError, match="frozen"):
        read().dissection.beta = 6


def test_variables_are_read_from_the_environment_and_others_are_not(monkeypatch, tmp_path):
    """Keys lie in variables too, and a study is recorded with each run."""
    file = tmp_path / "study.toml"
    file.write_text(
        'name = "s"\ndescription = "${HOME} of ${DND_WHAT}"\n[probing_set]\n'
        'folders = ["${DND_WHAT}/a"]\n[[models]]\nname = "n"\nsource = "timm:x"\n'
        '[[models.layers]]\npath = "p"\n'
    )
    monkeypatch.delenv("DND_WHAT", raising=False)
    with pytest.raises(StudyError, match="export DND_WHAT="):
        load_study(file)
    monkeypatch.setenv("DND_WHAT", "photos")
    study = load_study(file)
    assert study.description == "${HOME} of photos"
    assert study.probing_set.folders == ["photos/a"]


@pytest.mark.parametrize("name", sorted(embedded_studies()))
def test_embedded_studies_load_by_name(name, monkeypatch, tmp_path):
    for variable in re.findall(r"\$\{(DND_\w+)\}", embedded_studies()[name].read_text()):
        monkeypatch.setenv(variable, str(tmp_path))
    study = load_study(name)

    assert study.name == name
    assert study.folder == embedded_studies()[name].parent
    assert load_study(str(embedded_studies()[name])) == study


def test_the_known_answers_are_embedded_and_the_default(monkeypatch):
    monkeypatch.delenv("DND_STUDY", raising=False)

    assert load_study().name == "known-answers"
    assert load_study().probing_set.world.count >= 4_000


def test_the_environment_names_the_study(tmp_path, monkeypatch):
    path = tmp_path / "elsewhere.toml"
    path.write_text(SMALL)
    monkeypatch.setenv("DND_STUDY", str(path))

    assert load_study().name == "mine"
    assert load_study("known-answers").name == "known-answers"
    monkeypatch.setenv("DND_STUDY", "known-answer")
    with pytest.raises(StudyError, match=r"no study 'known-answer'.*nearest: known-answers"):
        load_study()


def test_paths_are_relative_to_the_study_file(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    study = load_study("studies/mine.toml")
    monkeypatch.chdir("/")

    assert study.path("images") == tmp_path / "studies" / "images"
    assert study.path("../images") == tmp_path / "images"
    assert study.path("/data/images") == Path("/data/images")
    assert study.path("~/images") == Path.home().resolve() / "images"


def test_where_a_study_lies_is_no_part_of_it(tmp_path):
    assert "folder" not in read().model_dump(mode="json")
    assert parse_study(read().model_dump(mode="json"), tmp_path).model_dump() == read().model_dump()


def test_a_missing_file_names_the_nearest(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StudyError) as caught:
        load_study("mien.toml")
    assert "no study 'mien.toml'" in str(caught.value)
    assert "nearest: mine.toml" in str(caught.value)
    assert "DND_STUDY or --study" in str(caught.value)
    with pytest.raises(StudyError, match="no study"):
        load_study(tmp_path)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'name = "a"\nmodels = [\n', "line"),
        (b"name = mine", "line 1, column 8"),
        (b'name = "\xff\xfe"', "can't decode byte 0xff"),
        (b"\x00\x01", "line 1"),
        (b'name = "a"\nname = "b"\n', "overwrite a value"),
    ],
)
def test_a_file_that_is_no_toml(tmp_path, data, found):
    path = tmp_path / "broken.toml"
    path.write_bytes(data)

    with pytest.raises(StudyError) as caught:
        load_study(path)
    text = str(caught.value)
    assert text.startswith(f"{path} is not valid TOML: ")
    assert found in text
    assert text.endswith("Correct that line.")


def test_an_empty_file_says_what_is_missing(tmp_path):
    path = tmp_path / "empty.toml"
    path.write_text("")

    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert str(caught.value).splitlines() == [
        f"{path} is not valid:",
        "  name: is missing",
        "  models: is missing",
        "  probing_set: is missing",
    ]


@pytest.mark.parametrize(
    ("changes", "where", "near"),
    [
        ({"modles": 1}, "modles", "models"),
        ({"models": [model(sauce="x")]}, "models.0.sauce", "source"),
        ({"models": [model(), model(name="b", sauce="x")]}, "models.1.sauce", "source"),
        (
            {"models": [model(layers=[{"path": "fc", "poolng": "max"}])]},
            "models.0.layers.0.poolng",
            "pooling",
        ),
        (
            {"models": [model(layers=[{"path": "f", "neurons": {"sample": 1, "sead": 1}}])]},
            "models.0.layers.0.neurons.Sample.sead",
            "seed",
        ),
        ({"probing_set__folder": ["x"]}, "probing_set.folder", "folders"),
        ({"probing_set": {"world": {"cuont": 3}}}, "probing_set.world.cuont", "count"),
        ({"dissection__exemplar": 10}, "dissection.exemplar", "exemplars"),
        ({"captioner__max_newtoken": 10}, "captioner.max_newtoken", "max_new_tokens"),
        ({"summariser__api_key": "x"}, "summariser.api_key", "api_key_env"),
        ({"text_to_image__step": 3}, "text_to_image.step", "steps"),
        ({"clip__modell": "x"}, "clip.modell", "model"),
        ({"compute__devices": "cpu"}, "compute.devices", "device"),
        ({"compute__batch": {"taget": 3}}, "compute.batch.taget", "target"),
    ],
)
def test_an_unknown_key_names_the_nearest_at_every_level(changes, where, near):
    assert f"{where}: unknown key; nearest: {near}" in message(**changes)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"dissection__scoring": "topk_square"},
            "dissection.scoring: 'topk_square' is not known; nearest: topk_squared, ",
        ),
        (
            {"models": [model(layers=[{"path": "fc", "pooling": "maximum"}])]},
            "models.0.layers.0.pooling: 'maximum' is not known; nearest: max",
        ),
        ({"compute__device": "gpu"}, "compute.device: 'gpu' is not known; nearest: "),
        ({"compute__dtype": "float"}, "'float' is not known; nearest: float"),
        ({"summariser__kind": "consens"}, "'consens' is not known; nearest: consensus"),
        ({"dissection__select": "score"}, "'score' is not known; nearest: scores"),
        ({"captioner__kind": "chatt"}, "captioner.kind: 'chatt' is not known; nearest: chat"),
        ({"captioner__kind": "blip-2"}, "'blip-2' is not known; nearest: blip2"),
        ({"text_to_image__kind": "image"}, "'image' is not known; nearest: images"),
        (
            {"models": [model(source="torchvison:resnet18")]},
            "models.0.source: 'torchvison:resnet18' names no source of networks; "
            "nearest: torchvision:",
        ),
        ({"models": [model(source="timm")]}, "'timm' names no source of networks; nearest: timm:"),
    ],
)
def test_an_unknown_value_names_the_nearest(changes, found):
    assert found in message(**changes)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"dissection__exemplars": 0}, "dissection.exemplars: 0 is wrong: "),
        ({"dissection__exemplars": "ten"}, "dissection.exemplars: 'ten' is wrong: "),
        ({"dissection__crop_overlap": 1.5}, "dissection.crop_overlap: 1.5 is wrong: "),
        ({"dissection__crop_overlap": float("nan")}, "dissection.crop_overlap: nan is wrong: "),
        ({"summariser__temperature": -1}, "summariser.temperature: -1 is wrong: "),
        ({"summariser__max_retries": 11}, "summariser.max_retries: 11 is wrong: "),
        ({"text_to_image__guidance": -1.0}, "text_to_image.guidance: -1.0 is wrong: "),
        ({"name": "My study"}, "name: 'My study' is wrong: "),
        ({"captioner": {"kind": "vlm"}}, "captioner: kind = 'vlm' needs a checkpoint of its own"),
        (
            {"captioner": {"kind": "chat", "min_length": 3}},
            "captioner: min_length is no option of kind = 'chat' (it belongs to blip); leave it",
        ),
        (
            {"captioner": {"model": "gpt-4o"}},
            "captioner: model is no option of kind = 'blip' (it belongs to chat); leave it out",
        ),
        ({"captioner": {"kind": "concepts"}}, "captioner: kind = 'concepts' needs a file"),
        (
            {"captioner": {"kind": "concepts", "concepts": "a.txt", "prompt": "a thing"}},
            "captioner: the prompt template 'a thing' has no {concept}",
        ),
        (
            {"text_to_image": {"kind": "images", "steps": 4}},
            "text_to_image: steps is no option of kind = 'images' (it belongs to diffusers)",
        ),
        (
            {"text_to_image": {"kind": "images", "max_cost": 1.0}},
            "text_to_image: max_cost needs price_per_picture too",
        ),
        (
            {"summariser__max_cost": 1.0, "summariser__price_prompt": 0.1},
            "summariser: max_cost needs price_completion too",
        ),
        ({"summariser__price_prompt": -1.0}, "summariser.price_prompt: -1.0 is wrong: "),
        ({"name": ""}, "name: '' is wrong: "),
        ({"models": []}, "models: [] is wrong: "),
        ({"models": [model(layers=[])]}, "models.0.layers: [] is wrong: "),
        ({"models": [{"name": "a", "source": "timm:x"}]}, "models.0.layers: is missing"),
        ({"models": [model(layers=[{}])]}, "models.0.layers.0.path: is missing"),
        (
            {"probing_set": {}},
            "probing_set: names no images; give `folders`, `image_list`, `world` or",
        ),
        ({"probing_set": 3}, "probing_set: 3 is wrong: "),
        ({"models": [model(), model()]}, "two models are called 'net'; names must differ"),
        (
            {"models": [model(layers=[{"path": "fc"}, {"path": "fc"}])]},
            "model 'net' lists layer 'fc' twice",
        ),
        ({"text_to_image__prompt": "a picture"}, "text_to_image.prompt: 'a picture' must contain"),
        ({"text_to_image__prompt": "{concept} {x}"}, "must contain {concept} once and no other"),
        ({"folder": "x"}, "unknown key 'folder'; images go under [probing_set]"),
        (
            {"models": [model(layers=[{"path": "fc", "neurons": ["1-"]}])]},
            "'1-' is no range of neurons; write '10-19'",
        ),
        (
            {"models": [model(layers=[{"path": "fc", "neurons": "some"}])]},
            "'some' is not known; nearest: all",
        ),
        (
            {"models": [model(layers=[{"path": "fc", "neurons": {"sample": 2, "seed": -1}}])]},
            "-1 is wrong: ",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_place(changes, found):
    text = message(**changes)

    assert found in text
    assert "Traceback" not in text
    assert "pydantic" not in text


def test_all_problems_are_told_at_once():
    text = message(
        nam="x",
        name="A",
        dissection={"beta": 0, "eta": 0.5, "scoring": "mean"},
        clip={"pretrain": "x"},
        models=[model(sauce="x", layers=[{"pooling": "avg"}])],
    )

    assert text.splitlines()[0] == "study is not valid:"
    places = sorted(line.strip().partition(":")[0] for line in text.splitlines()[1:])
    assert places == [
        "clip.pretrain",
        "dissection.beta",
        "dissection.eta",
        "dissection.scoring",
        "models.0.layers.0.path",
        "models.0.layers.0.pooling",
        "models.0.sauce",
        "nam",
        "name",
    ]


@pytest.mark.parametrize(
    ("neurons", "found"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ([3], [3]),
        ([5, "1-2", 1], [1, 2, 5]),
        (["0-5"], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_neurons_are_selected_in_ascending_order(neurons, found):
    assert layer(neurons=neurons).indices(6) == found


def test_a_sample_is_drawn_from_its_seed():
    chosen = layer(neurons={"sample": 20, "seed": 3}).indices(1_000)

    assert chosen == layer(neurons={"sample": 20, "seed": 3}).indices(1_000)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 20
    assert all(0 <= neuron < 1_000 for neuron in chosen)
    assert chosen != layer(neurons={"sample": 20, "seed": 4}).indices(1_000)
    assert layer(neurons={"sample": 6}).indices(6) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("neurons", "wrong"),
    [([6], 6), (["4-7"], 6), ([-1], -1), ([2, "0-900000000000"], 6), ([10**30], 10**30)],
)
def test_a_neuron_that_is_not_there(neurons, wrong):
    with pytest.raises(StudyError) as caught:
        layer(neurons=neurons).indices(6)

    assert f"layer 'fc' has no neuron {wrong}; it has 6, numbered 0 to 5." in str(caught.value)


@pytest.mark.parametrize("neurons", [[], ["5-3"]])
def test_a_selection_of_no_neuron_is_refused(neurons):
    with pytest.raises(StudyError, match="neuron"):
        layer(neurons=neurons).indices(6)


def test_a_sample_larger_than_the_layer():
    with pytest.raises(StudyError, match=r"has 6 neurons; a sample of 7 was asked for\. Lower"):
        layer(neurons={"sample": 7}).indices(6)


def test_models_are_found_by_name():
    study = read(models=[model(name="resnet18"), model(name="vit")])

    assert study.model("vit").name == "vit"
    with pytest.raises(NotFoundError, match="no model 'resnet50'; nearest: resnet18"):
        study.model("resnet50")


def test_every_key_of_a_study_may_be_written_in_toml(tmp_path):
    full = SMALL + "".join(
        f"\n[{name}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in section.items())
        for name, section in read().model_dump(mode="json", exclude_none=True).items()
        if isinstance(section, dict) and name not in ("probing_set", "compute")
    )
    (tmp_path / "full.toml").write_text(full)

    assert load_study(tmp_path / "full.toml").model_dump() == read().model_dump()
    assert isinstance(read(), Study)


def toml(value):
    return str(value).lower() if isinstance(value, bool) else repr(value)
