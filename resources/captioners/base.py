"""Image-to-text: what a picture shows, in a sentence (DnD, section 3.2; paper: BLIP base)."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from PIL.Image import Image

from dnd_assets.errors import StudyError
from dnd_assets.lineage.fingerprint import Json, digest
from resources.checkpoints import Checkpoint, quiet, resolve
from resources.model import Failure, Model
from resources.runtime.compute import Compute, load_once
from resources.runtime.exact_passes import ALONE, Exact, ThreadCopies, together_if_alone
from resources.runtime.progress import Progress
from resources.servers.calls import CallLedger

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin

_NEEDS: Final = ("config.json", "*.safetensors")
_TOGETHER: Final = 4
"""Pictures in a call of a BLIP."""
_WORDS: Final = 4
"""Words that are read with each picture to see whether pictures are alone."""
_PROCESSORS: Final = ("preprocessor_config.json", "processor_config.json")
PROMPT: Final = (
    "Describe this picture in one short factual sentence: what it shows, with the most notable "
    "object, colour, texture or scene. Answer with the sentence alone."
)
"""What a model that takes questions is asked of each picture."""

Load = Callable[[Sequence[str]], Sequence[Image]]
"""Reads pictures by name."""
Keep = Callable[[Mapping[str, str | Failure]], None]
"""Takes finished captions, or failures in their place, by name of the picture."""


class Captioner(Model):
    """Base of all captioners: pictures in, a sentence for each out."""

    def caption(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[str]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """One caption for each picture, in order; empty when the model says nothing.

        Args:
            images: pictures of any size and mode.
            batch_size: pictures in a batch; a caption does not depend on the pictures beside it.
            on_batch: called with the pictures and captions of each finished batch.
            progress: counts finished pictures.

        Raises:
            StudyError: when something is missing or one picture exceeds the memory.
        """
        raise NotImplementedError

    def caption_named(
        self,
        names: Sequence[str],
        load: Load,
        batch_size: int,
        keep: Keep,
        ledger: CallLedger,
    ) -> None:
        """Captions of pictures that have names, kept as they come.

        Args:
            names: distinct names of pictures, their hashes.
            load: reads pictures, from the calling thread.
            batch_size: pictures in a batch.
            keep: told each finished batch, from the calling thread. A picture that could not be
                captioned, though others may be, has a failure in the place of a caption.
            ledger: keeps calls to a server, where the captioner makes any.

        Raises:
            StudyError: as `caption`.
        """
        for start in range(0, len(names), batch_size):
            batch = names[start : start + batch_size]
            keep(dict(zip(batch, self.caption(load(batch), batch_size), strict=True)))

    def calls_to_make(self, names: Sequence[str], ledger: CallLedger) -> dict[str, int]:
        """Calls to a server that `caption_named` would have to make.

        Returns:
            The tokens that each call may use, by the hash of its request; empty without a server.
        """
        return {}


def require_processor(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that does not say how pictures are prepared for it.

    Raises:
        StudyError: when it has no image processor.
    """
    if not any((checkpoint.folder / name).is_file() for name in _PROCESSORS):
        raise StudyError(
            f"{checkpoint.source!r} in {checkpoint.folder} lacks {' and '.join(_PROCESSORS)}, so "
            "nothing says how pictures are prepared for it. Copy the whole checkpoint."
        )


class CheckpointCaptioner(Captioner):
    """Base of captioners that run a checkpoint of transformers on this machine.

    Attributes:
        checkpoint: folder, `package:…` or hub id.
        revision: branch, tag or commit of a hub checkpoint.
        max_new_tokens: longest caption, in tokens.
        base: folder that a relative checkpoint starts from.
        compute: device and precision.
    """

    checkpoint: str
    revision: str | None = None
    max_new_tokens: int = 32
    base: str | None = None
    compute: Compute

    def title(self) -> str:
        """The checkpoint."""
        return self.checkpoint

    def caption(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[str]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """One caption for each picture, in order; empty when the model says nothing.

        Args:
            images: pictures of any size and mode.
            batch_size: pictures in a batch; on the CPU no caption depends on it, nor on the
                pictures beside it.
            on_batch: called with the pictures and captions of each finished batch.
            progress: counts finished pictures.

        Raises:
            StudyError: when the checkpoint is missing or one picture exceeds the memory.
        """
        if not images:
            return []
        model, processor = self._load()
        copies, exact = ThreadCopies(model), self._exact(model)

        def run(batch: Sequence[Image]) -> list[str]:
            own = copies.here() if exact.at_once else model
            return self._captions(own, processor, batch)

        return self.compute.in_batches(
            images,
            run,
            batch_size,
            pad=True,
            exact=exact,
            on_batch=on_batch,
            progress=progress,
        )

    def _exact(self, model: "PreTrainedModel") -> Exact:
        """How it runs on the CPU so that no bit of a caption depends on other pictures."""
        return ALONE

    @abstractmethod
    def _captions(
        self, model: "PreTrainedModel", processor: "ProcessorMixin", batch: Sequence[Image]
    ) -> list[str]:
        """Captions of pictures of any mode, in order."""

    @abstractmethod
    def _load(self) -> tuple["PreTrainedModel", "ProcessorMixin"]:
        """Model and processor; loaded once for the same files, device and precision."""


class BlipCaptioner(CheckpointCaptioner):
    """BLIP with greedy decoding: one caption for one picture, always the same.

    Attributes:
        checkpoint: folder, `package:…` or hub id of a `BlipForConditionalGeneration`.
        max_new_tokens: longest caption, in tokens (paper: 32).
        min_length: shortest caption, in tokens (paper: 5).
    """

    min_length: int = 5

    def check(self) -> Checkpoint:
        """Find the checkpoint without loading it.

        Raises:
            StudyError: when it is not on this machine, naming the command that gets it, or when it
                does not say how pictures are prepared.
        """
        checkpoint = resolve(self.checkpoint, self.revision, self.base, _NEEDS)
        require_processor(checkpoint)
        return checkpoint

    def fingerprint(self) -> dict[str, Json]:
        """Everything about the captioner that may change a caption."""
        return {
            "checkpoint": self.check().fingerprint()["files"],
            "max_new_tokens": self.max_new_tokens,
            "min_length": self.min_length,
            "code": self.code(),
            **self.compute.fingerprint(),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def _captions(
        self, model: "PreTrainedModel", processor: "ProcessorMixin", batch: Sequence[Image]
    ) -> list[str]:
        import torch

        inputs = processor(images=[image.convert("RGB") for image in batch], return_tensors="pt")
        pixels = inputs["pixel_values"].to(model.device, model.dtype)
        with torch.inference_mode():
            tokens = model.generate(
                pixel_values=pixels,
                max_new_tokens=self.max_new_tokens,
                min_length=self.min_length,
                num_beams=1,
                do_sample=False,
            )
        return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]

    def _exact(self, model: "PreTrainedModel") -> Exact:
        """As `exact_blip` finds once."""
        if self.compute.accelerated:
            return ALONE
        found: Exact = load_once(("captions alone", *self._key()), lambda: exact_blip(model))
        return found

    def _key(self) -> tuple[str, str, str]:
        """What a loaded model depends on."""
        device, dtype = self.compute.torch_device(), self.compute.torch_dtype()
        return digest(self.check().fingerprint()), str(device), str(dtype)

    def _load(self) -> tuple["PreTrainedModel", "ProcessorMixin"]:
        """Model and processor; loaded once for the same files, device and precision."""

        def load() -> tuple["PreTrainedModel", "ProcessorMixin"]:
            from transformers import BlipForConditionalGeneration, BlipProcessor

            checkpoint = self.check()
            device, dtype = self.compute.torch_device(), self.compute.torch_dtype()
            with quiet("transformers"):
                processor = BlipProcessor.from_pretrained(checkpoint.folder, local_files_only=True)
                model = BlipForConditionalGeneration.from_pretrained(
                    checkpoint.folder, local_files_only=True, use_safetensors=True, dtype=dtype
                )
            return model.to(device).eval().requires_grad_(requires_grad=False), processor

        return load_once(("blip", *self._key()), load)


def exact_blip(model: "PreTrainedModel") -> Exact:
    """How a BLIP runs on the CPU so that no bit of a caption depends on other pictures.

    Four pictures in a call, if they are found alone: word by word its decoder reads its weights,
    so that a caption takes half of the time. More would be filled up too often.
    """
    import torch

    side = model.config.vision_config.image_size
    words = torch.arange(1, 1 + _WORDS)

    def read(pixels: "torch.Tensor") -> "torch.Tensor":
        read_words = words.repeat(len(pixels), 1)
        with torch.inference_mode():
            logits: torch.Tensor = model(pixel_values=pixels, input_ids=read_words).logits
        return logits

    def pictures(count: int) -> "torch.Tensor":
        rows = torch.Generator().manual_seed(0)
        return torch.rand(count, 3, side, side, generator=rows).to(model.dtype)

    return together_if_alone(read, pictures, _TOGETHER)
