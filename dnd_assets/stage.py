"""Where `Stage` was up to version 0.1; now `dnd_assets.engine.stage`.

This name goes with the next version.
"""

import warnings

from dnd_assets.engine.stage import Stage, Work
from dnd_assets.engine.stage import StudyAsset as Whole

__all__ = ["Stage", "Whole", "Work"]

warnings.warn(
    "dnd_assets.stage is dnd_assets.engine.stage now; this name goes with the next version",
    DeprecationWarning,
    stacklevel=2,
)
