"""Where `OwnMethod` was up to version 0.1; now `dnd_assets.assets.custom_labels`.

This name goes with the next version.
"""

import warnings

from dnd_assets.assets.custom_labels import OwnMethod

__all__ = ["OwnMethod"]

warnings.warn(
    "dnd_assets.assets.own_methods is dnd_assets.assets.custom_labels now; this name goes with "
    "the next version",
    DeprecationWarning,
    stacklevel=2,
)
