"""Small CLIP tokenizers in which each word of the world is one token."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from dnd_assets.known_answers.train.common import fresh
from dnd_assets.known_answers.train.phrases import vocabulary

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def clip_tokenizer(folder: Path, length: int) -> CLIPTokenizer:
    """Write and return a byte-pair tokenizer; words outside the world fall into pieces.

    Args:
        folder: Where `vocab.json`, `merges.txt` and the configuration go.
        length: Most tokens of a text, the two special ones included.
    """
    core = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    core.train_from_iterator(vocabulary(), trainer)
    merges = [
        tuple(pair) if not isinstance(pair, str) else tuple(pair.split(" "))
        for pair in json.loads(core.to_str())["model"]["merges"]
    ]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    tokens += ["".join(pair) for pair in merges] + list(_SPECIAL)
    fresh(folder)
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=length)
    tokenizer.save_pretrained(folder)
    return tokenizer
