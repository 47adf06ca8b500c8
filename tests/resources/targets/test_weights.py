"""Checkpoints of training frameworks: whatever wraps the weights, the network is the same."""

import argparse
import copy
import pathlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dnd_assets.errors import NotFoundError, StudyError
from resources.targets.networks import TargetNetworks
from resources.targets.state_hash import behaviour_hash, state_hash

NET = """
import torch
from torch import nn
from torchvision.transforms import v2

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(nn.Conv2d(4, 5, 1), nn.ReLU())
        self.fc = nn.Linear(5, 3)
    def forward(self, x):
        return self.fc(self.blocks(self.norm(self.conv(x))).mean(dim=(2, 3)))

def make():
    return Net()

def transforms():
    return v2.Compose([v2.Resize((12, 12)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
"""
LAYERS = {"conv": "auto", "norm": "auto", "blocks.0": "auto", "fc": "auto"}


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def other(state):
    """Weights of the same names and other numbers."""
    return {name: value + 1 for name, value in state.items()}


def averaged(state):
    """As `torch.optim.swa_utils.AveragedModel` saves itself."""
    return {"n_averaged": torch.tensor(3), **prefixed(state, "module.")}


def adam(state):
    """The state of an optimiser, which has tensors of its own."""
    return {"state": {0: {"exp_avg": torch.zeros(3), "step": 3}}, "param_groups": [{"lr": 0.1}]}


def lightning(state, prefix="model."):
    return {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {**prefixed(state, prefix), "criterion.weight": torch.ones(3)},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"best": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [adam(state)],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "width": 4},
    }


def dino(state):
    return {
        "teacher": {**prefixed(state, "backbone."), "head.last_layer.weight": torch.ones(2, 2)},
        "student": {
            **prefixed(other(state), "module.backbone."),
            "module.head.last_layer.weight": torch.ones(2, 2),
        },
        "args": argparse.Namespace(arch="net", lr=0.1),
        "optimizer": adam(state),
        "dino_loss": {"center": torch.zeros(1, 8)},
    }


def moco(state):
    return {
        "epoch": 200,
        "arch": "net",
        "state_dict": {
            **prefixed(state, "module.encoder_q."),
            **prefixed(other(state), "module.encoder_k."),
            "module.queue": torch.zeros(8, 16),
            "module.queue_ptr": torch.zeros(1, dtype=torch.long),
        },
        "optimizer": adam(state),
    }


WRAPPED = {
    "plain": (lambda s: s, ""),
    "state_dict": (lambda s: {"state_dict": s, "epoch": 3}, "'state_dict'"),
    "model": (lambda s: {"model": s, "optimizer": adam(s)}, "'model'"),
    "model_state_dict": (lambda s: {"model_state_dict": s, "loss": 0.1}, "'model_state_dict'"),
    "any key": (lambda s: {"my_net": s, "step": 7}, "'my_net'"),
    "ddp": (lambda s: prefixed(s, "module."), "'module'"),
    "ddp in state_dict": (lambda s: {"state_dict": prefixed(s, "module.")}, "'state_dict.module'"),
    "compiled": (lambda s: prefixed(s, "_orig_mod."), ""),
    "compiled ddp": (lambda s: prefixed(s, "module._orig_mod."), "'module'"),
    "compiled block": (
        lambda s: {n.replace("blocks.", "blocks._orig_mod."): v for n, v in s.items()},
        "",
    ),
    "swa": (averaged, "'module', left out n_averaged"),
    "swa in state_dict": (lambda s: {"state_dict": averaged(s)}, "left out n_averaged"),
    "lightning": (lightning, "'state_dict.model', left out criterion.weight"),
    "lightning net": (lambda s: lightning(s, "net."), "'state_dict.net'"),
    "lightning deep": (lambda s: lightning(s, "model.backbone."), "'state_dict.model.backbone'"),
    "lightning compiled": (lambda s: lightning(s, "model._orig_mod."), "'state_dict.model'"),
    "ema of timm": (
        lambda s: {"state_dict": other(s), "state_dict_ema": s},
        "'state_dict_ema', not from 'state_dict' (averaged weights",
    ),
    "model_ema": (lambda s: {"model": other(s), "model_ema": s}, "'model_ema'"),
    "ema": (lambda s: {"model": other(s), "ema": {"module": s, "updates": 3}}, "'ema.module'"),
    "ema of lightning": (
        lambda s: {"state_dict": {**prefixed(other(s), "model."), **prefixed(s, "ema_model.")}},
        "'state_dict.ema_model'",
    ),
    "dino": (dino, "'teacher.backbone', not from 'student.module.backbone' (the teacher"),
    "moco": (moco, "'state_dict.module.encoder_q', not from"),
    "moco v3": (
        lambda s: {
            "state_dict": {
                **prefixed(s, "module.base_encoder."),
                **prefixed(other(s), "module.momentum_encoder."),
                "module.predictor.0.weight": torch.ones(2, 2),
            }
        },
        "'state_dict.module.base_encoder'",
    ),
    "byol": (
        lambda s: {**prefixed(s, "online_network."), **prefixed(other(s), "target_network.")},
        "'online_network'",
    ),
    "equal twice": (lambda s: {"a": s, "b": copy.deepcopy(s)}, "(equal numbers)"),
    "numpy numbers": (
        lambda s: {"model": s, "best": np.float64(0.5), "at": np.int64(3), "in": pathlib.Path("x")},
        "'model'",
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


@pytest.fixture
def of(cpu, folder):
    def networks(weights=None, source="module:net:make", **more):
        model = {"name": "net", "source": source, "weights": weights, **more}
        return TargetNetworks(models=[model], base=str(folder), compute=cpu)

    return networks


@pytest.fixture
def trained(of):
    """A state that is not the one of the seeded factory."""
    torch.manual_seed(5)
    state = of()._network("net").module.state_dict()
    return {
        n: torch.rand_like(v) + 0.5 if v.is_floating_point() else v + 2 for n, v in state.items()
    }


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapped_checkpoint_is_the_network_itself(name, of, folder, trained, photos):
    wrap, said = WRAPPED[name]
    save_file(trained, folder / "plain.safetensors")
    torch.save(wrap(trained), folder / "wrapped.pt")

    plain, wrapped = of("plain.safetensors"), of("wrapped.pt")

    assert wrapped.fingerprint("net") == plain.fingerprint("net")
    own, theirs = (one.activations("net", LAYERS, photos[:2]) for one in (plain, wrapped))
    for path in LAYERS:
        assert np.array_equal(own[path], theirs[path])
    assert not np.array_equal(own["fc"], of().activations("net", LAYERS, photos[:2])["fc"])
    assert said in wrapped.told("net")
    assert bool(said) == bool(wrapped.told("net"))


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda s: {"state_dict": s, "state_dict_ema": other(s)}, "state_dict"),
        (
            lambda s: {
                "teacher": prefixed(other(s), "backbone."),
                "student": prefixed(s, "backbone."),
            },
            "student",
        ),
        (
            lambda s: {"state_dict": {**prefixed(s, "left."), **prefixed(other(s), "right.")}},
            "left",
        ),
        (
            lambda s: {"state_dict": {**prefixed(s, "left."), **prefixed(other(s), "right.")}},
            "state_dict.left",
        ),
    ],
)
def test_weights_key_chooses_among_several(of, folder, trained, wrap, key):
    save_file(trained, folder / "plain.safetensors")
    torch.save(wrap(trained), folder / "wrapped.pt")

    chosen = of("wrapped.pt", weights_key=key).fingerprint("net")

    assert chosen == of("plain.safetensors").fingerprint("net")
    with pytest.raises(NotFoundError, match=r"weights_key in wrapped\.pt 'nothing'; nearest: "):
        of("wrapped.pt", weights_key="nothing").layers("net")


def test_which_of_several_is_asked_where_no_rule_tells(of, folder, trained):
    torch.save(
        {**prefixed(trained, "left."), **prefixed(other(trained), "right.")}, folder / "w.pt"
    )

    with pytest.raises(StudyError, match=r"'left', 'right'.*`weights_key = 'left'`"):
        of("w.pt").layers("net")
    with pytest.raises(StudyError, match=r"weights_key = 'left'.*`weights` names none"):
        of(weights_key="left").layers("net")


def test_what_does_not_fit_is_told_with_the_nearest_names(of, folder, trained):
    renamed = {n.replace("blocks.0", "block.0"): v for n, v in trained.items()}
    torch.save({"state_dict": prefixed(renamed, "model.")}, folder / "renamed.pt")
    torch.save({"optimizer": adam(trained), "epoch": 3}, folder / "none.pt")

    with pytest.raises(
        StudyError,
        match=r"'state_dict\.model': Missing keys: blocks\.0\.weight, blocks\.0\.bias "
        r"\(nearest there: block\.0\.weight\)\. Unexpected keys: block\.0\.weight",
    ):
        of("renamed.pt").layers("net")
    with pytest.raises(StudyError, match=r"Missing keys: .*none of the network's names"):
        of("none.pt").layers("net")


def test_an_encoder_without_a_head_is_told_or_refused(of, folder, trained):
    """Random numbers in place of a head would be labelled as units."""
    bare = {name: value for name, value in trained.items() if not name.startswith("fc.")}
    torch.save({"state_dict": prefixed(bare, "backbone.")}, folder / "bare.pt")
    with pytest.raises(StudyError, match=r"Missing keys: those of its last layer 'fc'.*Identity"):
        of("bare.pt").layers("net")

    import timm

    torch.manual_seed(3)
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    head = {"fc.0.weight": torch.ones(2, 2), "fc.2.weight": torch.ones(2, 2)}  # a projection
    wrapped = {"state_dict": prefixed({**state, **head}, "module.encoder_q.")}
    torch.save(wrapped, folder / "moco.pt")
    found = of("moco.pt", "timm:test_resnet")
    assert "no weights for the last layer 'fc', which is left out" in found.told("net")
    kinds = {one.path: one.kind for one in found.layers("net")}
    assert kinds["fc"] == "Identity"
    loaded = found._network("net").module.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_a_head_of_another_size_behind_a_wrapper(of, folder):
    import timm

    torch.manual_seed(4)
    state = timm.create_model("test_resnet", num_classes=6).state_dict()
    torch.save({"state_dict": prefixed(state, "module.")}, folder / "six.pt")

    assert of("six.pt", "timm:test_resnet").units("net", "fc") == 6


class Settings:
    """A class of a training script's own."""


def test_what_else_a_checkpoint_holds_is_named(of, folder, trained):
    torch.save({"model": trained, "cfg": Settings()}, folder / "settings.ckpt")

    with pytest.raises(StudyError, match=r"refused.*\(it holds .*Settings\).*torch\.save"):
        of("settings.ckpt").layers("net")


KINDS = """
import torch
from torch import nn
from torchvision.transforms import v2

class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.turn = nn.Parameter(torch.tensor([1 + 2j, 3 - 1j, 0.5j]))
        self.out = nn.Identity()
    def forward(self, x):
        return self.out((x.mean(dim=(2, 3)) * self.turn).imag)

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        return self.conv(x)

class Casts(Plain):
    def forward(self, x):
        return self.conv(x.double())

def complex_net(): return Complex()
def double(): return Plain().double()
def half(): return Plain().half()
def brain(): return Plain().bfloat16()
def casts(): return Casts().double()
def plain(): return Plain()
def quantised():
    net = nn.Sequential(nn.Flatten(), nn.Linear(432, 4))
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
def transforms():
    return v2.Compose([v2.Resize((12, 12)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
"""


def test_complex_weights_keep_their_imaginary_part(of, folder, photos):
    (folder / "kinds.py").write_text(KINDS)
    found = of(source="module:kinds:complex_net")
    net = found._network("net")
    assert net.module.turn.dtype == torch.complex64

    means = net.pixels(photos[0]).mean(dim=(1, 2))

    # The imaginary part of a real number times a + bi is b times it.
    expected = means * torch.tensor([2.0, -1.0, 0.5])
    rows = found.activations("net", {"out": "auto"}, photos[:1])["out"]
    assert np.allclose(rows[0], expected, rtol=1e-3)
    torch.save({"turn": net.module.turn.detach() * 1j}, folder / "turned.pt")
    turned = of("turned.pt", "module:kinds:complex_net")
    assert torch.equal(turned._network("net").module.turn, net.module.turn * 1j)
    assert turned.fingerprint("net")["weights"] != found.fingerprint("net")["weights"]


@pytest.mark.parametrize("kind", ["double", "half", "brain", "casts"])
def test_other_types_than_float32_run(of, folder, photos, kind):
    (folder / "kinds.py").write_text(KINDS)
    rows = of(source=f"module:kinds:{kind}").activations("net", {"conv": "auto"}, photos[:2])
    plain = of(source="module:kinds:plain").activations("net", {"conv": "auto"}, photos[:2])
    close = 1e-5 if kind in ("double", "casts") else 3e-2
    assert rows["conv"].dtype == np.float32
    assert np.allclose(rows["conv"], plain["conv"], atol=close)  # the same seeded numbers
    maps = of(source=f"module:kinds:{kind}").maps("net", [("conv", 1)], photos[:1])
    assert maps["conv", 1][0].dtype == np.float32


@pytest.mark.filterwarnings("ignore")
def test_quantised_networks_run_and_are_told_apart(of, folder, photos):
    (folder / "kinds.py").write_text(KINDS)
    found = of(source="module:kinds:quantised")
    assert found.units("net", "1") == 4
    assert found.activations("net", {"1": "auto"}, photos[:1])["1"].std() > 0
    linear = nn.Linear(8, 4)
    altered = copy.deepcopy(linear)
    with torch.no_grad():
        altered.weight[0, 0] += 1.0
    hashes = {
        state_hash(
            torch.ao.quantization.quantize_dynamic(
                nn.Sequential(one), {nn.Linear}, dtype=torch.qint8
            )
        )
        for one in (linear, altered, linear)
    }
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.ones(4, 3, 3, 3, dtype=torch.complex64), "complex64.*imaginary"),
        (torch.ones(4, 3, 3, 3, dtype=torch.int8), "int8"),
    ],
)
def test_weights_that_loading_would_change_are_refused(of, folder, trained, value, said):
    torch.save({**trained, "conv.weight": value}, folder / "w.pt")

    with pytest.raises(StudyError, match=rf"conv\.weight as torch\.{said}"):
        of("w.pt").layers("net")


def test_hashes_see_what_is_in_no_state_dictionary():
    class Scaled(nn.Module):
        def __init__(self, scale=1.0, table=0.0, eps=1e-5):
            super().__init__()
            self.scale = scale
            self.table = torch.tensor([table])
            self.norm = nn.LayerNorm(2, eps=eps)
            self.register_buffer("hidden", torch.tensor([table]), persistent=False)

    made = [Scaled(), Scaled(scale=2.0), Scaled(table=1.0), Scaled(eps=1e-3), Scaled()]

    assert len({state_hash(one) for one in made}) == 1
    assert len({behaviour_hash(one) for one in made}) == 4
    assert behaviour_hash(made[0]) == behaviour_hash(made[4])


class Opaque(nn.Module):
    def get_extra_state(self):
        return object()


def test_a_state_that_cannot_be_hashed_is_refused():
    with pytest.raises(StudyError, match=r"_extra_state as object.*plain tensors"):
        state_hash(Opaque())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor([1 + 1j]), torch.tensor([1 + 2j])),
        (torch.tensor([1, 2], dtype=torch.int8), torch.tensor([1, 3], dtype=torch.int8)),
        (torch.tensor([1.0]).half(), torch.tensor([1.0]).bfloat16()),
        (torch.tensor([1.0, 0.0]).to_sparse(), torch.tensor([2.0, 0.0]).to_sparse()),
        (torch.tensor(1.0).to(torch.float8_e4m3fn), torch.tensor(2.0).to(torch.float8_e4m3fn)),
        (torch.zeros(0, 3), torch.zeros(3, 0)),
        (torch.tensor([1 + 1j]).conj(), torch.tensor([1 + 1j])),
    ],
)
def test_every_kind_of_tensor_counts_by_its_content(one, other):
    class Holder(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.register_buffer("value", value)

    assert state_hash(Holder(one)) != state_hash(Holder(other))
    assert state_hash(Holder(one)) == state_hash(Holder(one.clone()))


def _classifier(kind, folder):
    """A classifier around the vision tower of CLIP or SigLIP, and its own last weights."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "intermediate_size": 32, "vocab_size": 99}
    vision = {**sizes, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision)
    config.num_labels = 3
    torch.manual_seed(21)
    model = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
    nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["Siglip", "CLIP"])
def test_classifiers_keep_their_head(kind, cpu, tmp_path, photos):
    model = _classifier(kind, tmp_path)
    spec = {"name": "net", "source": f"hf:{tmp_path}"}
    found = TargetNetworks(models=[spec], compute=cpu)

    assert found.units("net", "classifier") == 3
    rows = found.activations("net", {"classifier": "auto"}, photos[:2])["classifier"]

    net = found._network("net")
    pixels = torch.stack([net.pixels(photo) for photo in photos[:2]])
    with torch.inference_mode():
        expected = model(pixel_values=pixels).logits.numpy()
    assert np.allclose(rows, expected, rtol=1e-3, atol=1e-4)
    assert "classifier" in found.final_layers("net")
