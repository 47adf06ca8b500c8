"""Training checkpoints as Python 2.7 and PyTorch 0.2 wrote them, such as those of Places365.

The file is no zip archive; its texts are byte strings; tensors are rebuilt by the function of that
time; batch norms count no batches; names begin with `module.`, of DataParallel.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import torch


class Python2Pickler(pickle._Pickler):
    """Writes texts and tensors as Python 2 and PyTorch 0.2 did."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012 (as its base has it)

    def save_text(self, text):
        data = text.encode()
        self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        self.memoize(text)

    dispatch[str] = save_text

    def reducer_override(self, value):
        if isinstance(value, torch.Tensor):
            place = (value.storage_offset(), tuple(value.size()), tuple(value.stride()))
            storage = torch.storage.TypedStorage(
                wrap_storage=value.untyped_storage(), dtype=value.dtype, _internal=True
            )
            return torch._utils._rebuild_tensor, (storage, *place)
        return NotImplemented


def save(file: Path, state: dict[str, torch.Tensor], **more) -> Path:
    """A training checkpoint of a network in `file`."""
    kept = {f"module.{k}": v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    optimiser = {
        "state": {0: {"momentum_buffer": torch.ones(2)}},
        "param_groups": [{"lr": 0.001, "momentum": 0.9, "nesterov": False, "params": [0]}],
    }
    content = {
        "epoch": 90,
        "arch": "resnet18",
        "state_dict": kept,
        "best_prec1": 54.65,
        "optimizer": optimiser,
        **more,
    }

    def dump(value, handle, protocol):
        Python2Pickler(handle, protocol).dump(value)

    module = SimpleNamespace(Pickler=Python2Pickler, dump=dump, __name__="pickle")
    with file.open("wb") as handle:
        torch.save(content, handle, pickle_module=module, _use_new_zipfile_serialization=False)
    return file
