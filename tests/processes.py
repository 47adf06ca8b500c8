"""Other processes for tests, started from one that has imported the slow libraries already."""

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("tests.quick", "pytest", "resources.artefact_store", "resources.lineage_db.database"),
        *("tests.studies", "tests.networks", "dnd_assets.workflow.run", "dnd_assets.cli"),
    ]
)


def command(folder, *arguments):
    """The real `dnd`, in a process that has imported the slow libraries already.

    It works on the study and the state in `folder`, and prints to files there.
    """
    process = CONTEXT.Process(target=_main, args=(str(folder), [str(one) for one in arguments]))
    process.start()
    return process


def _main(folder, arguments):
    import os
    import sys

    import torch

    torch.set_num_threads(1)
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    os.environ["DND_HOME"], os.environ["DND_STUDY"] = f"{folder}/state", f"{folder}/study.toml"
    os.environ["DAGSTER_HOME"] = f"{folder}/state/dagster"
    os.chdir(folder)
    sys.argv = ["dnd", *arguments]
    sys.path.insert(0, folder)

    from dnd_assets.cli import main

    main()


def started(target, *args):
    """A running process."""
    process = CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process
