"""The diffusers painter on a tiny Stable Diffusion."""

import shutil
import time

import numpy as np
import pytest

from dnd_assets.errors import StudyError
from resources.text_to_image.base import DiffusersTextToImage, PaintRequest
from tests.resources import tiny

REQUESTS = [
    PaintRequest("red", 1),
    PaintRequest("blue circle", 1),
    PaintRequest("red", 2),
    PaintRequest("night", 2**40),
    PaintRequest("{odd} braces", 5),
]


def painter(folder, cpu, **settings):
    return DiffusersTextToImage(
        checkpoint=str(folder), compute=cpu, **{"steps": 3, "guidance": 3.0, **settings}
    )


def pixels(paintings):
    return np.stack([np.asarray(painting.image) for painting in paintings])


@pytest.fixture(scope="module")
def paintings(diffusion_folder, cpu):
    return painter(diffusion_folder, cpu).paint(REQUESTS, 3)


def test_pictures_follow_concept_and_seed(paintings):
    images = pixels(paintings)

    assert images.shape == (5, 16, 16, 3)
    assert not any(painting.rejected for painting in paintings)
    for one in range(5):
        for other in range(one):
            assert not np.array_equal(images[one], images[other])


def test_a_request_paints_the_same_alone_again_and_in_any_order(diffusion_folder, cpu, paintings):
    images = pixels(paintings)
    own = painter(diffusion_folder, cpu)

    assert np.array_equal(pixels(own.paint(REQUESTS, 3)), images)
    assert np.array_equal(pixels(own.paint(REQUESTS[::-1], 3))[::-1], images)
    assert np.array_equal(pixels(own.paint(REQUESTS[3:4], 3)), images[3:4])


def test_the_batch_size_changes_nothing_one_can_see(diffusion_folder, cpu, paintings):
    others = pixels(painter(diffusion_folder, cpu).paint(REQUESTS, 2))

    assert np.abs(others.astype(int) - pixels(paintings).astype(int)).max() <= 1


def test_it_paints_what_the_pipeline_paints(diffusion_folder, cpu, paintings):
    """The reference: one picture, DPM-Solver++ multistep, the paper's prompt."""
    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(diffusion_folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        "One realistic image of blue circle",
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=torch.Generator("cpu").manual_seed(1),
    ).images[0]

    difference = np.asarray(image).astype(int) - pixels(paintings)[1].astype(int)
    assert np.abs(difference).max() <= 1


def test_the_scheduler_is_replaced_and_keeps_the_noise_schedule(diffusion_folder, cpu):
    ours = painter(diffusion_folder, cpu)._load().scheduler
    saved = painter(diffusion_folder, cpu, scheduler="checkpoint")._load().scheduler

    assert type(ours).__name__ == "DPMSolverMultistepScheduler"
    assert ours.config.algorithm_type == "dpmsolver++"
    assert type(saved).__name__ == "PNDMScheduler"
    for name in ("prediction_type", "beta_start", "beta_end", "beta_schedule"):
        assert ours.config[name] == saved.config[name]
    assert ours.config.prediction_type == "v_prediction"


@pytest.mark.parametrize(
    "settings",
    [
        {"scheduler": "checkpoint"},
        {"steps": 4},
        {"guidance": 1.0},
        {"guidance": 0.0},
        {"prompt": "a drawing of {concept}"},
        {"width": 32, "height": 24},
    ],
)
def test_every_setting_matters(diffusion_folder, cpu, paintings, settings):
    own = painter(diffusion_folder, cpu, **settings)
    images = pixels(own.paint(REQUESTS[:2], 2))

    size = (settings.get("height", 16), settings.get("width", 16))
    assert images.shape[1:3] == size
    if size == (16, 16):
        assert not np.array_equal(images, pixels(paintings[:2]))
    assert own.fingerprint() != painter(diffusion_folder, cpu).fingerprint()


def test_without_guidance_the_weight_does_not_matter(diffusion_folder, cpu):
    one = painter(diffusion_folder, cpu, guidance=1.0).paint(REQUESTS[:2], 2)
    zero = painter(diffusion_folder, cpu, guidance=0.0).paint(REQUESTS[:2], 2)

    assert np.array_equal(pixels(one), pixels(zero))


@pytest.mark.parametrize(("threshold", "rejected"), [(-2.0, True), (2.0, False)])
def test_the_safety_checker_rejects(cpu, tmp_path, paintings, threshold, rejected):
    """Cosines lie within -1 and 1, so these thresholds blank every picture, or none."""
    folder = tiny.stable_diffusion(tmp_path / "safe", threshold)

    checked = painter(folder, cpu).paint(REQUESTS[:3], 2)

    assert [painting.rejected for painting in checked] == [rejected] * 3
    assert (pixels(checked).max() == 0) == rejected


def test_each_batch_is_handed_over_once(diffusion_folder, cpu, paintings):
    seen = []

    painter(diffusion_folder, cpu).paint(REQUESTS, 3, on_batch=lambda *both: seen.append(both))

    assert [request for batch, _ in seen for request in batch] == REQUESTS
    assert np.array_equal(pixels([p for _, done in seen for p in done]), pixels(paintings))


def test_painting_prints_nothing(diffusion_folder, cpu, capfd):
    painter(diffusion_folder, cpu).paint(REQUESTS[:1], 1)

    assert capfd.readouterr() == ("", "")


def test_the_fingerprint_follows_the_weights_not_the_place(diffusion_folder, cpu, tmp_path):
    before = painter(diffusion_folder, cpu).fingerprint()
    moved = shutil.copytree(diffusion_folder, tmp_path / "moved")
    assert painter("moved", cpu, base=str(tmp_path)).fingerprint() == before

    weights = next((moved / "unet").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert painter(moved, cpu).fingerprint() != before


def test_a_missing_checkpoint_names_the_command_at_once(cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.perf_counter()

    with pytest.raises(
        StudyError, match="hf download CompVis/stable-diffusion-v1-4 --revision v1`"
    ):
        painter("CompVis/stable-diffusion-v1-4", cpu, revision="v1").check()

    assert time.perf_counter() - start < 1.0


def test_an_unknown_scheduler_is_refused(diffusion_folder, cpu):
    with pytest.raises(StudyError, match=r"'dpm'; nearest: dpmsolver\+\+"):
        painter(diffusion_folder, cpu, scheduler="dpm").check()
