"""The paper's models at their own size, or tiny, with random weights, as checkpoints on disk.

The classes and the layout are those of the genuine checkpoints; nothing is downloaded. Weights do
not change how long a pass takes. They do decide when a caption ends: here it runs to its limit.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resources.checkpoints import quiet

Config = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How large each model is.

    Attributes:
        name: what the size is called.
        target: torchvision's name of the network to be described.
        layer: its layer whose neurons are described.
        side: of a painted picture, in pixels.
        unet: of Stable Diffusion 1.4, as `UNet2DConditionModel` takes it.
        vae: as `AutoencoderKL` takes it.
        text: as `CLIPTextConfig` takes it, without the vocabulary.
        checker: vision tower of the safety checker, as `CLIPVisionConfig` takes it.
        blip_vision: as `BlipVisionConfig` takes it.
        blip_text: as `BlipTextConfig` takes it.
        clip: `model_cfg` of open_clip.
    """

    name: str
    target: str
    layer: str
    side: int
    unet: Config
    vae: Config
    text: Config
    checker: Config
    blip_vision: Config
    blip_text: Config
    clip: Config


def _tower(width: int, layers: int, heads: int) -> Config:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


PAPER = Size(
    name="paper",
    target="resnet50",
    layer="layer4",
    side=512,
    unet={
        "sample_size": 64,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        "layers_per_block": 2,
        "norm_num_groups": 32,
    },
    vae={
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": 32,
        "sample_size": 512,
    },
    text={**_tower(768, 12, 12), "max_position_embeddings": 77, "projection_dim": 768},
    checker={**_tower(1024, 24, 16), "image_size": 224, "patch_size": 14, "projection_dim": 768},
    blip_vision={**_tower(768, 12, 12), "image_size": 384, "patch_size": 16},
    blip_text={
        **_tower(768, 12, 12),
        "vocab_size": 30524,
        "max_position_embeddings": 512,
        "encoder_hidden_size": 768,
        "projection_dim": 768,
    },
    clip={
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 512,
            "heads": 8,
            "layers": 12,
        },
    },
)
"""ResNet-50, BLIP base, CLIP ViT-B/16, and Stable Diffusion 1.4 with its safety checker."""

TINY = Size(
    name="tiny",
    target="mobilenet_v3_small",
    layer="features.12",
    side=16,
    unet={
        "sample_size": 8,
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "block_out_channels": (16,),
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    vae={
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 16,
    },
    text={**_tower(16, 1, 2), "max_position_embeddings": 77, "projection_dim": 16},
    checker={**_tower(16, 1, 2), "image_size": 16, "patch_size": 8, "projection_dim": 16},
    blip_vision={**_tower(16, 1, 2), "image_size": 32, "patch_size": 8},
    blip_text={
        **_tower(16, 1, 2),
        "vocab_size": 40,
        "max_position_embeddings": 64,
        "encoder_hidden_size": 16,
        "projection_dim": 16,
    },
    clip={
        "embed_dim": 12,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
)

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")
_NEVER = 2.0
"""No cosine exceeds it, so the safety checker works on each picture and rejects none."""


def target(size: Size) -> torch.nn.Module:
    """The network to be described."""
    from torchvision import models

    found: torch.nn.Module = models.get_model(size.target, weights=None)
    return found


def unet(size: Size) -> Any:
    """The denoiser of Stable Diffusion."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(in_channels=4, out_channels=4, **size.unet)


def vae(size: Size) -> Any:
    """The autoencoder of Stable Diffusion."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(**size.vae)


def text_encoder(size: Size) -> Any:
    """The text encoder of Stable Diffusion."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**size.text, **_text_marks(size)))


def checker(size: Size) -> Any:
    """The safety checker of Stable Diffusion; it rejects nothing."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    width = size.checker["projection_dim"]
    config = CLIPConfig(vision_config=size.checker, projection_dim=width)
    found = StableDiffusionSafetyChecker(config)
    for values, shape in {
        "concept_embeds": (17, width),
        "special_care_embeds": (3, width),
        "concept_embeds_weights": (17,),
        "special_care_embeds_weights": (3,),
    }.items():
        filled = torch.full(shape, _NEVER if values.endswith("weights") else 1.0)
        getattr(found, values).data = filled
    return found


def blip(size: Size) -> Any:
    """The captioner."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    marks = {
        "bos_token_id": _SPECIAL.index("[DEC]"),
        "eos_token_id": _SPECIAL.index("[SEP]"),
        "sep_token_id": _SPECIAL.index("[SEP]"),
        "pad_token_id": _SPECIAL.index("[PAD]"),
    }
    text = {**size.blip_text, **marks}
    return BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=size.blip_vision)
    )


def clip(size: Size) -> Any:
    """The image-text encoder."""
    import open_clip

    towers = open_clip.CLIPVisionCfg(**size.clip["vision_cfg"])
    texts = open_clip.CLIPTextCfg(**size.clip["text_cfg"])
    return open_clip.CLIP(size.clip["embed_dim"], towers, texts)


def write_all(folder: Path, size: Size, dtype: torch.dtype) -> dict[str, Path]:
    """Every model as a checkpoint in a folder.

    Args:
        folder: an empty folder.
        size: how large.
        dtype: of the weights on disk, for the models that are loaded in it.

    Returns:
        Paths of `target`, `blip`, `clip`, `painter`, and `few_steps`, the painter without a safety
        checker, as few-step models come.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "target.safetensors"
    save_file(_made(target, size, torch.float32).state_dict(), weights)
    with quiet("transformers", "diffusers"):
        return {
            "target": weights,
            "blip": _write_blip(folder / "blip", size, dtype),
            "clip": _write_clip(folder / "clip", size),
            "painter": _write_painter(folder / "painter", size, dtype),
            "few_steps": _without_checker(folder / "painter", folder / "few_steps"),
        }


def _made(make: Callable[[Size], Any], size: Size, dtype: torch.dtype) -> Any:
    """A model with seeded random weights, made on the card where there is one: it is faster."""
    place: AbstractContextManager[Any] = nullcontext()
    if torch.cuda.is_available():
        place = torch.device("cuda")
    torch.manual_seed(0)
    with place:
        model = make(size)
    return model.to("cpu", dtype).eval()


def _write_blip(folder: Path, size: Size, dtype: torch.dtype) -> Path:
    from transformers import BlipImageProcessor, BlipProcessor

    side = size.blip_vision["image_size"]
    _made(blip, size, dtype).save_pretrained(folder)
    processor = BlipImageProcessor(size={"height": side, "width": side})
    BlipProcessor(processor, _words(size)).save_pretrained(folder)
    return folder


def _words(size: Size) -> Any:
    """Made-up words, as many as BLIP knows."""
    from transformers import BertTokenizer

    words = [f"word{number}" for number in range(size.blip_text["vocab_size"] - len(_SPECIAL))]
    vocab = {token: number for number, token in enumerate([*_SPECIAL, *words])}
    begin = _SPECIAL[-1]
    return BertTokenizer(vocab=vocab, bos_token=begin)


def _write_clip(folder: Path, size: Size) -> Path:
    from safetensors.torch import save_file

    folder.mkdir()
    preprocess = {"mean": [0.48] * 3, "std": [0.27] * 3, "interpolation": "bicubic"}
    config = {"model_cfg": size.clip, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = _made(clip, size, torch.float32).state_dict()
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def _write_painter(folder: Path, size: Size, dtype: torch.dtype) -> Path:
    from diffusers import PNDMScheduler, StableDiffusionPipeline
    from transformers import CLIPImageProcessor

    side = size.checker["image_size"]
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        skip_prk_steps=True, steps_offset=1,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=_made(vae, size, dtype),
        text_encoder=_made(text_encoder, size, dtype),
        tokenizer=_tokenizer(),
        unet=_made(unet, size, dtype),
        scheduler=scheduler,
        safety_checker=_made(checker, size, dtype),
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
    ).save_pretrained(folder)
    return folder


def _without_checker(painter: Path, folder: Path) -> Path:
    """The same pipeline without its safety checker; the weights are not copied."""
    folder.mkdir()
    for part in painter.iterdir():
        if part.is_dir() and part.name not in ("safety_checker", "feature_extractor"):
            (folder / part.name).symlink_to(part, target_is_directory=True)
    index = json.loads((painter / "model_index.json").read_text())
    index |= {
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _tokenizer() -> Any:
    """Letters are tokens; prompts are filled up to 77 tokens as with the genuine vocabulary."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def _text_marks(size: Size) -> Config:
    letters = 2 * (127 - 33)
    vocabulary = 49408 if size is PAPER else letters + 2
    return {
        "vocab_size": vocabulary,
        "bos_token_id": letters,
        "eos_token_id": letters + 1,
        "pad_token_id": letters + 1,
    }
