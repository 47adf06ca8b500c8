"""Pictures that are none (NaN, all pixels the same): rejected, replaced, told, and never scored."""

import io
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from rich.console import Console

from dnd_assets.engine.context_builder import build_context
from dnd_assets.lineage.trace import trace
from dnd_assets.methods.dissection.painted import broken, why
from dnd_assets.results.tables.registry import TABLES
from dnd_assets.results.trace_tree import tree
from dnd_assets.study.study import parse_study
from resources.runtime.compute import Compute
from resources.text_to_image.base import DiffusersTextToImage, PaintRequest
from tests import studies

UNITS = [f"net/colours/{index}" for index in range(3)]
REQUESTS = [PaintRequest("red", 1), PaintRequest("blue circle", 2)]


def _decoding(folder, place, weight=None, bias=None):
    """The tiny pipeline with another last layer of its VAE's decoder."""
    made = shutil.copytree(folder, place)
    (file,) = (made / "vae").glob("*.safetensors")
    state = safetensors.torch.load_file(file)
    if weight is not None:
        state["decoder.conv_out.weight"] *= weight
    if bias is not None:
        state["decoder.conv_out.bias"] += bias
    safetensors.torch.save_file(state, file, {"format": "pt"})
    return made


def _painter(folder, one_thread, **changes):
    settings = {"steps": 1, "guidance": 1.0, "compute": Compute(device="cpu"), **changes}
    return DiffusersTextToImage(checkpoint=str(folder), **settings)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"bias": float("nan")}, "not_finite"),
        ({"weight": 0.0}, "constant"),  # some grey
        ({"weight": 0.0, "bias": 9.0}, "constant"),  # white
        ({"weight": 0.0, "bias": -9.0}, "constant"),  # black
        ({"weight": 0.05, "bias": -0.9}, None),  # nearly black, with a grain
    ],
)
def test_what_the_decoder_gives_decides(
    diffusion_folder, tmp_path, one_thread, capfd, change, cause
):
    folder = _decoding(diffusion_folder, tmp_path / "sd", **change)
    found = _painter(folder, one_thread).paint(REQUESTS, 2)

    assert [(one.rejected, one.cause) for one in found] == [(cause is not None, cause)] * 2
    assert all(one.image.size == (16, 16) for one in found)
    assert capfd.readouterr() == ("", "")


def test_only_what_is_exactly_constant_or_not_finite_is_broken():
    plain = np.zeros((8, 8, 3), np.uint8)
    grain = plain.copy()
    grain[3, 4, 1] = 1
    assert (broken(plain), broken(grain)) == ("constant", None)
    assert broken(np.full((8, 8, 3), (20, 30, 40), np.uint8)) == "constant"
    for value in (np.nan, np.inf):
        pixels = np.random.default_rng(0).random((8, 8, 3))
        pixels[2, 2, 2] = value
        assert broken(pixels) == "not_finite"


def test_the_reason_counts_each_cause():
    rows = [
        {"rejected": True, "cause": "not_finite"},
        {"rejected": True, "cause": "not_finite"},
        {"rejected": True},
        {"rejected": False},
    ]
    assert why(rows, "the pictures of x") == (
        "the pictures of x were rejected (1 by the safety checker, 2 for NaN or infinite pixels)"
    )
    assert why(rows[2:], "the pictures of x") == "the safety checker rejected the pictures of x"


def test_the_remedy_names_half_precision_where_it_is_used(diffusion_folder, one_thread):
    half = _painter(diffusion_folder, one_thread, compute=Compute(device="cpu", dtype="float16"))

    assert "Half precision (float16)" in half.remedy()
    assert "precision.text_to_image = 'bfloat16' or 'float32'" in half.remedy()
    assert "float16" not in _painter(diffusion_folder, one_thread).remedy()


def _run(table, folder, **changes):
    lines = []
    changed = studies.changed(table, **changes)
    studies.write_images(folder / "images")
    found = studies.label(changed, folder, UNITS, log=lines.append)
    return build_context(parse_study(changed, folder), folder / "state"), found, lines


def test_a_painter_that_overflows_ends_in_a_typed_failure(
    colours, diffusion_folder, tmp_path, one_thread
):
    folder = _decoding(diffusion_folder, tmp_path / "sd", bias=float("nan"))
    _, found, lines = _run(colours, tmp_path, text_to_image__checkpoint=str(folder))

    for unit in UNITS:
        if found["candidate_concepts", unit].record.status != "ok":
            continue
        one = found["synthetic_images", unit]
        assert one.record.status == "rejected"
        assert "for NaN or infinite pixels" in one.record.reason
        assert "compute.precision.text_to_image = 'float32'" in one.record.reason
        for entry in one.product.payload["concepts"]:  # asked for again, ROUNDS times Q at most
            assert len(entry["images"]) == 2 * 3
            assert {image["cause"] for image in entry["images"]} == {"not_finite"}
        assert found["scores", unit].record.status == "rejected"
        assert found["labels", unit].record.status == "rejected"
    (warning,) = [line for line in lines if line.startswith("warning:")]
    assert "painted pictures are NaN or of one colour, and are not scored" in warning


def test_broken_pictures_among_sound_ones_are_replaced_and_no_evidence(
    colours, tmp_path, one_thread, monkeypatch
):
    """Every third latent or so overflows in the decoder, as some do in half precision."""
    from diffusers import AutoencoderKL

    decode = AutoencoderKL.decode

    def overflowing(self, latents, *arguments, **settings):
        made = decode(self, latents, *arguments, **settings)
        sample = made[0] if isinstance(made, tuple) else made.sample
        sample[(latents.abs().sum(dim=(1, 2, 3)) * 100).round().long() % 3 == 0] = torch.nan
        return made

    monkeypatch.setattr(AutoencoderKL, "decode", overflowing)
    context, found, _ = _run(colours, tmp_path, dissection__candidates=3)

    seen = {True: 0, False: 0}
    for unit in UNITS:
        if found["synthetic_images", unit].record.status != "ok":
            continue
        concepts = {
            entry["concept"]: entry["images"]
            for entry in found["synthetic_images", unit].product.payload["concepts"]
        }
        for images in concepts.values():
            assert sum(not image["rejected"] for image in images) == 3
            for image in images:
                (picture,) = context.pictures.load([image["image"]])
                seen[image["rejected"]] += 1
                assert (np.asarray(picture).max() == 0) == image["rejected"]
                assert image.get("cause") == ("not_finite" if image["rejected"] else None)
        for entry in found["scores", unit].product.payload["concepts"]:
            sound = [one["image"] for one in concepts[entry["concept"]] if not one["rejected"]]
            values = context.targets.activations(
                "net", {"colours": "mean"}, context.pictures.load(sound), 8
            )["colours"]
            own = sorted(values[:, int(unit[-1])].tolist())
            assert sorted(entry["activations"]) == pytest.approx(own, abs=1e-5)
    assert all(seen.values()), "some pictures are sound and some are not"
    shown = io.StringIO()
    console = Console(file=shown, width=300)
    for unit in UNITS:
        console.print(tree(trace(context.lineage.query, "colours", unit)))
    assert "rejected: the painter's pixels are NaN or infinite" in shown.getvalue()


def test_exported_rows_tell_the_cause():
    (table,) = [one for one in TABLES if one.name == "synthetic_images"]

    assert [one.name for one in table.columns][-2:] == ["rejected", "cause"]


def test_a_picture_of_one_colour_from_a_server_is_rejected():
    from resources.servers.calls import StoredCall
    from resources.text_to_image.image_server import _dialogue
    from tests.painting_server import answer, png

    def painted(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        response = answer(buffer.getvalue()).get_json(force=True)
        dialogue = _dialogue({})
        next(dialogue)
        call = StoredCall(request="k", body={}, response=response, prompt_tokens=0,
                          completion_tokens=0, seconds=0.0, status="ok")  # fmt: skip
        with pytest.raises(StopIteration) as ended:
            dialogue.send(call)
        return ended.value.value

    grey = painted(Image.new("RGB", (16, 16), (90, 90, 90)))
    sound = painted(Image.open(io.BytesIO(png(1))))
    assert (grey.rejected, grey.cause) == (True, "constant")
    assert (sound.rejected, sound.cause) == (False, None)
