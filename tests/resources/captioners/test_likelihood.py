"""Several captions of a picture and the probability of given ones, on tiny checkpoints."""

import math

import numpy as np
import pytest
import torch

from dnd_assets.errors import StudyError
from resources.captioners.base import BlipCaptioner
from resources.captioners.language_model import LanguageModel
from resources.captioners.likelihood import CaptionLikelihood
from resources.captioners.teacher_forcing import log_likelihood
from resources.runtime.compute import Compute
from tests.resources import tiny

TEXTS = ["red circle", "blue square on sand", "a", "", "red red red blue"]


@pytest.fixture(scope="module")
def likelihood(blip_folder, cpu):
    return CaptionLikelihood(
        BlipCaptioner(checkpoint=str(blip_folder), max_new_tokens=8, min_length=3, compute=cpu)
    )


@pytest.fixture(scope="module")
def images():
    return tiny.pictures(4, seed=5)


def language_model(folder, seed=7):
    from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {token: index for index, token in enumerate([*special, *tiny.WORDS])}
    tokenizer = BertTokenizer(vocab=vocab, bos_token="[CLS]", eos_token="[SEP]")
    torch.manual_seed(seed)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 12, "initializer_range": 1.0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(vocab), **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_likelihood_by_hand():
    """Two tokens and the end, from a decoder with fixed odds of 1 : 1 : 2."""
    odds = torch.tensor([1.0, 1.0, 2.0]).log()

    def decode(numbers, mask):
        return odds.expand(*numbers.shape, 3)

    found = log_likelihood(decode, [[0, 1], [], [2]], start=0, end=2, device="cpu")
    assert found == pytest.approx(
        [math.log(1 / 4 * 1 / 4 * 1 / 2), math.log(1 / 2), math.log(1 / 4)]
    )


def test_it_is_the_loss_of_the_model_itself(likelihood, images):
    """Parity: transformers' own mean cross-entropy, times the number of tokens."""
    model, processor = likelihood.captioner._load()
    pixels = processor(images=images[0], return_tensors="pt")["pixel_values"]
    seen = model.vision_model(pixel_values=pixels)[0]
    start, end, _ = likelihood._marks(model)
    for text in ("red circle", "blue square on sand"):
        tokens = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        logits = model.text_decoder(
            input_ids=torch.tensor([[start, *tokens]]), encoder_hidden_states=seen
        ).logits
        loss = torch.nn.functional.cross_entropy(logits[0], torch.tensor([*tokens, end]))
        (found,) = likelihood.log_given(images[:1], [[text]], 4)
        assert found[0] == pytest.approx(-float(loss) * (len(tokens) + 1), abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_no_value_depends_on_the_batch_or_on_other_texts(likelihood, images, batch_size):
    every = likelihood.log_given(images, [TEXTS] * 4, 4)
    assert likelihood.log_given(images, [TEXTS] * 4, batch_size) == every
    for place, text in enumerate(TEXTS):
        assert likelihood.log_given(images[2:3], [[text]], batch_size) == [[every[2][place]]]
    assert np.array(every).max() <= 0


def test_probabilities_of_all_one_word_captions_are_of_one_distribution(likelihood, images):
    """Over every next token the probabilities sum to 1: no text gets more than its share."""
    words = [[word] for word in tiny.WORDS]
    found = [likelihood.log_given(images[:1], [one], 4)[0][0] for one in words]
    assert sum(math.exp(value) for value in found) < 1


def test_beams_hold_captions_best_first_and_none_twice(likelihood, images):
    found = likelihood.beams(images, 4, 3)
    assert all(1 <= len(some) <= 4 and len(set(some)) == len(some) for some in found)
    assert likelihood.beams(images[::-1], 4, 2) == found[::-1]
    assert likelihood.beams([], 4, 2) == []


def test_one_beam_is_the_caption_itself(likelihood, images):
    captions = likelihood.captioner.caption(images, 2)
    assert [some[:1] for some in likelihood.beams(images, 1, 2)] == [[one] for one in captions]


def test_the_prior_sees_a_picture_without_content(likelihood, images):
    prior = likelihood.log_prior(TEXTS, 4)
    assert prior == likelihood.log_prior(TEXTS, 1)
    assert prior != likelihood.log_given(images[:1], [TEXTS], 4)[0]


def test_a_long_text_is_cut_at_the_context(likelihood, images):
    value = likelihood.log_given(images[:1], [["red " * 200]], 4)[0][0]
    assert math.isfinite(value)
    assert value == likelihood.log_given(images[:1], [["red " * 300]], 4)[0][0]


def test_a_language_model_is_the_chain_of_its_tokens(tmp_path, cpu):
    folder = language_model(tmp_path / "lm")
    judge = LanguageModel(model="lm", base=str(tmp_path), compute=cpu)
    model, tokenizer = judge._load()
    for text in ("red circle", "blue"):
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id]])
        loss = float(model(input_ids=ids, labels=ids).loss)
        assert judge.log_prior([text], 4)[0] == pytest.approx(-loss * (ids.shape[1] - 1), abs=1e-4)
    assert judge.log_prior(TEXTS, 3) == judge.log_prior(TEXTS, 1)
    assert math.isfinite(judge.log_prior(["red " * 50], 1)[0])
    other = language_model(tmp_path / "other", seed=8)
    assert LanguageModel(model=str(other), compute=cpu).fingerprint() != judge.fingerprint()
    assert LanguageModel(model=str(folder), compute=cpu).fingerprint() == judge.fingerprint()


def test_a_missing_language_model_names_the_command(tmp_path, monkeypatch, cpu):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StudyError, match="hf download openai/gpt9"):
        LanguageModel(model="openai/gpt9", compute=cpu).check()


def test_a_captioner_that_makes_no_captions_of_its_own_is_refused():
    from resources.captioners.base import Captioner

    class Silent(Captioner):
        def title(self):
            return "silent"

    with pytest.raises(StudyError, match=r"\(silent\) does not tell how likely"):
        CaptionLikelihood(Silent())


def test_half_precision_gives_finite_values(blip_folder, images):
    half = Compute(device="cpu", dtype="bfloat16")
    captioner = BlipCaptioner(checkpoint=str(blip_folder), max_new_tokens=4, compute=half)
    (found,) = CaptionLikelihood(captioner).log_given(images[:1], [["red circle"]], 2)
    assert math.isfinite(found[0])
