"""What `workspace.yaml` loads: the definitions of the study that `DND_STUDY` names."""

import dagster as dg

from dnd_assets.atlas import atlas_definitions
from dnd_assets.definitions import build_definitions
from dnd_assets.study import load_study

_study = load_study()
defs = dg.Definitions.merge(build_definitions(_study), atlas_definitions(_study))
