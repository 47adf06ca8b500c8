"""What all training runs share: drawn examples, weight averages, schedules and saving."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dnd_assets.known_answers.render import render_with_mask
from dnd_assets.known_answers.world import Scene, scene

log = logging.getLogger("known_answers.train")


@dataclass(frozen=True)
class Examples:
    """Drawn scenes: images uint8 (N, 3, 64, 64) and object masks bool (N, 64, 64)."""

    scenes: list[Scene]
    images: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.scenes)


def draw(seeds: Sequence[int]) -> Examples:
    """Draw the scenes of the given seeds."""
    scenes = [scene(seed) for seed in seeds]
    images = np.empty((len(seeds), 64, 64, 3), dtype=np.uint8)
    masks = np.empty((len(seeds), 64, 64), dtype=bool)
    for index, (drawn_scene, seed) in enumerate(zip(scenes, seeds, strict=True)):
        images[index], masks[index] = render_with_mask(drawn_scene, seed)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Examples(scenes, pixels, torch.from_numpy(masks))


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield `steps` index tensors, int64 (size,), walking through reshuffled epochs."""
    generator = torch.Generator().manual_seed(seed)
    queue = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(queue) < size:
            queue = torch.cat([queue, torch.randperm(count, generator=generator)])
        yield queue[:size]
        queue = queue[size:]


def learning_rate(step: int, steps: int, peak: float, warmup: float = 0.05) -> float:
    """Linear warm-up over a share of the steps, then a half cosine down to 2 % of the peak."""
    warmup_steps = max(1, int(steps * warmup))
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameter groups one learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


class Average:
    """Exponential moving average of a module's parameters and float buffers."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self._decay = decay
        self._steps = 0
        self.state = {name: value.clone() for name, value in module.state_dict().items()}

    def resume(self, state: dict[str, Tensor], steps: int) -> None:
        """Go on from an average of so many steps."""
        self.state, self._steps = state, steps

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present state; early steps move faster."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


class Snapshots:
    """The state of a training on disk, written every ten minutes, from which it goes on.

    A step's randomness must follow from the step's number (`seed_step`), so that a training that
    was stopped and went on ends as one that was not.
    """

    def __init__(
        self, path: Path, module: nn.Module, average: Average, optimiser: torch.optim.Optimizer
    ) -> None:
        self._path, self._module, self._average = path, module, average
        self._optimiser = optimiser
        self._written = time.monotonic()

    def resume(self) -> int:
        """Take the state from disk where there is one; the number of steps that are done."""
        if not self._path.is_file():
            return 0
        tensors = load_file(self._path)
        with safe_open(self._path, "pt") as stream:
            steps = int(stream.metadata()["steps"])
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, _, tensor_name = name.partition("/")
            parts[part][tensor_name] = value
        self._module.load_state_dict(parts["module"])
        self._average.resume(parts["average"], steps)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": state, "param_groups": groups})
        return steps

    def __call__(self, steps: int, minutes: float = 10) -> bool:
        """Write the state after so many steps, if the last time is long ago; whether it was."""
        if time.monotonic() - self._written < 60 * minutes:
            return False
        tensors = {f"module/{name}": value for name, value in self._module.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self._average.state.items()}
        for index, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{key}": value for key, value in state.items()}
        partial = self._path.with_suffix(".partial")
        copies = {name: value.detach().clone() for name, value in tensors.items()}
        save_file(copies, fresh(partial.parent) / partial.name, {"steps": str(steps)})
        partial.replace(self._path)
        self._written = time.monotonic()
        return True


def seed_step(seed: int, step: int) -> np.random.Generator:
    """Make a step's randomness follow from its number: torch's, and the returned generator's."""
    torch.manual_seed((seed << 32) + step)
    return np.random.default_rng([seed, step])


class LossLog:
    """Logs a smoothed loss and the pace now and then."""

    def __init__(self, title: str, steps: int, every: int = 50) -> None:
        self._title, self._steps, self._every = title, steps, every
        self._start = time.monotonic()
        self._loss: float | None = None

    def __call__(self, step: int, loss: float) -> None:
        """Note the loss of a step (counted from 0)."""
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        if (step + 1) % self._every == 0 or step + 1 == self._steps:
            seconds = time.monotonic() - self._start
            log.info(
                "%s %d/%d loss %.4f, %.1f min", self._title, step + 1, self._steps,
                self._loss, seconds / 60,
            )  # fmt: skip

    @property
    def minutes(self) -> float:
        """Minutes since the start."""
        return (time.monotonic() - self._start) / 60


class Descent:
    """Steps of a training down its loss, kept on disk every ten minutes, with their average.

    Args:
        title: in the log.
        out: folder that the model will lie in; the state lies beside it.
        module: what is trained.
        rate: peak of the learning rate.
        average: decay of the average of the weights.
        steps: of the training.
        seed: of the order and of each step.
        warmup: share of the steps during which the learning rate rises.
        weight_decay: of AdamW.
        every: steps between two lines of the log.
    """

    def __init__(
        self, title: str, out: Path, module: nn.Module, *, rate: float, average: float, steps: int,
        seed: int, warmup: float = 0.05, weight_decay: float = 1e-3, every: int = 50,
    ) -> None:  # fmt: skip
        self._module, self._rate, self._steps = module, rate, steps
        self._seed, self._warmup = seed, warmup
        self.average = Average(module, average)
        self._optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=weight_decay)
        self._snapshots = Snapshots(
            out.with_suffix(".snapshot"), module, self.average, self._optimiser
        )
        self._log = LossLog(title, steps, every)

    def steps(self, count: int, batch: int) -> Iterator[tuple[int, Tensor, np.random.Generator]]:
        """Number, indices into `count` items, and randomness of each step that is left."""
        done_steps = self._snapshots.resume()
        order = batches(count, batch, self._steps, self._seed)
        for step, indices in islice(enumerate(order), done_steps, None):
            rate = learning_rate(step, self._steps, self._rate, self._warmup)
            set_learning_rate(self._optimiser, rate)
            yield step, indices, seed_step(self._seed, step)

    def down(self, step: int, loss: Tensor) -> bool:
        """One step down a loss, its gradient clipped at length 1; whether the state was written."""
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._module.parameters(), 1.0)
        self._optimiser.step()
        self.average.update(self._module)
        self._log(step, loss.item())
        return self._snapshots(step + 1)


def halve_files(folder: Path) -> int:
    """Rewrite the matrices and kernels of all safetensors files below a folder as float16.

    Vectors (biases, norms, running statistics) stay float32; models still load as float32.

    Returns:
        Bytes of all files below the folder.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        tensors = load_file(path)
        slim = {
            name: value.half() if value.dtype == torch.float32 and value.ndim > 1 else value
            for name, value in tensors.items()
        }
        save_file(slim, path, metadata={"format": "pt"})
        path.chmod(0o644)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fresh(folder: Path) -> Path:
    """Create a folder where missing and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
