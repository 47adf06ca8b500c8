"""Texts cut to their end marks have the vectors of whole ones, for each kind of text tower."""

import open_clip
import pytest
import torch

from resources.encoders.short_texts import STEP, ShortTexts

SIZES = {"width": 32, "heads": 2, "layers": 2, "vocab_size": 50, "context_length": 21}
VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
END = SIZES["vocab_size"] - 1


def model(*, custom=False, **text):
    """A random tower; `custom` makes it a module of its own, as in SigLIP and CoCa."""
    torch.manual_seed(0)
    kind = open_clip.model.CustomTextCLIP if custom else open_clip.model.CLIP
    return kind(embed_dim=16, vision_cfg=VISION, text_cfg={**SIZES, **text}).eval()


def rows(lengths, end=END, fill=0):
    """Texts of so many tokens, the end mark among them, filled up to the context."""
    dice = torch.Generator().manual_seed(1)
    tokens = torch.full((len(lengths), SIZES["context_length"]), fill)
    for row, length in zip(tokens, lengths, strict=True):
        row[: length - 1] = torch.randint(1, 40, (length - 1,), generator=dice)
        row[length - 1] = end
    return tokens


KINDS = {
    "clip": {},
    "clip with an end mark of its own": {"pool_type": "eos", "eos_id": 7},
    "a module of its own": {"custom": True},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_a_cut_text_has_the_vector_of_the_whole(settings):
    lengths = [2, 7, 8, 9, 16, 17, 21]
    clip, tokens = model(**settings), rows(lengths, settings.get("eos_id", END))
    short = ShortTexts(clip)
    cut = short.cut(tokens)
    assert [len(row) for row in cut] == [8, 8, 8, 16, 16, 21, 21]
    with torch.inference_mode():
        whole = clip.encode_text(tokens)
        for row, expected in zip(cut, whole, strict=True):
            assert torch.allclose(short.encode([row])[0], expected, atol=1e-6)
        assert torch.equal(clip.encode_text(tokens), whole), "the model itself is as before"


UNCUT = {
    "tokens look ahead": {"custom": True, "no_causal_mask": True},
    "the last token is read": {"custom": True, "pool_type": "last"},
    "a token is put behind the text": {"custom": True, "embed_cls": True},
}


@pytest.mark.parametrize("settings", UNCUT.values(), ids=UNCUT)
def test_other_towers_get_the_whole_text(settings):
    clip, tokens = model(**settings), rows([3, 12])
    short = ShortTexts(clip)
    assert [len(row) for row in short.cut(tokens)] == [21, 21]
    with torch.inference_mode():
        assert torch.equal(short.encode(list(tokens)), clip.encode_text(tokens))


def test_a_mask_that_lets_tokens_look_ahead_is_found_out():
    clip = model()
    clip.attn_mask[:STEP, STEP:] = 0
    assert [len(row) for row in ShortTexts(clip).cut(rows([3]))] == [21]
