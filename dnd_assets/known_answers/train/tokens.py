"""Small CLIP tokenizers in which each word of the world is one token."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import BertTokenizer, CLIPTokenizer

from dnd_assets.known_answers.train.common import fresh
from dnd_assets.known_answers.train.phrases import vocabulary

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def _merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair merges that make each word one token, the most frequent pair first.

    The trainer of `tokenizers` breaks ties differently from run to run; this one by the alphabet.
    """
    spellings = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while True:
        counts = Counter(pair for parts in spellings for pair in pairwise(parts))
        if not counts:
            return merges
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        spellings = [_merged(parts, best) for parts in spellings]


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def clip_tokenizer(folder: Path, length: int, padding: str = "<|endoftext|>") -> CLIPTokenizer:
    """Write and return a byte-pair tokenizer; words outside the world fall into pieces.

    Args:
        folder: Where `vocab.json`, `merges.txt` and the configuration go.
        length: Most tokens of a text, the two special ones included.
        padding: Token that fills texts up to a length.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(vocabulary())
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    tokens += ["".join(pair) for pair in merges] + list(_SPECIAL)
    fresh(folder)
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = CLIPTokenizer(
        vocab=vocab, merges=merges, model_max_length=length, pad_token=padding
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def bert_tokenizer(folder: Path, length: int) -> BertTokenizer:
    """Write and return a WordPiece tokenizer of whole words, for captions.

    Args:
        folder: Where the tokenizer files go.
        length: Most tokens of a text, the two special ones included.
    """
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary()]
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = BertTokenizer(vocab=vocab, model_max_length=length)
    tokenizer.save_pretrained(fresh(folder))
    return tokenizer
