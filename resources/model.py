"""What every model behind a stage offers, whatever it computes."""

from dataclasses import dataclass

from dagster import ConfigurableResource

from dnd_assets.lineage.fingerprint import Json
from dnd_assets.lineage.records import Status


@dataclass(frozen=True)
class Failure:
    """Why a model gave nothing for one item, when others may have gone well; never stored.

    Attributes:
        status: of the units that need the item.
        reason: for people.
    """

    status: Status
    reason: str


class Model(ConfigurableResource):  # type: ignore[type-arg]
    """Base of captioners, painters and encoders."""

    def title(self) -> str:
        """What it is called."""
        raise NotImplementedError

    def check(self) -> object:
        """Find what would keep it from working, without loading it.

        Raises:
            StudyError: naming what is missing and what to do.
        """
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Json]:
        """Everything about it that may change a result."""
        raise NotImplementedError
