"""The sentence encoder: parity with transformers and with the paper's figures, batches, errors."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from dnd_assets.errors import StudyError
from dnd_assets.files.atomic import sha256_file
from dnd_assets.methods.metrics import bert_scores, label_similarity, similarities
from resources.encoders.sentence import SentenceEncoder
from resources.runtime.compute import Compute
from tests.resources import tiny

TEXTS = [
    "red",
    "a red circle on sand",
    "blue square",
    "one realistic image of a circle on a blue square on sand",
    "a blue circle",
    "of",
    "mauve",
]


@pytest.fixture(scope="module", params=["mpnet", "bert"])
def folder(request, tmp_path_factory):
    return tiny.sentences(tmp_path_factory.mktemp("sentences") / request.param, request.param)


@pytest.fixture(scope="module")
def encoder(folder, cpu):
    return SentenceEncoder(model=str(folder), compute=cpu)


def by_hand(folder, text, layer=-1):
    """Hidden states of one text alone, (T, D), and its tokens, by transformers."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    numbers = tokenizer(text, return_tensors="pt")
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        found = model(**numbers, output_hidden_states=True)
    tokens = tokenizer.convert_ids_to_tokens(numbers["input_ids"][0].tolist())
    return found.hidden_states[layer][0].numpy(), tokens


def test_a_sentence_is_the_mean_of_its_tokens(encoder, folder):
    found = encoder.encode(TEXTS)

    assert found.shape == (7, 16)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(7), abs=1e-6)
    for text, vector in zip(TEXTS, found, strict=True):
        mean = by_hand(folder, text)[0].mean(axis=0)
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=2e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_batches_company_and_order_do_not_matter(encoder, folder, cpu, batch_size):
    other = SentenceEncoder(model=str(folder), batch_size=batch_size, compute=cpu)

    whole = encoder.encode(TEXTS)

    assert np.abs(other.encode(TEXTS) - whole).max() < 1e-6
    assert np.abs(other.encode(TEXTS[::-1])[::-1] - whole).max() < 1e-6
    assert np.abs(other.encode(TEXTS[3:4]) - whole[3:4]).max() < 1e-6
    for one, two in zip(other.encode_tokens(TEXTS), encoder.encode_tokens(TEXTS), strict=True):
        scale = max(1.0, float(np.abs(two.vectors).max()))
        assert np.abs(one.vectors - two.vectors).max() < 1e-5 * scale
        assert (one.counted == two.counted).all()


def test_tokens_of_each_layer_without_the_marks(encoder, folder, cpu):
    text = "a red mauve circle"

    for layer in (0, 1, 2):
        chosen = SentenceEncoder(model=str(folder), layer=layer, compute=cpu)
        (found,) = chosen.encode_tokens([text])
        states, tokens = by_hand(folder, text, layer)
        assert found.vectors == pytest.approx(states, abs=1e-5)
    (last,) = encoder.encode_tokens([text])
    assert np.array_equal(last.vectors, found.vectors)
    # A word that the vocabulary lacks is a word all the same.
    assert [t for t, on in zip(tokens, last.counted, strict=True) if on] == [
        "a", "red", "[UNK]", "circle",
    ]  # fmt: skip


def test_it_serves_the_metrics(encoder):
    truths = ["a red circle", "blue square", "sand"]

    assert similarities(truths, truths, encoder) == pytest.approx(np.ones(3))
    assert bert_scores(truths, truths, encoder) == pytest.approx(np.ones(3))
    assert label_similarity(truths, truths[::-1], encoder) < 1


def test_nothing_gives_an_empty_table(encoder):
    assert encoder.encode([]).shape == (0, 16)
    assert encoder.encode_tokens([]) == []


def test_texts_beyond_the_context_are_cut_off(encoder):
    long, longer = ("red " * 22).strip(), "red " * 500  # 24 tokens with the marks

    assert encoder.encode([longer]) == pytest.approx(encoder.encode([long]), abs=1e-6)
    assert len(encoder.encode_tokens([longer])[0].counted) == 24


def test_without_a_sentence_limit_the_positions_are_the_limit(folder, cpu, tmp_path):
    plain = shutil.copytree(folder, tmp_path / "plain")
    (plain / "sentence_bert_config.json").unlink()
    shutil.rmtree(plain / "1_Pooling")

    (found,) = SentenceEncoder(model=str(plain), compute=cpu).encode_tokens(["red " * 500])

    assert len(found.counted) == 32


def test_the_fingerprint_follows_the_weights_not_the_place(encoder, folder, cpu, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved")
    known = encoder.fingerprint()

    assert SentenceEncoder(model="moved", base=str(tmp_path), compute=cpu).fingerprint() == known
    assert SentenceEncoder(model=str(folder), layer=1, compute=cpu).fingerprint() != known
    half = Compute(device="cpu", dtype="bfloat16")
    assert SentenceEncoder(model=str(folder), compute=half).fingerprint() != known
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert SentenceEncoder(model=str(moved), compute=cpu).fingerprint() != known


def test_an_encoder_that_pools_otherwise_is_refused(folder, cpu, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (other / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    encoder = SentenceEncoder(model=str(other), compute=cpu)

    for ask in (encoder.check, lambda: encoder.encode(["red"])):
        with pytest.raises(StudyError, match=r"pooling_mode_cls_token .*only the mean"):
            ask()
    (other / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(StudyError, match="no JSON"):
        encoder.check()


def test_a_layer_that_is_not_there_is_refused(folder, cpu):
    encoder = SentenceEncoder(model=str(folder), layer=3, compute=cpu)

    with pytest.raises(StudyError, match="no hidden layer 3; it has 0 to 2"):
        encoder.encode_tokens(["red"])


def test_what_is_not_on_this_machine_is_never_fetched(folder, cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StudyError, match="hf download sentence-transformers/nothing"):
        SentenceEncoder(model="sentence-transformers/nothing", compute=cpu).encode(["red"])
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(StudyError, match=r"lacks \*\.safetensors"):
        SentenceEncoder(model=str(bare), compute=cpu).check()


@pytest.fixture(scope="module")
def mpnet(mpnet_folder, cpu):
    return SentenceEncoder(model=str(mpnet_folder), compute=cpu)


@pytest.mark.parametrize(
    ("name", "figure"), [("dnd_resnet50_fc.csv", 0.4586), ("milan_resnet50_fc.csv", 0.2788)]
)
def test_the_papers_similarities_come_out(mpnet, shared_dir, name, figure):
    """DnD, table of the final layer: mean mpnet cosine over ImageNet's 1000 classes."""
    published = shared_dir / "published"
    truths = (published / "imagenet_classes.txt").read_text().splitlines()
    with (published / name).open(newline="") as file:
        labels = {int(row[0]): row[1] for row in list(csv.reader(file))[1:]}
    assert list(labels) == list(range(1000))

    found = label_similarity(list(labels.values()), truths, mpnet)

    assert found == pytest.approx(figure, abs=2e-4)


def test_the_genuine_weights_do_not_show_their_batches(mpnet, mpnet_folder, cpu):
    assert sha256_file(mpnet_folder / "model.safetensors").startswith("78c0197b")
    texts = ["cat", "a very long description of many small birds on a wire at dawn", "dog", "sea"]

    whole = mpnet.encode(texts)

    alone = SentenceEncoder(model=str(mpnet_folder), batch_size=1, compute=cpu).encode(texts)
    assert np.abs(alone - whole).max() < 1e-6
    assert whole[0] @ whole[2] > whole[0] @ whole[3]


def _said(folder, place, **files):
    """The encoder with other files for sentence-transformers, by name without dots and slashes."""
    made = shutil.copytree(folder, place)
    names = {"modules": "modules.json", "pooling": "1_Pooling/config.json",
             "bert": "sentence_bert_config.json", "roberta": "sentence_roberta_config.json",
             "prompts": "config_sentence_transformers.json"}  # fmt: skip
    for name, content in files.items():
        path = made / names[name]
        if content is None:
            path.unlink()
        else:
            path.write_text(json.dumps(content))
    return made


def _modules(*kinds):
    return [
        {"idx": index, "name": str(index), "path": f"{index}_{kind}" if index else "",
         "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ]  # fmt: skip


PROMPTS = {"prompts": {"query": "red ", "document": ""}, "default_prompt_name": "query"}


def test_the_files_of_sentence_transformers_are_followed(folder, encoder, cpu, tmp_path):
    """Prompt, lower case and longest text; each as all-mpnet's own kin write them."""
    prompted = _said(folder, tmp_path / "prompt", prompts=PROMPTS)
    silent = _said(folder, tmp_path / "silent", prompts={**PROMPTS, "default_prompt_name": None})
    lower = _said(folder, tmp_path / "lower", bert={"max_seq_length": 24, "do_lower_case": True})
    short = _said(folder, tmp_path / "short", bert=None, roberta={"max_seq_length": 4})
    plain = encoder.encode(["red a circle", "a circle"])

    def encode(place, *texts):
        return SentenceEncoder(model=str(place), compute=cpu).encode(list(texts))

    assert encode(prompted, "a circle")[0] == pytest.approx(plain[0], abs=1e-6)
    assert encode(silent, "a circle")[0] == pytest.approx(plain[1], abs=1e-6)
    assert encode(lower, "A Circle")[0] == pytest.approx(plain[1], abs=1e-6)
    assert encode(short, "a circle on sand")[0] == pytest.approx(plain[1], abs=1e-6)
    before = encoder.fingerprint()
    for place in (prompted, lower, short):
        assert SentenceEncoder(model=str(place), compute=cpu).fingerprint() != before


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"modules": _modules("Transformer", "Pooling", "Dense", "Normalize")}, "module Dense"),
        ({"modules": _modules("StaticEmbedding")}, "module StaticEmbedding"),
        ({"modules": {"a": 1}}, "no list of modules"),
        ({"pooling": {"pooling_mode": "cls"}}, "pools by cls"),
        ({"pooling": {"pooling_mode": ["mean", "max"]}}, "pools by max, mean"),
        ({"pooling": {"pooling_mode_lasttoken": True}}, "pools by pooling_mode_lasttoken"),
        (
            {"pooling": {"pooling_mode": "mean", "include_prompt": False}, "prompts": PROMPTS},
            "leaves its prompt out",
        ),
    ],
)
def test_what_the_encoder_would_leave_out_is_refused(folder, cpu, tmp_path, files, told):
    place = _said(folder, tmp_path / "other", **files)

    with pytest.raises(StudyError, match=told):
        SentenceEncoder(model=str(place), compute=cpu).check()


def test_mean_pooling_is_known_by_either_writing_and_else_assumed(folder, cpu, tmp_path):
    new = _said(folder, tmp_path / "new", pooling={"pooling_mode": "mean"},
                modules=_modules("Transformer", "Pooling", "Normalize"))  # fmt: skip
    bare = _said(folder, tmp_path / "bare", pooling=None)

    assert SentenceEncoder(model=str(new), compute=cpu).assumptions() == []
    (said,) = SentenceEncoder(model=str(bare), compute=cpu).assumptions()
    assert "taken to be the mean of its tokens" in said


def test_no_bit_of_an_exact_vector_depends_on_the_other_texts(folder, encoder, cpu):
    exact = SentenceEncoder(model=str(folder), compute=cpu, exact=True)
    together = exact.encode(TEXTS * 3)
    alone = np.stack([exact.encode([text])[0] for text in TEXTS])
    backwards = exact.encode(TEXTS[::-1])[::-1]
    assert (together == np.tile(alone, (3, 1))).all()
    assert (backwards == alone).all()
    assert alone == pytest.approx(encoder.encode(TEXTS), abs=1e-4)
    assert exact.encode([]).shape == (0, 16)
