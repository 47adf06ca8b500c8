"""Where code versions end: code that moves results about, and does not decide what they are.

Everything else that a product's code leads to counts. A module is left out here only for a reason
that holds whatever is changed in it: its values are in the key already, its effect is in a
fingerprint that is in the key, or no result can depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PACKAGES: Final = frozenset({"dnd_assets", "resources"})
"""The packages of this project."""

NOT_PART_OF_RESULTS: Final[Mapping[str, str]] = {
    "dnd_assets.study": "settings: their values stand in parameters and fingerprints",
    "dnd_assets.selection": "which units there are: a unit's key says which one it is",
    "dnd_assets.stage": "the engine: it asks for what is missing and records what comes",
    "dnd_assets.assets.registry": "which products a study has",
    "dnd_assets.lineage": "records and hashes of results",
    "dnd_assets.workbench": "holds the resources of a study",
    "dnd_assets.bench": "builds them",
    "dnd_assets.batches": "sizes of batches, which no result depends on",
    "dnd_assets.inventory": "which models there are, for people",
    "dnd_assets.errors": "messages",
    "resources.targets:_survey_code": "when a network is looked at anew",
    "dnd_assets.files": "reads and writes bytes whose hash is checked",
    "dnd_assets.vectors": "stores rows as they come",
    "dnd_assets.paid_pictures": "stores paid pictures as they come",
    "dnd_assets.remarks": "remarks beside a result, for people",
    "dnd_assets.product_tables": "tables for people",
    "dnd_assets.pictures:Packed": "how pictures are packed",
    "resources.lineage_db": "records",
    "resources.lineage_index": "records",
    "resources.lineage_reader": "records",
    "resources.artefacts": "stores bytes by hash",
    "resources.llm_ledger": "stores answers as they come",
    "resources.llm_budget": "what calls cost; a call that is not made is no result",
    "resources.llm_calls:CallLedger": "stores answers as they come",
    "resources.llm_calls:MemoryLedger": "stores answers as they come",
    "resources.llm_error:hint_for": "messages of failed calls; a call that fails is no result",
    "resources.llm_error:said_by": "messages of failed calls; a call that fails is no result",
    "resources.llm_error:shown": "messages of failed calls; a call that fails is no result",
    "resources.image_server:PictureBudget": "what calls cost; as resources.llm_budget",
    "resources.llm_key": "the key and the address, which no answer depends on",
    "resources.licences": "licences, for people",
    "resources.progress": "progress, for people",
    "resources.loaded": "which models stay in memory",
    "resources.memory": "how much memory there is",
    "resources.batch_size": "sizes of batches, which no result depends on",
    "resources.prefetch": "prepares pictures ahead of their turn",
    "resources.checkpoints": "finds files, whose content is in the fingerprint",
    "resources.own_code": "finds code of the user's, whose own fingerprint is in the key",
    "resources.model:Model": "what models have in common: titles and parts, for people",
    "resources.model:ModelPart": "parts of models, for people",
    "resources.compute:Compute.in_batches": "batches, which no result depends on",
    "resources.compute:Compute._ahead": "prepares pictures ahead of their turn",
    "resources.compute:Compute._smaller": "batches, which no result depends on",
    "resources.compute:Compute.threads_ahead": "how many threads prepare pictures",
    "resources.compute:Compute.place": "brings pixels to the device as they are",
    "resources.compute:Compute.name": "the hardware, for people",
    "resources.compute:Compute.fingerprint": "its values are in the key",
    "resources.compute:in_order": "batches, which no result depends on",
    "resources.compute:_attempt": "batches, which no result depends on",
    "resources.compute:_one_by_one": "batches, which no result depends on",
    "resources.compute:_padded": "batches, which no result depends on",
    "resources.captioner:Captioner": "a model, which has a code version of its own in the key",
    "resources.clip:OpenClip": "a model, which has a code version of its own in the key",
    "resources.image_text:ImageTextEncoder": "a model, with a code version of its own in the key",
    "resources.sentence_encoder:SentenceEncoder": "a model, with a code version of its own",
    "resources.summariser:Summariser": "a model, which has a code version of its own in the key",
    "resources.targets:TargetNetworks": "a model, which has a code version of its own in the key",
    "resources.text_to_image:TextToImage": "a model, which has a code version of its own",
}
"""Modules, and names or members of them, that are not entered, each with the reason."""

ENTERED_ALL_THE_SAME: Final = ("dnd_assets.workbench:Workbench.pictures",)
"""Exceptions to that: decoding pictures decides what models see."""

PLANNING_BASES: Final = frozenset({"Stage", "Whole", "Model", "ConfigurableResource"})
PLANNING_MEMBERS: Final = frozenset(
    {
        "calls_to_make", "check", "code", "cost", "fingerprint", "given", "look", "materialize",
        "most", "parameters", "parts", "settings", "title", "weights",
    }
)  # fmt: skip
"""Members of products and models that say what they are or would cost; their values are in the key
where they matter. They count only where the code that computes calls them."""
