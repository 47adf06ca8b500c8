"""A captioner that is a function of the user's own: a picture in, a sentence out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL.Image import Image

from dnd_assets.errors import StudyError
from dnd_assets.lineage.fingerprint import Json
from resources.captioners.base import Captioner
from resources.own_code.own_function import OwnFunction, own_function
from resources.runtime.compute import in_order
from resources.runtime.progress import Progress


class OwnCaptioner(Captioner):
    """A function named in the study, as `package.module:function`.

    Its module counts as part of every caption, with the modules of the user's own that it imports,
    the files and environment variables that it reads when it is imported and the versions of the
    packages that it imports. If a module holds `FILES`, a list of paths (relative ones start at the
    module), their content counts as well: name weights there that are read later.

    Attributes:
        source: the function; it takes an RGB picture and returns its caption.
        base: folder of the study.
    """

    source: str
    base: str | None = None

    def title(self) -> str:
        """The function."""
        return self.source

    def check(self) -> object:
        """Import the function and look at its files.

        Raises:
            StudyError: when it cannot be imported or a file is not there.
        """
        return self._checked().function

    def fingerprint(self) -> dict[str, Json]:
        """The function's name, and what counts of its code."""
        return {"function": self.source, "code": self._checked().version()}

    def caption(
        self,
        images: Sequence[Image],
        batch_size: int,
        on_batch: Callable[[Sequence[Image], Sequence[str]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """What the function says of each picture, in order.

        Raises:
            StudyError: when it fails, returns no text, or reads what was not known to count.
        """
        user_code = self._user_code()

        def run(batch: Sequence[Image]) -> list[str]:
            pictures = [image.convert("RGB") for image in batch]
            with user_code.running():
                return [self._caption_one(user_code.function, picture) for picture in pictures]

        return in_order(images, run, batch_size, on_batch, progress)

    def _caption_one(self, function: Callable[..., object], image: Image) -> str:
        try:
            caption = function(image)
        except Exception as error:  # whatever a user's code raises
            raise StudyError(
                f"captioner {self.source} raised {type(error).__name__}: {error}"
            ) from error
        if not isinstance(caption, str):
            raise StudyError(
                f"captioner {self.source} returned {type(caption).__name__}; it has to return "
                "text, empty where it can say nothing."
            )
        return caption

    def _user_code(self) -> OwnFunction:
        return own_function(self.source, self.base, "captioner")

    def _checked(self) -> OwnFunction:
        """The function, whose files are there."""
        user_code = self._user_code()
        for path in _files_of(user_code):
            if not path.is_file():
                raise StudyError(
                    f"captioner.source: {self.source} names {path} in FILES, which is no file."
                )
        return user_code


def _files_of(user_code: OwnFunction) -> list[Path]:
    """The files that the function's module names."""
    module = user_code.loaded.module
    folder = Path(str(module.__file__)).parent
    return [folder / path for path in getattr(module, "FILES", [])]
