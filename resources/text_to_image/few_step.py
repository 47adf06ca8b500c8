"""Text-to-image checkpoints of few steps: how they are known, and which settings they bear.

Consistency models, SDXL-Turbo, Lightning, Hyper-SD and their kin were distilled to paint in one to
eight steps with a scheduler of their own, and without classifier-free guidance. Painted in fifty
steps of DPM-Solver++ their pictures look like nothing, without an error.
"""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Final

from dnd_assets.errors import StudyError
from resources.checkpoints import Checkpoint

MOST_STEPS: Final = 8
MOST_GUIDANCE: Final = 2.0
"""Of a few-step model that does not take the guidance as an input: above, it burns out."""

SAME_NOISE: Final = frozenset({
    "DDIMParallelScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDPMScheduler",
    "DEISMultistepScheduler", "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
    "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler", "PNDMScheduler", "SASolverScheduler", "UniPCMultistepScheduler",
})  # fmt: skip
"""Schedulers whose place DPM-Solver++ may take, as diffusers says (`_compatibles`)."""
_FEW_STEP: Final = ("LCM", "TCD", "SCM", "CMStochastic", "FlowMatchLCM")
_NAMES: Final = frozenset({
    "turbo", "lightning", "lcm", "tcd", "dmd", "dmd2", "pcm", "schnell", "sprint", "flash",
    "hypersd",
})  # fmt: skip


def why_few_steps(checkpoint: Checkpoint) -> str:
    """What shows that a checkpoint is one of few steps, in words; empty where nothing does."""
    index = _read_json(checkpoint.folder / "model_index.json")
    scheduler = _read_json(checkpoint.folder / "scheduler" / "scheduler_config.json")
    pipeline = str(index.get("_class_name", ""))
    scheduler_class = str(scheduler.get("_class_name", ""))
    if "Consistency" in pipeline:
        return f"its pipeline is a {pipeline}"
    if scheduler_class.startswith(_FEW_STEP):
        return f"its scheduler is the {scheduler_class}"
    if takes_guidance(checkpoint):
        return "its denoiser takes the guidance as an input"
    names = [checkpoint.source.partition("@")[0].rstrip("/").rpartition("/")[2]]
    names += [str(config.get("_name_or_path", "")) for config in (index, *_denoisers(checkpoint))]
    for name in names:
        telling = _name_words(name) & _NAMES
        if telling or re.search(r"\b[1248][-_ ]?steps?\b", name.replace("_", "-").lower()):
            return f"its name is {name!r}"
    zero_snr = scheduler.get("rescale_betas_zero_snr") or (
        scheduler.get("prediction_type", "epsilon") == "v_prediction"
    )
    if (
        scheduler_class.startswith("Euler")
        and scheduler.get("timestep_spacing") == "trailing"
        and not zero_snr
    ):
        return f"its scheduler is the {scheduler_class} with timestep_spacing = 'trailing'"
    return ""


def takes_guidance(checkpoint: Checkpoint) -> bool:
    """Whether the denoiser takes the weight of the guidance as an input, as LCMs do."""
    return any(config.get("time_cond_proj_dim") is not None for config in _denoisers(checkpoint))


def contradictions(checkpoint: Checkpoint, steps: int, guidance: float) -> list[str]:
    """The settings of a study that a few-step checkpoint does not bear, in words."""
    settings = []
    if steps > MOST_STEPS:
        settings.append(f"steps = {steps} (at most {MOST_STEPS})")
    if guidance > MOST_GUIDANCE and not takes_guidance(checkpoint):
        settings.append(f"guidance = {guidance:g} (0, or what its model card says)")
    return settings


def _denoisers(checkpoint: Checkpoint) -> list[dict[str, object]]:
    return [
        _read_json(checkpoint.folder / name / "config.json") for name in ("unet", "transformer")
    ]


def _name_words(name: str) -> set[str]:
    """The words of a name: `org/Hyper-SD_v2` has `hypersd` among them."""
    parts = re.findall(r"[a-z]+\d*|\d+", name.rpartition("/")[2].lower())
    return {*parts, *(first + second for first, second in pairwise(parts))}


def _read_json(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StudyError(f"{path} is no JSON ({error}); copy the checkpoint again.") from error
    return content if isinstance(content, dict) else {}
