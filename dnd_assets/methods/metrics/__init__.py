"""All metrics of finished labels under one name; each concept has a file of its own.

| question | file |
|---|---|
| is the label like the truth, like other methods' labels | `label_metrics`, `bertscore` |
| do pictures painted from the label activate the unit | `synthetic` |
| does the unit fire where the label is | `image_level` and what it lists |
| is that test sound | `sanity`, `theoretical_sanity` |
| how sure is a mean over units | `bootstrap` |
"""

from dnd_assets.methods.metrics.active_sets import (
    active_images,
    balanced_accuracy,
    f1,
    inverse_balanced_accuracy,
    iou,
    precision,
    recall,
    set_accuracy,
)
from dnd_assets.methods.metrics.association import cosine, mean_difference, top_and_random, wpmi
from dnd_assets.methods.metrics.bertscore import TokenEncoder, Tokens, bert_score, bert_scores
from dnd_assets.methods.metrics.bootstrap import Interval, mean_interval
from dnd_assets.methods.metrics.cosy import cosy_auc, cosy_mad
from dnd_assets.methods.metrics.detection import (
    average_precision,
    best_f1,
    pearson,
    simulation_score,
)
from dnd_assets.methods.metrics.image_level import DETECTION, IMAGE_METRICS, detection_metrics
from dnd_assets.methods.metrics.rankings import auc, auprc, inverse_auc, inverse_auprc, spearman
from dnd_assets.methods.metrics.sanity import (
    SanityCheck,
    extra_labels,
    missing_labels,
    sanity_checks,
)
from dnd_assets.methods.metrics.text_similarity import (
    TextEncoder,
    accuracy,
    contributions,
    exact_matches,
    label_agreement,
    label_similarity,
    predict_classes,
    similarities,
)

__all__ = [
    "DETECTION",
    "IMAGE_METRICS",
    "Interval",
    "SanityCheck",
    "TextEncoder",
    "TokenEncoder",
    "Tokens",
    "accuracy",
    "active_images",
    "auc",
    "auprc",
    "average_precision",
    "balanced_accuracy",
    "bert_score",
    "bert_scores",
    "best_f1",
    "contributions",
    "cosine",
    "cosy_auc",
    "cosy_mad",
    "detection_metrics",
    "exact_matches",
    "extra_labels",
    "f1",
    "inverse_auc",
    "inverse_auprc",
    "inverse_balanced_accuracy",
    "iou",
    "label_agreement",
    "label_similarity",
    "mean_difference",
    "mean_interval",
    "missing_labels",
    "pearson",
    "precision",
    "predict_classes",
    "recall",
    "sanity_checks",
    "set_accuracy",
    "similarities",
    "simulation_score",
    "spearman",
    "top_and_random",
    "wpmi",
]
