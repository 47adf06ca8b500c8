"""A study's models and stores as Dagster resources, with their settings for the interface to show.

Dagster would build a resource anew from its configuration for every step. These hand over the very
model or store that the study was resolved with, so that nothing is loaded twice, and nothing that
is no setting gets lost.
"""

from typing import Any

import dagster as dg
from pydantic import create_model

from dnd_assets.errors import StudyError
from resources.runtime.resource import Resource


class StudyResource(dg.ConfigurableResource[Any]):
    """One of the study's resources; its fields show the settings that the study leads to."""

    @classmethod
    def held(cls) -> Resource:
        """The resource itself."""
        raise NotImplementedError

    def create_resource(self, context: dg.InitResourceContext) -> Resource:
        """The resource of the study.

        Raises:
            StudyError: when a run was launched with other settings than the study's: results would
                be recorded under settings that they were not made with.
        """
        resource = self.held()
        settings = settings_of(resource)
        changed = [name for name, value in settings.items() if getattr(self, name) != value]
        if changed:
            name, launched_with = changed[0], getattr(self, changed[0])
            raise StudyError(
                f"the run was launched with another {name} of {type(resource).__name__} "
                f"({launched_with!r}; the study leads to {settings[name]!r}). Change the study's "
                "file and reload the code location: what a product was made with stands in the "
                "study alone."
            )
        return resource


def as_dagster(name: str, resource: Resource) -> StudyResource:
    """The Dagster resource that hands over one of the study's.

    Args:
        name: what assets ask for it by.
        resource: the model or store.
    """
    fields: dict[str, Any] = {key: (Any, value) for key, value in settings_of(resource).items()}
    resource_class = create_model(type(resource).__name__, __base__=StudyResource, **fields)
    resource_class.__doc__ = f"{name}: {type(resource).__doc__ or ''}"
    resource_class.held = classmethod(lambda _: resource)  # type: ignore[method-assign, assignment]
    return resource_class()


def settings_of(resource: Resource) -> dict[str, object]:
    """Its settings as plain values, of the resources that it rests on, too."""
    settings: dict[str, object] = resource.model_dump(mode="json")
    return settings
