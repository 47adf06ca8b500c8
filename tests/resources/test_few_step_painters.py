"""Text-to-image models other than Stable Diffusion 1, most of few steps."""

import json
import shutil

import numpy as np
import pytest
import torch

from dnd_assets.errors import StudyError
from resources.text_to_image import DiffusersTextToImage, PaintRequest
from tests.resources import tiny

REQUESTS = [PaintRequest("red", 1), PaintRequest("blue circle", 1), PaintRequest("red", 2)]
SETTINGS = {
    "sdxl_turbo": {"steps": 1, "guidance": 0.0, "scheduler": "checkpoint"},
    "latent_consistency": {"steps": 4, "guidance": 1.0, "scheduler": "checkpoint"},
    "pixart": {"steps": 2, "guidance": 1.0},
}
SIDES = {"sdxl_turbo": 16, "latent_consistency": 16, "pixart": 256}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("few")
    return {name: getattr(tiny, name)(place / name) for name in SETTINGS}


@pytest.fixture(scope="module")
def make(folders, cpu):
    def make(kind, folder=None, **changes):
        place = str(folder or folders[kind])
        return DiffusersTextToImage(checkpoint=place, compute=cpu, **{**SETTINGS[kind], **changes})

    return make


def pixels(paintings):
    return np.stack([np.asarray(painting.image) for painting in paintings]).astype(int)


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_pictures_follow_concept_and_seed_and_nothing_else(make, kind):
    images = pixels(make(kind).paint(REQUESTS, 3))

    assert images.shape == (3, SIDES[kind], SIDES[kind], 3)
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert np.array_equal(pixels(make(kind).paint(REQUESTS[::-1], 1))[::-1], images)


def test_sdxl_turbo_paints_what_its_pipeline_paints(make, folders):
    """The reference call of its model card: one step, no guidance, its own scheduler."""
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(folders["sdxl_turbo"])
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        "One realistic image of blue circle",
        num_inference_steps=1,
        guidance_scale=0.0,
        generator=torch.Generator("cpu").manual_seed(1),
    ).images[0]

    painted = pixels(make("sdxl_turbo").paint(REQUESTS, 3))[1]

    assert type(make("sdxl_turbo")._load()).__name__ == "StableDiffusionXLPipeline"
    assert np.abs(np.asarray(image).astype(int) - painted).max() <= 1


@pytest.mark.parametrize("steps", [2, 4])
def test_more_steps_paint_other_pictures(make, steps):
    painter = make("sdxl_turbo", steps=steps)

    assert not np.array_equal(
        pixels(painter.paint(REQUESTS[:1], 1)), pixels(make("sdxl_turbo").paint(REQUESTS[:1], 1))
    )
    assert painter.fingerprint() != make("sdxl_turbo").fingerprint()


def test_the_classes_are_those_of_the_checkpoint(make):
    consistency, pixart = make("latent_consistency")._load(), make("pixart")._load()

    assert type(consistency).__name__ == "LatentConsistencyModelPipeline"
    assert type(consistency.scheduler).__name__ == "LCMScheduler"
    assert type(pixart).__name__ == "PixArtAlphaPipeline"
    assert pixart.scheduler.config.algorithm_type == "dpmsolver++"


def test_files_of_one_precision_are_loaded_by_their_variant(make, folders, tmp_path):
    folder = tiny.sdxl_turbo(tmp_path / "half", variant="fp16")
    painter = make("sdxl_turbo", folder, variant="fp16")

    images = pixels(painter.paint(REQUESTS[:1], 1))

    whole = pixels(make("sdxl_turbo").paint(REQUESTS[:1], 1))
    assert np.abs(images - whole).mean() < 8, "the same weights, rounded to half precision"
    assert painter.fingerprint()["variant"] == "fp16"
    assert "variant" not in make("sdxl_turbo").fingerprint()
    with pytest.raises(StudyError, match=r"only files of variant 'fp16'.*variant = 'fp16'"):
        make("sdxl_turbo", folder).check()
    with pytest.raises(StudyError, match=r"lacks \*/\*\.fp16\.safetensors"):
        make("sdxl_turbo", variant="fp16").check()


def test_a_model_of_other_noise_keeps_its_own_scheduler(make, folders, tmp_path):
    folder = shutil.copytree(folders["sdxl_turbo"], tmp_path / "flow")
    path = folder / "scheduler" / "scheduler_config.json"
    config = {**json.loads(path.read_text()), "_class_name": "FlowMatchEulerDiscreteScheduler"}
    path.write_text(json.dumps(config))

    with pytest.raises(StudyError, match=r"FlowMatchEuler.*scheduler = 'checkpoint'"):
        make("sdxl_turbo", folder, scheduler="dpmsolver++").check()
    make("sdxl_turbo", folder).check()
