"""What a checkpoint of an autoencoder holds, and what the study answers where it is silent.

A convention that a file does not record is asked for, never guessed: `Answers.settled` is the one
place where a checkpoint's value and the study's answer meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dnd_assets.errors import StudyError, nearest

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
ActivationName = Literal["relu", "topk", "batch_topk", "jump_relu", "gated"]


Config = Mapping[str, Any]
"""A library's own settings, as its checkpoint holds them; each reader checks what it uses."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint as it was read.

    Attributes:
        source: the file, for messages.
        tensors: by name, on the CPU.
        config: the library's settings beside or within the file; None where there are none.
        header: whether the settings are the first line of the file itself, as saev writes them.
    """

    source: str
    tensors: Mapping[str, Tensor]
    config: Config | None = None
    header: bool = False

    def tensor(self, name: str, layout: str) -> Tensor:
        """A tensor by name, float32.

        Raises:
            StudyError: when there is none; names the nearest.
        """
        if name not in self.tensors:
            suggestions = ", ".join(nearest(name, list(self.tensors))) or "none at all"
            raise StudyError(
                f"{self.source} has no tensor {name!r}, which an autoencoder of {layout} has; "
                f"nearest there: {suggestions}. Correct `sae.layout`, or give the checkpoint as "
                f"{layout} saves it."
            )
        return self.tensors[name].float()

    def has(self, *names: str) -> bool:
        """Whether all these tensors are there."""
        return all(name in self.tensors for name in names)

    def settings(self, layout: str, file: str) -> Config:
        """The library's settings.

        Raises:
            StudyError: when there are none.
        """
        if self.config is None:
            raise StudyError(
                f"{self.source} comes without {file}, in which {layout} says how it encodes: "
                "without it neither activation nor normalisation is known. Put it beside the "
                "checkpoint, as the library saved it."
            )
        return self.config


@dataclass(frozen=True)
class Answers:
    """What the study says of a checkpoint, where the checkpoint itself leaves it open.

    Attributes:
        activation: the activation.
        k: of TopK.
        threshold: of BatchTopK at inference.
        subtract_b_dec: whether the decoder's bias is subtracted from the input.
        scale: what activations are multiplied by before encoding.
        asked: names of the answers that something asked for.
    """

    activation: ActivationName | None = None
    k: int | None = None
    threshold: float | None = None
    subtract_b_dec: bool | None = None
    scale: float | None = None
    asked: set[str] = field(default_factory=set, compare=False)

    def settled(self, name: str, saved_value: T | None, why: str) -> T:
        """What the checkpoint tells, or else what the study answers.

        Args:
            name: of the answer.
            saved_value: the value that the checkpoint holds; None where it holds none.
            why: what is open, for the question.

        Raises:
            StudyError: when neither tells, or they contradict each other.
        """
        answer: Any = getattr(self, name)
        self.asked.add(name)
        if saved_value is None and answer is None:
            raise StudyError(f"{why}. Say it: `{name} = …` in [models.layers.sae].")
        if saved_value is not None and answer is not None and answer != saved_value:
            raise StudyError(
                f"[models.layers.sae] says {name} = {_written(answer)}, and the checkpoint says "
                f"{_written(saved_value)}. Leave it out: it is for what a checkpoint leaves open."
            )
        return answer if saved_value is None else saved_value

    def unused(self) -> list[str]:
        """Answers that were given and that nothing asked for."""
        names = [entry.name for entry in fields(self) if entry.name != "asked"]
        return [
            name for name in names if getattr(self, name) is not None and name not in self.asked
        ]


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def refused(source: str, layout: str, problem: str, readable: Sequence[str]) -> StudyError:
    """An autoencoder of a kind that is not read.

    Args:
        source: the file.
        layout: the library.
        problem: what was found, such as `activation 'tanh-relu'`.
        readable: what is read.
    """
    return StudyError(
        f"{source} is an autoencoder of {layout} with {problem}, which is not read; what is: "
        f"{', '.join(readable)}. Choose another checkpoint."
    )
