"""All seven products of a unit, written by hand and recorded as a run would record them."""

from dataclasses import asdict

from dnd_assets.lineage.fingerprint import canonical, digest, preimage
from dnd_assets.lineage.records import Materialization, Outcome, Product
from dnd_assets.units import Unit

UPSTREAM = {
    "activations": ("probing_set",),
    "crops": ("activations",),
    "captions": ("crops",),
    "candidate_concepts": ("captions",),
    "synthetic_images": ("candidate_concepts",),
    "scores": ("crops", "synthetic_images"),
    "labels": ("scores",),
}
PROMPT = "One realistic image of {concept}"
WEIGHTS = {
    "activations": {"target": {"source": "timm:x", "layer": "fc"}},
    "captions": {"captioner": {"checkpoint": "blip"}},
    "synthetic_images": {"text_to_image": {"checkpoint": "sd", "prompt": PROMPT}},
}
A, B, C, CROP, RED, BLUE = (digest(name) for name in ("a", "b", "c", "crop", "red", "blue"))
IMAGES = [
    {"hash": A, "path": "/images/a.png", "width": 8, "height": 9, "mode": "RGB", "format": "PNG"},
    {"hash": B, "path": "/images/b.jpg", "width": 5, "height": 5, "mode": "L", "format": "JPEG"},
    {"hash": B, "path": "/images/also-b.jpg", "width": 5, "height": 5, "mode": "L",
     "format": "JPEG"},
    {"hash": C, "path": "/images/c.png", "width": 1, "height": 1, "mode": "L", "format": "PNG"},
]  # fmt: skip
SCORED = {"mean_rank": -1.5, "topk_squared": -2.5, "image_products": 0.5}
CONTENT = {
    "activations": {
        "exemplars": [{"image": B, "activation": 2.5}, {"image": A, "activation": 1.25}]
    },
    "crops": {
        "crops": [
            {"image": A, "crop": CROP, "box": [1, 2, 3, 4], "threshold": 77, "activation": 3.5}
        ],
        "activating": [
            {"image": CROP, "kind": "crop", "activation": 3.5},
            {"image": B, "kind": "image", "activation": 2.5},
        ],
    },
    "captions": {
        "captions": [{"image": CROP, "caption": 'a "red" dot'}, {"image": B, "caption": "a dot"}]
    },
    "candidate_concepts": {"candidates": ["red dot", "blue, sky"]},
    "synthetic_images": {
        "concepts": [
            {
                "concept": "red dot",
                "images": [{"index": 0, "seed": 2**63 + 5, "image": RED, "rejected": False}],
            },
            {
                "concept": "blue, sky",
                "images": [
                    {"index": 0, "seed": 7, "image": "", "rejected": True},
                    {"index": 1, "seed": 8, "image": BLUE, "rejected": False},
                ],
            },
        ]
    },
    "scores": {
        "concepts": [
            {
                "concept": name,
                "score": score,
                **SCORED,
                "topk_squared_image_products": score,
                "activations": [score, 0.5],
            }
            for name, score in (("red dot", 0.75), ("blue, sky", 0.25))
        ]
    },
    "labels": {
        "label": "red dot",
        "score": 0.75,
        "labels": [{"label": "red dot", "score": 0.75}, {"label": "blue, sky", "score": 0.25}],
    },
}


def announced(study, unit, asset, outcome, inputs, run="run-1", **parameters):
    """The rows of one product and its materialization, and its data version."""
    found = WEIGHTS.get(asset, {})
    weights = {name: digest(value) for name, value in found.items()}
    image = preimage(asset, f"code of {asset}", {"asset": asset, **parameters}, weights, inputs)
    product = Product(digest([image, str(unit)]), asset, image, outcome)
    model, layer, neuron = (unit.model, unit.layer, unit.neuron) if unit else ("", "", None)
    row = Materialization(
        run=run,
        study=study,
        asset=asset,
        unit=unit.key if unit else "",
        model=model,
        layer=layer,
        neuron=neuron,
        key=product.key,
        data_version=product.data_version,
        code_version=image["code"],
        status=outcome.status,
        reason=outcome.reason,
        reused=False,
        device="cpu",
        seconds=0.5,
        recorded_at=f"2026-01-01T00:00:00 {run}",
    )
    providers = [{"provider": digest(v), "fingerprint": canonical(v)} for v in found.values()]
    rows = {
        "providers": providers, "products": [product.row()], "materializations": [asdict(row)]
    }  # fmt: skip
    return rows, product.data_version


def unit_rows(study, unit, run="run-1", changes=None, **parameters):
    """Rows of the images, the probing set and all products of a unit.

    Args:
        changes: other outcomes, by asset.
        parameters: settings that go into every preimage.

    Returns:
        Rows by table, and data versions by asset.
    """
    seen = Outcome("ok", {"manifest": "list", "images": 3})
    inputs = {"images": digest([A, B, C])}
    rows, version = announced(study, None, "probing_set", seen, inputs, run)
    rows["images"] = [{**image, "bytes": 10, "quarantined": ""} for image in IMAGES]
    versions = {"probing_set": version}
    for asset, upstream in UPSTREAM.items():
        outcome = (changes or {}).get(asset) or Outcome("ok", CONTENT[asset])
        inputs = {name: versions[name] for name in upstream}
        more, versions[asset] = announced(study, unit, asset, outcome, inputs, run, **parameters)
        for table, added in more.items():
            rows[table] = [*rows[table], *added]
    return rows, versions


def announce(lineage, *args, **options):
    """Record one product and its materialization."""
    lineage.commit(announced(*args, **options)[0])


def record(lineage, *args, **options):
    """Record all products of a unit; returns data versions by asset."""
    rows, versions = unit_rows(*args, **options)
    lineage.commit(rows)
    return versions


UNIT = Unit("net", "fc", 3)
