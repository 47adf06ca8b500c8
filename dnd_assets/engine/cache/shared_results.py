"""Work that belongs to a picture or a concept, not to a unit: done once and shared by all units.

Each function takes what is wanted, looks up what is known, does the rest in batches, and commits
batch by batch, so that a run that dies loses one batch at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from PIL import Image

from dnd_assets.engine.cache.paid_images import PictureLedger
from dnd_assets.engine.cache.stored_pictures import PackedImages
from dnd_assets.engine.cache.vector_blocks import Wanted, array, in_parts, rows_of, vectors
from dnd_assets.engine.cache.vectors import Matrix, Values
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Job, Part, PartResult, Plain
from dnd_assets.files.atomic import sha256
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.fingerprint import canonical, digest
from dnd_assets.lineage.records import RETRYABLE, Outcome
from dnd_assets.lineage.rows import Shared
from dnd_assets.methods.sparse_matrix import dense
from dnd_assets.units import Unit
from resources.model import Failure
from resources.runtime.prefetch import Behind
from resources.runtime.progress import Progress
from resources.servers.calls import StoredCall
from resources.servers.lineage_ledger import LineageLedger
from resources.text_to_image.base import Painting, PaintRequest

K = TypeVar("K")
_TEXT_BLOCK = 4096
_CLIP: Final = "clip"
Seen = Sequence[Image.Image | Raster]
Keep = Callable[[Mapping[str, object]], None]
"""Takes in results as they come, by item."""
Paintings = dict[PaintRequest, Any]
"""Of each request the stored picture (`image`, `file`, `rejected`, and `cause` unless the safety
checker refused it), or the `Failure` of the painter's service."""
TEXTS = "text_embeddings"
"""Kind of the vectors of texts."""


def captions(context: StudyContext, images: Iterable[str]) -> dict[str, str | Failure]:
    """The caption of each picture, by its hash (DnD, step 2: image captioning).

    A captioner behind a server may fail for some pictures; these have a failure instead. Those that
    the server did not answer are asked for again by the next run; what it did answer, it is not
    asked again.
    """
    provider = context.lineage.provider(context.known_by(context.captioner))
    batch = context.study.compute.batch.captioner
    hashes = context.pictures.in_order(images)
    if not context.study.captioner.SERVED:
        return get_or_compute(
            context, "caption", provider, hashes, batch, captions_of, pictures_of=list
        )

    def work(missing: Sequence[str], keep: Keep) -> None:
        calls = call_ledger(context)
        context.captioner.caption_named(missing, context.pictures.load, batch, keep, calls)

    return get_or_compute_each(context, "caption", provider, hashes, work)


def captions_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """A caption of each picture of a part, by its hash."""
    agree(context, part, lambda: context.lineage.provider(context.known_by(context.captioner)))
    pictures = context.pictures.load(part.items)
    texts = context.captioner.caption(pictures, context.study.compute.batch.captioner)
    return PartResult(dict(zip(part.items, texts, strict=True)))


def first_failure(results: Mapping[K, Any], names: Iterable[K]) -> Outcome | None:
    """What becomes of a unit that needs these items: the failure of the first that has one."""
    failure = next((results[name] for name in names if isinstance(results[name], Failure)), None)
    return None if failure is None else Outcome(failure.status, {}, failure.reason)


def first_unanswered(results: Mapping[K, object], names: Iterable[K]) -> Outcome | None:
    """As `first_failure`, of what is asked again in the next run alone.

    Other failures are the items' own, such as a picture that a model refuses to describe: the unit
    does without them.
    """
    unanswered = (name for name in names if getattr(results[name], "status", "") in RETRYABLE)
    return first_failure(results, unanswered)


def caption_cost(context: StudyContext, images: Iterable[str]) -> dict[str, int]:
    """How many of the pictures have no caption yet, and the calls to a server that they take.

    What an earlier stage of the same plan captions is not counted again.
    """
    provider = context.lineage.provider(context.known_by(context.captioner))
    hashes = sorted(set(images))
    captioned = cached(context, "caption", provider, hashes)
    missing = sorted(context.promise(provider, (name for name in hashes if name not in captioned)))
    with context.lineage.connect():
        calls = context.captioner.calls_to_make(missing, LineageLedger(context.lineage))
    return {"captions": len(missing), **call_cost(calls)}


def call_cost(calls: Mapping[str, int]) -> dict[str, int]:
    """The cost of calls to a language model, by the tokens that each may take."""
    return {"LLM calls": len(calls), "LLM tokens at most": sum(calls.values())}


def call_ledger(context: StudyContext) -> LineageLedger:
    """Calls to a language model, kept in the lineage, and counted as they are made."""

    def count(call: StoredCall) -> None:
        context.count("LLM calls", 1)
        context.count("LLM tokens", call.prompt_tokens + call.completion_tokens)

    return LineageLedger(context.lineage, count)


def painting_cost(context: StudyContext, requests: Iterable[PaintRequest]) -> dict[str, int]:
    """How many of the synthetic pictures have not been painted yet, and the calls they take."""
    provider = context.lineage.provider(context.text_to_image.fingerprint())
    items = {painting_id(request): request for request in requests}
    painted = cached(context, "painting", provider, sorted(items))
    unpainted = sorted(context.promise(provider, items.keys() - painted.keys()))
    with context.lineage.connect():
        ledger = PictureLedger(LineageLedger(context.lineage), context.pictures)
        calls = context.text_to_image.calls_to_make([items[item] for item in unpainted], ledger)
    return {"paintings": len(unpainted), "picture calls": len(calls)}


def painting_id(request: PaintRequest) -> str:
    """Id of a synthetic picture before it is painted: concept and seed."""
    return canonical([request.concept, request.seed])


def known_paintings(context: StudyContext, requests: Iterable[PaintRequest]) -> Paintings:
    """The synthetic pictures that have been painted already; see `paintings`."""
    provider = context.lineage.provider(context.text_to_image.fingerprint())
    items = {painting_id(request): request for request in requests}
    painted = cached(context, "painting", provider, sorted(items))
    return {items[item]: value for item, value in painted.items()}


def most_paintings(context: StudyContext, units: int) -> int:
    """How many accepted synthetic pictures units may have: Q for each candidate concept."""
    setting = context.study.dissection
    # Candidates that end in "design" or "graphic" count twice: see `concepts.clean_concepts`.
    concepts = setting.exemplars if context.study.summariser.kind == "none" else setting.candidates
    return units * 2 * concepts * setting.images_per_concept


def paintings(context: StudyContext, requests: Iterable[PaintRequest]) -> Paintings:
    """A synthetic picture for each (concept, seed): its hash, its pack, whether it was rejected.

    DnD, step 3: the text-to-image model draws each candidate concept. Beside an accelerator the
    pictures of a batch are compressed and stored while the next batch is being painted. A painter
    behind a server may fail for some; these have a failure instead, and are asked for again by the
    next run.
    """
    provider = context.lineage.provider(context.text_to_image.fingerprint())
    batch = context.study.compute.batch.text_to_image
    items = {painting_id(request): request for request in requests}
    if context.workers.handed_to is not None and not context.study.text_to_image.SERVED:
        results = get_or_compute(
            context, "painting", provider, sorted(items), batch, paintings_of, _about_of(items)
        )
        return {items[item]: value for item, value in results.items()}

    def work(missing: Sequence[str], keep: Keep) -> None:
        def pack(painted: _Painted) -> tuple[_Painted, PackedImages | None]:
            images = [result.image for result in painted.values() if isinstance(result, Painting)]
            return painted, context.pictures.pack(images) if images else None

        def record(packed: tuple[_Painted, PackedImages | None]) -> None:
            stored = _record(context, *packed)
            keep({painting_id(request): painting for request, painting in stored.items()})

        unpainted, ledger = [items[item] for item in missing], _picture_ledger(context)
        with Behind(pack, record, threaded=context.compute.accelerated) as keep_pictures:
            context.text_to_image.paint_each(unpainted, batch, keep_pictures, ledger)

    results = get_or_compute_each(context, "painting", provider, sorted(items), work)
    return {items[item]: value for item, value in results.items()}


_Painted = Mapping[PaintRequest, Painting | Failure]


def _about_of(items: Mapping[str, PaintRequest]) -> Callable[[Sequence[str]], Mapping[str, Plain]]:
    """What painters are told of a part's items, see `Part.about`."""

    def about(part: Sequence[str]) -> dict[str, Plain]:
        requests = [items[item] for item in part]
        fields = [[request.concept, request.seed, request.index] for request in requests]
        return {"requests": fields}

    return about


def paintings_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """The pictures of a part, stored in one pack; what is known of each, by its item."""
    agree(context, part, lambda: context.lineage.provider(context.text_to_image.fingerprint()))
    requests = [PaintRequest(*fields) for fields in part.about["requests"]]
    painted = context.text_to_image.paint(requests, context.study.compute.batch.text_to_image)
    packed = context.pictures.pack([painting.image for painting in painted])
    stored = _record(context, dict(zip(requests, painted, strict=True)), packed)
    return PartResult({painting_id(request): value for request, value in stored.items()})


def _record(context: StudyContext, results: _Painted, packed: PackedImages | None) -> Paintings:
    """Record a pack and say where each picture is; failures stay what they are."""
    if packed is None:
        return dict(results)
    context.pictures.record(packed)
    painted = {request: value for request, value in results.items() if isinstance(value, Painting)}
    stored = {
        request: {
            "image": name,
            "file": packed.place(name),
            "rejected": painting.rejected,
            **_cause(painting),
        }
        for name, (request, painting) in zip(packed.hashes, painted.items(), strict=True)
    }
    return {**results, **stored}


def _cause(painting: Painting) -> dict[str, str]:
    """Why a picture was rejected, unless by a safety checker, as most are."""
    return {} if painting.cause in (None, "safety") else {"cause": str(painting.cause)}


def _picture_ledger(context: StudyContext) -> PictureLedger:
    """Calls to an image server, kept with their pictures, and counted as they are made."""
    calls = LineageLedger(context.lineage, lambda _: context.count("picture calls", 1))
    return PictureLedger(calls, context.pictures)


def get_or_compute(
    context: StudyContext,
    kind: str,
    provider: str,
    items: Sequence[str],
    batch: int,
    job: Job,
    about: Callable[[Sequence[str]], Mapping[str, Plain]] = lambda _: {},
    pictures_of: Callable[[Sequence[str]], Sequence[str]] = lambda _: (),
) -> Shared:
    """Known results; the others by a job in batches, each committed when it is done.

    Args:
        context: the study's context.
        kind: what is made.
        provider: hash of what makes it.
        items: what it is made of.
        batch: how many of them are made together.
        job: makes values by item; run here, or by workers.
        about: what the job has to be told of a batch besides.
        pictures_of: hashes of the pictures that a batch needs.
    """

    def batches(missing: Sequence[str], keep: Keep) -> None:
        parts = (
            Part(part, pictures_of(part), about(part), provider)
            for part in in_parts(missing, batch)
        )
        for _, result in hand_out(context, job, parts):
            keep(result.values)

    return get_or_compute_each(context, kind, provider, items, batches)


def get_or_compute_each(
    context: StudyContext,
    kind: str,
    provider: str,
    items: Sequence[str],
    work: Callable[[Sequence[str], Keep], None],
) -> Shared:
    """Known results, and those that `work` keeps of the others, committed as they come.

    Failures are handed on, but neither committed nor counted.
    """
    results = cached(context, kind, provider, items)
    missing = [item for item in items if item not in results]
    progress = context.progress(f"{kind}s", len(missing))

    def keep(batch: Mapping[str, object]) -> None:
        answers = {item: value for item, value in batch.items() if not isinstance(value, Failure)}
        _commit(context, kind, provider, answers)
        results.update(batch)
        progress.advance(len(batch))

    if missing:
        work(missing, keep)
    return results


def _commit(context: StudyContext, kind: str, provider: str, results: Mapping[str, object]) -> None:
    rows = [shared_row(kind, provider, item, value) for item, value in results.items()]
    context.lineage.commit({"shared": rows})
    context.count(f"{kind}s", len(results))


def shared_row(kind: str, provider: str, item: str, value: object) -> dict[str, object]:
    """The row of table `shared` for one result."""
    return {"kind": kind, "provider": provider, "item": item, "value": canonical(value)}


def cached(context: StudyContext, kind: str, provider: str, items: Sequence[str]) -> Shared:
    """The stored results among `items` whose file, if they have one, is in the store."""
    in_store: dict[str | None, bool] = {None: True}
    stored = {}
    for item, value in context.lineage.shared(kind, provider, items).items():
        file = value.get("file") if isinstance(value, dict) else None
        if file not in in_store:
            in_store[file] = context.store.has(str(file))
        if in_store[file]:
            stored[item] = value
    return stored


def layer_provider(context: StudyContext, unit: Unit) -> str:
    """Hash of what decides the activations of a unit's layer: network, layer, layout, pooling."""
    return _layer_provider(context, unit.model, unit.layer, context.layer(unit).pooling)


def _layer_provider(context: StudyContext, model: str, path: str, pooling: str) -> str:
    return context.lineage.provider(
        {
            "target": context.targets.fingerprint(model),
            "layer": path,
            "pooling": pooling,
            "layout": context.targets.layout(model, path),
            **context.shown,
        }
    )


def activations(
    context: StudyContext, model: str, needs: Mapping[str, Iterable[str]], label: str
) -> dict[str, tuple[dict[str, int], Values]]:
    """Pooled activations of whole layers on pictures, one pass for all layers.

    Args:
        context: the study's context.
        model: the network's name in the study.
        needs: hashes of the pictures wanted, by layer path.
        label: what the progress line calls the pictures.

    Returns:
        By layer: row of each picture, and the matrix, float32 (pictures, neurons of the layer);
        of latents of an autoencoder what is not zero.
    """
    poolings = {path: context.layer(Unit(model, path, 0)).pooling for path in needs}
    return pooled(context, model, poolings, needs, label)


def pooled(
    context: StudyContext,
    model: str,
    poolings: Mapping[str, str],
    needs: Mapping[str, Iterable[str]],
    label: str,
) -> dict[str, tuple[dict[str, int], Values]]:
    """As `activations`, of any layers of the network; `poolings` is by layer path."""
    providers = {path: _layer_provider(context, model, path, poolings[path]) for path in needs}
    sparse = [layer.path for layer in context.study.model(model).layers if layer.sae is not None]
    about = {"model": model, "poolings": dict(poolings), "sparse": sparse}
    request = Wanted("activations", providers, passes_of, about, label, "forward passes")
    return vectors(context, request, needs, context.study.compute.batch.target)


def passes_of(context: StudyContext, part: Part, progress: Progress) -> PartResult:
    """Pooled activations of a part's pictures, by layer; one pass for all layers."""
    model, all_poolings = part.about["model"], part.about["poolings"]
    poolings = {path: all_poolings[path] for path in part.about["rows"]}

    def known_by() -> str:
        layers = poolings.items()
        return digest({path: _layer_provider(context, model, path, pool) for path, pool in layers})

    agree(context, part, known_by)
    images, batch = context.seen_by(model, part.items), context.study.compute.batch.target
    return rows_of(part, context.targets.activations(model, poolings, images, batch, progress))


def passes_to_make(context: StudyContext, model: str, needs: Mapping[str, Iterable[str]]) -> int:
    """How many pictures have to go through the network; `needs` as for `activations`."""
    pending: set[str] = set()
    for path, ids in needs.items():
        provider = layer_provider(context, Unit(model, path, 0))
        unknown = context.vectors.unknown("activations", provider, ids)
        pending |= context.promise(provider, unknown)
    return len(pending)


def have_passed(
    context: StudyContext, layers: Iterable[tuple[str, str]], images: Sequence[str]
) -> bool:
    """Whether the activations of all pictures are stored for layers, (model, path).

    A plan that goes on where they are not would have to pass them: what another stage of the plan
    has promised is counted, but not there yet.
    """
    units = (Unit(model, path, 0) for model, path in layers)
    providers = (layer_provider(context, unit) for unit in units)
    unknown = (context.vectors.unknown("activations", provider, images) for provider in providers)
    return not any(unknown)


def embeddings_to_make(context: StudyContext, images: Iterable[str]) -> int:
    """How many pictures have no embedding yet."""
    provider = context.lineage.provider(context.known_by(context.clip))
    return len(context.promise(provider, context.vectors.unknown("embeddings", provider, images)))


def embeddings(context: StudyContext, images: Iterable[str]) -> tuple[dict[str, int], Matrix]:
    """Unit-length embeddings of pictures by the image-text encoder, float32 (pictures, width)."""
    provider = context.lineage.provider(context.known_by(context.clip))
    about: dict[str, Plain] = {"sparse": []}
    request = Wanted(
        "embeddings", {_CLIP: provider}, embeddings_of, about, "embeddings", "embeddings"
    )
    batch = context.study.compute.batch.clip
    rows, values = vectors(context, request, {_CLIP: images}, batch)[_CLIP]
    return rows, dense(values)


def embeddings_of(context: StudyContext, part: Part, progress: Progress) -> PartResult:
    """Embeddings of a part's pictures."""
    agree(
        context,
        part,
        lambda: digest({_CLIP: context.lineage.provider(context.known_by(context.clip))}),
    )
    images, batch = context.pictures.lazy(part.items), context.study.compute.batch.clip
    return rows_of(part, {_CLIP: context.clip.embed_images(images, batch, progress=progress)})


def text_id(text: str) -> str:
    """Id of a text: SHA-256 of its UTF-8, hexadecimal."""
    return sha256(text.encode())


def texts_to_embed(context: StudyContext, texts: Iterable[str]) -> int:
    """How many texts have no embedding yet."""
    provider = context.lineage.provider(context.known_by(context.clip))
    unknown = context.vectors.unknown(TEXTS, provider, {text_id(text) for text in texts})
    return len(context.promise(provider, unknown))


def text_embeddings(context: StudyContext, texts: Sequence[str]) -> Matrix:
    """Unit-length embeddings of texts by the image-text encoder, float32 (texts, width)."""
    provider = context.lineage.provider(context.known_by(context.clip))
    texts_by_id = {text_id(text): text for text in texts}
    table = context.vectors.table(TEXTS, provider, list(texts_by_id))
    missing = sorted(table.missing())
    progress = context.progress("text embeddings", len(missing))
    parts = (
        Part(block, (), {"texts": [texts_by_id[name] for name in block]}, provider)
        for block in in_parts(missing, _TEXT_BLOCK)
    )
    for part, result in hand_out(context, text_embeddings_of, parts):
        block, values = part.items, array(result, "values")
        context.vectors.add(TEXTS, provider, block, values)
        table.fill(block, values)
        context.count("text embeddings", len(block))
        progress.advance(len(block))
    return table.values[[table.rows[text_id(text)] for text in texts]]


def text_embeddings_of(context: StudyContext, part: Part, _: Progress) -> PartResult:
    """Embeddings of a part's texts."""
    agree(context, part, lambda: context.lineage.provider(context.known_by(context.clip)))
    values = context.clip.embed_texts(part.about["texts"], context.study.compute.batch.clip)
    return PartResult(arrays={"values": values})
