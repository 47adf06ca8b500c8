"""What exactness costs on the CPU: exact passes against batches of 32, quiet and beside a load.

Exact passes give the same bits whatever the batch (`resources.runtime.exact_passes`): networks and
encoders, denoiser and captioner in calls of one shape, several at once with one thread each. Both
ways run over the same tensors with the same kernels, with the threads that torch has by default;
processor time of all threads.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchmarks import race_network
from benchmarks.pairs import paired, ratio_figure
from benchmarks.setting import Figure
from resources.captioners.base import exact_blip
from resources.runtime.compute import Compute
from resources.runtime.exact_passes import PAIR, Exact, exact_of, together_if_alone
from resources.runtime.faster_layers import faster_layers

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH, TARGET = 32, 1.10
Run = Callable[[Sequence["Tensor"]], Sequence["Tensor"]]


@dataclass(frozen=True)
class Model:
    """A network with what it is run on.

    Attributes:
        run: runs a batch.
        items: what it runs on.
        how: its exact passes, as the product makes them.
    """

    run: Run
    items: list[Tensor]
    how: Exact


def exactness(share: float = 1.0, threads: int | None = None) -> list[Figure]:
    """One line for each network, quiet; of the two cheapest also beside a busy process.

    Args:
        share: of the trials that are made.
        threads: of torch; None for as many as it has by default.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or _default_threads())
    try:
        return list(_figures(max(1, round(2 * share))))
    finally:
        torch.set_num_threads(before)


def _figures(trials: int) -> Iterator[Figure]:
    told = f"torch threads {torch.get_num_threads()}"
    for name, build in MODELS.items():
        model = build()
        yield _figure(f"{name}, {len(model.items)} items, {told}, quiet", model, trials)
        if name in _BUSY:
            with _busy():
                yield _figure(f"{name}, {len(model.items)} items, {told}, busy", model, trials)


def _figure(name: str, model: Model, trials: int) -> Figure:
    compute = Compute(device="cpu")

    def ours() -> object:
        return compute.in_batches(model.items, model.run, BATCH, exact=model.how)

    def batches() -> object:
        with faster_layers():
            return compute.in_batches(model.items, model.run, BATCH)

    found = paired(ours, batches, trials)
    return ratio_figure(f"exact passes against batches of {BATCH}: {name}", found, TARGET)


@contextmanager
def _busy() -> Iterator[None]:
    """Another process that wants a whole core, while the block runs."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def _default_threads() -> int:
    """As many as a new process would have: torch's own choice, which a setting may have changed."""
    code = "import torch; print(torch.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    return int(done.stdout)


def filled(build: Callable[[], nn.Module]) -> nn.Module:
    """A network with random weights that took no time to draw."""
    with torch.device("meta"):
        network = build()
    network = network.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for values in [*network.parameters(), *network.buffers()]:
        if values.is_floating_point():
            noise = torch.empty(4099).normal_(0, 0.02, generator=generator)
            copies = -(-values.numel() // len(noise))
            values.data.copy_(noise.repeat(copies)[: values.numel()].view_as(values))
        else:
            values.data.copy_(torch.arange(values.numel()).view_as(values))
    return network


def _classifier(network: nn.Module) -> Model:
    """A network that is described, which runs as the product runs it."""
    items = _pictures(BATCH, 224)

    def call(pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            scores: Tensor = network(pixels)
        return scores

    how = exact_of(network, call, lambda count: torch.stack(items[:count]))
    return Model(lambda batch: list(call(torch.stack(list(batch)))), items, how)


def _resnet50() -> Model:
    return _classifier(race_network.resnet50().eval())


def _vit() -> Model:
    from torchvision.models import vit_b_32

    return _classifier(filled(lambda: vit_b_32(weights=None)))


def _blip() -> Model:
    """BLIP base at 224 pixels: the picture, and eight words read with it."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    config = BlipConfig(vision_config={"image_size": 224})
    network = filled(lambda: BlipForConditionalGeneration(config))
    words = torch.arange(1, 9)

    def run(batch: Sequence[Tensor]) -> Sequence[Tensor]:
        read = words.repeat(len(batch), 1)
        with torch.inference_mode():
            return list(network(pixel_values=torch.stack(list(batch)), input_ids=read).logits)

    return Model(run, _pictures(8, 224), exact_blip(network))


def _unet() -> Model:
    """The denoiser of Stable Diffusion 1.4 at its latents of 64 x 64, one step.

    As the product paints: large pipelines paint two pictures in each thread.
    """
    from diffusers import UNet2DConditionModel

    def build() -> nn.Module:
        return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)

    network = filled(build)
    text = torch.randn(77, 768, generator=torch.Generator().manual_seed(0))

    def denoised(latents: Tensor) -> Tensor:
        with torch.inference_mode():
            sample: Tensor = network(latents, 10, text.expand(len(latents), -1, -1)).sample
        return sample

    items = _pictures(4, 64, 4)
    how = together_if_alone(denoised, lambda count: torch.stack(items[:count]), PAIR)
    return Model(lambda batch: list(denoised(torch.stack(list(batch)))), items, how)


def _pictures(count: int, side: int, channels: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.randn(count, channels, side, side, generator=generator))


MODELS: dict[str, Callable[[], Model]] = {
    "ResNet-50": _resnet50,
    "ViT-B/32": _vit,
    "BLIP base": _blip,
    "UNet of Stable Diffusion": _unet,
}
"""What is measured, of random weights."""
_BUSY = ("ResNet-50", "ViT-B/32")
