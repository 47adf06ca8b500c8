"""What `workspace.yaml` loads: the definitions of the study that `DND_STUDY` names."""

from dnd_assets.definitions import build_definitions
from dnd_assets.study import load_study

defs = build_definitions(load_study())
