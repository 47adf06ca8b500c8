"""Attention heads as units, against an attention worked out in numpy, and their ablation."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from dnd_assets.errors import StudyError
from dnd_assets.study.deciding import deciding
from dnd_assets.study.study import parse_study
from resources.runtime.compute import Compute
from resources.targets.networks import TargetNetworks

SIDE, PATCH, WIDTH, HEADS = 16, 4, 12, 3
GRID = SIDE // PATCH


class Attention(nn.Module):
    """Multi-head attention as timm has it."""

    def __init__(self):
        super().__init__()
        self.num_heads = HEADS
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens):
        batch, count, _ = tokens.shape
        q, k, v = self.qkv(tokens).reshape(batch, count, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, WIDTH))


class Small(nn.Module):
    """A transformer of one block on patches, with a class token and four classes."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.attn = Attention()
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, images):
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + self.attn(self.norm(tokens))
        return self.head(tokens[:, 0])


def small():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return Small().eval()


def transforms():
    kind = torch.float32
    return v2.Compose([v2.Resize((SIDE, SIDE)), v2.ToImage(), v2.ToDtype(kind, scale=True)])


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(7)
    made = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(4)]
    return [Image.fromarray(one) for one in made]


def targets(count=HEADS, path="attn.proj", tokens="patches"):
    heads = {"path": path, "kind": "heads", "count": count, "tokens": tokens}
    layout = {"path": path, "layout": "ntc", "grid": [GRID, GRID], "prefix_tokens": 1}
    model = {"name": "net", "source": "module:tests.resources.targets.test_heads:small",
             "codings": [heads], "layouts": [layout]}  # fmt: skip
    return TargetNetworks(models=[model], compute=Compute(device="cpu"))


def worked_out(pictures):
    """What each head gives each token, (pictures, tokens, heads, width of a head), in numpy."""
    net, see = small(), transforms()
    with torch.inference_mode():
        tokens = net.embed(torch.stack([see(one) for one in pictures])).flatten(2).transpose(1, 2)
        tokens = torch.cat([net.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        given = net.norm(tokens).double().numpy()
    weight, bias = (
        one.detach().double().numpy() for one in (net.attn.qkv.weight, net.attn.qkv.bias)
    )
    found = []
    for one in given:
        q, k, v = np.split(one @ weight.T + bias, 3, axis=1)
        heads = []
        for head in range(HEADS):
            part = np.s_[:, head * 4 : head * 4 + 4]
            scores = np.exp(q[part] @ k[part].T / 2)
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[part])
        found.append(np.stack(heads, axis=1))
    return np.stack(found), tokens.double().numpy()


def test_a_heads_activation_is_the_length_of_its_vector(pictures):
    lengths = np.linalg.norm(worked_out(pictures)[0], axis=3)
    for tokens, rows in (("patches", lengths[:, 1:]), ("class", lengths[:, :1]), ("all", lengths)):
        net = targets(tokens=tokens)
        assert net.units("net", "attn.proj") == HEADS
        found = net.activations("net", {"attn.proj": "auto"}, pictures)["attn.proj"]
        np.testing.assert_allclose(found, rows.max(axis=1), rtol=1e-3)
    mean = targets().activations("net", {"attn.proj": "mean"}, pictures)["attn.proj"]
    np.testing.assert_allclose(mean, lengths[:, 1:].mean(axis=1), rtol=1e-3)


def test_heads_have_maps_over_the_patches(pictures):
    lengths = np.linalg.norm(worked_out(pictures)[0], axis=3)[:, 1:]
    units = [("attn.proj", head) for head in range(HEADS)]
    maps = targets().maps("net", units, pictures)
    for _, head in units:
        for place in range(len(pictures)):
            wanted = lengths[place, :, head].reshape(GRID, GRID)
            np.testing.assert_allclose(maps["attn.proj", head][place], wanted, rtol=1e-3)


def test_a_head_is_ablated_before_the_projection_mixes_it(pictures):
    heads, tokens = worked_out(pictures)
    net, whole = small(), targets()
    weight, bias, out, shift = (
        one.detach().double().numpy()
        for one in (net.attn.proj.weight, net.attn.proj.bias, net.head.weight, net.head.bias)
    )

    def scores(gone, instead):
        kept = heads.copy()
        kept[:, :, gone] = instead[:, :, gone] if np.ndim(instead) else instead
        mixed = kept.reshape(*kept.shape[:2], WIDTH)[:, 0] @ weight.T + bias
        return (tokens[:, 0] + mixed) @ out.T + shift

    groups = [(), (1,), (0, 2)]
    zero = whole.outputs_without("net", "attn.proj", groups, pictures, None)
    means = whole.values_replaced("net", "attn.proj", pictures).mean(axis=0)
    assert means.shape == (WIDTH,)
    mean = whole.outputs_without("net", "attn.proj", groups, pictures, means)
    donors = [1, 2, 3, 0]
    other = whole.outputs_without("net", "attn.proj", groups, pictures, None, donors)
    average = np.broadcast_to(heads.mean(axis=(0, 1)), heads.shape)
    for found, instead in ((zero, 0.0), (mean, average), (other, heads[donors])):
        for place, gone in enumerate(groups):
            np.testing.assert_allclose(found[place], scores(list(gone), instead), atol=2e-3)


@pytest.mark.parametrize(
    ("path", "count", "told"),
    [
        ("attn.proj", 4, r"mixes 3 heads, and the study says 4"),
        ("attn.proj", 5, "cannot share"),
        ("attn.qkv", 3, "no square nn.Linear"),
        ("norm", 3, "is LayerNorm"),
    ],
)
def test_what_is_no_projection_of_so_many_heads_is_refused(path, count, told, pictures):
    with pytest.raises(StudyError, match=told):
        targets(count, path).activations("net", {path: "auto"}, pictures)


def test_heads_of_known_libraries_are_read_before_their_projection(vit_folder):
    """The projection of a transformers ViT is found by its message, and read."""
    plain = TargetNetworks(
        models=[{"name": "net", "source": f"hf:{vit_folder}"}], compute=Compute(device="cpu")
    )
    modules = dict(plain._network("net").module.named_modules())
    linear = [n for n, m in modules.items() if isinstance(m, nn.Linear) and "attention" in n]
    path = next(n for n in linear if n.rpartition(".")[2] in ("dense", "out_proj", "o_proj"))
    width = modules[path].in_features
    config = plain._network("net").module.config
    count = config.num_attention_heads
    heads = {"path": path, "kind": "heads", "count": count, "tokens": "all"}
    net = TargetNetworks(
        models=[{"name": "net", "source": f"hf:{vit_folder}", "codings": [heads]}],
        compute=Compute(device="cpu"),
    )
    rng = np.random.default_rng(3)
    pictures = [Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))]
    seen = []
    network = net._network("net")
    loaded = network.module
    hook = dict(loaded.named_modules())[path].register_forward_pre_hook(
        lambda _module, given: seen.append(given[0].detach())
    )
    with torch.inference_mode():  # the product's own passes run on copies of the module
        network.call(loaded, net.prepared("net", pictures[0])[None])
    hook.remove()
    found = net.activations("net", {path: "auto"}, pictures)[path]
    lengths = seen[-1].reshape(1, -1, count, width // count).norm(dim=3).amax(dim=1)
    np.testing.assert_allclose(found, lengths.numpy(), rtol=1e-3)
    wrong = next(n for n in linear if n.rpartition(".")[2] in ("query", "q_proj"))
    heads["path"] = wrong
    refused = TargetNetworks(
        models=[{"name": "net", "source": f"hf:{vit_folder}", "codings": [heads]}],
        compute=Compute(device="cpu"),
    )
    with pytest.raises(StudyError, match="last linear layer"):
        refused.activations("net", {wrong: "auto"}, pictures)


def test_neurons_of_the_mlp_are_units_with_maps_as_they_are(vit_folder):
    net = TargetNetworks(
        models=[{"name": "net", "source": f"hf:{vit_folder}"}], compute=Compute(device="cpu")
    )
    config = net._network("net").module.config
    inner = [one for one in net.layers("net") if one.units == config.intermediate_size]
    assert inner
    assert all(one.has_map for one in inner if one.shape and len(one.shape) == 2)


def test_what_is_declared_of_heads_reaches_the_keys():
    plain, other = targets(), targets(tokens="all")
    layouts = [one.layout("net", "attn.proj") for one in (plain, other)]
    assert layouts[0] != layouts[1]
    assert plain.codings("net") != other.codings("net")
    neurons = TargetNetworks(models=[plain.models[0].model_copy(update={"codings": []})],
                             compute=Compute(device="cpu"))  # fmt: skip
    assert neurons.layout("net", "attn.proj") not in layouts


def test_a_study_declares_heads_by_name_and_ablates_them(colours, tmp_path):
    from tests.studies import changed, label_alone, write_images

    write_images(tmp_path / "images", 6)
    table = changed(colours, ablation={"how": "zero"})
    layer = {"path": "attn.proj", "layout": "ntc", "grid": [GRID, GRID], "prefix_tokens": 1,
             "heads": {"count": HEADS}}  # fmt: skip
    source = "module:tests.resources.targets.test_heads:small"
    table["models"] = [{"name": "net", "source": source, "layers": [layer]}]
    study = parse_study(table, tmp_path)
    _, found = label_alone(study, tmp_path / "state", "ablation_effects")
    assert {one.product.outcome.status for one in found.values()} == {"ok"}
    assert len(found) == HEADS
    _, active = label_alone(study, tmp_path / "state", "activations")
    assert {one.product.outcome.status for one in active.values()} == {"ok"}
    assert deciding(study, "activations", "net", "attn.proj")["models"]["coding"]["count"] == HEADS


def test_one_coding_a_layer(tmp_path):
    layer = {"path": "attn.proj", "heads": {"count": 3}, "sae": {"path": "sae"}}
    table = {"name": "mine", "probing_set": {"folders": ["images"]},
             "models": [{"name": "net", "source": "module:m:f", "layers": [layer]}]}  # fmt: skip
    with pytest.raises(StudyError, match="one of `sae`, `directions` and `heads`"):
        parse_study(table, tmp_path)


class Torch(nn.Module):
    """The same with PyTorch's own attention, its projection run by a function."""

    def __init__(self, batch_first):
        super().__init__()
        net = small()
        self.embed, self.cls_token, self.norm, self.head = (
            net.embed, net.cls_token, net.norm, net.head
        )  # fmt: skip
        self.batch_first = batch_first
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)
        self.attn.in_proj_weight = net.attn.qkv.weight
        self.attn.in_proj_bias = net.attn.qkv.bias
        self.attn.out_proj.weight = net.attn.proj.weight
        self.attn.out_proj.bias = net.attn.proj.bias

    def forward(self, images):
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        given = self.norm(tokens)
        given = given if self.batch_first else given.transpose(0, 1)
        mixed, _ = self.attn(given, given, value=given, need_weights=False)
        tokens = tokens + (mixed if self.batch_first else mixed.transpose(0, 1))
        return self.head(tokens[:, 0])


def batch_first():
    return Torch(batch_first=True).eval()


def tokens_first():
    return Torch(batch_first=False).eval()


def of_torch(factory, tokens="patches", count=HEADS):
    heads = {"path": "attn", "kind": "heads", "count": count, "tokens": tokens}
    axes = "ntc" if factory == "batch_first" else "tnc"
    layout = {"path": "attn", "layout": axes, "grid": [GRID, GRID], "prefix_tokens": 1}
    model = {"name": "net", "source": f"module:tests.resources.targets.test_heads:{factory}",
             "codings": [heads], "layouts": [layout]}  # fmt: skip
    return TargetNetworks(models=[model], compute=Compute(device="cpu"))


@pytest.mark.parametrize("factory", ["batch_first", "tokens_first"])
def test_heads_of_pytorchs_own_attention_are_read(factory, pictures):
    vectors, _ = worked_out(pictures)
    lengths = np.linalg.norm(vectors, axis=3)
    for tokens, rows in (("patches", lengths[:, 1:]), ("class", lengths[:, :1]), ("all", lengths)):
        found = of_torch(factory, tokens).activations("net", {"attn": "auto"}, pictures)["attn"]
        np.testing.assert_allclose(found, rows.max(axis=1), rtol=1e-3)
    maps = of_torch(factory).maps("net", [("attn", 1)], pictures)["attn", 1]
    for place, one in enumerate(maps):
        np.testing.assert_allclose(one, lengths[place, 1:, 1].reshape(GRID, GRID), rtol=1e-3)


@pytest.mark.parametrize("factory", ["batch_first", "tokens_first"])
def test_heads_of_pytorchs_own_attention_are_ablated_as_those_of_any_other(factory, pictures):
    plain, own = targets(), of_torch(factory)
    groups = [(), (1,), (0, 2), (0, 1, 2)]
    means = own.values_replaced("net", "attn", pictures).mean(axis=0)
    np.testing.assert_allclose(
        means,
        plain.values_replaced("net", "attn.proj", pictures).mean(axis=0),
        rtol=1e-3,
        atol=1e-4,
    )
    for fill, donors in ((None, None), (means, None), (None, [1, 2, 3, 0])):
        found = own.outputs_without("net", "attn", groups, pictures, fill, donors)
        wanted = plain.outputs_without("net", "attn.proj", groups, pictures, fill, donors)
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    whole = own.outputs("net", pictures)
    assert np.array_equal(own.outputs_without("net", "attn", [()], pictures, None)[0], whole)


def test_masks_and_separate_projections_are_those_of_pytorch():
    """The projected heads are what the module itself gives, whatever it is called with."""
    from resources.targets.attention import heads_of

    torch.manual_seed(0)
    query, key = torch.randn(2, 5, 12), torch.randn(2, 7, 8)
    barred = torch.zeros(2, 7, dtype=torch.bool)
    barred[1, 4:] = True
    causal = torch.ones(5, 7, dtype=torch.bool).triu(1)
    added = torch.randn(2 * 3, 5, 7)
    net = nn.MultiheadAttention(12, 3, kdim=8, vdim=8, batch_first=True).eval()
    own = nn.MultiheadAttention(12, 3, bias=False).eval()
    own_given = query.transpose(0, 1)
    for module, given, named in (
        (net, (query, key, key), {}),
        (net, (query, key, key), {"key_padding_mask": barred}),
        (net, (query, key, key, barred), {"attn_mask": added}),
        (net, (query,), {"key": key, "value": key, "attn_mask": causal}),
        (own, (own_given, own_given, own_given), {"need_weights": False}),
    ):
        wanted, _ = module(*given, **named)
        vectors = heads_of(module, given, named)
        torch.testing.assert_close(module.out_proj(vectors), wanted, rtol=1e-4, atol=1e-5)


def test_another_number_of_heads_and_foreign_keys_are_refused(pictures):
    with pytest.raises(StudyError, match="mixes 3 heads, and the study says 4"):
        of_torch("batch_first", count=4).activations("net", {"attn": "auto"}, pictures)
    from resources.targets.heads import check_heads

    net = nn.Sequential(nn.MultiheadAttention(12, 3, add_bias_kv=True))
    with pytest.raises(StudyError, match="keys and values of its own"):
        check_heads(net, "0", 3)
    with pytest.raises(StudyError, match="name the attention itself: 0"):
        check_heads(nn.Sequential(net[0], nn.LayerNorm(12)), "1", 3)


def vision_transformer():
    from torchvision.models import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = VisionTransformer(
            image_size=SIDE, patch_size=PATCH, num_layers=2, num_heads=3, hidden_dim=12,
            mlp_dim=16, num_classes=5,
        ).eval()  # fmt: skip
        nn.init.normal_(net.heads.head.weight)
    return net


def test_heads_of_torchvisions_transformer(pictures):
    """Found by its own grid and class token; against the same vectors worked out in numpy."""
    path = "encoder.layers.encoder_layer_1.self_attention"
    heads = {"path": path, "kind": "heads", "count": 3, "tokens": "patches"}
    source = "module:tests.resources.targets.test_heads:vision_transformer"
    model = {"name": "net", "source": source, "codings": [heads]}
    net = TargetNetworks(models=[model], compute=Compute(device="cpu"))
    module, seen = vision_transformer(), []
    block = module.encoder.layers[1]
    block.ln_1.register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
    with torch.inference_mode():
        module(torch.stack([transforms()(one) for one in pictures]))
    attention = block.self_attention
    weight, bias = attention.in_proj_weight.double().detach(), attention.in_proj_bias.double()
    q, k, v = np.split((seen[0].double() @ weight.T + bias).detach().numpy(), 3, axis=2)
    lengths = []
    for head in range(3):
        part = np.s_[:, :, head * 4 : head * 4 + 4]
        scores = np.exp(q[part] @ k[part].transpose(0, 2, 1) / 2)
        mixed = scores / scores.sum(axis=2, keepdims=True) @ v[part]
        lengths.append(np.linalg.norm(mixed, axis=2)[:, 1:])
    found = net.activations("net", {path: "auto"}, pictures)[path]
    np.testing.assert_allclose(found, np.stack(lengths).max(axis=2).T, rtol=1e-3)
    maps = net.maps("net", [(path, 2)], pictures)[path, 2]
    for place, one in enumerate(maps):
        np.testing.assert_allclose(one, lengths[2][place].reshape(GRID, GRID), rtol=1e-3)
    gone = net.outputs_without("net", path, [(0, 1, 2)], pictures, None)[0]
    attention.register_forward_hook(lambda m, _i, out: (m.out_proj.bias.expand_as(out[0]), out[1]))
    with torch.inference_mode():
        wanted = module(torch.stack([transforms()(one) for one in pictures]))
    np.testing.assert_allclose(gone, wanted, rtol=1e-3, atol=1e-4)
