"""Kinds of image-text encoder: a file each, which holds the settings and says what builds them.

A file that is put here is a kind of the study's section [clip]; nothing else names it.
Nothing heavy is imported here, since every reader of a study imports all kinds: models are imported
by `build`, and lie in the folder above.
"""

from typing import TYPE_CHECKING

from dnd_assets.settings import one_of
from resources.encoders.settings import EncoderSettings

if TYPE_CHECKING:
    AnyEncoderSettings = EncoderSettings
else:
    AnyEncoderSettings = one_of(__name__, EncoderSettings, "open_clip")
