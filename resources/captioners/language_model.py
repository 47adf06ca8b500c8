"""Language model: how likely a text is by itself, by any causal model of transformers."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from dnd_assets.errors import StudyError
from dnd_assets.lineage.fingerprint import Json, digest
from resources.captioners.teacher_forcing import log_likelihood
from resources.checkpoints import Checkpoint, quiet, resolve
from resources.model import Model
from resources.runtime.compute import Compute, load_once
from resources.runtime.exact_passes import ALONE
from resources.runtime.faster_layers import faster_layers

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_NEEDS: Final = ("config.json", "*.safetensors", "tokenizer_config.json")


class LanguageModel(Model):
    """A causal language model in the transformers format, with its tokenizer.

    Attributes:
        model: a folder, `package:…` or hub id in the local cache, `org/name` or
            `org/name@revision`.
        revision: branch, tag or commit of a hub id.
        base: folder that relative paths start from.
        compute: device and precision.
    """

    model: str
    revision: str | None = None
    base: str | None = None
    compute: Compute

    def title(self) -> str:
        """The model."""
        return self.model

    def check(self) -> Checkpoint:
        """Find the checkpoint without loading it.

        Raises:
            StudyError: when it is not on this machine; names the command that gets it.
        """
        return resolve(self.model, self.revision, self.base, _NEEDS)

    def fingerprint(self) -> dict[str, Json]:
        """Everything about the model that may change a probability."""
        return {
            "checkpoint": self.check().fingerprint()["files"],
            "code": self.code(),
            **self.compute.fingerprint(),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def log_prior(self, texts: Sequence[str], batch_size: int) -> list[float]:
        """Natural log p(text) of texts: the sum over their tokens and the end, from the start.

        Args:
            texts: any number; what exceeds the model's context is cut off.
            batch_size: texts in a batch; on the CPU no value depends on it.

        Raises:
            StudyError: when the checkpoint is missing, or has no token for start and end.
        """
        model, tokenizer = self._load()
        start = (
            tokenizer.bos_token_id if tokenizer.bos_token_id is not None else _end_token(tokenizer)
        )
        end = _end_token(tokenizer)
        if start is None or end is None:
            raise StudyError(
                f"language model {self.model!r} has no token for the end of a text (eos_token); "
                "choose a causal model such as gpt2."
            )
        positions = getattr(model.config, "max_position_embeddings", None)
        longest = min(positions or 10**9, int(tokenizer.model_max_length)) - 1
        tokens = [
            tokenizer(text, add_special_tokens=False)["input_ids"][:longest] for text in texts
        ]

        def decode(numbers: "Tensor", mask: "Tensor") -> Any:
            return model(input_ids=numbers, attention_mask=mask).logits

        def run(batch: Sequence[list[int]]) -> list[float]:
            with faster_layers():
                return log_likelihood(decode, batch, start, end, model.device)

        return self.compute.in_batches(tokens, run, batch_size, exact=ALONE)

    def _load(self) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
        checkpoint = self.check()
        device, dtype = self.compute.torch_device(), self.compute.torch_dtype()

        def load() -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            options = {"local_files_only": True, "trust_remote_code": False}
            with quiet("transformers"):
                tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **options)
                model = AutoModelForCausalLM.from_pretrained(
                    checkpoint.folder, dtype=dtype, use_safetensors=True, **options
                )
            return model.to(device).eval().requires_grad_(requires_grad=False), tokenizer

        key = ("language model", digest(checkpoint.fingerprint()), str(device), str(dtype))
        return load_once(key, load)


def _end_token(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Number of the token that ends a text; None where the tokenizer has none."""
    number: int | None = tokenizer.eos_token_id
    return number
