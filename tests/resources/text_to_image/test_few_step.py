"""Text-to-image models other than Stable Diffusion 1, most of few steps."""

import json
import shutil

import numpy as np
import pytest
import torch

from dnd_assets.errors import StudyError
from resources.text_to_image.base import DiffusersTextToImage, PaintRequest
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


def test_dpm_solver_takes_the_place_of_those_schedulers_that_diffusers_names():
    """`_compatibles` of each class; of one that needs a package which is not here, its file."""
    import inspect

    from diffusers import schedulers

    from resources.text_to_image.few_step import SAME_NOISE

    says = {
        name
        for name, kind in ((name, getattr(schedulers, name)) for name in dir(schedulers))
        if inspect.isclass(kind)
        and "DPMSolverMultistepScheduler" in getattr(kind, "_compatibles", ())
    }
    video = {one for one in says if "CogVideoX" in one or "Inverse" in one}
    assert says - video | {"DPMSolverSDEScheduler"} == SAME_NOISE


def _changed(folder, place, scheduler=None, index=None):
    made = shutil.copytree(folder, place)
    for path, changes in (
        (made / "scheduler" / "scheduler_config.json", scheduler),
        (made / "model_index.json", index),
    ):
        path.write_text(json.dumps({**json.loads(path.read_text()), **(changes or {})}))
    return made


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("latent_consistency", {"scheduler": "dpmsolver++"}, "LCMScheduler, whose noise"),
        ("latent_consistency", {"steps": 50}, r"steps = 50 \(at most 8\)"),
        ("sdxl_turbo", {"scheduler": "dpmsolver++"}, r"its name is .*scheduler = 'dpmsolver\+\+'"),
        ("sdxl_turbo", {"guidance": 7.5}, "guidance = 7.5"),
        (
            "sdxl_turbo",
            {"steps": 50, "guidance": 7.5, "scheduler": "dpmsolver++"},
            r"scheduler = .*steps = 50.*guidance = 7\.5.*few_step = false",
        ),
    ],
)
def test_settings_of_many_steps_are_refused_for_a_checkpoint_of_few(make, kind, settings, told):
    with pytest.raises(StudyError, match=told):
        make(kind, **settings).check()
    with pytest.raises(StudyError, match=told):
        make(kind, **settings).paint(REQUESTS[:1], 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scheduler": {"_class_name": "DDIMScheduler"}}, "pipeline is a LatentConsistency"),
        (
            {
                "scheduler": {"_class_name": "DDIMScheduler"},
                "index": {"_class_name": "StableDiffusionPipeline"},
            },
            "denoiser takes the guidance",
        ),
    ],
)
def test_a_consistency_model_is_known_whatever_its_scheduler(
    make, folders, tmp_path, changes, told
):
    folder = _changed(folders["latent_consistency"], tmp_path / "plain", **changes)

    with pytest.raises(StudyError, match=told):
        make("latent_consistency", folder, scheduler="dpmsolver++").check()
    make("latent_consistency", folder, scheduler="dpmsolver++", few_step=False).check()


@pytest.mark.parametrize(
    ("name", "few"),
    [
        ("sdxl-turbo", True),
        ("SDXL-Lightning", True),
        ("sdxl_lightning_4step_unet", True),
        ("Hyper-SD", True),
        ("LCM_Dreamshaper_v7", True),
        ("DMD2", True),
        ("stable-diffusion-v1-4", False),
        ("hyperrealistic-v2", False),
        ("model-1234-steps", False),
        ("my-flashlight-model", False),
    ],
)
def test_names_of_few_step_models_are_known(make, diffusion_folder, tmp_path, name, few):
    place = shutil.copytree(diffusion_folder, tmp_path / name)
    found = DiffusersTextToImage(checkpoint=str(place), compute=make("pixart").compute)

    if few:
        with pytest.raises(StudyError, match=f"its name is '{name}'"):
            found.check()
    else:
        found.check()
        assert found.assumptions() == []


def test_a_guess_is_told_and_may_be_denied(make, folders, tmp_path):
    folder = _changed(folders["sdxl_turbo"], tmp_path / "plain")
    guessed = make("sdxl_turbo", folder)

    (said,) = guessed.assumptions()
    assert "EulerAncestralDiscreteScheduler with timestep_spacing = 'trailing'" in said
    assert make("sdxl_turbo", folder, few_step=True).assumptions() == []
    many = make("sdxl_turbo", folder, few_step=False, steps=12, scheduler="dpmsolver++")
    many.check()
    assert many.assumptions() == []
    with pytest.raises(StudyError, match="few_step = true"):
        make("pixart", few_step=True, scheduler="checkpoint", steps=20).check()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_dpm_solver_keeps_what_the_checkpoint_predicts(
    make, diffusion_folder, tmp_path, prediction
):
    folder = _changed(
        diffusion_folder,
        tmp_path / "sd",
        scheduler={"prediction_type": prediction, "timestep_spacing": "leading", "beta_end": 0.01},
    )
    settings = {"checkpoint": str(folder), "compute": make("pixart").compute}
    config = DiffusersTextToImage(**settings)._load().scheduler.config

    kept = (config.prediction_type, config.timestep_spacing, config.beta_end)
    assert kept == (prediction, "leading", 0.01)
    assert config.algorithm_type == "dpmsolver++"


def test_the_vae_is_scaled_and_upcast_as_its_checkpoint_says(make, folders, tmp_path):
    folder = shutil.copytree(folders["sdxl_turbo"], tmp_path / "vae")
    path = folder / "vae" / "config.json"
    config = {**json.loads(path.read_text()), "scaling_factor": 0.5, "force_upcast": True}
    path.write_text(json.dumps(config))
    vae = make("sdxl_turbo", folder)._load().vae

    assert (vae.config.scaling_factor, vae.config.force_upcast) == (0.5, True)
    images = pixels(make("sdxl_turbo", folder).paint(REQUESTS[:1], 1))
    assert not np.array_equal(images, pixels(make("sdxl_turbo").paint(REQUESTS[:1], 1)))
