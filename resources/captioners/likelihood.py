"""How likely captions are: several captions of a picture, and the probability of given ones.

MILAN (Hernandez et al. 2022, section 3) needs log p(d|image) and log p(d) of a description d. Here
both come from the captioner's own decoder, which is asked about a picture without content for the
latter; `resources.captioners.language_model` has a language model for it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from PIL.Image import Image

from dnd_assets.errors import StudyError
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import Json
from resources.captioners.base import BlipCaptioner, Captioner
from resources.captioners.teacher_forcing import log_likelihood
from resources.runtime.exact_passes import Exact, ThreadCopies

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, ProcessorMixin

_END: Final = 2
"""Positions that the marks of start and end take."""


class CaptionLikelihood:
    """Captions and their probabilities, as one captioner sees it.

    Written for captioners in two parts, an encoder of pictures and a decoder of words that attends
    to it: what differs between such models is in `_encode`, `_decode` and `_marks`.

    Attributes:
        captioner: the captioner; its limits of length hold for the captions made here.
    """

    def __init__(self, captioner: Captioner) -> None:
        """Take a captioner that generates.

        Raises:
            StudyError: when it does not tell how likely a caption is.
        """
        if not isinstance(captioner, BlipCaptioner):
            raise StudyError(
                f"the captioner ({captioner.title()}) does not tell how likely a caption is, which "
                "MILAN needs. Use captioner.kind = 'blip', or leave out [milan]."
            )
        self.captioner = captioner

    def fingerprint(self) -> dict[str, Json]:
        """Everything that may change a caption or a probability."""
        return {
            "captioner": self.captioner.fingerprint(),
            "code": code_version(type(self)),
        }

    def beams(self, images: Sequence[Image], count: int, batch_size: int) -> list[list[str]]:
        """The `count` most likely captions of each picture by beam search, best first.

        Args:
            images: pictures of any size and mode.
            count: beams; fewer captions come back where two read the same or one is blank.
            batch_size: pictures in a batch; on the CPU no caption depends on it.

        Raises:
            StudyError: when the checkpoint is missing or one picture exceeds the memory.
        """
        if not images:
            return []
        model, processor = self.captioner._load()
        copies = ThreadCopies(model)

        def run(batch: Sequence[Image]) -> list[list[str]]:
            return self._beams(copies.here(), processor, batch, count)

        compute = self.captioner.compute
        return compute.in_batches(images, run, batch_size, pad=True, exact=Exact(at_once=True))

    def log_given(
        self, images: Sequence[Image], texts: Sequence[Sequence[str]], batch_size: int
    ) -> list[list[float]]:
        """Natural log p(text|image) of some texts for each picture, by teacher forcing.

        The sum over a text's tokens and its end, each given those before it: not divided by the
        length, as in MILAN. A text longer than the decoder's context is cut off there.

        Args:
            images: pictures of any size and mode.
            texts: the texts wanted for each picture.
            batch_size: texts in a batch; on the CPU no value depends on it.

        Returns:
            For each picture a value for each of its texts, at most 0; NaN when the model breaks.
        """
        model, processor = self.captioner._load()
        return [
            self._scores(
                model, processor, self._encode(model, processor, image), captions, batch_size
            )
            for image, captions in zip(images, texts, strict=True)
        ]

    def log_prior(self, texts: Sequence[str], batch_size: int) -> list[float]:
        """Natural log p(text) of texts: about a picture of the processor's mean colour alone.

        All pixels are 0 after normalisation, so that the picture has no content to speak of.
        """
        model, processor = self.captioner._load()
        return self._scores(model, processor, self._encode(model, processor), texts, batch_size)

    def _beams(
        self,
        model: "PreTrainedModel",
        processor: "ProcessorMixin",
        batch: Sequence[Image],
        count: int,
    ) -> list[list[str]]:
        import torch

        with torch.inference_mode():
            tokens = model.generate(
                pixel_values=_pixels(model, processor, batch),
                max_new_tokens=self.captioner.max_new_tokens,
                min_length=self.captioner.min_length,
                num_beams=count,
                num_return_sequences=count,
                do_sample=False,
            )
        texts = [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
        groups = [texts[start : start + count] for start in range(0, len(texts), count)]
        return [list(dict.fromkeys(text for text in group if text)) for group in groups]

    def _scores(
        self,
        model: "PreTrainedModel",
        processor: "ProcessorMixin",
        attended: "Tensor",
        texts: Sequence[str],
        batch_size: int,
    ) -> list[float]:
        start, end, longest = self._marks(model)
        tokenized = [
            processor.tokenizer(text, add_special_tokens=False)["input_ids"][: longest - _END]
            for text in texts
        ]

        def run(batch: Sequence[list[int]]) -> list[float]:
            return self._decode(model, attended, batch, start, end)

        return self.captioner.compute.in_batches(
            tokenized, run, batch_size, exact=Exact(at_once=True)
        )

    def _encode(
        self, model: "PreTrainedModel", processor: "ProcessorMixin", image: Image | None = None
    ) -> Any:
        """What the decoder attends to, (1, positions, width); without an image, of no content."""
        import torch

        if image is None:
            side = model.config.vision_config.image_size
            pixels = torch.zeros(1, 3, side, side, device=model.device, dtype=model.dtype)
        else:
            pixels = _pixels(model, processor, [image])
        with torch.inference_mode():
            return model.vision_model(pixel_values=pixels)[0]

    def _decode(
        self,
        model: "PreTrainedModel",
        attended: "Tensor",
        batch: Sequence[list[int]],
        start: int,
        end: int,
    ) -> list[float]:
        def decode(numbers: "Tensor", mask: "Tensor") -> Any:
            return model.text_decoder(
                input_ids=numbers,
                attention_mask=mask,
                encoder_hidden_states=attended.expand(len(batch), -1, -1),
            ).logits

        return log_likelihood(decode, batch, start, end, model.device)

    def _marks(self, model: "PreTrainedModel") -> tuple[int, int, int]:
        """Numbers of the start and the end of a caption, and the decoder's positions."""
        text = model.config.text_config
        return text.bos_token_id, text.sep_token_id, text.max_position_embeddings


def _pixels(model: "PreTrainedModel", processor: "ProcessorMixin", batch: Sequence[Image]) -> Any:
    inputs = processor(images=[image.convert("RGB") for image in batch], return_tensors="pt")
    return inputs["pixel_values"].to(model.device, model.dtype)
