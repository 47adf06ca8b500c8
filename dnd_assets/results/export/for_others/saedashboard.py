"""Batches as SAEDashboard writes them for Neuronpedia: `batch-0.json` of each layer.

Its formats are of token sequences. A picture stands as a sequence of one token, whose text is the
picture's file in the export; its value is the unit's activation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from dnd_assets.files.atomic import write
from dnd_assets.results.export.for_others.cards_export import (
    LayerUnits,
    PictureFiles,
    bars,
    share_nonzero,
)
from dnd_assets.results.unit_card.card import UnitCard
from dnd_assets.units import slug

AT_ONCE: Final = 1024
_EMPTY: Final = (
    "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1",
    "correlated_neurons_indices", "correlated_neurons_l1", "correlated_neurons_pearson",
    "correlated_features_indices", "correlated_features_l1", "correlated_features_pearson",
    "neg_str", "neg_values", "pos_str", "pos_values", "logits_hist_data_bar_heights",
    "logits_hist_data_bar_values", "decoder_weights_dist",
)  # fmt: skip
"""Fields on directions and next tokens, of which nothing is known for pictures."""


def saedashboard_layout(
    study: str, layer: LayerUnits, cards: Iterator[UnitCard], files: PictureFiles
) -> int:
    """`MODEL/LAYER/batch-N.json`, `run_settings.json` and `skipped_indexes.json`."""
    layer_folder = files.folder / slug(layer.model) / slug(layer.layer)
    layer_folder.mkdir(parents=True)
    count = 0
    skipped: list[int] = []
    while batch := list(islice(cards, AT_ONCE)):
        features = [feature(card, files, study) for card in batch if card.exemplars]
        skipped += [card.neuron for card in batch if not card.exemplars]
        document = {
            "model_id": layer.model, "layer": layer.position, "sae_set": study,
            "features": features,
        }  # fmt: skip
        data = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        write(layer_folder / f"batch-{count // AT_ONCE}.json", data)
        count += len(batch)
    run_settings = {"model_id": layer.model, "hook_name": layer.layer, "np_set_name": study}
    write(layer_folder / "run_settings.json", json.dumps(run_settings).encode())
    write(layer_folder / "skipped_indexes.json", json.dumps({"skipped_indexes": skipped}).encode())
    return count


def feature(card: UnitCard, files: PictureFiles, study: str) -> dict[str, object]:
    """A unit as a feature of SAEDashboard's batches."""
    middles, heights = bars(card)
    distribution = card.distribution
    top = max((exemplar.activation for exemplar in card.exemplars), default=0.0)
    activations = [
        {
            "bin_min": -1.0, "bin_max": top, "bin_contains": -1.0, "tokens": [file],
            "values": [exemplar.activation], "qualifying_token_index": 0,
        }
        for exemplar in card.exemplars
        if (file := files.file(exemplar.image)) is not None
    ]  # fmt: skip
    fields: Mapping[str, object] = {
        "feature_index": card.neuron,
        "frac_nonzero": share_nonzero(card),
        "freq_hist_data_bar_values": middles,
        "freq_hist_data_bar_heights": heights,
        "n_prompts_total": distribution.images if distribution else 0,
        "n_tokens_in_prompt": 1,
        "dataset": study,
        "activations": activations,
    }
    return {**{name: [] for name in _EMPTY}, **fields}
