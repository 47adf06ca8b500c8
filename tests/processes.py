"""Other processes for tests, started from one that has imported the slow libraries already."""

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["pytest", "resources.artefacts", "resources.lineage_db", "tests.studies", "tests.networks"]
)


def started(target, *args):
    """A running process."""
    process = CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process
