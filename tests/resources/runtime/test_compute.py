"""Devices, batches, out-of-memory."""

import subprocess
import sys

import pytest
import torch

from dnd_assets.errors import StudyError
from resources.runtime.compute import Compute, load_once
from resources.runtime.model_cache import unload_all
from resources.runtime.progress import Progress


def doubler(limit, error, sizes):
    """A model that doubles numbers and runs out of memory above `limit` items."""

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > limit:
            raise error
        return [2 * item for item in batch]

    return run


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("Allocation on device failed"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.1 GB)"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    MemoryError(),
]


def test_batches_keep_order_and_size(cpu):
    sizes = []

    results = cpu.in_batches(range(7), doubler(99, None, sizes), 3)

    assert results == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [3, 3, 1]


def test_no_items_run_nothing(cpu):
    sizes = []

    assert cpu.in_batches([], doubler(99, None, sizes), 3, pad=True) == []
    assert sizes == []


def test_padded_batches_have_one_shape_and_no_surplus(cpu):
    sizes, seen = [], []

    results = cpu.in_batches(
        range(7), doubler(99, None, sizes), 3, pad=True, on_batch=lambda i, r: seen.append((*i, *r))
    )

    assert results == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [3, 3, 3]
    assert seen == [(0, 1, 2, 0, 2, 4), (3, 4, 5, 6, 8, 10), (6, 12)]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("pad", [False, True])
def test_out_of_memory_halves_the_batch_and_goes_on(cpu, error, pad):
    sizes, batches = [], []
    unload_all()  # of other tests: they would go first

    results = cpu.in_batches(
        range(11),
        doubler(3, error, sizes),
        8,
        pad=pad,
        on_batch=lambda i, _: batches.append(list(i)),
    )

    assert results == [2 * i for i in range(11)]
    assert sizes == ([8, 4, 2, 2, 2, 2, 2, 2] if pad else [8, 4, 2, 2, 2, 2, 2, 1])
    assert [i for batch in batches for i in batch] == list(
        range(11)
    )  # each item was given once, failed batches never


def test_an_item_too_large_says_what_to_do(cpu):
    with pytest.raises(StudyError, match=r"single item .* cpu .*compute\.device"):
        cpu.in_batches([1, 2, 3], doubler(0, torch.OutOfMemoryError("full"), []), 4)


def test_other_errors_pass(cpu):
    with pytest.raises(RuntimeError, match="shapes differ"):
        cpu.in_batches([1, 2], doubler(0, RuntimeError("shapes differ"), []), 2)


def test_a_model_that_loses_results_is_caught(cpu):
    with pytest.raises(ValueError, match="3 items gave 2 results"):
        cpu.in_batches([1, 2, 3], lambda batch: batch[:2], 3)


def test_progress_counts_items_not_padding(cpu):
    lines = []

    cpu.in_batches(range(5), list, 4, pad=True, progress=Progress("items", 5, lines.append))

    assert len(lines) == 1
    assert lines[0].startswith("items 5/5 ")


def test_auto_finds_a_device_of_this_machine():
    device = Compute().torch_device()

    assert torch.ones(2, device=device).sum().item() == 2
    assert Compute().fingerprint() == {"device": device.type, "dtype": "float32"}


def test_names_are_checked():
    with pytest.raises(StudyError, match=r"'cdua'; usable here: .*cpu"):
        Compute(device="cdua").torch_device()
    with pytest.raises(StudyError, match="'float23'; nearest: float32"):
        Compute(dtype="float23").torch_dtype()
    assert Compute(dtype="bfloat16").torch_dtype() is torch.bfloat16


def test_the_processor_has_a_name(cpu):
    assert cpu.name().startswith("cpu (")
    assert len(cpu.name()) > len("cpu ()")


def test_models_load_once():
    made = []

    first = load_once(("test", 1), lambda: made.append(1) or object())
    second = load_once(("test", 1), lambda: made.append(1) or object())

    assert first is second
    assert made == [1]


def test_resources_import_without_torch():
    modules = (
        "captioners.base checkpoints encoders.open_clip runtime.compute runtime.progress "
        "targets.networks text_to_image.base"
    )
    heavy = "torch torchvision transformers diffusers open_clip timm huggingface_hub"
    code = (
        "import importlib, sys\n"
        f"for name in '{modules}'.split(): importlib.import_module('resources.' + name)\n"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
