"""The probing set: the manifest of images that every unit is shown."""

from __future__ import annotations

from typing import Any

from dnd_assets import probing_set as scanning
from dnd_assets.errors import StudyError
from dnd_assets.lineage.fingerprint import canonical, code_version, digest, preimage
from dnd_assets.lineage.records import PROBING_SET, Outcome, Product, artefact_row
from dnd_assets.methods import images
from dnd_assets.probing_set import Manifest, image_paths, image_rows, scan
from dnd_assets.stage import Settings, Whole, record_of, record_run
from dnd_assets.workbench import Workbench


class ProbingSet(Whole):
    """The images that units are probed with, by SHA-256 of their bytes.

    Unreadable files are set aside with path and reason. Materialize it after the folders changed.
    """

    name = PROBING_SET
    group = "step_1_probing"
    kinds = frozenset({"python", "pillow"})

    def settings(self, bench: Workbench) -> Settings:
        """Folders as absolute paths, and the largest picture."""
        return _parameters(bench), {}

    def look(self, bench: Workbench) -> Product:
        """See `look`."""
        return look(bench)

    def materialize(self, bench: Workbench, run: str) -> Product:
        """See `materialize`."""
        return materialize(bench, run)[0]


def materialize(bench: Workbench, run: str) -> tuple[Product, Manifest]:
    """Look at every image file, record the manifest and return it.

    Args:
        bench: the workbench.
        run: id of the run that asks.

    Returns:
        The product, whose payload names the stored list of hashes, and what the scan found.

    Raises:
        StudyError: when a folder is missing, or no image in it can be read.
    """
    manifest = _scan(bench)
    with bench.lineage.exclusive(bench.log):
        record_run(bench, run)
        product = _product(bench, manifest)
        bench.lineage.commit(
            {
                "artefacts": [_artefact(bench, product)],
                "images": _unknown(bench, manifest),
                "products": [product.row()],
                "materializations": [record_of(bench, run, product).row()],
            }
        )
    return product, manifest


def look(bench: Workbench) -> Product:
    """The probing set as it is now, for a plan: recorded as seen, not as materialized.

    Raises:
        StudyError: as `materialize`.
    """
    manifest = _scan(bench)
    product = _product(bench, manifest)
    rows = {"artefacts": [_artefact(bench, product)], "images": _unknown(bench, manifest)}
    bench.lineage.commit(rows)
    return product


def _parameters(bench: Workbench) -> dict[str, Any]:
    probing = bench.study.probing_set
    return {
        "folders": [str(bench.study.path(name)) for name in probing.folders],
        "image_list": str(bench.study.path(probing.image_list)) if probing.image_list else None,
        "world": probing.world.model_dump() if probing.world else None,
        "max_pixels": probing.max_pixels,
    }


def _scan(bench: Workbench) -> Manifest:
    paths = image_paths(bench.study, bench.home)
    progress = bench.progress("probing images", len(paths))
    limit = bench.study.probing_set.max_pixels
    manifest = scan(paths, limit, bench.home / "probing" / "scanned.json", progress.advance)
    if not manifest.images:
        first = manifest.quarantined[0]
        raise StudyError(
            f"none of {len(paths):,} probing images can be read, for example {first.path}: "
            f"{first.quarantined}. Name folders with sound images under [probing_set]."
        )
    return manifest


def _product(bench: Workbench, manifest: Manifest) -> Product:
    """The product of a scan; its list of images lies in the store."""
    found = list(manifest.images)
    code = code_version(scanning, images)
    seen = {"images": digest(found)}
    image = preimage(PROBING_SET, code, _parameters(bench), {}, seen)
    file = bench.store.put(canonical(found).encode(), "json")
    set_aside = [
        {"path": one.path, "hash": one.hash, "reason": one.quarantined}
        for one in manifest.quarantined
    ]
    notes = {"files": [file], "quarantined": set_aside, "found": len(manifest.files)}
    outcome = Outcome("ok", {"manifest": file, "images": len(found)}, notes=notes)
    return Product(digest(image), PROBING_SET, image, outcome)


def _artefact(bench: Workbench, product: Product) -> dict[str, Any]:
    file = product.payload["manifest"]
    size = bench.store.path(file).stat().st_size
    return artefact_row(file.partition(".")[0], file, "manifest", size)


def _unknown(bench: Workbench, manifest: Manifest) -> list[dict[str, Any]]:
    """Rows of the images that were never seen at their path in their state."""
    known = bench.lineage.query("SELECT hash, path, quarantined FROM images")
    before = {(row["hash"], row["path"], row["quarantined"]) for row in known}
    new = [f for f in manifest.files if (f.hash, f.path, f.quarantined) not in before]
    return image_rows(new)
