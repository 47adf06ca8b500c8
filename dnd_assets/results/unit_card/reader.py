"""Everything known of a unit on one card: label, pictures, scores, activations, metrics, lineage.

A card is read from what runs have recorded and from nothing else: no network and no model is
loaded. Cards of many units are read together, layer by layer, so that thousands take seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.engine.cache.heat_maps import MAPS, map_item
from dnd_assets.engine.cache.vectors import Matrix, Vectors
from dnd_assets.errors import NotFoundError, StoreError, not_found
from dnd_assets.lineage.records import PROBING_SET, UNPARTITIONED, Product, is_labels
from dnd_assets.lineage.remarks import remarks_of
from dnd_assets.methods.clip_dissect.activation_ranges import sample_ranges
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage

BINS: Final = 40
"""Bars of an activation histogram."""
_RANGE_SAMPLE: Final = 6
_AT_ONCE: Final = 256
_METRICS: Final = "_metrics"


@dataclass(frozen=True, slots=True)
class Scored:
    """A label with its score; None where the method gives none."""

    label: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that a unit was shown.

    Attributes:
        image: SHA-256 of the picture.
        activation: the unit's activation on it.
        caption: what a captioner says of it; None where none was asked.
    """

    image: str
    activation: float
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class Facet:
    """One of several concepts that a unit answers to.

    Attributes:
        label: the concept.
        score: of the study's scoring function.
        response: mean activation on pictures of the concept.
        mass: sum of the activations of its exemplars.
        exemplars: the exemplars that show it.
        pictures: SHA-256 of the pictures painted of it.
        runners_up: other candidates, best first.
    """

    label: str
    score: float
    response: float
    mass: float
    exemplars: tuple[Shown, ...]
    pictures: tuple[str, ...]
    runners_up: tuple[Scored, ...]


@dataclass(frozen=True, slots=True)
class DetectedConcept:
    """How well a concept's presence in captions predicts where a unit is active.

    Attributes:
        concept: the text.
        mcc: Matthews' correlation, -1 to 1.
        threshold: the unit counts as active from this activation on.
        share: of images that have it in their caption.
    """

    concept: str
    mcc: float
    threshold: float
    share: float


@dataclass(frozen=True, slots=True)
class Example:
    """A reference image from the whole range of a unit's activations.

    Attributes:
        image: SHA-256 of the picture.
        activation: the unit's activation.
        caption: what the captioner says of it.
        shows: whether the caption has the concept.
        band: `high`, `middle` or `low` third of the range.
    """

    image: str
    activation: float
    caption: str
    shows: bool
    band: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a label by detection.

    Attributes:
        label: what detects best; no label of the unit where it is too unsure.
        confidence: probability that it is right, 0 to 1.
        held_out: correlation on images that had no part in the choice.
        stability: share of resamples of the images that choose the same.
        gap: how far it lies above the best candidate of other words.
        reference: images that it rests on.
        label_set: the labels that nine tenths of the resamples choose, with their shares.
        concepts: the best concepts.
        examples: images with the concept and without.
        painted: share of its painted pictures that activate the unit; None where there are none.
        without: the same of it without one of its words, by text.
        confirmed: whether painted pictures confirm it; None where nothing was painted.
    """

    label: str
    confidence: float
    held_out: float
    stability: float
    gap: float
    reference: int
    label_set: tuple[tuple[str, float], ...]
    concepts: tuple[DetectedConcept, ...]
    examples: tuple[Example, ...]
    painted: float | None = None
    without: tuple[tuple[str, float], ...] = ()
    confirmed: bool | None = None

    @property
    def bands(self) -> dict[str, tuple[tuple[Example, ...], tuple[Example, ...]]]:
        """Images with the concept, and without, by band, the highest first."""
        found = {}
        for band in dict.fromkeys(one.band for one in self.examples):
            some = [one for one in self.examples if one.band == band]
            found[band] = (
                tuple(one for one in some if one.shows),
                tuple(one for one in some if not one.shows),
            )
        return found


@dataclass(frozen=True, slots=True)
class MethodLabel:
    """What one method says of a unit.

    Attributes:
        asset: the asset that holds it; `labels` are the study's own.
        status: `ok`, or why there is no label.
        reason: the same for people.
        label: the best label; None where there is none.
        score: its score.
        labels: all that were kept, best first.
        interpretable: whether the method counts the unit as interpretable; None where it does
            not say.
        concepts: how many concepts it finds the unit to answer to; None where it does not say.
        facets: these concepts.
        images: the pictures that the method looked at, where these are not the exemplars.
    """

    asset: str
    status: str
    reason: str
    label: str | None
    score: float | None
    labels: tuple[Scored, ...] = ()
    interpretable: bool | None = None
    concepts: int | None = None
    facets: tuple[Facet, ...] = ()
    images: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture as shares of its width and height, in [0, 1]."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Crop:
    """An attention crop.

    Attributes:
        image: SHA-256 of the picture it was cut from.
        crop: SHA-256 of the crop.
        box: where it was cut; None where the record does not tell the size of the grid.
        threshold: Otsu's threshold of the heat map, 0 to 255.
        activation: the unit's activation on the crop.
    """

    image: str
    crop: str
    box: Box | None
    threshold: int
    activation: float


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One of the most activating probing images of a unit.

    Attributes:
        image: SHA-256 of the picture.
        activation: the unit's pooled activation.
        crops: what was cut out of it.
        caption: what the captioner says of the whole picture; None where it was not captioned.
        heat: the unit's map of it, a grey PNG; None where none is stored.
    """

    image: str
    activation: float
    crops: tuple[Crop, ...] = ()
    caption: str | None = None
    heat: bytes | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """A member of the activating set: what was captioned.

    Attributes:
        image: SHA-256 of the picture or crop.
        kind: `image` or `crop`.
        activation: the unit's activation on it.
        caption: what the captioner says.
        crop: where a crop was cut; None for a whole picture.
    """

    image: str
    kind: str
    activation: float
    caption: str | None
    crop: Crop | None


@dataclass(frozen=True, slots=True)
class Painting:
    """A synthetic picture of a concept.

    Attributes:
        image: SHA-256 of the picture.
        index: its number.
        seed: what it was painted from, with the prompt.
        rejected: whether the safety checker refused it, or it is no picture.
        activation: the unit's activation; None where it was not measured.
    """

    image: str
    index: int
    seed: int
    rejected: bool
    activation: float | None


@dataclass(frozen=True, slots=True)
class Concept:
    """A candidate concept.

    Attributes:
        concept: the text.
        score: of the study's scoring function; None where it was dropped before.
        scores: every scoring function by name.
        prompt: what was painted.
        pictures: what came of it, rejected ones among them.
    """

    concept: str
    score: float | None
    scores: Mapping[str, float]
    prompt: str
    pictures: tuple[Painting, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A unit's activations on all probing images.

    Attributes:
        images: how many.
        low: the smallest.
        high: the largest.
        mean: of all.
        std: of all.
        positive: share above 0.
        counts: images in each of equal bins from `low` to `high`; empty where the activations
            themselves are no longer stored.
        fires: share on which the unit fires; None where nothing tells.
    """

    images: int
    low: float
    high: float
    mean: float
    std: float
    positive: float
    counts: tuple[int, ...] = ()
    fires: float | None = None


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """A sample of the images of a top share (CLIP-Dissect, section A.7).

    Attributes:
        share: of all images, in (0, 1].
        size: how many images that is.
        images: the sample, most activating first.
    """

    share: float
    size: int
    images: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class MetricSet:
    """Metrics of one method's label.

    Attributes:
        asset: the labels that were measured.
        label: the label.
        truth: what the unit responds to, where known.
        values: by metric; None where it cannot be computed.
        reasons: why not, by metric.
        images: held-out images.
        shown: how many of them show the label.
        pictures: fresh pictures of the label.
    """

    asset: str
    label: str
    truth: str | None
    values: Mapping[str, float | None]
    reasons: Mapping[str, str]
    images: int
    shown: int
    pictures: tuple[Painting, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """How one product of a unit was made.

    Attributes:
        asset: the product.
        status: how it ended.
        reason: why it is not `ok`.
        key: hash of all that decided it.
        data_version: hash of its content.
        code: version of the code.
        run: the run that brought it to the study.
        recorded_at: when.
        reused: whether that run found it made already, by another unit or study.
        seconds: what it took.
        device: where it was computed.
        parameters: settings that decided it.
        inputs: data version of each input.
        weights: hash of each model behind it, see `Cards.providers`.
    """

    asset: str
    status: str
    reason: str
    key: str
    data_version: str
    code: str
    run: str
    recorded_at: str
    reused: bool
    seconds: float
    device: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    weights: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UnitCard:
    """Everything known of one unit.

    Attributes:
        unit: its key, `model/layer/neuron`.
        model: name of the network.
        layer: path of the layer.
        neuron: index.
        methods: what each method says, the study's own labels first.
        exemplars: the most activating probing images.
        described: the activating set with its captions.
        concepts: candidate concepts, best first, dropped ones last.
        distribution: activations on all probing images; None where nothing is known.
        ranges: samples of wider ranges of activations.
        metrics: metrics of each method's label.
        made: lineage, one entry for each product, upstream first.
        remarks: what is to be known of its exemplars beside them.
        evidence: what speaks for a label by detection, or for what came nearest.
    """

    unit: str
    model: str
    layer: str
    neuron: int
    methods: tuple[MethodLabel, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    described: tuple[Described, ...] = ()
    concepts: tuple[Concept, ...] = ()
    distribution: Distribution | None = None
    ranges: tuple[ActivationRange, ...] = ()
    metrics: tuple[MetricSet, ...] = ()
    made: tuple[Made, ...] = ()
    remarks: tuple[str, ...] = ()
    evidence: Evidence | None = None

    @property
    def main(self) -> MethodLabel | None:
        """The study's own label; that of the first method where there is none."""
        return self.methods[0] if self.methods else None

    @property
    def label(self) -> str | None:
        """The text of `main`."""
        return self.main.label if self.main else None

    @property
    def interpretable(self) -> bool | None:
        """Whether any method that judges it counts the unit as interpretable."""
        said = [one.interpretable for one in self.methods if one.interpretable is not None]
        return any(said) if said else None

    def pictures(self) -> Iterator[str]:
        """SHA-256 of every picture on the card, but for crops, which are parts of exemplars."""
        yield from (one.image for one in self.exemplars)
        yield from (one.crop.image if one.crop else one.image for one in self.described)
        yield from (one.image for span in self.ranges for one in span.images)
        yield from (one.image for one in (self.evidence.examples if self.evidence else ()))
        yield from (one.image for concept in self.concepts for one in concept.pictures)
        yield from (one.image for entry in self.metrics for one in entry.pictures)
        for method in self.methods:
            yield from (one.image for one in method.images)
            for facet in method.facets:
                yield from (one.image for one in facet.exemplars)
                yield from facet.pictures


@dataclass(frozen=True, slots=True)
class Record:
    """The newest version of one product as it was first recorded, without its content."""

    asset: str
    unit: str
    model: str
    layer: str
    neuron: int
    key: str
    data_version: str
    status: str
    reason: str
    run: str
    recorded_at: str
    reused: bool
    seconds: float
    device: str


_COLUMNS: Final = ", ".join(f"m.{name}" for name in Record.__dataclass_fields__)
# What a run only announced again is told in the name of the run that brought it.
_FIRST: Final = (
    "QUALIFY row_number() OVER (PARTITION BY m.asset, m.unit, m.data_version "
    "ORDER BY m.recorded_at, m.run) = 1 "
)
_NEWEST: Final = (
    "WITH newest AS (SELECT asset, unit, key, data_version FROM latest "  # noqa: S608
    "WHERE study = ? AND unit <> '') "
    f"SELECT {_COLUMNS} FROM materializations m "
    "JOIN newest n USING (asset, unit, key, data_version) WHERE m.study = ? "
    f"{_FIRST} ORDER BY m.model, m.layer, m.neuron, m.asset"
)
_EARLIER: Final = (
    f"SELECT {_COLUMNS} FROM materializations m "  # noqa: S608 (columns are our own)
    "JOIN (SELECT unnest(?::VARCHAR[]) AS u, unnest(?::VARCHAR[]) AS a, "
    "unnest(?::VARCHAR[]) AS v) w ON m.unit = w.u AND m.asset = w.a AND m.data_version = w.v "
    f"WHERE m.study = ? {_FIRST}"
)


@dataclass
class Cards:
    """Reads the cards of a study's units.

    Attributes:
        lineage: the records.
        store: the artefacts.
        study: the study's name.
    """

    lineage: Lineage
    store: ArtefactStore
    study: str
    _layers: dict[tuple[str, str], _Layer | None] = field(default_factory=dict, repr=False)

    @cached_property
    def records(self) -> dict[str, dict[str, Record]]:
        """The newest product of each unit and asset, by unit and asset, without contents."""
        found: dict[str, dict[str, Record]] = {}
        for row in self.lineage.query(_NEWEST, [self.study, self.study]):
            found.setdefault(row["unit"], {})[row["asset"]] = Record(**row)
        return found

    def card(self, unit: str) -> UnitCard:
        """One unit's card.

        Raises:
            NotFoundError: when nothing is recorded of the unit; names the nearest.
        """
        return next(iter(self.read([unit])))

    def read(self, units: Sequence[str] | None = None) -> Iterator[UnitCard]:
        """Cards of some units in their order, or of all that anything is recorded of.

        Raises:
            NotFoundError: when nothing is recorded of a unit; names the nearest.
        """
        wanted = list(self.records) if units is None else list(units)
        if not self.records:
            raise NotFoundError(f"study {self.study!r} has no results yet. Run `dnd run` first.")
        for unit in wanted:
            if unit not in self.records:
                raise not_found("unit with results", unit, self.records, "Run `dnd run` for it.")
        for start in range(0, len(wanted), _AT_ONCE):
            yield from self._part(wanted[start : start + _AT_ONCE])

    def providers(self, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Fingerprints of models and settings by their hash."""
        sql = "SELECT * FROM providers WHERE provider IN (SELECT unnest(?::VARCHAR[]))"
        rows = self.lineage.query(sql, [sorted(set(hashes))])
        return {row["provider"]: json.loads(row["fingerprint"]) for row in rows}

    def paths(self, hashes: Iterable[str]) -> dict[str, list[str]]:
        """Every path at which each probing image was seen."""
        sql = (
            "SELECT hash, path FROM images WHERE hash IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY hash, path"
        )
        found: dict[str, list[str]] = {}
        for row in self.lineage.query(sql, [sorted(set(hashes))]):
            found.setdefault(row["hash"], []).append(row["path"])
        return found

    def runs(self) -> list[dict[str, Any]]:
        """The study's runs, newest first: run, recorded_at, definition and versions."""
        sql = "SELECT * FROM runs WHERE study = ? ORDER BY recorded_at DESC, run"
        return [
            {**row, "definition": json.loads(row["definition"]),
             "versions": json.loads(row["versions"])}
            for row in self.lineage.query(sql, [self.study])
        ]  # fmt: skip

    def _part(self, units: Sequence[str]) -> list[UnitCard]:
        """Cards of a few hundred units."""
        with self.lineage.connect():
            found = {unit: dict(self.records[unit]) for unit in units}
            products = self.lineage.products(r.key for of in found.values() for r in of.values())
            self._follow(found, products)
            sources = [_Source(unit, found[unit], products) for unit in units]
            templates = self._templates(sources)
            heat = self._heat(sources)
            return [self._made(one, templates, heat) for one in sources]

    def _follow(self, found: dict[str, dict[str, Record]], products: dict[str, Product]) -> None:
        """Put in the versions that the label was really made from, where newer ones followed."""
        looked: set[tuple[str, str, str]] = set()
        while True:
            lacking = [one for one in _lacking(found, products) if one not in looked]
            if not lacking:
                return
            looked |= set(lacking)
            columns = [list(column) for column in zip(*lacking, strict=True)]
            rows = self.lineage.query(_EARLIER, [*columns, self.study])
            for row in rows:
                found[row["unit"]][row["asset"]] = Record(**row)
            products |= self.lineage.products(row["key"] for row in rows)

    def _templates(self, sources: Sequence[_Source]) -> dict[str, str]:
        """Prompt of each text-to-image provider."""
        hashes = {
            str(product.preimage["weights"]["text_to_image"])
            for one in sources
            if (product := one.product("synthetic_images"))
            and "text_to_image" in product.preimage["weights"]
        }
        found = self.providers(hashes)
        return {name: str(one.get("prompt", "{concept}")) for name, one in found.items()}

    def _heat(self, sources: Sequence[_Source]) -> dict[tuple[str, str], bytes]:
        """Stored maps of exemplars, by unit and image."""
        items: dict[str, dict[str, tuple[str, str]]] = {}
        for one in sources:
            product = one.product("activations")
            if product is not None and "target" in product.preimage["weights"]:
                provider = items.setdefault(str(product.preimage["weights"]["target"]), {})
                for entry in product.payload.get("exemplars", ()):
                    pair = (one.unit, entry["image"])
                    provider[map_item(entry["image"], one.record.neuron)] = pair
        found: dict[tuple[str, str], bytes] = {}
        for name, wanted in items.items():
            for item, value in self.lineage.shared(MAPS, name, wanted).items():
                try:
                    found[wanted[item]] = self.store.blob(value["file"], value["map"])
                except StoreError:
                    continue  # a lost map is one that never was: nothing rests on it
        return found

    def _made(
        self,
        one: _Source,
        templates: Mapping[str, str],
        heat: Mapping[tuple[str, str], bytes],
    ) -> UnitCard:
        record = one.record
        distribution, ranges = self._activity(one)
        return UnitCard(
            one.unit, record.model, record.layer, record.neuron,
            methods=_methods(one),
            exemplars=_exemplars(one, heat),
            described=_described(one),
            concepts=_concepts(one, templates),
            distribution=distribution,
            ranges=ranges,
            metrics=_metrics(one),
            made=_lineage(one),
            remarks=_remarks(one),
            evidence=_evidence(one),
        )  # fmt: skip

    def _activity(self, one: _Source) -> tuple[Distribution | None, tuple[ActivationRange, ...]]:
        """Distribution and ranges from the stored activations of the probing images."""
        product = one.product("activations")
        if product is None:
            return None, ()
        layer = self._layer(product)
        neuron = one.record.neuron
        if layer is None or neuron >= layer.values.shape[1]:
            return _summary(product), ()
        finite = np.flatnonzero(np.isfinite(layer.values[:, neuron]))
        if (not product.ok and len(finite) < len(layer.images)) or not len(finite):
            return None, ()
        column, images = layer.values[finite, neuron], [layer.images[row] for row in finite]
        spans = sample_ranges(column, images, one.unit, n=_RANGE_SAMPLE)
        ranges = tuple(
            ActivationRange(
                span.share, span.size,
                tuple(Shown(images[i], float(column[i])) for i in span.images),
            )
            for span in spans
        )  # fmt: skip
        fires = product.outcome.notes.get("summary", {}).get("fires")
        return _distribution(column, fires), ranges if product.ok else ()

    def _layer(self, product: Product) -> _Layer | None:
        """A layer's stored activations; None where they are not all stored any more."""
        version = str(product.preimage["inputs"].get(PROBING_SET, ""))
        provider = str(product.preimage["weights"].get("target", ""))
        if (provider, version) not in self._layers:
            self._layers.clear()  # one layer at a time: the matrices are large
            self._layers[provider, version] = self._read_layer(provider, version)
        return self._layers[provider, version]

    def _read_layer(self, provider: str, version: str) -> _Layer | None:
        sql = "SELECT payload FROM products WHERE asset = ? AND data_version = ? LIMIT 1"
        rows = self.lineage.query(sql, [PROBING_SET, version])
        if not rows:
            return None
        try:
            listed = self.store.get(str(json.loads(rows[0]["payload"])["manifest"]))
        except StoreError:
            return None
        images: list[str] = json.loads(listed)
        values, found = Vectors(self.lineage, self.store).read("activations", provider, images)
        return _Layer(images, values) if len(images) and found.all() else None


@dataclass(frozen=True)
class _Layer:
    """Activations of a layer, float32 (images, neurons), and the images' hashes."""

    images: list[str]
    values: Matrix


@dataclass(frozen=True)
class _Source:
    """A unit's records with their products."""

    unit: str
    records: Mapping[str, Record]
    products: Mapping[str, Product]

    @property
    def record(self) -> Record:
        return next(iter(self.records.values()))

    def product(self, asset: str) -> Product | None:
        record = self.records.get(asset)
        return self.products.get(record.key) if record else None

    def content(self, asset: str) -> Mapping[str, Any]:
        product = self.product(asset)
        return product.payload if product else {}


def _lacking(
    found: Mapping[str, Mapping[str, Record]], products: Mapping[str, Product]
) -> Iterator[tuple[str, str, str]]:
    """(unit, asset, version) of inputs behind a label whose newest version is another."""
    for unit, records in found.items():
        pending, seen = ["labels"], set()
        while pending:
            asset = pending.pop()
            product = products.get(records[asset].key) if asset in records else None
            if product is None or asset in seen:
                continue
            seen.add(asset)
            for name, version in product.preimage["inputs"].items():
                if name in UNPARTITIONED or name not in records:
                    continue
                if records[name].data_version != version:
                    yield unit, name, version
                pending.append(name)


def _methods(one: _Source) -> tuple[MethodLabel, ...]:
    names = sorted((name for name in one.records if is_labels(name)), key=own_first)
    return tuple(_method(one, name) for name in names)


def own_first(asset: str) -> tuple[bool, str]:
    """What methods are sorted by: the study's own labels, then the others by name."""
    return asset != "labels", asset


def _method(one: _Source, asset: str) -> MethodLabel:
    record, content = one.records[asset], one.content(asset)
    labels = tuple(
        Scored(str(entry["label"]), _number(entry.get("score")))
        for entry in content.get("labels", ())
    )
    label = content.get("label")
    return MethodLabel(
        asset, record.status, record.reason,
        label=None if label is None else str(label),
        score=_number(content.get("score")),
        labels=labels,
        interpretable=content.get("interpretable"),
        concepts=content.get("count"),
        facets=tuple(_facet(entry) for entry in content.get("concepts", ())),
        images=tuple(_shown(entry) for entry in content.get("images", ())),
    )  # fmt: skip


def _facet(entry: Mapping[str, Any]) -> Facet:
    return Facet(
        str(entry["label"]), float(entry["score"]), float(entry["response"]), float(entry["mass"]),
        tuple(_shown(image) for image in entry["exemplars"]),
        tuple(str(image["image"]) for image in entry["pictures"]),
        tuple(Scored(str(o["label"]), _number(o["score"])) for o in entry["runners_up"]),
    )  # fmt: skip


def _shown(entry: Mapping[str, Any]) -> Shown:
    return Shown(str(entry["image"]), float(entry["activation"]), entry.get("caption"))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _crops(one: _Source) -> list[Crop]:
    product = one.product("crops")
    if product is None:
        return []
    size = product.preimage["parameters"].get("crop_size")
    return [
        Crop(
            str(entry["image"]), str(entry["crop"]), _box(entry["box"], size),
            int(entry["threshold"]), float(entry["activation"]),
        )
        for entry in product.payload.get("crops", ())
    ]  # fmt: skip


def _box(box: Sequence[float], size: int | None) -> Box | None:
    """Boxes are in pixels of the square that the picture was resized to."""
    if not size:
        return None
    left, top, right, bottom = (min(max(float(edge) / size, 0.0), 1.0) for edge in box)
    return Box(left, top, right, bottom)


def _captions(one: _Source) -> dict[str, str]:
    found = one.content("captions").get("captions", ())
    return {str(entry["image"]): str(entry["caption"]) for entry in found}


def _exemplars(one: _Source, heat: Mapping[tuple[str, str], bytes]) -> tuple[Exemplar, ...]:
    crops, captions = _crops(one), _captions(one)
    return tuple(
        Exemplar(
            entry["image"], float(entry["activation"]),
            tuple(crop for crop in crops if crop.image == entry["image"]),
            captions.get(entry["image"]),
            heat.get((one.unit, entry["image"])),
        )
        for entry in one.content("activations").get("exemplars", ())
    )  # fmt: skip


def _described(one: _Source) -> tuple[Described, ...]:
    crops, captions = {crop.crop: crop for crop in _crops(one)}, _captions(one)
    return tuple(
        Described(
            entry["image"], entry["kind"], float(entry["activation"]),
            captions.get(entry["image"]),
            crops.get(entry["image"]) if entry["kind"] == "crop" else None,
        )
        for entry in one.content("crops").get("activating", ())
    )  # fmt: skip


def _concepts(one: _Source, templates: Mapping[str, str]) -> tuple[Concept, ...]:
    synthetic = one.product("synthetic_images")
    weights = synthetic.preimage["weights"] if synthetic else {}
    template = templates.get(str(weights.get("text_to_image", "")), "{concept}")
    painted = {
        e["concept"]: e["images"] for e in one.content("synthetic_images").get("concepts", ())
    }
    scored = {e["concept"]: e for e in one.content("scores").get("concepts", ())}
    proposed = one.content("detection_scores") or one.content("candidate_concepts")
    every = [*scored, *painted, *proposed.get("candidates", ())]
    return tuple(
        _concept(name, scored.get(name, {}), painted.get(name, ()), template)
        for name in dict.fromkeys(every)
    )


def _evidence(one: _Source) -> Evidence | None:
    content = one.content("detection_scores")
    if "confidence" not in content:
        return None
    found, said = content["evidence"], one.content("labels").get("evidence", {})
    return Evidence(
        content["label"], content["confidence"], found["held_out"], found["stability"],
        found["gap"], found["images"],
        tuple((label, share) for label, share in found["label_set"]),
        tuple(DetectedConcept(**entry) for entry in content["concepts"]),
        tuple(Example(**entry) for entry in content["examples"]),
        said.get("painted"), tuple(said.get("painted_without", {}).items()),
        said.get("confirmed"),
    )  # fmt: skip


def _concept(
    name: str, entry: Mapping[str, Any], images: Sequence[Mapping[str, Any]], template: str
) -> Concept:
    functions = {
        key: float(value)
        for key, value in entry.items()
        if key not in ("concept", "activations", "score")
    }
    values = iter(entry.get("activations", ()))
    pictures = tuple(
        _painting(image, None if image["rejected"] else next(values, None)) for image in images
    )
    prompt = template.replace("{concept}", name)
    return Concept(name, _number(entry.get("score")), functions, prompt, pictures)


def _painting(image: Mapping[str, Any], activation: float | None) -> Painting:
    return Painting(
        str(image["image"]), int(image["index"]), int(image["seed"]), bool(image["rejected"]),
        activation,
    )  # fmt: skip


def _metrics(one: _Source) -> tuple[MetricSet, ...]:
    names = [name for name in one.records if name.endswith(_METRICS)]
    found = []
    for name in sorted(names, key=lambda n: own_first(n.removesuffix(_METRICS))):
        content = one.content(name)
        if content:
            found.append(
                MetricSet(
                    name.removesuffix(_METRICS), str(content["label"]), content["truth"],
                    content["metrics"], content["reasons"],
                    int(content["images"]), int(content["shown"]),
                    tuple(_painting(image, None) for image in content["pictures"]),
                )
            )  # fmt: skip
    return tuple(found)


def _remarks(one: _Source) -> tuple[str, ...]:
    product = one.product("activations")
    return tuple(remarks_of(product.outcome.notes)) if product else ()


def _summary(product: Product) -> Distribution | None:
    """What was noted of the activations when they were computed."""
    noted, exemplars = product.outcome.notes.get("summary"), product.payload.get("exemplars")
    if not noted or not exemplars:
        return None
    high = float(exemplars[0]["activation"])
    return Distribution(
        noted["images"], high, high, noted["mean"], noted["std"], noted["positive"],
        fires=noted.get("fires"),
    )  # fmt: skip


def _distribution(column: NDArray[np.float32], fires: float | None) -> Distribution:
    wide = column.astype(np.float64)
    counts, _ = np.histogram(wide, bins=BINS)
    return Distribution(
        len(wide), float(wide.min()), float(wide.max()), float(wide.mean()), float(wide.std()),
        float((wide > 0).mean()), tuple(int(count) for count in counts),
        fires,
    )  # fmt: skip


def _lineage(one: _Source) -> tuple[Made, ...]:
    order = _upstream_first(one)
    return tuple(
        _step(one.records[name], product) for name in order if (product := one.product(name))
    )


def _upstream_first(one: _Source) -> list[str]:
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        product = one.product(name)
        if name in done or product is None:
            return
        for above in product.preimage["inputs"]:
            visit(above)
        done[name] = None

    for name in sorted(one.records, key=lambda n: (n != "labels", is_labels(n), n)):
        visit(name)
    return list(done)


def _step(record: Record, product: Product) -> Made:
    seen = product.preimage
    return Made(
        record.asset, record.status, record.reason, record.key, record.data_version,
        str(seen["code"]), record.run, record.recorded_at, record.reused, record.seconds,
        record.device, seen["parameters"], seen["inputs"],
        {name: str(provider) for name, provider in seen["weights"].items()},
    )  # fmt: skip
