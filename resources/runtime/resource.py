"""What every resource is: settings that do not change, and what is made from them when needed.

Nothing here knows of Dagster, so that who only reads results need not wait for it. In the web
interface `dnd_assets.workflow.dagster_resources` hands the study's resources over.
"""

from functools import cached_property

from pydantic import BaseModel, ConfigDict


class FrozenSettings(BaseModel):
    """Values that a resource is made with: frozen, and no other names than those declared."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True,
        ignored_types=(cached_property,), protected_namespaces=(),
    )  # fmt: skip


class Resource(FrozenSettings):
    """A model or a store of a study."""
