"""The files of Neuronpedia's bulk import, one folder for each layer.

Rows are those of its tables Model, SourceSet, Source, Neuron, Activation and Explanation. An
activation there is a sequence of tokens with values: a picture stands as one token that is its
caption, or its file, with the unit's activation as value; `dataSource` is its file and
`dataIndex` the SHA-256 of its bytes. Nothing in these tables holds pictures.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from dnd_assets.files.atomic import sha256, write
from dnd_assets.results.export.for_others.cards_export import (
    LayerUnits,
    PictureFiles,
    json_lines,
)
from dnd_assets.results.export.for_others.saedashboard import AT_ONCE, feature
from dnd_assets.results.unit_card.card import Exemplar, MethodLabel, UnitCard
from dnd_assets.units import slug

CREATOR: Final = "dnd"
"""Stands where Neuronpedia has the id of an account; replace it by yours before an import."""
_EPOCH: Final = "1970-01-01T00:00:00+00:00"
_NOT_OF_NEURON: Final = ("feature_index", "activations", "dataset", "n_prompts_total",
                         "n_tokens_in_prompt")  # fmt: skip

Row = dict[str, object]


def neuronpedia_layout(
    study: str, layer: LayerUnits, cards: Iterator[UnitCard], files: PictureFiles
) -> int:
    """`MODEL/SOURCE/{release,model,sourceset,source}.jsonl` and batches; see `ToolLayout`."""
    model, name = slug(layer.model), slug(study)
    source = f"{layer.position}-{slug(layer.layer)}"
    source_folder = files.folder / model / source
    source_folder.mkdir(parents=True)
    count, created, images = 0, _EPOCH, 0
    while batch := list(islice(cards, AT_ONCE)):
        created = max([created, *(record.recorded_at for card in batch for record in card.made)])
        images = max([images, *(c.distribution.images for c in batch if c.distribution)])
        _batch(source_folder, count // AT_ONCE, batch, (model, source, name), files)
        count += len(batch)
    creation = {"creatorId": CREATOR, "createdAt": created}
    _put(source_folder / "release.jsonl", {
        "name": name, "description": f"Units of {study}", "creatorName": CREATOR,
        "visibility": "PUBLIC", "urls": [], **creation,
    })  # fmt: skip
    _put(source_folder / "model.jsonl", {
        "id": model, "displayNameShort": layer.model, "displayName": layer.model,
        "instruct": False, "visibility": "PUBLIC", "inferenceEnabled": False, "layers": 0,
        "neuronsPerLayer": 0, "owner": "", "updatedAt": created, **creation,
    })  # fmt: skip
    _put(source_folder / "sourceset.jsonl", {
        "modelId": model, "name": name, "description": f"Units of {study}", "type": "",
        "creatorName": CREATOR, "releaseName": name, "hasDashboards": True, "urls": [],
        "visibility": "PUBLIC", **creation,
    })  # fmt: skip
    _put(source_folder / "source.jsonl", {
        "id": source, "modelId": model, "setName": name, "hasDashboards": True,
        "inferenceEnabled": False, "visibility": "PUBLIC", "dataset": study,
        "num_prompts": images, "num_tokens_in_prompt": 1, "notes": f"layer {layer.layer}",
        **creation,
    })  # fmt: skip
    return count


def _batch(
    source_folder: Path,
    number: int,
    cards: list[UnitCard],
    names: tuple[str, str, str],
    files: PictureFiles,
) -> None:
    model, source, study = names
    neurons: list[Row] = []
    activations: list[Row] = []
    explanations: list[Row] = []
    for card in cards:
        key = {"modelId": model, "layer": source, "index": str(card.neuron)}
        neurons.append(_neuron(card, key, files, study))
        activations += [_activation(card, exemplar, key, files) for exemplar in card.exemplars]
        explanations += [
            _explanation(card, method, key) for method in card.methods if method.label is not None
        ]
    for name, rows in (
        ("features", neurons), ("activations", activations), ("explanations", explanations),
    ):  # fmt: skip
        (source_folder / name).mkdir(exist_ok=True)
        # Without a date in it, so that equal results give equal files.
        data = gzip.compress(json_lines(rows), mtime=0)
        write(source_folder / name / f"batch-{number}.jsonl.gz", data)


def _neuron(card: UnitCard, key: Mapping[str, str], files: PictureFiles, study: str) -> Row:
    fields = feature(card, files, study)
    tables = {name: value for name, value in fields.items() if name not in _NOT_OF_NEURON}
    return {
        **key, "creatorId": CREATOR, "createdAt": _created_at(card), "sourceSetName": study,
        "maxActApprox": max((exemplar.activation for exemplar in card.exemplars), default=0.0),
        "hasVector": False, "vector": [], "hookName": card.layer, "topkCosSimIndices": [],
        "topkCosSimValues": [], **tables,
    }  # fmt: skip


def _activation(
    card: UnitCard, exemplar: Exemplar, key: Mapping[str, str], files: PictureFiles
) -> Row:
    file = files.file(exemplar.image)
    return {
        "id": _id("activation", card.unit, exemplar.image), **key,
        "tokens": [exemplar.caption or file or exemplar.image], "values": [exemplar.activation],
        "maxValue": exemplar.activation, "minValue": exemplar.activation, "maxValueTokenIndex": 0,
        "qualifyingTokenIndex": 0, "dataSource": file, "dataIndex": exemplar.image, "dfaValues": [],
        "lossValues": [], "creatorId": CREATOR, "createdAt": _created_at(card),
    }  # fmt: skip


def _explanation(card: UnitCard, method: MethodLabel, key: Mapping[str, str]) -> Row:
    return {
        "id": _id("explanation", card.unit, method.asset), **key, "authorId": CREATOR,
        "description": method.label, "embedding": [], "typeName": f"dnd_{method.asset}",
        "explanationModelName": None, "umap_x": 0.0, "umap_y": 0.0, "umap_cluster": 0,
        "umap_log_feature_sparsity": 0.0,
    }  # fmt: skip


def _created_at(card: UnitCard) -> str:
    return max((record.recorded_at for record in card.made), default=_EPOCH)


def _id(*parts: str) -> str:
    """A row's id, as long as Neuronpedia's own, and the same for the same row."""
    return "c" + sha256("\0".join(parts).encode())[:24]


def _put(path: Path, row: Row) -> None:
    write(path, json_lines([row]))
