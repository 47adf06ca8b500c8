"""The two towers of a loaded open_clip model: pictures and texts as vectors."""

from collections.abc import Callable, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from PIL.Image import Image, new

from resources.encoders.short_texts import ShortTexts
from resources.runtime.compute import Compute
from resources.runtime.exact_passes import ALONE, Exact, exact_of, together_if_alone

if TYPE_CHECKING:
    import open_clip
    import torch

Transform = Callable[[Image], "torch.Tensor"]
Tokenize = Callable[[list[str]], "torch.Tensor"]
Encode = Callable[[Sequence[Any]], "torch.Tensor"]


class Towers:
    """A loaded model: turns pictures or texts into vectors (B, D).

    Args:
        model: with its weights, on the CPU.
        transform: a picture (RGB) as the image tower takes it.
        tokenize: texts as token numbers, (B, context).
        compute: device and precision.
    """

    def __init__(
        self, model: "open_clip.CLIP", transform: Transform, tokenize: Tokenize, compute: Compute
    ) -> None:
        import torch

        self._transform, self._tokenize = transform, tokenize
        self._compute, self._device = compute, compute.torch_device()
        self._model = model.to(self._device, torch.float32)
        self._tokenizing = Lock()
        self._model.eval().requires_grad_(requires_grad=False)
        if compute.channels_last:
            self._model.to(memory_format=torch.channels_last)
        self._short = ShortTexts(self._model)
        self.width = self.texts(self.tokens(["x"])).shape[1]

    def pixels(self, image: Image) -> "torch.Tensor":
        """A picture as the image tower takes it, (3, H, W)."""
        tensor: torch.Tensor = self._transform(image.convert("RGB"))
        return tensor

    def pictures(self, batch: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """Vectors of pictures as `pixels` gives them."""
        import torch

        vectors: torch.Tensor = self._model.encode_image(
            self._compute.place(torch.stack(list(batch)))
        )
        return vectors

    def tokens(self, texts: Sequence[str]) -> "list[torch.Tensor]":
        """Token numbers of each text, without padding where the tower needs none.

        What exceeds the context is cut off.
        """
        with self._tokenizing:  # a fast tokenizer of transformers serves one thread at a time
            return self._short.cut(self._tokenize(list(texts)).to(self._device))

    def texts(self, rows: "Sequence[torch.Tensor]") -> "torch.Tensor":
        """Vectors of texts, given as token numbers of one length that `tokens` gave."""
        import torch

        with torch.inference_mode():
            return self._short.encode(rows)

    @cached_property
    def exact_pictures(self) -> Exact:
        """How the image tower runs on the CPU so that no bit depends on other pictures."""
        import torch

        if self._compute.accelerated:
            return ALONE
        shape = self.pixels(new("RGB", (64, 64))).shape
        rows = torch.Generator().manual_seed(0)
        return exact_of(
            self._model,
            self._tried(self.pictures),
            lambda count: torch.rand(count, *shape, generator=rows),
        )

    @cached_property
    def exact_texts(self) -> Exact:
        """How the text tower runs on the CPU so that no bit depends on other texts.

        Several together, if they are found alone: a few tokens are little beside the weights.
        """
        import torch

        if self._compute.accelerated:
            return ALONE

        def words(count: int) -> "torch.Tensor":
            letters = [chr(ord("a") + number) * (1 + number % 3) for number in range(count)]
            return torch.stack(self.tokens(letters))

        return together_if_alone(self._tried(self.texts), words)

    def _tried(self, encode: Encode) -> Encode:
        import torch

        def run(rows: Sequence[Any]) -> "torch.Tensor":
            with torch.inference_mode(), self._compute.autocast():
                return encode(rows)

        return run
