"""Sentence encoder: texts as unit vectors (paper: all-mpnet-base-v2), by transformers alone.

The vector of a text is the mean of its tokens' last hidden states, of length 1, as the model card
of all-mpnet-base-v2 says. The tokens themselves serve BERTScore. What a checkpoint's files for
sentence-transformers say is followed (longest text, lower case, a default prompt), and what they
ask for beyond it is refused: another pooling, a layer after it.
"""

import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from dnd_assets.errors import DndError, StudyError
from dnd_assets.lineage.fingerprint import Json
from dnd_assets.methods.metrics.bertscore import Tokens
from dnd_assets.settings import Options
from resources.checkpoints import Checkpoint, quiet, resolve
from resources.model import Model
from resources.runtime.compute import Compute, load_once
from resources.runtime.exact_passes import Exact, one_shape_at_a_time
from resources.runtime.faster_layers import faster_layers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_ROWS: Final = 8
"""Texts in a batch of one shape: more are no faster, and fewer texts are filled up to it."""
_AT_ONCE: Final = 16
"""So many such batches are handed to threads together on the CPU."""
_NEEDS: Final = ("config.json", "*.safetensors", "tokenizer_config.json")
_POOLING: Final = "1_Pooling"
_MODULES: Final = "modules.json"
_PROMPTS: Final = "config_sentence_transformers.json"
_LIMITS: Final = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Settings of the transformer, as sentence-transformers looks for them: the first that is there."""
_MEAN: Final = frozenset({"mean", "pooling_mode_mean_tokens"})
_BUILT_IN_MODULES: Final = ("Transformer", "Pooling", "Normalize", "Dropout")
"""Modules of sentence-transformers that this encoder is made of; the length is 1 in any case."""


T = TypeVar("T")


class SentenceEncoder(Model):
    """A BERT-like encoder in the transformers format, with its tokenizer.

    Attributes:
        model: a folder, `package:…` or hub id in the local cache, `org/name` or
            `org/name@revision`.
        revision: branch, tag or commit of a hub id.
        base: folder that relative paths start from.
        batch_size: texts in a batch; it changes no vector by more than 1e-6.
        exact: texts of equal length are encoded in batches of one shape, and vectors are rounded,
            so that no bit depends on the others.
        layer: hidden layer whose tokens serve BERTScore, 0 for the embeddings; None is the last.
        compute: device and precision.
    """

    model: str
    revision: str | None = None
    base: str | None = None
    batch_size: int = 64
    exact: bool = False
    layer: int | None = None
    compute: Compute

    def title(self) -> str:
        """The model."""
        return self.model

    def check(self) -> Checkpoint:
        """Find the encoder without loading it.

        Raises:
            StudyError: when it is not on this machine, naming the command that gets it, or when
                it does not take the mean over tokens and no more.
        """
        checkpoint = self._find()
        _check_modules(checkpoint)
        return checkpoint

    def assumptions(self) -> list[str]:
        """How tokens are pooled, where the checkpoint does not say."""
        try:
            checkpoint = self.check()
        except DndError:
            return []  # `check` tells
        if _read_settings(checkpoint, f"{_pooling_folder(checkpoint)}/config.json"):
            return []
        return [
            f"{self.model} has no {_POOLING}/config.json, so a text is taken to be the mean of its "
            "tokens, as sentence-transformers takes it."
        ]

    def fingerprint(self) -> dict[str, Json]:
        """Everything about the encoder that may change a vector."""
        return {
            "weights": self._find().fingerprint()["files"],
            "layer": self.layer,
            "code": self.code(),
            **self.compute.fingerprint(),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts; what exceeds the encoder's context is cut off.

        The checkpoint's default prompt, where it has one, comes before each of them.

        Args:
            texts: any number, in any order; neither changes a vector by more than 1e-6.

        Returns:
            float32 (N, D), rows of Euclidean norm 1, but for what `exact` rounds away.
        """
        net = self._load()
        prompted = [net.prompt + text for text in texts]
        if self.exact:
            rows = self._in_one_shape(net, prompted)
        else:
            rows = self._by_length(net, prompted, net.sentences)
        return np.stack(rows) if rows else np.zeros((0, net.width), np.float32)

    def encode_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Contextual embeddings of each text's tokens; start and end marks do not count.

        Args:
            texts: any number, in any order.

        Raises:
            StudyError: when the encoder has no such layer.
        """
        net = self._load()
        if self.layer is not None and not 0 <= self.layer <= net.layers:
            raise StudyError(
                f"{self.model!r} has no hidden layer {self.layer}; it has 0 to {net.layers}. "
                "Correct the encoder's layer."
            )
        layer = net.layers if self.layer is None else self.layer
        return self._by_length(net, texts, lambda batch: net.tokens(batch, layer))

    def _in_one_shape(self, net: "_Encoder", texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Rounded vectors of texts, each in a batch of `_ROWS` texts of its number of tokens.

        A product of matrices of one shape treats its rows alike, and what another library of
        matrices may do to a last bit is rounded away, as in batches on a GPU.
        """
        import torch

        from dnd_assets.methods.pooling import stabilise

        def encode(token_lists: Sequence[list[int]]) -> Sequence[NDArray[np.float32]]:
            return self.compute.in_batches(
                token_lists,
                net.sentences,
                _ROWS if self.compute.accelerated else _AT_ONCE * _ROWS,
                pad=True,
                exact=Exact(_ROWS, at_once=True),
            )

        vectors = one_shape_at_a_time([net.tokenize(text) for text in texts], len, encode)
        rounded = (stabilise(torch.from_numpy(vector)) for vector in vectors)
        return [np.asarray(row.numpy()) for row in rounded]

    def _by_length(
        self,
        net: "_Encoder",
        texts: Sequence[str],
        run: Callable[[Sequence[list[int]]], Sequence[T]],
    ) -> list[T]:
        """Results of `run` in the order of `texts`; batches hold texts of like length."""
        encoded = [net.tokenize(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: (len(encoded[i]), i))
        tokens = [encoded[i] for i in order]
        outputs = self.compute.in_batches(tokens, run, self.batch_size)
        results: list[Any] = [None] * len(texts)
        for i, result in zip(order, outputs, strict=True):
            results[i] = result
        return results

    def _find(self) -> Checkpoint:
        return resolve(self.model, self.revision, self.base, _NEEDS)

    def _load(self) -> "_Encoder":
        checkpoint = self.check()
        device, dtype = self.compute.torch_device(), self.compute.torch_dtype()
        key = ("sentences", checkpoint.fingerprint()["files"], str(device), str(dtype))
        return load_once(key, lambda: _Encoder(checkpoint, device, dtype))


class _Encoder:
    """A loaded model: turns batches of token numbers into vectors."""

    def __init__(
        self, checkpoint: Checkpoint, device: "torch.device", dtype: "torch.dtype"
    ) -> None:
        from transformers import AutoModel, AutoTokenizer

        options = {"local_files_only": True, "trust_remote_code": False}
        with quiet("transformers"):
            self._tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **options)
            model = AutoModel.from_pretrained(
                checkpoint.folder, dtype=dtype, use_safetensors=True, **options
            )
        self._model = model.to(device).eval().requires_grad_(requires_grad=False)
        self._device = device
        self.width: int = model.config.hidden_size
        self.layers: int = model.config.num_hidden_layers
        self.prompt = _default_prompt(checkpoint)
        self._lower = bool(_limits(checkpoint).get("do_lower_case"))
        self._context = _context(checkpoint, model.config.max_position_embeddings, self._tokenizer)
        self._marks = frozenset(self._tokenizer.all_special_ids) - {self._tokenizer.unk_token_id}

    def tokenize(self, text: str) -> list[int]:
        """Token numbers of one text, with start and end marks, within the context."""
        text = text.lower() if self._lower else text
        numbers: list[int] = self._tokenizer(text, truncation=True, max_length=self._context)[
            "input_ids"
        ]
        return numbers

    def sentences(self, batch: Sequence[list[int]]) -> list[NDArray[np.float32]]:
        """Unit vector of each text, float32 (D,)."""
        import torch

        states, mask = self._states(batch, self.layers)
        means = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return list(torch.nn.functional.normalize(means, dim=-1).cpu().numpy())

    def tokens(self, batch: Sequence[list[int]], layer: int) -> list[Tokens]:
        """The tokens of each text at a hidden layer."""
        states, _ = self._states(batch, layer)
        rows = states.cpu().numpy()
        return [
            Tokens(row[: len(text)], np.array([n not in self._marks for n in text]))
            for row, text in zip(rows, batch, strict=True)
        ]

    def _states(
        self, batch: Sequence[list[int]], layer: int
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Hidden states (B, T, D) and which of them are tokens (B, T), float32."""
        import torch

        longest = max(len(text) for text in batch)
        fill = self._tokenizer.pad_token_id or 0
        numbers = torch.tensor([text + [fill] * (longest - len(text)) for text in batch])
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in batch])
        with torch.inference_mode(), faster_layers():
            output = self._model(
                input_ids=numbers.to(self._device),
                attention_mask=mask.to(self._device),
                output_hidden_states=True,
            )
        states: torch.Tensor = output.hidden_states[layer].float()
        return states, mask.to(self._device, torch.float32)


def _context(checkpoint: Checkpoint, positions: int, tokenizer: "PreTrainedTokenizerBase") -> int:
    """How many tokens the encoder takes: its sentence limit, its tokenizer's, its positions."""
    limits = _limits(checkpoint).get("max_seq_length")
    # Position numbers of MPNet and RoBERTa start after that of the padding.
    offset = 2 if (tokenizer.pad_token_id or 0) == 1 else 0
    return min(int(limits or positions), int(tokenizer.model_max_length), positions - offset)


def _limits(checkpoint: Checkpoint) -> Options:
    return next(filter(None, (_read_settings(checkpoint, name) for name in _LIMITS)), {})


def _modules(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Class and folder of the modules that sentence-transformers runs; empty without such a file.

    Raises:
        StudyError: when the file cannot be read.
    """
    path = checkpoint.folder / _MODULES
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [(str(module["type"]).rpartition(".")[2], str(module["path"])) for module in content]
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path} is no list of modules ({error!r}); copy the checkpoint "
            f"{checkpoint.source!r} again."
        ) from error


def _pooling_folder(checkpoint: Checkpoint) -> str:
    return next((path for kind, path in _modules(checkpoint) if kind == "Pooling"), _POOLING)


def _default_prompt(checkpoint: Checkpoint) -> str:
    """What sentence-transformers puts before every text; empty for most encoders."""
    content = _read_settings(checkpoint, _PROMPTS)
    return str((content.get("prompts") or {}).get(content.get("default_prompt_name")) or "")


def _check_modules(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint with modules or a pooling that this encoder does not have.

    Raises:
        StudyError: naming it.
    """
    advice = "Choose an encoder such as sentence-transformers/all-mpnet-base-v2."
    for kind, path in _modules(checkpoint):
        if kind not in _BUILT_IN_MODULES:
            raise StudyError(
                f"{checkpoint.source!r} has a module {kind} ({path}) beside its transformer, which "
                f"is not built in; without it the vectors would be others. {advice}"
            )
    config_name = f"{_pooling_folder(checkpoint)}/config.json"
    pooling = _read_settings(checkpoint, config_name)
    modes = _modes(pooling)
    if not modes <= _MEAN:
        raise StudyError(
            f"{checkpoint.source!r} pools by {', '.join(sorted(modes))} ({config_name}); only the "
            f"mean over tokens is built in. {advice}"
        )
    if pooling.get("include_prompt") is False and _default_prompt(checkpoint):
        raise StudyError(
            f"{checkpoint.source!r} leaves its prompt out of the mean (include_prompt, "
            f"{config_name}), which is not built in. {advice}"
        )


def _modes(pooling: Options) -> set[str]:
    """How tokens are pooled, by old settings (one flag for each way) or new (one name or more)."""
    declared = pooling.get("pooling_mode") or []
    flags = [
        name
        for name, value in pooling.items()
        if name.startswith("pooling_mode_") and value is True
    ]
    return set(flags if not declared else [declared] if isinstance(declared, str) else declared)


def _read_settings(checkpoint: Checkpoint, name: str) -> Options:
    path = checkpoint.folder / name
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StudyError(
            f"{path} is no JSON ({error}); copy the checkpoint {checkpoint.source!r} again."
        ) from error
    return content if isinstance(content, dict) else {}
