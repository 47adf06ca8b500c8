"""Each model in 16 bits against itself in float32, within what rounding explains.

A number rounded to p significant bits is off by at most u = 2^-p of it (p = 8 for bfloat16, 11 for
float16), and by u / sqrt(3) in the mean. A product of matrices rounds three times: weights, inputs,
outputs. Such errors are independent, so after L products that amplify nothing the relative error is
about sqrt(3 L) u / sqrt(3) = sqrt(L) u; sums over many inputs only make it smaller.
"""

import numpy as np
import pytest
import torch

from resources.captioners.base import BlipCaptioner
from resources.encoders.open_clip import OpenClip
from resources.runtime.compute import Compute
from resources.targets.network_sources import TargetModel
from resources.targets.networks import TargetNetworks
from resources.text_to_image.base import DiffusersTextToImage, PaintRequest
from resources.text_to_image.diffusion_speed import faster
from tests.resources import tiny

U = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
DTYPES = sorted(U)
REQUESTS = [PaintRequest("red", seed) for seed in range(4)]


def relative(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def in_dtype(dtype):
    return Compute(device="cpu", dtype=dtype)


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope="module")
def noise():
    return tiny.pictures(8, seed=9)


@pytest.fixture(scope="module")
def activations(noise):
    """ResNet-18's activations by precision and layer."""
    layers = {"layer1": 5, "layer4": 17, "fc": 18}  # products up to there

    def of(dtype):
        net = TargetModel(name="net", source="torchvision:resnet18")
        networks = TargetNetworks(models=[net], compute=in_dtype(dtype))
        return networks.activations("net", dict.fromkeys(layers, "auto"), noise[:2], 2)

    return layers, {dtype: of(dtype) for dtype in ("float32", *DTYPES)}


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_off_by_rounding(activations, dtype):
    layers, found = activations
    for layer, products in layers.items():
        error = relative(found[dtype][layer], found["float32"][layer])
        assert error < np.sqrt(products) * U[dtype], layer


def test_three_bits_more_make_activations_eight_times_as_exact(activations):
    layers, found = activations
    for layer in layers:
        errors = [relative(found[d][layer], found["float32"][layer]) for d in DTYPES]
        assert 4 < errors[0] / errors[1] < 16, layer


def test_a_target_keeps_its_weights_under_autocast(vit_folder, noise):
    """What decides a network's identity is its weights as loaded, whatever runs them."""
    net = TargetModel(name="net", source=f"hf:{vit_folder}")
    plain, low = (
        TargetNetworks(models=[net], compute=in_dtype(d)) for d in ("float32", "bfloat16")
    )
    assert low.fingerprint("net")["weights"] == plain.fingerprint("net")["weights"]
    assert low.fingerprint("net")["dtype"] == "bfloat16 autocast"
    assert plain.fingerprint("net")["dtype"] == "float32"
    assert {p.dtype for p in low._network("net").module.parameters()} == {torch.float32}
    error = relative(low.outputs("net", noise, 4), plain.outputs("net", noise, 4))
    assert 0 < error < np.sqrt(13) * U["bfloat16"]  # 2 blocks of 6, patches; the head's inputs


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_embeddings_keep_their_direction(clip_folder, cpu, noise, dtype):
    """A unit vector with relative error e has a cosine of 1 - e^2 / 2 with the exact one."""
    exact = OpenClip(model=str(clip_folder), compute=cpu)
    low = OpenClip(model=str(clip_folder), compute=in_dtype(dtype))
    bound = (np.sqrt(8) * U[dtype]) ** 2 / 2  # a block of 6, patches or words, and the projection
    for of in (lambda e: e.embed_images(noise, 4), lambda e: e.embed_texts(tiny.WORDS)):
        cosines = (unit(of(exact)) * unit(of(low))).sum(axis=1)
        assert 1 - cosines.min() < bound + 1e-6
        assert np.abs(unit(of(exact)) - unit(of(low))).max() > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_captions_are_the_same_where_the_choice_of_words_is_clear(blip_folder, cpu, noise, dtype):
    """Where the best word leads by more than twice the error of a logit, no word changes."""
    settings = {"checkpoint": str(blip_folder), "max_new_tokens": 8, "min_length": 3}
    exact = BlipCaptioner(**settings, compute=cpu)
    low = BlipCaptioner(**settings, compute=in_dtype(dtype))
    model, processor = exact._load()
    pixels = processor(images=noise, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        made = model.generate(
            pixel_values=pixels, max_new_tokens=8, min_length=3, do_sample=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    scores = torch.stack(made.scores, dim=1)
    best = scores.topk(2, dim=-1).values
    size = scores[scores.isfinite()].abs().max()
    error = np.sqrt(16) * U[dtype] * size  # a block of 6 and patches; 7 of words, and the head
    clear = ((best[..., 0] - best[..., 1]).amin(dim=1) > 2 * error).tolist()
    pairs = zip(exact.caption(noise, 4), low.caption(noise, 4), clear, strict=True)
    same = [one == other for one, other, certain in pairs if certain]
    assert len(same) >= 2
    assert all(same)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pictures_are_off_by_rounding(diffusion_folder, cpu, dtype):
    def paint(compute):
        own = DiffusersTextToImage(
            checkpoint=str(diffusion_folder), steps=3, guidance=3.0, compute=compute
        )
        return np.stack([np.asarray(p.image, dtype=float) for p in own.paint(REQUESTS, 4)])

    exact, low = paint(cpu), paint(in_dtype(dtype))
    error = np.sqrt(((exact - low) ** 2).mean())
    products = 3 * 20 + 20  # of the denoiser in three steps, and of the decoder
    assert 0 < error < np.sqrt(products) * U[dtype] * exact.std() + 0.5  # and grey values' own


def test_each_role_has_its_precision(colours, tmp_path):
    from dnd_assets.engine.context_builder import build_context
    from dnd_assets.study.study import parse_study
    from tests.studies import changed

    def dtypes(**settings):
        study = parse_study(changed(colours, **settings), tmp_path)
        context = build_context(study, tmp_path / "state")
        return [
            part.compute.dtype
            for part in (context.targets, context.captioner, context.text_to_image, context.clip)
        ]

    assert dtypes() == ["float32"] * 4
    assert dtypes(compute__dtype="float16") == ["float16"] * 4
    own = dtypes(compute__dtype="float16", compute__precision__clip="float32")
    assert own == ["float16", "float16", "float16", "float32"]


def test_the_usual_precision_keeps_its_fingerprints(blip_folder, clip_folder, diffusion_folder):
    """Results that were stored before precision could be chosen stay valid."""
    compute = Compute(device="cpu")
    models = [
        BlipCaptioner(checkpoint=str(blip_folder), compute=compute),
        OpenClip(model=str(clip_folder), compute=compute),
        DiffusersTextToImage(checkpoint=str(diffusion_folder), compute=compute),
    ]
    for model in models:
        assert model.fingerprint()["dtype"] == "float32"
        assert "compile" not in model.fingerprint()
    low = OpenClip(model=str(clip_folder), compute=in_dtype("bfloat16"))
    assert low.fingerprint()["dtype"] == "bfloat16 autocast"


def test_a_compiled_painter_paints_the_same(diffusion_folder, cpu, monkeypatch):
    """The graphs that torch takes from denoiser and decoder, run without optimising them."""
    monkeypatch.setattr("resources.text_to_image.diffusion_speed._BACKEND", "eager")
    settings = {"checkpoint": str(diffusion_folder), "steps": 2, "guidance": 3.0}
    compiled = DiffusersTextToImage(**settings, compute=Compute(device="cpu", compile=True))
    plain = DiffusersTextToImage(**settings, compute=cpu)
    pairs = zip(plain.paint(REQUESTS[:2], 2), compiled.paint(REQUESTS[:2], 2), strict=True)
    for one, other in pairs:
        difference = np.asarray(one.image).astype(int) - np.asarray(other.image)
        assert np.abs(difference).max() <= 1
    assert compiled._load().unet._compiled_call_impl is not None
    assert plain._load().unet._compiled_call_impl is None
    assert compiled.fingerprint() != plain.fingerprint()


def test_channels_last_is_for_the_cpu_and_for_sixteen_bits_on_cuda(diffusion_folder, cpu):
    class OnCuda(Compute):
        def torch_device(self):
            return torch.device("cuda")

    assert OnCuda(dtype="bfloat16").channels_last
    assert not OnCuda(dtype="float32").channels_last
    assert Compute(device="cpu").channels_last
    pipeline = DiffusersTextToImage(
        checkpoint=str(diffusion_folder), compute=in_dtype("float16")
    )._load()
    faster(pipeline, OnCuda(dtype="float16"))
    weight = pipeline.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
