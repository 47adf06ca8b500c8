"""Every metric of a unit's activations and a concept's presence on images, by name.

Those of NeuronEval (Oikarinen, Yan and Weng, Evaluating Neuron Explanations: A Unified Framework
with Sanity Checks, ICML 2025, section 3 and appendix), and two of this project's own. What wrong
labels do to each of them is in `theoretical_sanity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from dnd_assets.errors import nearest
from dnd_assets.methods.metrics import active_sets, association, rankings
from dnd_assets.methods.metrics.active_sets import ACTIVE_SHARE, active_images
from dnd_assets.methods.metrics.detection import (
    THRESHOLD,
    Bools,
    Floats,
    Metric,
    best_f1,
    pearson,
    simulation_score,
    two_vectors,
)


@dataclass(frozen=True)
class ImageMetric:
    """A metric, and the range of its values.

    Attributes:
        at: the metric for a share of the images that count as active.
        low: its least value; None where it has no bounds.
        high: its largest.
        shown: whether presence has to be 0 or 1, since an image-text encoder's is no probability.
        parts: the two metrics that it is the harmonic mean of.
    """

    at: Callable[[float], Metric]
    low: float | None = 0.0
    high: float | None = 1.0
    shown: bool = False
    parts: tuple[str, str] | None = None

    @property
    def range(self) -> float | None:
        """From the least to the largest value; None where it has no bounds."""
        return None if self.low is None or self.high is None else self.high - self.low


def _for_any_share(metric: Metric) -> Callable[[float], Metric]:
    """A metric that does not depend on the share of images that count as active."""
    return lambda share: metric


def _by_share(metric: Callable[[Floats, Floats, float], float]) -> Callable[[float], Metric]:
    """A metric whose third argument is the share of images that count as active."""
    return lambda share: lambda a, p: metric(a, p, share)


def _of_sets(metric: Callable[[Bools, Bools], float]) -> Callable[[float], Metric]:
    """A metric of two sets of images: the active ones, and those that show the concept."""

    def of_sets(activations: Floats, presence: Floats, share: float) -> float:
        a, p = two_vectors(activations, presence)
        return metric(active_images(a, share), p > THRESHOLD)

    return _by_share(of_sets)


def _top_and_random(metric: Metric) -> Callable[[float], Metric]:
    """A metric on some active images and some of all, see `association.top_and_random`."""
    return _by_share(partial(association.top_and_random, metric))


def _harmonic_mean(first_name: str, second_name: str) -> ImageMetric:
    """The harmonic mean of two metrics (appendix of NeuronEval)."""

    def at(share: float) -> Metric:
        first, second = (IMAGE_METRICS[name].at(share) for name in (first_name, second_name))
        return lambda a, p: association.harmonic_mean(first(a, p), second(a, p))

    return ImageMetric(at, parts=(first_name, second_name))


def _simulation(activations: Floats, presence: Floats) -> float:
    return simulation_score(presence, activations)


IMAGE_METRICS: Final[dict[str, ImageMetric]] = {
    "pearson": ImageMetric(_for_any_share(pearson), -1.0),
    "cosine": ImageMetric(_for_any_share(association.cosine), -1.0, shown=True),
    "auprc": ImageMetric(_by_share(rankings.auprc)),
    "f1": ImageMetric(_of_sets(active_sets.f1)),
    "iou": ImageMetric(_of_sets(active_sets.iou)),
    "inverse_auprc": ImageMetric(_for_any_share(rankings.inverse_auprc)),
    "simulation": ImageMetric(_for_any_share(_simulation), -1.0, shown=True),
    "best_f1": ImageMetric(_for_any_share(best_f1)),
    "recall": ImageMetric(_of_sets(active_sets.recall)),
    "precision": ImageMetric(_of_sets(active_sets.precision)),
    "accuracy": ImageMetric(_of_sets(active_sets.set_accuracy)),
    "balanced_accuracy": ImageMetric(_of_sets(active_sets.balanced_accuracy)),
    "inverse_balanced_accuracy": ImageMetric(_of_sets(active_sets.inverse_balanced_accuracy)),
    "auc": ImageMetric(_by_share(rankings.auc)),
    "inverse_auc": ImageMetric(_for_any_share(rankings.inverse_auc)),
    "spearman": ImageMetric(_for_any_share(rankings.spearman), -1.0),
    "pearson_top_and_random": ImageMetric(_top_and_random(pearson), -1.0),
    "spearman_top_and_random": ImageMetric(_top_and_random(rankings.spearman), -1.0),
    "wpmi": ImageMetric(_by_share(association.wpmi), None, None, shown=True),
    "mad": ImageMetric(_for_any_share(association.mean_difference), None, None),
    "combined_auc": _harmonic_mean("auc", "inverse_auc"),
    "combined_balanced_accuracy": _harmonic_mean("balanced_accuracy", "inverse_balanced_accuracy"),
    "recall_auc": _harmonic_mean("recall", "auc"),
    "recall_inverse_auc": _harmonic_mean("recall", "inverse_auc"),
    "precision_balanced_accuracy": _harmonic_mean("precision", "balanced_accuracy"),
    "precision_inverse_balanced_accuracy": _harmonic_mean("precision", "inverse_balanced_accuracy"),
}
"""Every metric, in the order of tables."""

USUAL: Final = ("pearson", "cosine", "auprc", "f1", "iou", "inverse_auprc", "simulation")
"""The metrics of a study that names none: those that fall for wrong labels, and inverse AUPRC."""


ALL: Final = "all"


def chosen_metrics(names: Sequence[str] | None) -> tuple[str, ...]:
    """The metrics that names stand for: `all` for every one, None for the usual ones.

    Raises:
        ValueError: for a name that is no metric, or one that is named twice.
    """
    if names is None:
        return USUAL
    if list(names) == [ALL]:
        return tuple(IMAGE_METRICS)
    for place, name in enumerate(names):
        if name not in IMAGE_METRICS:
            suggestions = ", ".join(nearest(name, list(IMAGE_METRICS)))
            raise ValueError(
                f"there is no metric {name!r}; nearest: {suggestions}; or [{ALL!r}] for every one"
            )
        if name in names[:place]:
            raise ValueError(f"the metric {name!r} is named twice; name each once")
    return tuple(names)


def detection_metrics(
    names: Sequence[str] = USUAL, share: float = ACTIVE_SHARE
) -> dict[str, Metric]:
    """Some of the metrics, for a share of the images that count as active.

    Raises:
        KeyError: for a name that is none of `IMAGE_METRICS`.
    """
    return {name: IMAGE_METRICS[name].at(share) for name in names}


DETECTION: Final[dict[str, Metric]] = detection_metrics()
"""The usual metrics at the usual share."""
