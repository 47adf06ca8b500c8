"""Jobs that workers find by name: what a part of a test does."""

import os
import signal
import time

import numpy as np

from dnd_assets.engine.workers.at_work import agree
from dnd_assets.engine.workers.parts import PartResult
from dnd_assets.errors import StudyError


def doubled(context, part, progress):
    """Each number twice, with a row to record, work to count and a line to log."""
    context.count("numbers", len(part.items))
    context.log(f"{len(part.items)} numbers")
    row = {"kind": "number", "provider": "x", "item": part.items[0], "value": "1"}
    context.lineage.commit({"shared": [row]})
    progress.advance(len(part.items))
    return PartResult([2 * int(one) for one in part.items], {"ones": np.ones(2, np.float32)})


def refusing(context, part, progress):
    """Refuses the number 3."""
    if "3" in part.items:
        raise StudyError("no 3, please")
    return PartResult(list(part.items))


def faulty(context, part, progress):
    """Has a fault."""
    return PartResult({}["what nobody wrote"])


def asking(context, part, progress):
    """Asks what a worker may not."""
    return PartResult(context.lineage.query("SELECT 1"))


def agreeing(context, part, progress):
    """Is known by `here`."""
    agree(context, part, lambda: "here")
    return PartResult()


def dying(context, part, progress):
    """Ends its process."""
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)


def sleeping(context, part, progress):
    """Takes as long as it is told; a stand-in for a device that leaves the processor free."""
    time.sleep(part.about["seconds"])
    return PartResult([os.getpid()])


def slowly(context, part, progress):
    """Each number twice, and who worked it out, in a while."""
    time.sleep(part.about["seconds"])
    return PartResult({one: [2 * int(one), os.getpid()] for one in part.items})


def environment(seconds):
    """What a worker's process was given, after so many seconds."""
    time.sleep(seconds)
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    return {"pid": str(os.getpid()), **{name: os.environ.get(name, "") for name in names}}
