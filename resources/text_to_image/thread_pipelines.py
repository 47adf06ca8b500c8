"""One diffusion pipeline for several threads: what a call notes belongs to one of them."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import TYPE_CHECKING, Final

from resources.runtime.exact_passes import PAIR, TOGETHER, Exact, PerThread, together_if_alone

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import Tensor

_SMALL: Final = 20e6
"""Parameters of a denoiser below which a picture's time goes to the steps between operations."""
_STEPS: Final = 2


class ThreadPipelines(PerThread["DiffusionPipeline"]):
    """Copies of a pipeline, one for each thread, which share its networks.

    A call notes its guidance, prompt and step in the pipeline, the noise of earlier steps in the
    scheduler, and how far texts are filled up in the tokenizers, which another thread would then
    fill up otherwise; networks note nothing when they are evaluated.

    Args:
        pipeline: the pipeline itself.
    """

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        from transformers import PreTrainedTokenizerBase

        def own() -> DiffusionPipeline:
            copied = copy(pipeline)
            for name, part in pipeline.components.items():
                if name == "scheduler" or isinstance(part, PreTrainedTokenizerBase):
                    setattr(copied, name, deepcopy(part))
            return copied

        super().__init__(own)


def exact_of_pipeline(pipeline: DiffusionPipeline, guidance: float) -> Exact:
    """How pictures are painted on the CPU so that no bit depends on the other pictures.

    Small pipelines paint eight together and large ones two, if they are found to paint each as it
    would be painted at another place and beside another: of a denoiser of 860 million parameters
    two take 0.88 of the time of one after the other.

    Args:
        pipeline: a text-to-image pipeline; it is not changed.
        guidance: what it will be called with.
    """
    import torch

    denoiser = getattr(pipeline, "unet", None)
    if denoiser is None:
        return Exact(at_once=True)
    side, channels = denoiser.config.sample_size, denoiser.config.in_channels
    if not isinstance(side, int):
        return Exact(at_once=True)
    is_large = sum(part.numel() for part in denoiser.parameters()) > _SMALL
    together, steps = (PAIR, 1) if is_large else (TOGETHER, _STEPS)
    first_noise = torch.Generator().manual_seed(0)
    noise = torch.randn((2 * together, channels, side, side), generator=first_noise)
    noise = noise.to(denoiser.dtype)
    tried = ThreadPipelines(pipeline).here()

    def painted(rows: Tensor) -> Tensor:
        with torch.inference_mode():
            pictures: Tensor = tried(
                prompt=["picture " * (1 + number % 3) for number in rows.tolist()],
                latents=noise[rows],
                num_inference_steps=steps,
                guidance_scale=guidance,
                output_type="pt",
            ).images
        return pictures

    return together_if_alone(painted, torch.arange, together)
