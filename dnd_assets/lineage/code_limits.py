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
    "dnd_assets.study.study": "settings: their values stand in parameters and fingerprints",
    "dnd_assets.study.network_settings": "settings, too",
    "dnd_assets.study.image_settings": "settings, too",
    "dnd_assets.settings": "settings, too",
    "resources.captioners.settings": "settings, too",
    "resources.captioners.kinds": "settings, too",
    "resources.summarisers.settings": "settings, too",
    "resources.summarisers.kinds": "settings, too",
    "resources.text_to_image.settings": "settings, too",
    "resources.text_to_image.kinds": "settings, too",
    "resources.encoders.settings": "settings, too",
    "resources.encoders.kinds": "settings, too",
    "resources.servers.settings": "settings, too",
    "resources.runtime.build_context": "builds models",
    "dnd_assets.study.method_settings": "settings, too",
    "dnd_assets.study.segmentation_settings": "settings, too",
    "dnd_assets.study.compute_settings": "settings, too",
    "dnd_assets.methods.ablation.settings": "settings, too",
    "dnd_assets.study.selection": "which units there are: a unit's key says which one it is",
    "dnd_assets.engine.stage": "the engine: it asks for what is missing and records what comes",
    "dnd_assets.engine.stage_versions": "hashes that Dagster shows",
    "dnd_assets.engine.resolve": "works keys out",
    "dnd_assets.engine.materialize": "asks for what is missing",
    "dnd_assets.engine.recording": "records what comes",
    "dnd_assets.assets.registry": "which products a study has",
    "dnd_assets.lineage": "records and hashes of results",
    "dnd_assets.engine.workers": "who does the work, which is the same wherever it is done",
    "dnd_assets.engine.context": "holds the resources of a study",
    "dnd_assets.engine.context_builder": "builds them",
    "dnd_assets.engine.batch_sizes": "sizes of batches, which no result depends on",
    "dnd_assets.engine.models": "which models there are, for people",
    "dnd_assets.engine.network_inputs": "whether networks take pictures, looked at before a run",
    "dnd_assets.errors": "messages",
    "resources.targets.known_networks:_survey_code": "when a network is looked at anew",
    "resources.targets.codings": "the code by which latents are read is in their layer's layout",
    "dnd_assets.files.containers": "finds bytes whose hash is checked",
    "dnd_assets.files.atomic": "reads and writes bytes whose hash is checked",
    "dnd_assets.engine.cache.vectors": "stores rows as they come",
    "dnd_assets.engine.cache.paid_images": "stores paid pictures as they come",
    "dnd_assets.lineage.remarks": "remarks beside a result, for people",
    "dnd_assets.results.tables.registry": "tables for people",
    "dnd_assets.results.tables.columns": "tables for people",
    "dnd_assets.results.tables.product_rows": "tables for people",
    "dnd_assets.results.products": "what readers are told of products",
    "dnd_assets.results.tables.lineage_tables": "tables for people",
    "dnd_assets.results.tables.dictionary": "tables for people",
    "dnd_assets.engine.cache.stored_pictures:PackedImages": "how pictures are packed",
    "resources.lineage_db": "records",
    "resources.artefact_store": "stores bytes by hash",
    "resources.servers.lineage_ledger": "stores answers as they come",
    "resources.servers.budget": "what calls cost; a call that is not made is no result",
    "resources.servers.calls:CallLedger": "stores answers as they come",
    "resources.servers.calls:MemoryLedger": "stores answers as they come",
    "resources.servers.server_errors:hint_for": "messages of failed calls, which are no result",
    "resources.servers.server_errors:said_by": "messages of failed calls, which are no result",
    "resources.servers.server_errors:shown": "messages of failed calls, which are no result",
    "resources.text_to_image.image_server:PictureBudget": "what calls cost; no result",
    "resources.servers.keys": "the key and the address, which no answer depends on",
    "resources.licences": "licences, for people",
    "resources.runtime.progress": "progress, for people",
    "resources.runtime.model_cache": "which models stay in memory",
    "resources.runtime.memory": "how much memory there is",
    "resources.runtime.batch_size": "sizes of batches, which no result depends on",
    "resources.runtime.threads": "how many threads compute, which no result depends on",
    "resources.runtime.compute:Compute._threads": "how many threads compute",
    "resources.runtime.prefetch": "prepares pictures ahead of their turn",
    "resources.checkpoints": "finds files, whose content is in the fingerprint",
    "resources.own_code.own_function": "finds a user's code, whose own fingerprint is in the key",
    "resources.model:Model": "what models have in common: titles and parts, for people",
    "resources.model:ModelPart": "parts of models, for people",
    "resources.runtime.compute:Compute.in_batches": "batches, which no result depends on",
    "resources.runtime.compute:Compute._ahead": "prepares pictures ahead of their turn",
    "resources.runtime.compute:Compute._smaller": "batches, which no result depends on",
    "resources.runtime.compute:Compute.threads_ahead": "how many threads prepare pictures",
    "resources.runtime.compute:Compute.place": "brings pixels to the device as they are",
    "resources.runtime.compute:Compute.name": "the hardware, for people",
    "resources.runtime.compute:Compute.fingerprint": "its values are in the key",
    "resources.runtime.compute:in_order": "batches, which no result depends on",
    "resources.runtime.compute:_attempt": "batches, which no result depends on",
    "resources.runtime.compute:_padded": "batches, which no result depends on",
    "resources.captioners.base:Captioner": "a model: its code version is in the key",
    "resources.encoders.open_clip:OpenClip": "a model: its code version is in the key",
    "resources.encoders.base:ImageTextEncoder": "a model: its code version is in the key",
    "resources.encoders.sentence:SentenceEncoder": "a model: its code version is in the key",
    "resources.summarisers.base:Summariser": "a model: its code version is in the key",
    "resources.targets.known_networks:KnownNetworks": "a model: its code version is in the key",
    "resources.targets.networks:TargetNetworks": "a model: its code version is in the key",
    "resources.text_to_image.base:TextToImage": "a model: its code version is in the key",
}
"""Modules, and names or members of them, that are not entered, each with the reason."""

ENTERED_ALL_THE_SAME: Final = (
    "dnd_assets.engine.context:StudyContext.pictures",
    "dnd_assets.engine.context:StudyContext.seen_by",
    "dnd_assets.engine.context:StudyContext.squares_of",
)
"""Exceptions to that: decoding pictures decides what models see."""

PLANNING_BASES: Final = frozenset({"Stage", "StudyAsset", "Model", "Resource"})
PLANNING_MEMBERS: Final = frozenset(
    {
        "calls_to_make", "check", "code", "cost", "cost_upper_bound", "external_inputs",
        "fingerprint", "materialize", "observe", "parameters", "parts", "settings", "title",
        "weights",
    }
)  # fmt: skip
"""Members of products and models that say what they are or would cost; their values are in the key
where they matter. They count only where the code that computes calls them."""
