"""Tiny vision checkpoints of transformers: 32x32 pictures in 16 patches of 8x8."""

from __future__ import annotations

from pathlib import Path

import torch

_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
_WORDS = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 99,
}


def _saved(folder: Path, model, processor) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _vit_processor():
    from transformers import ViTImageProcessor

    return ViTImageProcessor(size={"height": 32, "width": 32})


def _clip_processor():
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def clip(folder: Path) -> Path:
    """A whole CLIP, text tower and all, as `openai/clip-vit-base-patch32` is published."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(11)
    vision = {**_SIZES, "intermediate_size": 32, "initializer_factor": 8.0}
    model = CLIPModel(CLIPConfig(text_config=_WORDS, vision_config=vision, projection_dim=8))
    return _saved(folder, model, _clip_processor())


def clip_tower(folder: Path) -> Path:
    """A CLIP's vision tower alone, with its projection."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(12)
    config = CLIPVisionConfig(**_SIZES, intermediate_size=32, projection_dim=8)
    return _saved(folder, CLIPVisionModelWithProjection(config), _clip_processor())


def siglip(folder: Path) -> Path:
    """A whole SigLIP: its vision tower has no class token."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(13)
    config = SiglipConfig(text_config=_WORDS, vision_config={**_SIZES, "intermediate_size": 32})
    processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    return _saved(folder, SiglipModel(config), processor)


def dinov2(folder: Path) -> Path:
    """A DINOv2 backbone: class token and patches."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(14)
    return _saved(folder, Dinov2Model(Dinov2Config(**_SIZES)), _vit_processor())


def dinov2_with_registers(folder: Path) -> Path:
    """A DINOv2 backbone with four registers between class token and patches."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    torch.manual_seed(15)
    config = Dinov2WithRegistersConfig(**_SIZES, num_register_tokens=4)
    return _saved(folder, Dinov2WithRegistersModel(config), _vit_processor())


def convnext(folder: Path) -> Path:
    """A ConvNeXt classifier: maps, no tokens."""
    from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextImageProcessor

    torch.manual_seed(16)
    config = ConvNextConfig(
        hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], id2label={0: "cat", 1: "dog"}
    )
    processor = ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=1.0)
    return _saved(folder, ConvNextForImageClassification(config), processor)
