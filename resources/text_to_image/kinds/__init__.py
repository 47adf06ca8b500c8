"""Kinds of text-to-image: a file each, which holds the settings and says what builds them.

A file that is put here is a kind of the study's section [text_to_image]; nothing else names it.
Nothing heavy is imported here, since every reader of a study imports all kinds: models are imported
by `build`, and lie in the folder above.
"""

from typing import TYPE_CHECKING

from dnd_assets.settings import one_of
from resources.text_to_image.settings import TextToImageSettings

if TYPE_CHECKING:
    AnyTextToImageSettings = TextToImageSettings
else:
    AnyTextToImageSettings = one_of(__name__, TextToImageSettings, "diffusers")
