"""The models of a study: what each is for, and what it is made from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.listed import Listed
from dnd_assets.engine.network_inputs import told_of_inputs
from dnd_assets.errors import DndError, StudyError
from resources.captioners.language_model import LanguageModel
from resources.model import Model

_ROLES: Final = {
    "captioner": ("captioner", "captioner"),
    "summariser": ("summariser", "summariser"),
    "text_to_image": ("text to image", "text_to_image"),
    "clip": ("image-text encoder", "clip"),
}
"""Role and section of the study, by field of the study's context."""
_MILAN: Final = "milan_labels"
_EVERY: Final = ("targets", *_ROLES, "sentences", _MILAN)


def inventory(context: StudyContext) -> list[Listed]:
    """Every model of the study, part by part: targets first, then in the order of the graph.

    Models that are not on this machine are listed with what is missing; nothing is loaded.
    """
    return list(_listed(context, _EVERY))


def assumptions(context: StudyContext) -> list[tuple[str, str]]:
    """What each of the study's models assumes, as (its role, a sentence); never raises."""
    notes = [(f"target: {network}", text) for network, text in context.targets.every_assumption()]
    for model in context.study.models:
        with suppress(DndError):  # of a network that is not here nothing is known
            doubts = context.targets.doubts(model.name, [layer.path for layer in model.layers])
            notes += [(f"target: {model.name}", text) for text in doubts]
    notes += told_of_inputs(context)
    for field, (role, _) in _ROLES.items():
        notes += [(role, text) for text in getattr(context, field).assumptions()]
    if context.sentences is not None:
        notes += [("sentence encoder", text) for text in context.sentences.assumptions()]
    language = _milan_language_model(context)
    if language is not None:
        notes += [("language model", text) for text in language.assumptions()]
    return notes


def loaded(context: StudyContext) -> list[tuple[str, str]]:
    """What was done to the networks' weights when they were loaded; never raises."""
    notes = []
    for model in context.study.models:
        with suppress(DndError):  # of a network that is not here nothing is known
            notes.append((f"target: {model.name}", context.targets.told(model.name)))
    return [(name, text) for name, text in notes if text]


def _milan_language_model(context: StudyContext) -> LanguageModel | None:
    """The language model that MILAN's labels are weighed with, if there is one."""
    section = context.study.milan
    if section is None or section.language_model is None:
        return None
    base = str(context.study.folder)
    return LanguageModel(model=section.language_model, base=base, compute=context.compute)


def used_by(context: StudyContext, name: str, uses: Iterable[str]) -> list[Listed]:
    """The models that an asset works with.

    Args:
        context: the study's context.
        name: the asset.
        uses: resources that compute it.
    """
    return list(_listed(context, {*uses, name}))


def require_models(context: StudyContext, name: str = "", uses: Iterable[str] = _EVERY) -> None:
    """Refuse to begin when models are not on this machine.

    Targets are not looked at, as finding a study's units does that. Neither are servers: what
    they answered before is replayed without them.

    Args:
        context: the study's context.
        name: the asset that needs them; empty for the whole study.
        uses: resources that compute it.

    Raises:
        StudyError: naming the first that is missing and the command that gets it.
    """
    for listed in _listed(context, {*uses, name} - {"targets"}):
        if not (listed.part.present or listed.part.server):
            raise StudyError(
                f"{name or context.study.name} needs the {listed.name}. {listed.part.problem}"
            )


def _listed(context: StudyContext, wanted: Collection[str]) -> Iterator[Listed]:
    """The parts of the models that `wanted` names, found one model after the other."""
    if "targets" in wanted:
        yield from (Listed("target", "targets", "models", part) for part in context.targets.parts())
    for field, (role, section) in _ROLES.items():
        if field in wanted:
            yield from _parts(getattr(context, field), role, field, section)
    if "sentences" in wanted and context.sentences is not None:
        parts = _parts(context.sentences, "sentence encoder", "sentences", "evaluation")
        yield from (_pinned_by_name(listed, "sentence_encoder") for listed in parts)
    model = _milan_language_model(context) if _MILAN in wanted else None
    if model is not None:
        parts = _parts(model, "language model", _MILAN, "milan")
        yield from (_pinned_by_name(listed, "language_model") for listed in parts)


def _parts(model: Model, role: str, field: str, section: str) -> list[Listed]:
    return [Listed(role, field, section, part) for part in model.parts()]


def _pinned_by_name(listed: Listed, key: str) -> Listed:
    """A part whose section has no key `revision`: its revision is pinned in the name."""
    commit, name = listed.part.pin[1], listed.part.source.partition("@")[0]
    pin = (key, f"{name}@{commit}") if commit else ("", "")
    return replace(listed, part=replace(listed.part, pin=pin))
