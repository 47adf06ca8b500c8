"""Study assets as a run observed them when it began, so that their files are read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.recording import record_run, record_whole
from dnd_assets.engine.stage import StudyAsset
from dnd_assets.lineage.records import Product


@dataclass(frozen=True)
class Seen:
    """Study assets that a run observed before it began.

    Attributes:
        products: as they were observed; the files that they name are recorded already.
        waits: how often this process had waited for other runs until then.
    """

    products: Sequence[Product] = ()
    waits: int = 0

    def record(self, context: StudyContext, study_asset: StudyAsset, run: str) -> Product | None:
        """Record a product as it was observed, in the name of a run.

        None, and nothing recorded, where it has to be made anew: it takes computing,
        it was not observed, another run was waited for, or a file that it names was removed.
        """
        product = next(
            (
                seen_product
                for seen_product in self.products
                if seen_product.asset == study_asset.name
            ),
            None,
        )
        if product is None or study_asset.uses:
            return None
        with context.lineage.exclusive(context.log):
            # Another run may have had the lock for hours, in which images come, go and change. A
            # list of images of before would name some that nobody finds any more.
            if context.lineage.waits != self.waits:
                return None
            if not all(context.store.has(file) for file in product.outcome.notes.get("files", ())):
                return None
            record_run(context, run)
            record_whole(context, run, product, {})
        return product
