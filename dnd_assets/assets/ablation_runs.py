"""Ablations of groups of units: the images, the classes, the passes, and the effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnd_assets.assets.ablation_parts import (
    Scores,
    means_of_units,
    network_outputs,
    outputs_without,
    passes_code,
)
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import StudyError
from dnd_assets.lineage.fingerprint import Json, digest
from dnd_assets.methods.ablation.probe import LEAST, CrossFitted, cross_fitted
from dnd_assets.methods.ablation.replacing import Group
from dnd_assets.methods.ablation.settings import AblationSettings
from dnd_assets.methods.seeds import content_seed
from dnd_assets.study.image_classes import class_table, classes_by_hash


class FewClassesError(StudyError):
    """The images show too few classes for a linear probe."""


@dataclass(frozen=True)
class AblationCase:
    """What all units of a network are ablated on.

    Attributes:
        context: the study's context.
        model: the network's name in the study.
        setting: the section [ablation].
        images: hashes of the images, ascending.
        names: of the classes.
        truth: class of each image, int64 (images,); None where it is not known.
        before: scores of the whole network, (images, classes).
        probe: reads classes off the network's output; None for a classifier.
        left_out: classes of too few images for a probe, with their numbers.
    """

    context: StudyContext
    model: str
    setting: AblationSettings
    images: list[str]
    names: list[str]
    truth: NDArray[np.int64] | None
    before: Scores
    probe: CrossFitted | None
    left_out: dict[str, int]

    def without(self, layer: str, groups: Sequence[Group], label: str) -> Scores:
        """Scores without each of some groups of a layer's units, (groups, images, classes)."""
        context, how, images = self.context, self.setting.how, self.images
        fill = means_of_units(context, self.model, layer, images) if how == "mean" else None
        donors = _donors(images) if how == "resample" else None
        progress = context.progress(label, len(images))
        outputs = outputs_without(
            context, (self.model, layer), groups, images, fill, donors, progress
        )
        context.count("ablations", len(self.images) * len(groups))
        if self.probe is None:
            return outputs
        return np.stack([self.probe.scores(group_outputs) for group_outputs in outputs])


def ablation_parameters(context: StudyContext, setting: AblationSettings) -> dict[str, object]:
    """What of the section decides effects, tables by their content.

    The code of the passes counts here, since what counts of a network's own are its activations.
    """
    parameters = setting.chosen("how", "images", "probe", "top")
    parameters["passes"] = passes_code(context)
    if setting.classes is not None:
        parameters["classes"] = digest(_table(context, setting))
    return parameters


def ablation_case(
    context: StudyContext, model: str, setting: AblationSettings, probing: Sequence[str]
) -> AblationCase:
    """Images, classes and the whole network's scores, for all layers of a network.

    Args:
        context: the study's context.
        model: the network's name in the study.
        setting: the section [ablation].
        probing: hashes of the probing images, ascending.

    Raises:
        StudyError: when the network gives no scores of classes, or images have no classes.
        FewClassesError: when a probe is asked for, and the images show too few classes.
    """
    classes = _classes(context, setting, probing)
    images = (list(probing) if classes is None else sorted(classes))[: setting.images]
    if len(images) < 2:
        raise StudyError(f"ablation takes two images at least, and there is {len(images)}.")
    if setting.probe:
        assert classes is not None, "the section sees to it"
        return _probed(context, model, setting, {name: classes[name] for name in images})
    before = network_outputs(context, model, images)
    names = class_names(context, model, before.shape[1])
    truth = None if classes is None else _indices(classes, images, names, model)
    return AblationCase(context, model, setting, images, names, truth, before, None, {})


def class_names(context: StudyContext, model: str, count: int) -> list[str]:
    """Names of a network's outputs; numbers where it has none for them."""
    names = context.targets.categories(model)
    if names is None or len(names) != count:
        return [f"output {index}" for index in range(count)]
    return list(names)


def _probed(
    context: StudyContext, model: str, setting: AblationSettings, classes: dict[str, str]
) -> AblationCase:
    image_classes = list(classes.values())
    counts = {name: image_classes.count(name) for name in sorted(set(image_classes))}
    names = [name for name, count in counts.items() if count >= LEAST]
    if len(names) < 2:
        listing = ", ".join(f"{name} ({count})" for name, count in counts.items())
        raise FewClassesError(
            f"a linear probe tells two classes of {LEAST} images each at least; the {len(classes)} "
            f"images show {listing}. Add images of other classes, or raise ablation.images."
        )
    images = [image for image, name in classes.items() if name in names]
    truth = np.array([names.index(classes[image]) for image in images], dtype=np.int64)
    vectors = network_outputs(context, model, images)
    probe = cross_fitted(images, vectors, truth, len(names))
    too_few = {name: count for name, count in counts.items() if name not in names}
    before = probe.scores(vectors)
    return AblationCase(context, model, setting, images, names, truth, before, probe, too_few)


def _table(context: StudyContext, setting: AblationSettings) -> dict[str, Json]:
    assert setting.classes is not None, "only where classes are known"
    return dict(class_table(context.study, setting.classes, context.home))


def _classes(
    context: StudyContext, setting: AblationSettings, images: Sequence[str]
) -> dict[str, str] | None:
    """Class of each image that has one, by hash; None where the study says nothing of it."""
    if setting.classes is None:
        return None
    sql = (
        "SELECT hash, list(DISTINCT path ORDER BY path) AS paths FROM images "
        "WHERE hash IN (SELECT unnest(?::VARCHAR[])) GROUP BY hash"
    )
    paths = {row["hash"]: row["paths"] for row in context.lineage.query(sql, [list(images)])}
    table = class_table(context.study, setting.classes, context.home)
    classes = classes_by_hash(table, paths)
    if not classes:
        listed_path, image_path = next(iter(table)), next(iter(paths.values()), ["none"])[0]
        raise StudyError(
            f"no probing image is in the table of classes {setting.classes!r}: it names files such "
            f"as {listed_path!r}, and images lie at such as {image_path}. Write paths as the "
            "folders have them."
        )
    return classes


def _indices(
    classes: dict[str, str], images: Sequence[str], names: Sequence[str], model: str
) -> NDArray[np.int64]:
    indices = {name: index for index, name in enumerate(names)}
    unknown_classes = sorted({classes[image] for image in images} - indices.keys())
    if unknown_classes:
        raise StudyError(
            f"the table of classes has {unknown_classes[0]!r}, which is no class of {model!r}, "
            f"such as {', '.join(map(repr, names[:3]))}. Write classes as the network names them, "
            "or set probe = true under [ablation], which reads them off its output."
        )
    return np.array([indices[classes[image]] for image in images], dtype=np.int64)


def _donors(images: Sequence[str]) -> dict[str, str]:
    """For each image another one, by its content."""
    other_count = len(images) - 1
    donors = [content_seed("donor", name) % other_count for name in images]
    return {
        name: images[donor + (donor >= index)]
        for index, (name, donor) in enumerate(zip(images, donors, strict=True))
    }
