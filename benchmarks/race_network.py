"""What CLIP-Dissect is measured with: ResNet-50 and a small CLIP, of random weights."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

LAYERS = ("layer1", "layer2", "layer3", "layer4")


def resnet50() -> nn.Module:
    """Torchvision's ResNet-50 with random weights, the same each time."""
    from torchvision.models import resnet50 as build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(weights=None)


def transforms() -> v2.Compose:
    """As of its published weights."""
    return v2.Compose(
        [
            v2.Resize(256), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )  # fmt: skip


def write_clip(folder: Path) -> Path:
    """A ViT-Ti/16 with a text tower of six layers, as a folder of open_clip."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    vision = {"image_size": 224, "layers": 12, "width": 192, "head_width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 192, "heads": 3, "layers": 6}
    model = {"embed_dim": 128, "vision_cfg": vision, "text_cfg": text}
    looks = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = json.dumps({"model_cfg": model, "preprocess_cfg": looks})
    (folder / "open_clip_config.json").write_text(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        clip = open_clip.CLIP(128, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text))
    save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def write_photographs(folder: Path, count: int) -> list[Path]:
    """JPEGs of 500 x 375 with smooth patches of colour."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        patches = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        files.append(folder / f"{number:04d}.jpg")
        Image.fromarray(patches).resize((500, 375), Image.Resampling.BICUBIC).save(files[-1])
    return files


def write_concepts(file: Path, count: int) -> list[str]:
    """So many concepts of two words, one a line."""
    first = ("red", "blue", "small", "large", "old", "new", "wet", "dry", "soft", "hard")
    concepts = [f"{first[number % 10]} thing{number // 10}" for number in range(count)]
    file.write_text("".join(f"{concept}\n" for concept in concepts))
    return concepts
