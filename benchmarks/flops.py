"""How many operations the paper's models take, counted on the modules themselves.

On torch's meta device, which knows shapes and no numbers: full-size models need neither memory nor
time there. A multiplication and an addition count as two operations; what is no product of matrices
or convolution is not counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import paper_models
from benchmarks.paper_models import Size


@dataclass(frozen=True)
class Work:
    """Operations of one pass of each part, for one picture or text.

    Attributes:
        unet: a pass of the denoiser.
        decode: a picture out of its latents.
        text: a prompt.
        checker: a picture's features for the safety checker.
        target: the network to be described.
        clip: the image tower.
        blip: a picture seen by the captioner, without its words.
    """

    unet: int
    decode: int
    text: int
    checker: int
    target: int
    clip: int
    blip: int

    def painting(self, steps: int, passes: int) -> int:
        """A picture: denoising steps with so many passes each, and its decoding."""
        return steps * passes * self.unet + self.decode


def count(size: Size) -> Work:
    """Operations of the models of a size."""
    side, latent = size.side, size.unet["sample_size"]
    with torch.device("meta"):
        tokens = torch.zeros(1, size.text["max_position_embeddings"], dtype=torch.long)
        context = torch.zeros(1, tokens.shape[1], size.unet["cross_attention_dim"])
        latents = torch.zeros(1, 4, latent, latent)
        step = torch.zeros(1, dtype=torch.long)
        image = torch.zeros(1, 3, 224, 224)
        assert latent * 2 ** (len(size.vae["block_out_channels"]) - 1) == side
        decoder = paper_models.vae(size)
        blip = paper_models.blip(size).vision_model
        encoder = paper_models.clip(size).visual
        return Work(
            unet=_flops(lambda: paper_models.unet(size)(latents, step, context)),
            decode=_flops(lambda: decoder.decode(latents)),
            text=_flops(lambda: paper_models.text_encoder(size)(tokens)),
            checker=_flops(lambda: _checked(size)),
            target=_flops(lambda: paper_models.target(size).eval()(image)),
            clip=_flops(lambda: encoder(_square(size.clip["vision_cfg"]["image_size"]))),
            blip=_flops(lambda: blip(pixel_values=_square(size.blip_vision["image_size"]))),
        )


def parameters(make: Callable[[Size], Any], size: Size) -> int:
    """Parameters of a model."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make(size).parameters())


def _checked(size: Size) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**size.checker))
    return tower(pixel_values=_square(size.checker["image_size"]))


def _square(side: int) -> torch.Tensor:
    return torch.zeros(1, 3, side, side)


def _flops(run: Callable[[], Any]) -> int:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        run()
    return counter.get_total_flops()
