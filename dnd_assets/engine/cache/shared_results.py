"""Work that belongs to a picture or a concept, not to a unit: done once and shared by all units.

Each function takes what is wanted, looks up what is known, does the rest in batches, and commits
batch by batch, so that a run that dies loses one batch at most.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, TypeVar

from PIL import Image

from dnd_assets.engine.cache.images import PackedImages
from dnd_assets.engine.cache.paid_images import PictureLedger
from dnd_assets.engine.cache.vectors import Matrix, Values
from dnd_assets.engine.context import Workbench
from dnd_assets.files.atomic import sha256
from dnd_assets.files.rasters.raster import Raster
from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.lineage.records import RETRYABLE, Outcome
from dnd_assets.lineage.rows import Shared
from dnd_assets.methods.sparse_matrix import SparseMatrix, dense
from dnd_assets.units import Unit
from resources.model import Failure
from resources.runtime.prefetch import Behind
from resources.runtime.progress import Progress
from resources.servers.calls import StoredCall
from resources.servers.lineage_ledger import LineageLedger
from resources.text_to_image.base import Painting, PaintRequest

K = TypeVar("K")
BLOCK = 512
"""Pictures per stored block of vectors, about: whole batches up to this many."""
_TEXT_BLOCK = 4096
Seen = Sequence[Image.Image | Raster]
Keep = Callable[[Mapping[str, object]], None]
"""Takes in results as they come, by item."""
Paintings = dict[PaintRequest, Any]
"""Of each request a `StoredPainting`, or the `Failure` of the painter's service."""


class StoredPainting(TypedDict):
    """A synthetic picture that is in the store.

    Attributes:
        image: its hash.
        file: the pack that holds it.
        rejected: whether it is no evidence.
        cause: why, unless the safety checker refused it.
    """

    image: str
    file: str
    rejected: bool
    cause: NotRequired[str]


TEXTS = "text_embeddings"
"""Kind of the vectors of texts."""


def captions(bench: Workbench, images: Iterable[str]) -> dict[str, str | Failure]:
    """The caption of each picture, by its hash (DnD, step 2: image captioning).

    A captioner behind a server may fail for some pictures; these have a failure instead. Those that
    the server did not answer are asked for again by the next run; what it did answer, it is not
    asked again.
    """
    provider = bench.lineage.provider(bench.known_by(bench.captioner))
    batch = bench.study.compute.batch.captioner

    def work(missing: Sequence[str], keep: Keep) -> None:
        calls = call_ledger(bench)
        bench.captioner.caption_named(missing, bench.pictures.load, batch, keep, calls)

    return gathered(bench, "caption", provider, bench.pictures.in_order(images), work)


def first_failure(found: Mapping[K, Any], names: Iterable[K]) -> Outcome | None:
    """What becomes of a unit that needs these items: the failure of the first that has one."""
    failed = next((found[name] for name in names if isinstance(found[name], Failure)), None)
    return None if failed is None else Outcome(failed.status, {}, failed.reason)


def first_unanswered(found: Mapping[K, object], names: Iterable[K]) -> Outcome | None:
    """As `first_failure`, of what is asked again in the next run alone.

    Other failures are the items' own, such as a picture that a model refuses to describe: the unit
    does without them.
    """
    lasting = (one for one in names if getattr(found[one], "status", "") in RETRYABLE)
    return first_failure(found, lasting)


def caption_cost(bench: Workbench, images: Iterable[str]) -> dict[str, int]:
    """How many of the pictures have no caption yet, and the calls to a server that they take.

    What an earlier stage of the same plan captions is not counted again.
    """
    provider = bench.lineage.provider(bench.known_by(bench.captioner))
    wanted = sorted(set(images))
    known = at_hand(bench, "caption", provider, wanted)
    missing = sorted(bench.promise(provider, (name for name in wanted if name not in known)))
    with bench.lineage.connect():
        calls = bench.captioner.calls_to_make(missing, LineageLedger(bench.lineage))
    return {"captions": len(missing), **call_cost(calls)}


def call_cost(calls: Mapping[str, int]) -> dict[str, int]:
    """The cost of calls to a language model, by the tokens that each may take."""
    return {"LLM calls": len(calls), "LLM tokens at most": sum(calls.values())}


def call_ledger(bench: Workbench) -> LineageLedger:
    """Calls to a language model, kept in the lineage, and counted as they are made."""

    def count(call: StoredCall) -> None:
        bench.count("LLM calls", 1)
        bench.count("LLM tokens", call.prompt_tokens + call.completion_tokens)

    return LineageLedger(bench.lineage, count)


def painting_cost(bench: Workbench, requests: Iterable[PaintRequest]) -> dict[str, int]:
    """How many of the synthetic pictures have not been painted yet, and the calls they take."""
    provider = bench.lineage.provider(bench.text_to_image.fingerprint())
    items = {painting_id(request): request for request in requests}
    known = at_hand(bench, "painting", provider, sorted(items))
    unknown = sorted(bench.promise(provider, items.keys() - known.keys()))
    with bench.lineage.connect():
        ledger = PictureLedger(LineageLedger(bench.lineage), bench.pictures)
        calls = bench.text_to_image.calls_to_make([items[item] for item in unknown], ledger)
    return {"paintings": len(unknown), "picture calls": len(calls)}


def painting_id(request: PaintRequest) -> str:
    """What a synthetic picture is known by before it is painted."""
    return canonical([request.concept, request.seed])


def known_paintings(bench: Workbench, requests: Iterable[PaintRequest]) -> Paintings:
    """The synthetic pictures that have been painted already; see `paintings`."""
    provider = bench.lineage.provider(bench.text_to_image.fingerprint())
    items = {painting_id(request): request for request in requests}
    known = at_hand(bench, "painting", provider, sorted(items))
    return {items[item]: value for item, value in known.items()}


def most_paintings(bench: Workbench, units: int) -> int:
    """How many accepted synthetic pictures units may have: Q for each candidate concept."""
    setting = bench.study.dissection
    # Candidates that end in "design" or "graphic" count twice: see `concepts.clean_concepts`.
    asked = setting.exemplars if bench.study.summariser.kind == "none" else setting.candidates
    return units * 2 * asked * setting.images_per_concept


def paintings(bench: Workbench, requests: Iterable[PaintRequest]) -> Paintings:
    """A synthetic picture for each (concept, seed): its hash, its pack, whether it was rejected.

    DnD, step 3: the text-to-image model draws each candidate concept. Beside an accelerator the
    pictures of a batch are compressed and stored while the next batch is being painted. A painter
    behind a server may fail for some; these have a failure instead, and are asked for again by the
    next run.
    """
    provider = bench.lineage.provider(bench.text_to_image.fingerprint())
    batch = bench.study.compute.batch.text_to_image
    items = {painting_id(request): request for request in requests}

    def work(missing: Sequence[str], keep: Keep) -> None:
        def pack(done: _Painted) -> tuple[_Painted, PackedImages | None]:
            images = [one.image for one in done.values() if isinstance(one, Painting)]
            return done, bench.pictures.pack(images) if images else None

        def record(made: tuple[_Painted, PackedImages | None]) -> None:
            keep({painting_id(one): value for one, value in _stored(bench, *made).items()})

        wanted = [items[item] for item in missing]
        with Behind(pack, record, threaded=bench.compute.accelerated) as keep_pictures:
            bench.text_to_image.paint_each(wanted, batch, keep_pictures, _picture_ledger(bench))

    found = gathered(bench, "painting", provider, sorted(items), work)
    return {items[item]: value for item, value in found.items()}


_Painted = Mapping[PaintRequest, Painting | Failure]


def _stored(bench: Workbench, done: _Painted, packed: PackedImages | None) -> Paintings:
    """Pictures as they are known once their pack is recorded; failures stay what they are."""
    if packed is None:
        return dict(done)
    bench.pictures.record(packed)
    painted = {one: found for one, found in done.items() if isinstance(found, Painting)}
    known = {
        one: {
            "image": name,
            "file": packed.place(name),
            "rejected": painting.rejected,
            **_cause(painting),
        }
        for name, (one, painting) in zip(packed.hashes, painted.items(), strict=True)
    }
    return {**done, **known}


def _cause(painting: Painting) -> dict[str, str]:
    """Why a picture was rejected, unless by a safety checker, as most are."""
    return {} if painting.cause in (None, "safety") else {"cause": str(painting.cause)}


def _picture_ledger(bench: Workbench) -> PictureLedger:
    """Calls to an image server, kept with their pictures, and counted as they are made."""
    calls = LineageLedger(bench.lineage, lambda _: bench.count("picture calls", 1))
    return PictureLedger(calls, bench.pictures)


def once(
    bench: Workbench,
    kind: str,
    provider: str,
    items: Sequence[str],
    batch: int,
    work: Callable[[Sequence[str]], Mapping[str, object]],
) -> Shared:
    """Known results, and `work` for the others in batches, each committed when it is done."""

    def batches(missing: Sequence[str], keep: Keep) -> None:
        for part in _parts(missing, batch):
            keep(work(part))

    return gathered(bench, kind, provider, items, batches)


def gathered(
    bench: Workbench,
    kind: str,
    provider: str,
    items: Sequence[str],
    work: Callable[[Sequence[str], Keep], None],
) -> Shared:
    """Known results, and those that `work` keeps of the others, committed as they come.

    Failures are handed on, but neither committed nor counted.
    """
    known = at_hand(bench, kind, provider, items)
    missing = [item for item in items if item not in known]
    progress = bench.progress(f"{kind}s", len(missing))

    def keep(done: Mapping[str, object]) -> None:
        made = {item: value for item, value in done.items() if not isinstance(value, Failure)}
        _commit(bench, kind, provider, made)
        known.update(done)
        progress.advance(len(done))

    if missing:
        work(missing, keep)
    return known


def _commit(bench: Workbench, kind: str, provider: str, done: Mapping[str, object]) -> None:
    rows = [shared_row(kind, provider, item, value) for item, value in done.items()]
    bench.lineage.commit({"shared": rows})
    bench.count(f"{kind}s", len(done))


def shared_row(kind: str, provider: str, item: str, value: object) -> dict[str, object]:
    """The row of table `shared` for one result."""
    return {"kind": kind, "provider": provider, "item": item, "value": canonical(value)}


def at_hand(bench: Workbench, kind: str, provider: str, items: Sequence[str]) -> Shared:
    """The stored results among `items` whose file, if they have one, is in the store."""
    there: dict[str | None, bool] = {None: True}
    known = {}
    for item, value in bench.lineage.shared(kind, provider, items).items():
        file = value.get("file") if isinstance(value, dict) else None
        if file not in there:
            there[file] = bench.store.has(str(file))
        if there[file]:
            known[item] = value
    return known


def layer_provider(bench: Workbench, unit: Unit) -> str:
    """Hash of what decides the activations of a unit's layer: network, layer, layout, pooling."""
    return _layer_provider(bench, unit.model, unit.layer, bench.layer(unit).pooling)


def _layer_provider(bench: Workbench, model: str, path: str, how: str) -> str:
    return bench.lineage.provider(
        {
            "target": bench.targets.fingerprint(model),
            "layer": path,
            "pooling": how,
            "layout": bench.targets.layout(model, path),
            **bench.shown,
        }
    )


def activations(
    bench: Workbench, model: str, needs: Mapping[str, Iterable[str]], label: str
) -> dict[str, tuple[dict[str, int], Values]]:
    """Pooled activations of whole layers on pictures, one pass for all layers.

    Args:
        bench: the workbench.
        model: the network's name in the study.
        needs: hashes of the pictures wanted, by layer path.
        label: what the progress line calls the pictures.

    Returns:
        By layer: row of each picture, and the matrix, float32 (pictures, neurons of the layer);
        of latents of an autoencoder what is not zero.
    """
    poolings = {path: bench.layer(Unit(model, path, 0)).pooling for path in needs}
    return pooled(bench, model, poolings, needs, label)


def pooled(
    bench: Workbench,
    model: str,
    poolings: Mapping[str, str],
    needs: Mapping[str, Iterable[str]],
    label: str,
) -> dict[str, tuple[dict[str, int], Values]]:
    """As `activations`, of any layers of the network; `poolings` is by layer path."""
    providers = {path: _layer_provider(bench, model, path, poolings[path]) for path in needs}

    def run(images: Seen, names: Sequence[str], progress: Progress) -> Mapping[str, Matrix]:
        chosen = {path: poolings[path] for path in names}
        return bench.targets.activations(model, chosen, images, batch, progress)

    batch = bench.study.compute.batch.target

    def see(images: Sequence[str]) -> Seen:
        return bench.seen_by(model, images)

    sparse = {one.path for one in bench.study.model(model).layers if one.sae is not None}
    return _vectors(
        bench, "activations", providers, needs, batch, run, label, "forward passes", see, sparse
    )


def passes_to_make(bench: Workbench, model: str, needs: Mapping[str, Iterable[str]]) -> int:
    """How many pictures have to go through the network; `needs` as for `activations`."""
    pending: set[str] = set()
    for path, ids in needs.items():
        provider = layer_provider(bench, Unit(model, path, 0))
        unknown = bench.vectors.unknown("activations", provider, ids)
        pending |= bench.promise(provider, unknown)
    return len(pending)


def have_passed(bench: Workbench, layers: Iterable[tuple[str, str]], images: Sequence[str]) -> bool:
    """Whether the activations of all pictures are stored for layers, (model, path).

    A plan that goes on where they are not would have to pass them: what another stage of the plan
    has promised is counted, but not there yet.
    """
    return not any(
        bench.vectors.unknown("activations", layer_provider(bench, Unit(model, path, 0)), images)
        for model, path in layers
    )


def embeddings_to_make(bench: Workbench, images: Iterable[str]) -> int:
    """How many pictures have no embedding yet."""
    provider = bench.lineage.provider(bench.known_by(bench.clip))
    return len(bench.promise(provider, bench.vectors.unknown("embeddings", provider, images)))


def embeddings(bench: Workbench, images: Iterable[str]) -> tuple[dict[str, int], Matrix]:
    """Unit-length embeddings of pictures by the image-text encoder, float32 (pictures, width)."""
    provider = bench.lineage.provider(bench.known_by(bench.clip))
    batch = bench.study.compute.batch.clip

    def run(images: Any, _: Sequence[str], progress: Progress) -> Mapping[str, Matrix]:
        return {"clip": bench.clip.embed_images(images, batch, progress=progress)}

    needs = {"clip": images}
    by_name = {"clip": provider}
    found = _vectors(bench, "embeddings", by_name, needs, batch, run, "embeddings", "embeddings")
    rows, values = found["clip"]
    return rows, dense(values)


def text_id(text: str) -> str:
    """What a text is known by: SHA-256 of its UTF-8, hexadecimal."""
    return sha256(text.encode())


def texts_to_embed(bench: Workbench, texts: Iterable[str]) -> int:
    """How many texts have no embedding yet."""
    provider = bench.lineage.provider(bench.known_by(bench.clip))
    unknown = bench.vectors.unknown(TEXTS, provider, {text_id(text) for text in texts})
    return len(bench.promise(provider, unknown))


def text_embeddings(bench: Workbench, texts: Sequence[str]) -> Matrix:
    """Unit-length embeddings of texts by the image-text encoder, float32 (texts, width)."""
    provider = bench.lineage.provider(bench.known_by(bench.clip))
    batch = bench.study.compute.batch.clip
    named = {text_id(text): text for text in texts}
    table = bench.vectors.table(TEXTS, provider, list(named))
    missing = sorted(table.missing())
    progress = bench.progress("text embeddings", len(missing))
    for block in _parts(missing, _TEXT_BLOCK):
        values = bench.clip.embed_texts([named[name] for name in block], batch)
        bench.vectors.add(TEXTS, provider, block, values)
        table.fill(block, values)
        bench.count("text embeddings", len(block))
        progress.advance(len(block))
    return table.values[[table.rows[text_id(text)] for text in texts]]


def _vectors(
    bench: Workbench,
    kind: str,
    providers: Mapping[str, str],
    needs: Mapping[str, Iterable[str]],
    batch: int,
    run: Callable[[Seen, Sequence[str], Progress], Mapping[str, Matrix]],
    label: str,
    work: str,
    see: Callable[[Sequence[str]], Seen] | None = None,
    sparse: Collection[str] = (),
) -> dict[str, tuple[dict[str, int], Values]]:
    """Read the known rows of each name, compute the others in one pass over the pictures."""
    tables = {
        name: (bench.vectors.sparse_table if name in sparse else bench.vectors.table)(
            kind, providers[name], sorted(set(ids))
        )
        for name, ids in needs.items()
    }
    missing = {name: table.missing() for name, table in tables.items()}
    pending = bench.pictures.in_order({one for ids in missing.values() for one in ids})
    progress = bench.progress(label, len(pending))
    for block in _parts(pending, max(batch, BLOCK // batch * batch)):
        names = [name for name, ids in missing.items() if not ids.isdisjoint(block)]
        found = run((see or bench.pictures.lazy)(block), names, progress)
        bench.count(work, len(block))
        for name in names:
            rows = [row for row, one in enumerate(block) if one in missing[name]]
            fresh, full = [block[row] for row in rows], found[name][rows]
            values = SparseMatrix.of_dense(full) if name in sparse else full
            bench.vectors.add(kind, providers[name], fresh, values)
            tables[name].fill(fresh, values)
    return {name: (table.rows, table.values) for name, table in tables.items()}


def _parts(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
