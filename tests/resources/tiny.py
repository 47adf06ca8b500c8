"""Tiny checkpoints with seeded random weights, of the same classes as the paper's models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

WORDS = ["red", "blue", "circle", "square", "a", "on", "sand", "one", "realistic", "image", "of"]


def pictures(count: int, side: int = 40, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(count)
    ]


def blip(folder: Path, seed: int = 1) -> Path:
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder.mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"]
    vocab = {token: index for index, token in enumerate([*special, *WORDS])}
    tokenizer = BertTokenizer(vocab=vocab, bos_token="[DEC]")
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **sizes,
        "vocab_size": len(vocab),
        "max_position_embeddings": 32,
        "bos_token_id": vocab["[DEC]"],
        "eos_token_id": vocab["[SEP]"],
        "pad_token_id": vocab["[PAD]"],
        "sep_token_id": vocab["[SEP]"],
        "encoder_hidden_size": 16,
        "projection_dim": 16,
        "initializer_range": 1.0,
    }
    vision = {**sizes, "image_size": 32, "patch_size": 8, "initializer_range": 1.0}
    torch.manual_seed(seed)
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))
    model.save_pretrained(folder)
    processor = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(processor, tokenizer).save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model_cfg = {
        "embed_dim": 12,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(2)
    model = open_clip.CLIP(
        12,
        open_clip.CLIPVisionCfg(**model_cfg["vision_cfg"]),
        open_clip.CLIPTextCfg(**model_cfg["text_cfg"]),
    )
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def siglip(folder: Path) -> Path:
    """A SigLIP as the hub holds it for open_clip: a timm tower, its own tokenizer and resizing."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model_cfg = {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 128,
            "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 64,
            "heads": 2,
            "layers": 1,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        },
    }
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    preprocess["resize_mode"] = "squash"
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    _letters_tokenizer().save_pretrained(folder)
    torch.manual_seed(14)
    built = {name: value for name, value in model_cfg.items() if name != "custom_text"}
    model = open_clip.CustomTextCLIP(**built)
    for weight in model.parameters():  # the usual start makes all texts alike
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def _letters_tokenizer():
    """A T5 tokenizer of single letters, as SentencePiece models come."""
    from transformers import T5Tokenizer

    letters = [(chr(code), -5.0) for code in range(33, 127)]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), *letters]
    return T5Tokenizer(vocab=vocab, extra_ids=0)


def words_tokenizer(folder: Path, words: list[str]) -> Path:
    """A BERT tokenizer, as a CLIP folder may hold one of its own."""
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {token: index for index, token in enumerate([*special, *words])}
    BertTokenizer(vocab=vocab).save_pretrained(folder)
    return folder


def stable_diffusion(folder: Path, safety_threshold: float | None = None) -> Path:
    """A pipeline of 16x16 pictures; with a threshold it has a safety checker.

    The checker blanks a picture whose similarity with a fixed direction exceeds the threshold.
    """
    from diffusers import (
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel

    torch.manual_seed(3)
    tokenizer = _clip_tokenizer()
    text = _clip_text(tokenizer, layers=1)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(16,),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = _vae()
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        skip_prk_steps=True,
        steps_offset=1,
    )
    checker, extractor = (None, None) if safety_threshold is None else _checker(safety_threshold)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=checker,
        feature_extractor=extractor,
        requires_safety_checker=checker is not None,
    )
    pipeline.save_pretrained(folder)
    return folder


def sdxl_turbo(folder: Path, variant: str | None = None) -> Path:
    """A Stable Diffusion XL with the scheduler of SDXL-Turbo; two text encoders, 16x16 pictures.

    With a variant, as the hub holds them, the files are of that precision only.
    """
    from diffusers import (
        EulerAncestralDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(11)
    tokenizer = _clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention_head_dim=(2, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=16 + 6 * 4,
        cross_attention_dim=32,
        norm_num_groups=4,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip_text(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(_clip_text(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=_clip_tokenizer(),
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            timestep_spacing="trailing",
        ),
        add_watermarker=False,
    )
    if variant == "fp16":
        pipeline.to(torch.float16)
    pipeline.save_pretrained(folder, variant=variant)
    return folder


def latent_consistency(folder: Path) -> Path:
    """A latent consistency model: four steps, guidance as an input of its UNet."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(12)
    tokenizer = _clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(16,),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
        time_cond_proj_dim=8,
    )
    LatentConsistencyModelPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip_text(tokenizer)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=LCMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def pixart(folder: Path) -> Path:
    """A PixArt: a transformer for a UNet, a T5 for CLIP; its pictures are 256x256."""
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(13)
    tokenizer = _letters_tokenizer()
    text = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    transformer = PixArtTransformer2DModel(
        sample_size=32,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=16,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        use_additional_conditions=False,
    )
    PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=T5EncoderModel(text),
        vae=_vae(4),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    ).save_pretrained(folder)
    return folder


def _vae(blocks: int = 2):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )


def _clip_text(tokenizer, layers: int = 2):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=48,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_factor=20.0,
    )


def vit(folder: Path) -> Path:
    """A ViT classifier: 32x32 pictures, 16 patches, a class token, three classes."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(4)
    config = ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "bird"},
        label2id={"cat": 0, "dog": 1, "bird": 2},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def _clip_tokenizer():
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=48)


def _checker(threshold: float):
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(
        vision_config={**sizes, "image_size": 16, "patch_size": 8, "projection_dim": 16},
        text_config={**sizes, "projection_dim": 16},
        projection_dim=16,
    )
    checker = StableDiffusionSafetyChecker(config)
    generator = torch.Generator().manual_seed(5)
    checker.concept_embeds.data = torch.randn(17, 16, generator=generator)
    checker.concept_embeds_weights.data = torch.full((17,), threshold)
    checker.special_care_embeds_weights.data = torch.full((3,), 2.0)
    extractor = CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    return checker, extractor


def silent_blip(folder: Path) -> Path:
    """A captioner that ends every caption before its first word."""
    import safetensors.torch

    blip(folder)
    file = folder / "model.safetensors"
    state = safetensors.torch.load_file(file)
    separator = 3
    bias = next(name for name in state if name.endswith("cls.predictions.bias"))
    state[bias][separator] = 1e4
    for name in state:
        if name.endswith("cls.predictions.decoder.bias"):
            state[name][separator] = 1e4
    safetensors.torch.save_file(state, file, {"format": "pt"})
    return folder


def sentences(folder: Path, kind: str = "mpnet") -> Path:
    """A sentence encoder in the layout of all-mpnet-base-v2, or of a BERT."""
    from transformers import (
        BertConfig,
        BertModel,
        BertTokenizer,
        MPNetConfig,
        MPNetModel,
        MPNetTokenizer,
    )

    (folder / "1_Pooling").mkdir(parents=True)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 1.0,
    }
    torch.manual_seed(6)
    if kind == "mpnet":
        special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
        vocab = {token: index for index, token in enumerate([*special, *WORDS])}
        tokenizer = MPNetTokenizer(vocab=vocab, model_max_length=512)
        model = MPNetModel(MPNetConfig(vocab_size=len(vocab), max_position_embeddings=34, **sizes))
    else:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        vocab = {token: index for index, token in enumerate([*special, *WORDS])}
        tokenizer = BertTokenizer(vocab=vocab)
        model = BertModel(BertConfig(vocab_size=len(vocab), max_position_embeddings=32, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    pooling["pooling_mode_cls_token"] = False
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    return folder


def blip2(folder: Path) -> Path:
    """A BLIP-2 with an OPT of a few words."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessor,
        OPTConfig,
    )

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "initializer_range": 1.0}
    tokenizer = _word_tokenizer(["<image>"])
    image = BlipImageProcessor(size={"height": 32, "width": 32})
    processor = Blip2Processor(image, tokenizer, num_query_tokens=4)
    opt = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        init_std=1.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**sizes, **heads, image_size=32, patch_size=8).to_dict(),
        qformer_config=Blip2QFormerConfig(
            **sizes, **heads, vocab_size=8, encoder_hidden_size=16, cross_attention_frequency=1
        ).to_dict(),
        text_config=opt.to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(7)
    model = Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


_CHAT = (
    "{% for turn in messages %}user: {% for part in turn['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} image{% endif %}"
)


def llava(folder: Path) -> Path:
    """A LLaVA: a CLIP tower, a Llama of a few words, and a chat template."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = _word_tokenizer(["<image>"])
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 1.0,
    }
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **sizes, image_size=32, patch_size=8, projection_dim=16
        ).to_dict(),
        text_config=LlamaConfig(
            **sizes,
            vocab_size=len(tokenizer),
            max_position_embeddings=128,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(8)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    image = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT,
    ).save_pretrained(folder)
    return folder


def idefics3(folder: Path) -> Path:
    """An Idefics3 as SmolVLM-Instruct is one: large pictures are split, so prompts differ."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
        Idefics3VisionConfig,
        LlamaConfig,
    )

    rows = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    marks = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *rows]
    tokenizer = _word_tokenizer(marks)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "initializer_range": 1.0,
    }
    config = Idefics3Config(
        vision_config=Idefics3VisionConfig(**sizes, image_size=32, patch_size=8).to_dict(),
        text_config=LlamaConfig(
            **sizes,
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    torch.manual_seed(21)
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    image = Idefics3ImageProcessor(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    Idefics3Processor(image, tokenizer, image_seq_len=4, chat_template=_CHAT).save_pretrained(
        folder
    )
    return folder


def _word_tokenizer(marks: list[str]):
    """A tokenizer of whole words, with the marks that a model needs."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>", *marks]
    vocab = {token: index for index, token in enumerate([*special, *WORDS])}
    raw = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=marks,
    )
