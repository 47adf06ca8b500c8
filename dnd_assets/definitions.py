"""What `workspace.yaml` loads: the definitions of the study that `DND_STUDY` names."""

import dagster as dg

from dnd_assets.assets.resolved import resolve_study
from dnd_assets.home import state_folder
from dnd_assets.report.asset import atlas_definitions
from dnd_assets.study.study import load_study
from dnd_assets.workflow.definitions import definitions_of
from dnd_assets.workflow.freshness import say_when_loaded

_resolved = resolve_study(load_study(), state_folder())
defs = dg.Definitions.merge(definitions_of(_resolved), atlas_definitions(_resolved.study))
say_when_loaded(_resolved)
