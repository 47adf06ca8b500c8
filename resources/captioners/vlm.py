"""Captions by vision-language models: BLIP-2, and any model that is asked in a chat.

Decoding is greedy, so that a picture always has the same caption. Padding goes before the prompt:
what a batch holds beside a picture does not come between its prompt and its caption.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from PIL.Image import Image

from dnd_assets.errors import StudyError, nearest
from dnd_assets.lineage.fingerprint import Json, digest
from resources.captioners.base import PROMPT, CheckpointCaptioner, require_processor
from resources.checkpoints import Checkpoint, file_hash, quiet, resolve
from resources.runtime.compute import load_once
from resources.runtime.faster_layers import faster_layers

if TYPE_CHECKING:
    from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

_NEEDS: Final = ("config.json", "*.safetensors")
_TEMPLATES: Final = ("chat_template.jinja", "additional_chat_templates/*.jinja")
_WITH_TEMPLATE: Final = ("chat_template.json", "processor_config.json", "tokenizer_config.json")


class VlmCaptioner(CheckpointCaptioner):
    """An image-text-to-text model of transformers, asked in the words of its chat template.

    Attributes:
        checkpoint: folder, `package:…` or hub id; weights are safetensors, and code that comes
            with a checkpoint is never run.
        prompt: what is asked of each picture; None asks for one short factual sentence.
    """

    kind: ClassVar[str] = "vlm"
    usual: ClassVar[str] = PROMPT

    prompt: str | None = None

    def check(self) -> Checkpoint:
        """Find the checkpoint and see that it is of this kind, without loading it.

        Raises:
            StudyError: when it is not on this machine, naming the command that gets it, or when
                transformers knows no such model, or it has no chat template.
        """
        checkpoint = resolve(self.checkpoint, self.revision, self.base, _NEEDS)
        self._require_kind(checkpoint)
        require_processor(checkpoint)
        return checkpoint

    def fingerprint(self) -> dict[str, Json]:
        """Everything about the captioner that may change a caption."""
        checkpoint = self.check()
        return {
            "kind": self.kind,
            "checkpoint": checkpoint.fingerprint()["files"],
            "templates": _templates(checkpoint),
            "prompt": self._prompt(),
            "max_new_tokens": self.max_new_tokens,
            "code": self.code(),
            **self.compute.fingerprint(),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def _captions(
        self, model: "PreTrainedModel", processor: "ProcessorMixin", batch: Sequence[Image]
    ) -> list[str]:
        import torch

        with torch.inference_mode(), faster_layers(), quiet("transformers"):
            pictures = [image.convert("RGB") for image in batch]
            inputs = self._inputs(processor, pictures).to(model.device, model.dtype)
            tokens = model.generate(
                **inputs, max_new_tokens=self.max_new_tokens, num_beams=1, do_sample=False
            )
        if "input_ids" in inputs and not model.config.is_encoder_decoder:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        texts = processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _inputs(self, processor: "ProcessorMixin", batch: Sequence[Image]) -> "BatchFeature":
        """What the model reads of some pictures, the same words with each."""
        question = {"type": "text", "text": self._prompt()}
        conversations = [
            [{"role": "user", "content": [{"type": "image", "image": image}, question]}]
            for image in batch
        ]
        return processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )

    def _prompt(self) -> str:
        return self.usual if self.prompt is None else self.prompt

    def _require_kind(self, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint that transformers has no such model for, or without a template."""
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
        )

        kind = _model_type(checkpoint)
        if kind not in KNOWN:
            close = ", ".join(nearest(kind, KNOWN))
            raise StudyError(
                f"{self.checkpoint!r} is a {kind!r}, which transformers has no model for that "
                f"reads pictures and writes text; nearest: {close}. Code that comes with a "
                "checkpoint is never run; choose another checkpoint."
            )
        if not _has_template(checkpoint):
            raise StudyError(
                f"{self.checkpoint!r} has no chat template, so it cannot be asked with a prompt. "
                "Choose a checkpoint made to be instructed, or captioner.kind = 'blip2' for a "
                "BLIP-2."
            )

    def _load(self) -> tuple["PreTrainedModel", "ProcessorMixin"]:
        """Model and processor; loaded once for the same files, device and precision."""
        checkpoint = self.check()
        device, dtype = self.compute.torch_device(), self.compute.torch_dtype()
        options = {"local_files_only": True, "trust_remote_code": False}

        def load() -> tuple["PreTrainedModel", "ProcessorMixin"]:
            from transformers import AutoModelForImageTextToText, AutoProcessor

            with quiet("transformers"):
                processor = AutoProcessor.from_pretrained(checkpoint.folder, **options)
                model = AutoModelForImageTextToText.from_pretrained(
                    checkpoint.folder, use_safetensors=True, dtype=dtype, **options
                )
            processor.tokenizer.padding_side = "left"
            if processor.tokenizer.pad_token_id is None:
                processor.tokenizer.pad_token = processor.tokenizer.eos_token
            return model.to(device).eval().requires_grad_(requires_grad=False), processor

        name = digest([checkpoint.fingerprint(), _templates(checkpoint)])
        return load_once((self.kind, name, str(device), str(dtype)), load)


class Blip2Captioner(VlmCaptioner):
    """BLIP-2, which continues a text after a picture; without a prompt it captions.

    Attributes:
        prompt: the text that it continues, such as `Question: what is it? Answer:`; None for a
            plain caption.
    """

    kind: ClassVar[str] = "blip2"
    usual: ClassVar[str] = ""

    def _inputs(self, processor: "ProcessorMixin", batch: Sequence[Image]) -> "BatchFeature":
        texts = {"text": [self._prompt()] * len(batch)} if self._prompt() else {}
        return processor(images=list(batch), **texts, return_tensors="pt")

    def _require_kind(self, checkpoint: Checkpoint) -> None:
        kind = _model_type(checkpoint)
        if kind != "blip-2":
            raise StudyError(
                f"{self.checkpoint!r} is a {kind!r}, not a BLIP-2. Choose a BLIP-2 such as "
                "Salesforce/blip2-opt-2.7b, or write captioner.kind = 'vlm'."
            )


def _model_type(checkpoint: Checkpoint) -> str:
    path = checkpoint.folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StudyError(
            f"{path} is no JSON ({error}); copy the checkpoint {checkpoint.source!r} again."
        ) from error
    return str(content.get("model_type", "")) if isinstance(content, dict) else ""


def _template_files(checkpoint: Checkpoint) -> list[Path]:
    return sorted(path for pattern in _TEMPLATES for path in checkpoint.folder.glob(pattern))


def _templates(checkpoint: Checkpoint) -> list[str]:
    """Hashes of the chat templates that lie in files of their own."""
    return [file_hash(path) for path in _template_files(checkpoint)]


def _has_template(checkpoint: Checkpoint) -> bool:
    if _template_files(checkpoint):
        return True
    files = (checkpoint.folder / name for name in _WITH_TEMPLATE)
    return any(
        '"chat_template"' in path.read_text(encoding="utf-8") for path in files if path.is_file()
    )
