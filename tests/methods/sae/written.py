"""Tiny autoencoders as each library writes them, with their codes worked out in numpy.

The formulas stand here a second time, from the libraries' own code, independent of the product's:
a checkpoint is written to disk as its library would, and the codes are computed without torch.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

WIDTH, LATENTS, ROWS = 16, 40, 9


def rng(seed=0):
    return np.random.default_rng(seed)


def parts(seed=0):
    """Weights (width, latents), both biases, a decoder whose rows are not of length 1, inputs."""
    r = rng(seed)
    return {
        "W": r.normal(size=(WIDTH, LATENTS)).astype(np.float32),
        "b": r.normal(size=LATENTS).astype(np.float32) * 0.3,
        "D": (r.normal(size=(LATENTS, WIDTH)) * r.uniform(0.5, 2, (LATENTS, 1))).astype(np.float32),
        "c": r.normal(size=WIDTH).astype(np.float32),
        "x": r.normal(size=(ROWS, WIDTH)).astype(np.float32) * 2 + 0.5,
        "t": r.uniform(0.2, 1.5, LATENTS).astype(np.float32),
        "g": r.normal(size=LATENTS).astype(np.float32) * 0.5,
        "r": r.normal(size=LATENTS).astype(np.float32) * 0.4,
        "m": r.normal(size=LATENTS).astype(np.float32) * 0.2,
    }


def relu(values):
    return np.maximum(values, 0)


def topk(values, k):
    kept = np.zeros_like(values)
    for row, one in enumerate(values):
        best = np.argsort(-one)[:k]
        kept[row, best] = one[best]
    return kept


def layer_norm(x):
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / (centred.std(axis=1, ddof=1, keepdims=True) + 1e-5)


def gated(pre, p):
    return (pre + p["g"] > 0) * relu(np.exp(p["r"]) * pre + p["m"])


@dataclass
class Case:
    """A checkpoint on disk, what the study says beside it, and the codes of `parts()['x']`."""

    place: Path
    codes: np.ndarray
    answers: dict = field(default_factory=dict)


def safetensors(folder, name, tensors, config=None, config_name="cfg.json"):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: np.ascontiguousarray(v) for n, v in tensors.items()}, folder / name)
    if config is not None:
        (folder / config_name).write_text(json.dumps(config))
    return folder


def pytorch(folder, name, tensors, config=None, config_name="config.json"):
    folder.mkdir(parents=True, exist_ok=True)
    held = {n: torch.as_tensor(np.ascontiguousarray(v)) for n, v in tensors.items()}
    torch.save(held, folder / name)
    if config is not None:
        (folder / config_name).write_text(json.dumps(config))
    return folder


def plain(p):
    return {"W_enc": p["W"], "b_enc": p["b"], "W_dec": p["D"], "b_dec": p["c"]}


def lens(architecture="standard", **settings):
    base = {"d_in": WIDTH, "d_sae": LATENTS, "dtype": "float32", "architecture": architecture,
            "apply_b_dec_to_input": True, "normalize_activations": "none",
            "metadata": {"sae_lens_version": "6.12.1"}}  # fmt: skip
    return {**base, **settings}


def saelens_standard(folder):
    p = parts()
    place = safetensors(folder, "sae_weights.safetensors", plain(p), lens())
    return Case(place, relu((p["x"] - p["c"]) @ p["W"] + p["b"]))


def saelens_keeps_the_bias(folder):
    p = parts()
    config = lens(apply_b_dec_to_input=False)
    place = safetensors(folder, "sae_weights.safetensors", plain(p), config)
    return Case(place, relu(p["x"] @ p["W"] + p["b"]))


def saelens_layer_norm(folder):
    p = parts()
    config = lens(normalize_activations="layer_norm")
    place = safetensors(folder, "sae_weights.safetensors", plain(p), config)
    return Case(place, relu((layer_norm(p["x"]) - p["c"]) @ p["W"] + p["b"]))


def saelens_constant_norm(folder):
    p = parts()
    config = lens(normalize_activations="constant_norm_rescale")
    place = safetensors(folder, "sae_weights.safetensors", plain(p), config)
    scaled = p["x"] * WIDTH**0.5 / np.linalg.norm(p["x"], axis=1, keepdims=True)
    return Case(place, relu((scaled - p["c"]) @ p["W"] + p["b"]))


def saelens_expected_average(folder):
    p = parts()
    config = lens(normalize_activations="expected_average_only_in")
    place = safetensors(folder, "sae_weights.safetensors", plain(p), config)
    return Case(place, relu((1.7 * p["x"] - p["c"]) @ p["W"] + p["b"]), {"scale": 1.7})


def saelens_topk(folder):
    p = parts()
    config = lens("topk", k=3)
    place = safetensors(folder, "sae_weights.safetensors", plain(p), config)
    return Case(place, relu(topk((p["x"] - p["c"]) @ p["W"] + p["b"], 3)))


def saelens_topk_by_norm(folder):
    p = parts()
    config = lens("topk", k=3, rescale_acts_by_decoder_norm=True)
    place = safetensors(folder, "sae_weights.safetensors", plain(p), config)
    pre = ((p["x"] - p["c"]) @ p["W"] + p["b"]) * np.linalg.norm(p["D"], axis=1)
    return Case(place, relu(topk(pre, 3)))


def saelens_before_6_topk(folder):
    p = parts()
    config = {"d_in": WIDTH, "d_sae": LATENTS, "activation_fn_str": "topk", "dtype": "float32",
              "activation_fn_kwargs": {"k": 4}, "architecture": "standard",
              "sae_lens_training_version": "4.1.0", "normalize_activations": None,
              "hook_name": "blocks.1.hook_resid_post"}  # fmt: skip
    place = safetensors(folder, "sae_weights.safetensors", plain(p), config)
    return Case(place, relu(topk((p["x"] - p["c"]) @ p["W"] + p["b"], 4)))


def saelens_jump_relu(folder):
    p = parts()
    tensors = {**plain(p), "threshold": p["t"]}
    place = safetensors(folder, "sae_weights.safetensors", tensors, lens("jumprelu"))
    pre = (p["x"] - p["c"]) @ p["W"] + p["b"]
    return Case(place, relu(pre) * (pre > p["t"]))


def saelens_batch_topk_of_training(folder):
    p = parts()
    tensors = {**plain(p), "topk_threshold": np.float64(0.9).reshape(())}
    config = lens("matryoshka_batchtopk", k=3, rescale_acts_by_decoder_norm=True)
    place = safetensors(folder, "sae_weights.safetensors", tensors, config)
    pre = ((p["x"] - p["c"]) @ p["W"] + p["b"]) * np.linalg.norm(p["D"], axis=1)
    return Case(place, relu(pre) * (pre > 0.9))


def saelens_gated(folder):
    p = parts()
    tensors = {"W_enc": p["W"], "W_dec": p["D"], "b_dec": p["c"], "b_gate": p["g"],
               "r_mag": p["r"], "b_mag": p["m"]}  # fmt: skip
    place = safetensors(folder, "sae_weights.safetensors", tensors, lens("gated"))
    return Case(place, gated((p["x"] - p["c"]) @ p["W"], p))


def prisma(**settings):
    base = {"model_name": "open-clip:laion/CLIP-ViT-B-32", "model_class_name": "HookedViT",
            "hook_point_layer": 1, "layer_subtype": "hook_resid_post", "d_in": WIDTH,
            "d_sae": LATENTS, "architecture": "standard", "activation_fn_str": "relu",
            "activation_fn_kwargs": {}, "normalize_activations": "layer_norm",
            "expansion_factor": 4, "cls_token_only": False, "use_patches_only": True,
            "dtype": {"__type__": "torch.dtype", "value": "torch.float32"}}  # fmt: skip
    return {**base, **settings}


def vit_prisma_layer_norm(folder):
    p = parts()
    place = pytorch(folder, "weights.pt", plain(p), prisma())
    return Case(place, relu((layer_norm(p["x"]) - p["c"]) @ p["W"] + p["b"]))


def vit_prisma_topk(folder):
    p = parts()
    config = prisma(
        activation_fn_str="topk", activation_fn_kwargs={"k": 2}, normalize_activations="none"
    )
    place = pytorch(folder, "weights.pt", plain(p), config)
    return Case(place, relu(topk((p["x"] - p["c"]) @ p["W"] + p["b"], 2)))


def vit_prisma_gated(folder):
    p = parts()
    tensors = {**plain(p), "b_gate": p["g"], "r_mag": p["r"], "b_mag": p["m"]}
    place = pytorch(folder, "weights.pt", tensors, prisma(architecture="gated"))
    return Case(place, gated((layer_norm(p["x"]) - p["c"]) @ p["W"], p))


def saev_file(folder, tensors, header):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "sae.pt").open("wb") as opened:
        opened.write((json.dumps(header) + "\n").encode())
        torch.save({n: torch.as_tensor(v) for n, v in tensors.items()}, opened)
    return folder / "sae.pt"


def saev_schema(number, name="Relu", **params):
    activation = {"cls": name, "params": params}
    return {"schema": number, "cfg": {"d_model": WIDTH, "d_sae": LATENTS, "activation": activation},
            "commit": "unknown", "lib": "0.3.0"}  # fmt: skip


def saev_of_the_release(folder):
    p = parts()
    header = {"d_vit": WIDTH, "exp_factor": 4, "sparsity_coeff": 4e-4, "ghost_grads": False,
              "n_reinit_samples": 8, "remove_parallel_grads": True, "normalize_w_dec": True,
              "seed": 0}  # fmt: skip
    place = saev_file(folder, plain(p), header)
    return Case(place, relu((p["x"] - p["c"]) @ p["W"] + p["b"]))


def saev_schema_1_before(folder):
    p = parts()
    header = {"schema": 1, "cls": "Relu", "lib": "0.1.0", "cfg": {"d_vit": WIDTH, "exp_factor": 4}}
    place = saev_file(folder, plain(p), header)
    codes = relu((p["x"] - p["c"]) @ p["W"] + p["b"])
    return Case(place, codes, {"subtract_b_dec": True})


def saev_schema_1_after(folder):
    p = parts()
    header = {"schema": 1, "cls": "TopK", "lib": "0.1.0", "cfg": {"d_vit": WIDTH, "top_k": 3}}
    place = saev_file(folder, plain(p), header)
    return Case(place, topk(p["x"] @ p["W"] + p["b"], 3), {"subtract_b_dec": False})


def saev_schema_2(folder):
    p = parts()
    place = saev_file(folder, plain(p), saev_schema(2))
    return Case(place, relu(p["x"] @ p["W"] + p["b"]))


def saev_topk_keeps_what_is_negative(folder):
    p = parts()
    place = saev_file(folder, plain(p), saev_schema(5, "TopK", key="top-k", top_k=30))
    return Case(place, topk(p["x"] @ p["W"] + p["b"], 30))


def saev_batch_topk(folder):
    p = parts()
    tensors = {**plain(p), "activation.threshold": np.float32(0.8).reshape(())}
    place = saev_file(folder, tensors, saev_schema(4, "BatchTopK", top_k=3))
    pre = p["x"] @ p["W"] + p["b"]
    return Case(place, np.where(pre > 0.8, pre, 0))


def saev_batch_topk_never_trained(folder):
    p = parts()
    tensors = {**plain(p), "activation.threshold": np.float32(0).reshape(())}
    place = saev_file(folder, tensors, saev_schema(5, "BatchTopK", top_k=3))
    return Case(place, relu(p["x"] @ p["W"] + p["b"]))


def linear_module(p):
    return {
        "encoder.final_block.0.weight": p["W"].T,
        "encoder.final_block.0.bias": p["b"],
        "dictionary._weights": p["D"],
        "dictionary.multiplier": np.float32(0).reshape(()),
    }


def overcomplete_relu(folder):
    p = parts()
    place = pytorch(folder, "sae.pt", linear_module(p))
    return Case(place, relu(p["x"] @ p["W"] + p["b"]), {"activation": "relu"})


def overcomplete_topk(folder):
    p = parts()
    place = pytorch(folder, "sae.pt", linear_module(p))
    codes = topk(relu(p["x"] @ p["W"] + p["b"]), 3)
    return Case(place, codes, {"activation": "topk", "k": 3})


def overcomplete_batch_topk(folder):
    p = parts()
    pre = relu(p["x"] @ p["W"] + p["b"])
    # A code equal to the threshold passes, as the k-th of the batch that set it did.
    threshold = float(np.sort(pre, axis=None)[-20])
    place = pytorch(folder, "sae.pt", linear_module(p))
    codes = pre * (pre >= np.float32(threshold) * (1 - 1e-6))
    return Case(place, codes, {"activation": "batch_topk", "threshold": threshold * (1 - 1e-6)})


def overcomplete_jump_relu(folder):
    p = parts()
    tensors = {**linear_module(p), "thresholds": np.log(p["t"])}
    place = pytorch(folder, "sae.pt", tensors)
    pre = relu(p["x"] @ p["W"] + p["b"])
    return Case(place, pre * (pre >= p["t"]))


def overcomplete_batch_norm(folder):
    p = parts()
    norm = {"weight": p["t"], "bias": p["m"], "running_mean": p["g"], "running_var": p["t"] + 0.3}
    tensors = {**linear_module(p)}
    tensors |= {f"encoder.final_block.1.{n}": v for n, v in norm.items()}
    tensors["encoder.final_block.1.num_batches_tracked"] = np.int64(7).reshape(())
    place = pytorch(folder, "sae.pt", tensors)
    pre = p["x"] @ p["W"] + p["b"]
    pre = (pre - p["g"]) / np.sqrt(p["t"] + 0.3 + 1e-5) * p["t"] + p["m"]
    return Case(place, relu(pre), {"activation": "relu"})


def learned(kind, **settings):
    return {"trainer": {"dict_class": kind, "activation_dim": WIDTH, "dict_size": LATENTS,
                        **settings}, "buffer": {}}  # fmt: skip


def linear(p):
    return {"encoder.weight": p["W"].T, "encoder.bias": p["b"], "decoder.weight": p["D"].T}


def dictionary_learning_relu(folder):
    p = parts()
    place = pytorch(folder, "ae.pt", {**linear(p), "bias": p["c"]}, learned("AutoEncoder"))
    return Case(place, relu((p["x"] - p["c"]) @ p["W"] + p["b"]))


def dictionary_learning_new(folder):
    p = parts()
    tensors = {**linear(p), "decoder.bias": p["c"]}
    place = pytorch(folder, "ae.pt", tensors, learned("AutoEncoderNew"))
    return Case(place, relu(p["x"] @ p["W"] + p["b"]))


def dictionary_learning_topk(folder):
    p = parts()
    tensors = {**linear(p), "b_dec": p["c"], "k": np.int32(3).reshape(()),
               "threshold": np.float32(0.7).reshape(())}  # fmt: skip
    place = pytorch(folder, "ae.pt", tensors, learned("AutoEncoderTopK", k=3))
    return Case(place, topk(relu((p["x"] - p["c"]) @ p["W"] + p["b"]), 3))


def dictionary_learning_batch_topk(folder):
    p = parts()
    tensors = {**linear(p), "b_dec": p["c"], "k": np.int32(3).reshape(()),
               "threshold": np.float32(0.7).reshape(())}  # fmt: skip
    place = pytorch(folder, "ae.pt", tensors, learned("BatchTopKSAE", k=3))
    pre = relu((p["x"] - p["c"]) @ p["W"] + p["b"])
    return Case(place, pre * (pre > 0.7))


def dictionary_learning_matryoshka(folder):
    p = parts()
    tensors = {**plain(p), "k": np.int32(3).reshape(()), "threshold": np.float32(-1).reshape(()),
               "group_sizes": np.array([8, 32])}  # fmt: skip
    place = pytorch(folder, "ae.pt", tensors, learned("MatryoshkaBatchTopKSAE", k=3))
    return Case(place, relu((p["x"] - p["c"]) @ p["W"] + p["b"]))


def dictionary_learning_jump_relu(folder):
    p = parts()
    tensors = {**plain(p), "threshold": p["t"]}
    place = pytorch(folder, "ae.pt", tensors, learned("JumpReluAutoEncoder"))
    pre = p["x"] @ p["W"] + p["b"]
    return Case(place, relu(pre * (pre > p["t"])))


def dictionary_learning_gated(folder):
    p = parts()
    tensors = {"encoder.weight": p["W"].T, "decoder.weight": p["D"].T, "decoder_bias": p["c"],
               "r_mag": p["r"], "gate_bias": p["g"], "mag_bias": p["m"]}  # fmt: skip
    place = pytorch(folder, "ae.pt", tensors)
    return Case(place, gated((p["x"] - p["c"]) @ p["W"], p))


def sparsified(p):
    return {"encoder.weight": p["W"].T, "encoder.bias": p["b"], "W_dec": p["D"], "b_dec": p["c"]}


def sparse_settings(**settings):
    return {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True,
            "num_latents": LATENTS, "k": 3, "multi_topk": False, "skip_connection": False,
            "transcode": False, "d_in": WIDTH, **settings}  # fmt: skip


def sparsify_topk(folder):
    p = parts()
    place = safetensors(folder, "sae.safetensors", sparsified(p), sparse_settings())
    return Case(place, topk(relu((p["x"] - p["c"]) @ p["W"] + p["b"]), 3))


def sparsify_transcoder(folder):
    p = parts()
    config = sparse_settings(transcode=True)
    place = safetensors(folder, "sae.safetensors", sparsified(p), config)
    return Case(place, topk(relu(p["x"] @ p["W"] + p["b"]), 3))


def sparsify_group_max(folder):
    p = parts()
    config = sparse_settings(activation="groupmax", k=4)
    place = safetensors(folder, "sae.safetensors", sparsified(p), config)
    pre = relu((p["x"] - p["c"]) @ p["W"] + p["b"])
    groups = pre.reshape(ROWS, 4, LATENTS // 4)
    return Case(place, (groups * (groups == groups.max(axis=2, keepdims=True))).reshape(ROWS, -1))


_OF = (
    "saelens_", "vit_prisma_", "saev_", "overcomplete_", "dictionary_learning_", "sparsify_"
)  # fmt: skip
CASES = [
    value
    for name, value in list(globals().items())
    if name.startswith(_OF) and name not in ("saev_file", "saev_schema")
]
