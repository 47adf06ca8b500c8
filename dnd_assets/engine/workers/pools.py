"""Who takes parts: this process, others of this machine, or other machines by an executor.

All of them are `concurrent.futures.Executor`s, so that nothing else need know which it is. They are
made when the first part is handed out, kept between stages, so that models stay loaded, and made
anew when they break.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import shutil
import sys
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Final

from dnd_assets.engine.workers.account import Account
from dnd_assets.engine.workers.begin import begin
from dnd_assets.errors import MissingError, StudyError, install_command
from resources.own_code.own_function import own
from resources.runtime.gpu_cards import VISIBLE, spread, visible_cards
from resources.runtime.threads import available_cores

_AHEAD: Final = 4
"""Parts that wait for each worker."""
_UNKNOWN: Final = 64
"""Parts that are handed out at once to workers whose number is not known."""


@dataclass
class Workers:
    """Those that a study hands its work to.

    Attributes:
        handed_to: as `compute.workers` says; None where this process does the work.
        folder: where the study lies.
        device: kind of device that the work is for, such as `cuda`.
        account: who did what of the stage at work.
    """

    handed_to: str | None = None
    folder: Path = Path()
    device: str = "cpu"
    account: Account = field(default_factory=Account)
    _executor: Executor | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether the work is done on other machines, or may be, so that this one needs no card."""
        return self.handed_to is not None and not self._here

    @property
    def _here(self) -> bool:
        return self.handed_to == "cards" or str(self.handed_to).startswith("local:")

    @property
    def count(self) -> int | None:
        """How many there are; None where that is not known before."""
        if self.handed_to is None:
            return 1
        if self.handed_to == "cards":
            return len(_cards())
        if self._here:
            return int(self.handed_to.partition(":")[2])
        max_workers = getattr(self._executor, "_max_workers", None)
        return max_workers if isinstance(max_workers, int) else None

    @property
    def at_once(self) -> int:
        """How many parts are handed out before the first comes back."""
        return _UNKNOWN if self.count is None else _AHEAD * self.count

    def begin(self) -> None:
        """Begin a new account."""
        self.account = Account()

    def executor(self) -> Executor:
        """What takes parts.

        Raises:
            StudyError: when there is no such executor, or no card.
        """
        if self._executor is None:
            self._executor = self._new_executor()
        return self._executor

    def renew(self) -> None:
        """Forget an executor that broke."""
        self.close()

    def close(self) -> None:
        """End the workers; they are started again when they are needed."""
        if self._executor is not None:
            parsl = str(self.handed_to).startswith("parsl:")  # cannot cancel, and says so
            self._executor.shutdown(wait=False, cancel_futures=not parsl)
            self._executor = None

    def _new_executor(self) -> Executor:
        setting = str(self.handed_to)
        if self._here:
            return self._processes()
        if setting == "ray":
            return _ray(cards=int(self.device == "cuda"))
        if setting.startswith("parsl:"):
            return _parsl(setting, self.folder)
        executor = own(setting, self.folder, "executor")()
        if not isinstance(executor, Executor):
            raise StudyError(
                f"compute.workers = {setting!r} returned {type(executor).__name__}; it has to "
                "return a concurrent.futures.Executor, such as ProcessPoolExecutor()."
            )
        return executor

    def _processes(self) -> Executor:
        """Processes of this machine, each with its card or its share of the cores."""
        cards = _cards() if self.device in ("auto", "cuda") or self.handed_to == "cards" else []
        if self.handed_to == "cards" and not cards:
            raise StudyError(
                "compute.workers = 'cards': this machine has no CUDA card. Write 'local:2' for two "
                "processes on its cores, or leave it out."
            )
        count = self.count or 1
        context: SpawnContext = multiprocessing.get_context("spawn")
        places = context.SimpleQueue()
        for card in spread(cards, count):
            places.put(card)
        threads = max(1, available_cores() // count)
        return ProcessPoolExecutor(count, context, begin, (places, threads))


def _cards() -> list[str]:
    """What to show a process of each CUDA card that this one sees."""
    import torch

    return visible_cards(os.environ.get(VISIBLE), torch.cuda.device_count())


def _parsl(setting: str, folder: Path) -> Executor:
    """Parsl with the configuration that a file beside the study holds."""
    try:
        from parsl import Config
        from parsl.concurrent import ParslPoolExecutor
    except ImportError as error:
        command = install_command("parsl")
        message = (
            f"compute.workers = {setting!r} needs Parsl, which is not installed. Run {command}."
        )
        raise MissingError(message, command) from error
    _, file, name = setting.split(":")
    path = (folder / Path(file).expanduser()).resolve()
    entry = _named_in(path, name, setting)
    config = entry() if callable(entry) else entry
    if not isinstance(config, Config):
        raise StudyError(
            f"{path}: {name} is a {type(config).__name__}; compute.workers = {setting!r} needs a "
            "parsl.Config, or a function that returns one."
        )
    _find_programs_of_this_environment()
    executor: Executor = ParslPoolExecutor(config=config)
    return executor


def _find_programs_of_this_environment() -> None:
    """Parsl starts programs by name; they are found in an environment that is not active, too."""
    if shutil.which("interchange.py") is None:
        folder = str(Path(sys.executable).parent)
        os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])


def _named_in(path: Path, name: str, setting: str) -> object:
    """What a Python file holds under a name."""
    spec = importlib.util.spec_from_file_location(f"_site_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise StudyError(
            f"compute.workers = {setting!r}: there is no file {path}. Correct the path."
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        names = ", ".join(attribute for attribute in vars(module) if not attribute.startswith("_"))
        raise StudyError(f"{path} holds no {name!r}; it holds {names}. Correct compute.workers.")
    return getattr(module, name)


def _ray(cards: int) -> Executor:
    try:
        import ray
    except ImportError as error:
        command = install_command("ray")
        message = f"compute.workers = 'ray' needs Ray, which is not installed. Run {command}."
        raise MissingError(message, command) from error
    from dnd_assets.engine.workers.ray_executor import RayExecutor

    return RayExecutor(ray, cards)
