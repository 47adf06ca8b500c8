"""What `workspace.yaml` loads: the definitions of the study that `DND_STUDY` names."""

import dagster as dg

from dnd_assets.report.asset import atlas_definitions
from dnd_assets.study.study import load_study
from dnd_assets.workflow.definitions import build_definitions

_study = load_study()
defs = dg.Definitions.merge(build_definitions(_study), atlas_definitions(_study))
