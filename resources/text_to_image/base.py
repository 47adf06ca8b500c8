"""Text-to-image: pictures of a concept from seeds (DnD, section 3.3).

The paper paints with Stable Diffusion v1-4 in 50 steps of DPM-Solver++.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from PIL.Image import Image

from dnd_assets.errors import DndError, StudyError, nearest
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.methods.dissection import painted
from dnd_assets.methods.dissection.painted import Cause
from resources.checkpoints import Checkpoint, quiet, resolve
from resources.model import Failure, Model
from resources.runtime.compute import Compute, load_once
from resources.runtime.exact_passes import ALONE, Exact
from resources.runtime.progress import Progress
from resources.servers.calls import CallLedger
from resources.text_to_image.diffusion_speed import faster
from resources.text_to_image.few_step import SAME_NOISE, contradictions, why_few_steps
from resources.text_to_image.thread_pipelines import ThreadPipelines, exact_of_pipeline

if TYPE_CHECKING:
    import numpy as np
    from diffusers import DiffusionPipeline
    from numpy.typing import NDArray

_NEEDS: Final = ("model_index.json", "*/*.safetensors")
_Key = tuple[str | bool | None, ...]
_SCHEDULERS: Final = ("dpmsolver++", "checkpoint")


@dataclass(frozen=True)
class PaintRequest:
    """A picture to paint: its concept, the seed of its first noise, and its number.

    Painters go by the seed, which comes from concept and number; a collection goes by the number.
    """

    concept: str
    seed: int
    index: int = 0


@dataclass(frozen=True)
class Painting:
    """A painted picture.

    Attributes:
        image: the picture.
        rejected: whether it is no evidence for its concept.
        cause: why not.
    """

    image: Image
    rejected: bool
    cause: Cause | None = None


KeepPaintings = Callable[[Mapping[PaintRequest, Painting | Failure]], None]
"""Takes finished pictures, or failures in their place, by request."""


class TextToImage(Model):
    """Base of all painters: concepts and seeds in, pictures out."""

    def paint(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        on_batch: Callable[[Sequence[PaintRequest], Sequence[Painting]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[Painting]:
        """One picture for each request, in order; the other requests do not matter to it.

        Args:
            requests: concepts and seeds.
            batch_size: pictures in a batch.
            on_batch: called with the requests and pictures of each finished batch.
            progress: counts finished pictures.
        """
        raise NotImplementedError

    def paint_each(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        keep: KeepPaintings,
        ledger: CallLedger,
    ) -> None:
        """Pictures of distinct requests, kept as they come.

        Args:
            requests: concepts and seeds.
            batch_size: pictures in a batch.
            keep: told each finished batch, from the calling thread. A picture that could not be
                had, though others may be, has a failure in its place.
            ledger: keeps calls to a server, where the painter makes any.

        Raises:
            StudyError: as `paint`.
        """
        for start in range(0, len(requests), batch_size):
            batch = requests[start : start + batch_size]
            keep(dict(zip(batch, self.paint(batch, batch_size), strict=True)))

    def remedy(self) -> str:
        """What to do when it gives pictures that are none."""
        return "Look at what the painter sends, and at its settings."

    def calls_to_make(self, requests: Sequence[PaintRequest], ledger: CallLedger) -> set[str]:
        """Hashes of the calls to a server that `paint_each` would have to make, if any."""
        return set()


class DiffusersTextToImage(TextToImage):
    """A diffusers text-to-image pipeline; the same request paints the same picture.

    Attributes:
        checkpoint: folder, `package:…` or hub id of a pipeline with safetensors.
        revision: branch, tag or commit of a hub checkpoint.
        variant: precision of the files to load, such as `fp16`; None takes those without one.
        scheduler: `dpmsolver++` for DPM-Solver++ (multistep) with the checkpoint's noise
            schedule, `checkpoint` for the one saved with it.
        steps: denoising steps (paper: 50).
        guidance: weight of classifier-free guidance; 1 or less turns it off.
        width: of the picture in pixels; None is the checkpoint's own.
        height: of the picture in pixels; None is the checkpoint's own.
        prompt: text with `{concept}` where the concept goes.
        few_step: whether the checkpoint was distilled to few steps, and so needs its own scheduler,
            few steps and no guidance; None looks at the checkpoint.
        base: folder that a relative checkpoint starts from.
        compute: device and precision.
    """

    checkpoint: str
    revision: str | None = None
    variant: str | None = None
    scheduler: str = "dpmsolver++"
    steps: int = 50
    guidance: float = 7.5
    width: int | None = None
    height: int | None = None
    prompt: str = "One realistic image of {concept}"
    few_step: bool | None = None
    base: str | None = None
    compute: Compute

    def title(self) -> str:
        """The checkpoint."""
        return self.checkpoint

    def check(self) -> Checkpoint:
        """Find the checkpoint without loading it.

        Raises:
            StudyError: when it is not on this machine, the scheduler is unknown, DPM-Solver++
                cannot take the place of the checkpoint's own, or a variant must be chosen.
        """
        if self.scheduler not in _SCHEDULERS:
            close = ", ".join(nearest(self.scheduler, _SCHEDULERS))
            raise StudyError(f"no scheduler {self.scheduler!r}; nearest: {close}. Correct it.")
        needs = _NEEDS if self.variant is None else (_NEEDS[0], f"*/*.{self.variant}.safetensors")
        checkpoint = resolve(self.checkpoint, self.revision, self.base, needs)
        self._require_settings(checkpoint)
        return checkpoint

    def _require_settings(self, checkpoint: Checkpoint) -> None:
        """Refuse a scheduler, steps, guidance or variant that the checkpoint does not bear."""
        scheduler = _class_of_scheduler(checkpoint)
        if self.scheduler == "dpmsolver++" and scheduler and scheduler not in SAME_NOISE:
            raise StudyError(
                f"{self.checkpoint!r} was made for {scheduler}, whose noise DPM-Solver++ does not "
                "know. Write text_to_image.scheduler = 'checkpoint', with the steps and the "
                "guidance of its model card."
            )
        self._require_few_step_settings(checkpoint)
        variants = {tuple(path.suffixes[:-1]) for path in checkpoint.folder.glob("*/*.safetensors")}
        if self.variant is None and () not in variants:
            variant = min(variants)[-1].removeprefix(".")
            raise StudyError(
                f"{self.checkpoint!r} holds only files of variant {variant!r}. Write "
                f"text_to_image.variant = {variant!r}."
            )

    def _require_few_step_settings(self, checkpoint: Checkpoint) -> None:
        """Refuse settings of many steps for a checkpoint of few."""
        reason = "few_step = true" if self.few_step else why_few_steps(checkpoint)
        if self.few_step is False or not reason:
            return
        settings = contradictions(checkpoint, self.steps, self.guidance)
        if self.scheduler == "dpmsolver++":
            settings.insert(0, "scheduler = 'dpmsolver++' ('checkpoint', its own)")
        if settings:
            raise StudyError(
                f"{self.checkpoint!r} paints in few steps ({reason}), which does not bear "
                f"{', '.join(settings)}. Write text_to_image.scheduler = 'checkpoint', with the "
                "steps and the guidance of its model card; or text_to_image.few_step = false, if "
                "it is no such model."
            )

    def assumptions(self) -> list[str]:
        """Whether the checkpoint paints in few steps, where that is guessed."""
        try:
            reason = why_few_steps(self.check())
        except DndError:
            return []  # `check` tells
        if self.few_step is not None or not reason.startswith(
            ("its name", "its scheduler is the E")
        ):
            return []
        return [
            f"{self.checkpoint} is taken for a model of few steps, since {reason}. "
            "text_to_image.few_step says whether it is."
        ]

    def remedy(self) -> str:
        """What to do when it gives NaN or pictures of one colour."""
        if self.compute.dtype == "float16":
            return (
                "Half precision (float16) overflows in some pipelines: write "
                "compute.precision.text_to_image = 'bfloat16' or 'float32', or take a checkpoint "
                "whose VAE was made for float16."
            )
        return (
            "Look at the checkpoint's files, and at text_to_image.scheduler, steps and guidance; "
            "compute.precision.text_to_image = 'float32' rules out an overflow."
        )

    def fingerprint(self) -> dict[str, Json]:
        """Everything about the painter that may change a picture, or whether it is one."""
        return {
            "checkpoint": self.check().fingerprint()["files"],
            **({} if self.variant is None else {"variant": self.variant}),
            "scheduler": self.scheduler,
            "steps": self.steps,
            "guidance": self.guidance,
            "width": self.width,
            "height": self.height,
            "prompt": self.prompt,
            **({} if self.few_step is None else {"few_step": self.few_step}),
            "code": self.code(),
            **self.compute.fingerprint(),
            **({"compile": True} if self.compute.compile else {}),
            "diffusers": version("diffusers"),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def paint(
        self,
        requests: Sequence[PaintRequest],
        batch_size: int,
        on_batch: Callable[[Sequence[PaintRequest], Sequence[Painting]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[Painting]:
        """One picture for each request, in order.

        Each picture starts from noise of its own seed, drawn on the CPU, so that the device and
        the other requests do not matter.

        Args:
            requests: concepts and seeds.
            batch_size: pictures in a batch; batches are filled up.
            on_batch: called with the requests and pictures of each finished batch.
            progress: counts finished pictures.

        Raises:
            StudyError: when the checkpoint is missing or one picture exceeds the memory.
        """
        if not requests:
            return []
        key = self._key()
        pipeline = self._load(key)
        pipelines, exact = ThreadPipelines(pipeline), self._exact(pipeline, key)

        def run(batch: Sequence[PaintRequest]) -> list[Painting]:
            return self._paintings(pipelines.here(), batch)

        with quiet("diffusers", "transformers"):  # not by each thread: what is quiet is all of it
            return self.compute.in_batches(
                requests, run, batch_size,
                pad=True, exact=exact, on_batch=on_batch, progress=progress,
            )  # fmt: skip

    def _paintings(
        self, pipeline: "DiffusionPipeline", batch: Sequence[PaintRequest]
    ) -> list[Painting]:
        import torch

        sides = {"width": self.width, "height": self.height}
        with torch.inference_mode():
            output = pipeline(
                prompt=[self.prompt.replace("{concept}", request.concept) for request in batch],
                generator=[torch.Generator("cpu").manual_seed(request.seed) for request in batch],
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                output_type="np",  # NaN does not outlive the cast to bytes
                **{name: side for name, side in sides.items() if side is not None},
            )
        flags = getattr(output, "nsfw_content_detected", None) or [False] * len(batch)
        return [
            _painting(pixels, bool(flag)) for pixels, flag in zip(output.images, flags, strict=True)
        ]

    def _exact(self, pipeline: "DiffusionPipeline", key: _Key) -> Exact:
        """How many pictures are painted together, and whether in threads; found out once."""
        if self.compute.accelerated or self.compute.compile:
            return ALONE  # a compiled module is one for all threads
        sides = (self.width, self.height)
        if sides != (None, None):
            return Exact(at_once=True)
        exact: Exact = load_once(
            ("painting", *key, self.guidance), lambda: exact_of_pipeline(pipeline, self.guidance)
        )
        return exact

    def _key(self) -> _Key:
        """What a loaded pipeline depends on."""
        device, dtype = self.compute.torch_device(), self.compute.torch_dtype()
        name, compiled = digest(self.check().fingerprint()), self.compute.compile
        return (name, self.variant, self.scheduler, str(device), str(dtype), compiled)

    def _load(self, key: _Key | None = None) -> "DiffusionPipeline":
        """The pipeline; loaded once for the same files, scheduler, device and precision."""
        checkpoint = self.check()
        device, dtype = self.compute.torch_device(), self.compute.torch_dtype()

        def load() -> "DiffusionPipeline":
            from diffusers import AutoPipelineForText2Image, DPMSolverMultistepScheduler

            with quiet("diffusers", "transformers"):
                pipeline = AutoPipelineForText2Image.from_pretrained(
                    checkpoint.folder,
                    local_files_only=True,
                    use_safetensors=True,
                    torch_dtype=dtype,
                    variant=self.variant,
                )
                if self.scheduler == "dpmsolver++":
                    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
                        pipeline.scheduler.config, algorithm_type="dpmsolver++"
                    )
                pipeline.to(device)
            pipeline.set_progress_bar_config(disable=True)
            return faster(_frozen(pipeline), self.compute)

        return load_once(("text to image", *(key or self._key())), load)


def _painting(pixels: "NDArray[np.float32]", unsafe: bool) -> Painting:
    """The picture of decoded pixels (H, W, 3) in [0, 1], as diffusers casts them."""
    import numpy as np
    from diffusers.image_processor import VaeImageProcessor

    (image,) = VaeImageProcessor.numpy_to_pil(np.nan_to_num(pixels))
    cause: Cause | None = "safety" if unsafe else painted.broken(pixels)
    cause = cause or painted.broken(np.asarray(image))
    return Painting(image, cause is not None, cause)


def _class_of_scheduler(checkpoint: Checkpoint) -> str:
    """The scheduler saved with a checkpoint; empty where none is."""
    path = checkpoint.folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        return ""
    return str(json.loads(path.read_text(encoding="utf-8")).get("_class_name", ""))


def _frozen(pipeline: "DiffusionPipeline") -> "DiffusionPipeline":
    import torch

    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(requires_grad=False)
    return pipeline
