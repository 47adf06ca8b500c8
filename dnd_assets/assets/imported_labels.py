"""Labels that were made elsewhere, published ones for example, as an asset like any other."""

from __future__ import annotations

from collections.abc import Sequence

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Results, Stage, Work
from dnd_assets.lineage.records import Outcome
from dnd_assets.lineage.remarks import Remark
from dnd_assets.study.label_files import SUFFIX, counted, imported_labels, label_path, sizes_of
from dnd_assets.units import Unit


class ImportedLabels(Stage):
    """Labels from a CSV file that was made elsewhere, to be compared with those made here.

    A unit's row decides its product: another row in the file changes nothing for it.
    """

    upstream = ()
    group = "baselines"
    kinds = frozenset({"csv"})

    def __init__(self, method: str) -> None:
        self.method = method
        self.name = f"{method}{SUFFIX}"

    def parameters(self, context: StudyContext) -> dict[str, object]:
        """Nothing but the unit's own row."""
        return {}

    def external_inputs(
        self, context: StudyContext, units: Sequence[Unit]
    ) -> dict[Unit, dict[str, object]]:
        """The unit's label, and where there is none, why."""
        sizes = sizes_of(context.study, context.targets.units)
        labels = imported_labels(context.study, self.method, units, sizes)
        return {
            unit: {"label": label, **({} if label else {"missing": reason})}
            for unit, (label, reason) in labels.items()
        }

    def compute(self, context: StudyContext, work: Sequence[Work]) -> Results:
        """Outcomes with `label` and `labels` [{label}]; there is no score."""
        file = label_path(context.study, self.method).name
        count_text = counted(
            context.study, self.method, sizes_of(context.study, context.targets.units)
        ).told
        if count_text:
            context.log(count_text)
        notes = {"remarks": [Remark("units_counted", count_text).as_json()]} if count_text else {}
        for item in work:
            label = item.external_inputs["label"]
            if label:
                payload = {"label": label, "labels": [{"label": label}]}
                yield item, Outcome("ok", payload, notes=notes)
            else:
                yield item, Outcome("no_label", {}, f"{file}: {item.external_inputs['missing']}")
