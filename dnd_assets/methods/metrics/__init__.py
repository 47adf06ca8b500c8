"""All metrics of finished labels under one name; each concept has a file of its own.

| question | file |
|---|---|
| is the label like the truth, like other methods' labels | `label_metrics`, `bertscore` |
| do pictures painted from the label activate the unit | `synthetic` |
| does the unit fire where the label is, and is that test sound | `detection`, `sanity` |
| how sure is a mean over units | `bootstrap` |
"""

from dnd_assets.methods.metrics.bertscore import TokenEncoder, Tokens, bert_score, bert_scores
from dnd_assets.methods.metrics.bootstrap import Interval, mean_interval
from dnd_assets.methods.metrics.cosy import cosy_auc, cosy_mad
from dnd_assets.methods.metrics.detection import (
    DETECTION,
    auprc,
    average_precision,
    best_f1,
    f1,
    pearson,
    simulation_score,
)
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
    "Interval",
    "SanityCheck",
    "TextEncoder",
    "TokenEncoder",
    "Tokens",
    "accuracy",
    "auprc",
    "average_precision",
    "bert_score",
    "bert_scores",
    "best_f1",
    "contributions",
    "cosy_auc",
    "cosy_mad",
    "exact_matches",
    "extra_labels",
    "f1",
    "label_agreement",
    "label_similarity",
    "mean_interval",
    "missing_labels",
    "pearson",
    "predict_classes",
    "sanity_checks",
    "similarities",
    "simulation_score",
]
