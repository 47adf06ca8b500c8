"""What a card of a unit says: one class for each kind of thing on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScoredLabel:
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
    runners_up: tuple[ScoredLabel, ...]


@dataclass(frozen=True, slots=True)
class DetectedConcept:
    """How well a concept's presence in captions predicts where a unit is active.

    Attributes:
        concept: the text.
        mcc: Matthews' correlation, -1 to 1.
        threshold: the unit counts as active from this activation on.
        share: of images that have it in their caption.
        agreement: correlation of the activation with the encoder's likeness of picture and concept;
            None where the encoder was not asked.
    """

    concept: str
    mcc: float
    threshold: float
    share: float
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class ReferenceImage:
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
class LabelEvidence:
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
    examples: tuple[ReferenceImage, ...]
    painted: float | None = None
    without: tuple[tuple[str, float], ...] = ()
    confirmed: bool | None = None

    @property
    def bands(self) -> dict[str, tuple[tuple[ReferenceImage, ...], tuple[ReferenceImage, ...]]]:
        """Images with the concept, and without, by band, the highest first."""
        by_band = {}
        for band in dict.fromkeys(example.band for example in self.examples):
            examples = [example for example in self.examples if example.band == band]
            by_band[band] = (
                tuple(example for example in examples if example.shows),
                tuple(example for example in examples if not example.shows),
            )
        return by_band


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
    labels: tuple[ScoredLabel, ...] = ()
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
class SyntheticImage:
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
class CandidateConcept:
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
    pictures: tuple[SyntheticImage, ...]


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
    pictures: tuple[SyntheticImage, ...]


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
    parameters: Mapping[str, object]
    inputs: Mapping[str, str]
    weights: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a class loses without a unit.

    Attributes:
        name: the class.
        images: images that the changes are means over.
        score: its mean score in the whole network.
        change: what ablation adds to it.
        ends: the change's 95 % interval over images; None for a single image.
        accuracy: share of its images that get it; None where classes of images are not known.
        accuracy_change: what ablation adds to that.
        accuracy_ends: the interval of that.
    """

    name: str
    images: int
    score: float
    change: float
    ends: tuple[float, float] | None
    accuracy: float | None = None
    accuracy_change: float | None = None
    accuracy_ends: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class UnitAblation:
    """What the network loses without a unit.

    Attributes:
        how: how it was ablated: zero, mean or resample.
        images: images that it was ablated on.
        probe: whether classes are read off by a linear probe.
        chosen: share of images whose best class becomes another.
        losses: classes, the largest change first.
    """

    how: str
    images: int
    probe: bool
    chosen: float
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True)
class UnitCard:
    """Everything known of one unit.

    Attributes:
        unit: its key, `model/layer/neuron`.
        model: name of the network.
        layer: path of the layer.
        neuron: index.
        name: of the direction that it is, as its file says; empty for other units.
        methods: what each method says, the study's own labels first.
        exemplars: the most activating probing images.
        described: the activating set with its captions.
        concepts: candidate concepts, best first, dropped ones last.
        distribution: activations on all probing images; None where nothing is known.
        ranges: samples of wider ranges of activations.
        ladder: probing images from its largest activation to its smallest, evenly spaced.
        metrics: metrics of each method's label.
        made: lineage, one entry for each product, upstream first.
        remarks: what is to be known of its exemplars beside them.
        evidence: what speaks for a label by detection, or for what came nearest.
        ablation: what the network loses without it; None where that was not asked.
        groups: the same without the groups that it is in, by the group's name and size.
    """

    unit: str
    model: str
    layer: str
    neuron: int
    methods: tuple[MethodLabel, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    described: tuple[Described, ...] = ()
    concepts: tuple[CandidateConcept, ...] = ()
    distribution: Distribution | None = None
    ranges: tuple[ActivationRange, ...] = ()
    ladder: tuple[Shown, ...] = ()
    metrics: tuple[MetricSet, ...] = ()
    made: tuple[Made, ...] = ()
    remarks: tuple[str, ...] = ()
    evidence: LabelEvidence | None = None
    ablation: UnitAblation | None = None
    groups: tuple[tuple[str, UnitAblation], ...] = ()
    name: str = ""

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
        judgements = [
            method.interpretable for method in self.methods if method.interpretable is not None
        ]
        return any(judgements) if judgements else None

    def pictures(self) -> Iterator[str]:
        """SHA-256 of every picture on the card, but for crops, which are parts of exemplars."""
        yield from (exemplar.image for exemplar in self.exemplars)
        yield from (
            described.crop.image if described.crop else described.image
            for described in self.described
        )
        yield from (image.image for span in self.ranges for image in span.images)
        yield from (image.image for image in self.ladder)
        yield from (example.image for example in (self.evidence.examples if self.evidence else ()))
        yield from (picture.image for concept in self.concepts for picture in concept.pictures)
        yield from (picture.image for metric_set in self.metrics for picture in metric_set.pictures)
        for method in self.methods:
            yield from (image.image for image in method.images)
            for facet in method.facets:
                yield from (exemplar.image for exemplar in facet.exemplars)
                yield from facet.pictures
