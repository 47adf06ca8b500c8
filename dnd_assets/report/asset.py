"""The atlas in the web interface: an asset that writes it, and a server that shows it."""

import threading
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg

from dnd_assets.assets.registry import stages_of
from dnd_assets.engine.context_builder import build_context
from dnd_assets.home import state_folder
from dnd_assets.lineage.records import is_labels
from dnd_assets.report.build import build_report
from dnd_assets.study.study import Study
from dnd_assets.workflow.atlas_address import atlas_folder, noted_address
from dnd_assets.workflow.definitions import OWNERS
from dnd_assets.workflow.unit_asset import at_work

ATLAS = "atlas"
_OF_JOB = "The pages of all units that have labels: where links in the events of labels lead."


def atlas_definitions(study: Study, home: Path | None = None) -> dg.Definitions:
    """The asset that writes a study's atlas, after its labels.

    Args:
        study: the study.
        home: the state folder; None takes `DND_HOME` or `.dnd`.
    """
    study_context = build_context(study, home or state_folder())
    labels = [name for name in stages_of(study) if is_labels(name)]

    @dg.asset(
        name=ATLAS,
        deps=labels,
        group_name="atlas",
        owners=OWNERS,
        kinds={"html"},
        automation_condition=_after_labels(),
    )
    def atlas(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        """A page for each unit, and all of them to be searched: what `dnd report` writes.

        Only pages of units whose results changed are written again.
        """
        table = at_work(context, study_context)
        report = build_report(table, atlas_folder(study_context.home, study.name), log=table.log)
        root = noted_address(study_context.home)
        shown = {"address": dg.MetadataValue.url(f"{root}/{study.name}/index.html")} if root else {}
        return dg.MaterializeResult(
            metadata={
                **shown,
                "units": report.units,
                "pages made anew": report.rendered,
                "open": dg.MetadataValue.path(str(report.index.resolve())),
                "remarks": "\n".join(report.told),
            }
        )

    job = dg.define_asset_job("write_atlas", [ATLAS], description=_OF_JOB)
    return dg.Definitions(assets=[atlas], jobs=[job])


def _after_labels() -> dg.AutomationCondition[Any]:
    """Once labels were materialized and nothing more is on its way."""
    labels_updated: dg.AutomationCondition[Any] = dg.AutomationCondition.any_deps_updated()
    return (
        labels_updated.since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("labels are new")


class _Pages(SimpleHTTPRequestHandler):
    """Files of a folder; no listings, no lines on the terminal."""

    def list_directory(self, path: Any) -> None:
        """Nothing to list."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say what to do about a page that is not there."""
        advice = "Materialize the asset `atlas`, or run `dnd report`, and load this page again."
        super().send_error(code, message, advice if code == HTTPStatus.NOT_FOUND else explain)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


def serve_atlases(folder: Path, port: int) -> ThreadingHTTPServer:
    """Show the atlases in a folder at `http://127.0.0.1:port/STUDY/`, from a thread of its own.

    Args:
        folder: holds a folder for each study.
        port: on loopback; 0 takes a free one.

    Raises:
        OSError: when the port is taken.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Pages, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
