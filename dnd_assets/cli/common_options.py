"""Options that every command has: `--quiet`, and `--json` where there is `--format json`.

They are added in one place, so that no command lacks them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Annotated, Final, get_args

import typer

from dnd_assets.cli.app import app, keep_quiet

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only results, warnings and errors: no progress.")
]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
_FORM: Final = "form"


def add_common_options() -> None:
    """Give every command that is registered so far its common options."""
    for registered in app.registered_commands:
        if registered.callback is not None and not _has(registered.callback):
            registered.callback = _with_common_options(registered.callback)


def _has(command: Callable[..., None]) -> bool:
    """Whether a command has them already: typer's own program imports this package twice."""
    return "quiet" in signature(command).parameters


def _with_common_options(command: Callable[..., None]) -> Callable[..., None]:
    """The same command, with the common options behind its own."""
    own = signature(command, eval_str=True).parameters
    has_json = _FORM in own and _takes_json(own[_FORM])
    added = [_flag("quiet", Quiet), *([_flag("as_json", AsJson)] if has_json else [])]

    @functools.wraps(command)
    def with_common(*, quiet: bool = False, as_json: bool = False, **given: object) -> None:
        keep_quiet(quiet)
        command(**{**given, _FORM: "json"} if as_json else given)

    parameters = [*own.values(), *added]
    with_common.__annotations__ = {one.name: one.annotation for one in parameters}
    with_common.__dict__["__signature__"] = Signature(
        [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]
    )
    return with_common


def _flag(name: str, annotation: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


def _takes_json(form: Parameter) -> bool:
    """Whether a parameter `Annotated[Literal[…], …]` takes the word json."""
    return "json" in get_args(get_args(form.annotation)[0])
