"""What makes a diffusion pipeline fast, each where it may be.

Attention runs by torch's `scaled_dot_product_attention`, which diffusers takes by itself, and the
pictures of a batch are denoised and decoded together. Beyond that:

- channels-last memory, on the CPU and in 16 bits on CUDA: convolutions are computed in that layout,
  so that nothing is transposed between them;
- with `compute.compile`: torch compiles the denoiser and the decoder, where all the time goes, into
  few kernels without Python between them; the three projections of self-attention are one product;
  cuDNN tries its algorithms and takes the fastest. All of it changes the last bits of a picture,
  and cuDNN may choose otherwise in another run, so it is off unless asked for.
"""

from typing import TYPE_CHECKING, Final

from resources.runtime.compute import Compute

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import nn

_DENOISERS: Final = ("unet", "transformer")
_BACKEND: Final = "inductor"


def faster(pipeline: "DiffusionPipeline", compute: Compute) -> "DiffusionPipeline":
    """The pipeline, made as fast as `compute` allows.

    Args:
        pipeline: a text-to-image pipeline of diffusers, on its device.
        compute: device, precision, and whether to compile.
    """
    import torch

    parts = {name: getattr(pipeline, name, None) for name in (*_DENOISERS, "vae")}
    if compute.channels_last:
        for part in parts.values():
            if part is not None:
                part.to(memory_format=torch.channels_last)
    if not compute.compile:
        return pipeline
    torch.backends.cudnn.benchmark = compute.torch_device().type == "cuda"
    for name in _DENOISERS:
        part = parts[name]
        if part is not None:
            if hasattr(part, "fuse_qkv_projections"):
                part.fuse_qkv_projections()
            _compile(part)
    if parts["vae"] is not None:
        _compile(parts["vae"].decoder)
    return pipeline


def _compile(module: "nn.Module") -> None:
    """Shapes are fixed, since batches are filled up, so each is compiled once."""
    module.compile(backend=_BACKEND, dynamic=False)
