"""Codes of autoencoders in every library's layout, against formulas in numpy."""

import numpy as np
import pytest
import torch

from dnd_assets.errors import StudyError
from dnd_assets.methods.sae.layouts import LAYOUTS, encoder_of
from dnd_assets.methods.sae.saved import Answers
from resources.targets.autoencoder_files import read_autoencoder
from tests.methods.sae import written


def layout_in(make):
    return next(name for name in LAYOUTS if make.__name__.startswith(name))


@pytest.mark.parametrize("make", written.CASES, ids=lambda make: make.__name__)
def test_codes_are_those_of_the_library(make, tmp_path):
    case = make(tmp_path / "checkpoint")
    found, encoder = encoder_of(read_autoencoder(case.place), Answers(**case.answers))

    assert found == layout_in(make)
    codes = encoder.encode(torch.as_tensor(written.parts()["x"])).numpy()
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, case.codes, rtol=1e-4, atol=1e-5)
    assert 0 < (case.codes != 0).mean() < 1, "a case that shows no sparsity shows nothing"


@pytest.mark.parametrize("make", written.CASES, ids=lambda make: make.__name__)
def test_what_is_left_open_is_asked_for_and_what_is_known_is_not(make, tmp_path):
    case = make(tmp_path / "checkpoint")
    saved = read_autoencoder(case.place)
    for name in case.answers:
        fewer = {key: value for key, value in case.answers.items() if key != name}
        with pytest.raises(StudyError, match=name):
            encoder_of(saved, Answers(**fewer))
    for name, value in {"k": 7, "threshold": 0.25, "subtract_b_dec": True, "scale": 3.0}.items():
        if name not in case.answers:
            given = {**case.answers, name: value}
            if make in (written.saev_of_the_release,) and name == "subtract_b_dec":
                continue  # it says the same
            with pytest.raises(StudyError, match=name):
                encoder_of(saved, Answers(**given))


@pytest.mark.parametrize("make", written.CASES, ids=lambda make: make.__name__)
def test_a_code_does_not_depend_on_the_batch(make, tmp_path):
    case = make(tmp_path / "checkpoint")
    _, encoder = encoder_of(read_autoencoder(case.place), Answers(**case.answers))
    x = torch.as_tensor(written.parts()["x"])

    whole = encoder.encode(x)
    alone = torch.stack([encoder.encode(one) for one in x])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


def refusal(tmp_path, make, **answers):
    with pytest.raises(StudyError) as caught:
        encoder_of(read_autoencoder(make(tmp_path / "checkpoint")), Answers(**answers))
    return str(caught.value)


def lens(**settings):
    def make(folder):
        tensors = written.plain(written.parts())
        return written.safetensors(
            folder, "sae_weights.safetensors", tensors, written.lens(**settings)
        )

    return make


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"architecture": "temporal"}, "temporal"),
        ({"architecture": "jumprelu_transcoder"}, "jumprelu_transcoder"),
        ({"activation_fn_str": "tanh-relu"}, "tanh-relu"),
        ({"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
        ({"architecture": "jumprelu"}, "threshold"),
        ({"architecture": "topk"}, "no k"),
    ],
)
def test_what_is_not_read_is_refused_by_name(settings, named, tmp_path):
    assert named in refusal(tmp_path, lens(**settings))


def test_a_running_threshold_that_a_state_dict_lost_is_asked_for(tmp_path):
    def make(folder):
        return written.pytorch(folder, "sae.pt", written.linear_module(written.parts()))

    told = refusal(tmp_path, make, activation="batch_topk")
    assert "running threshold" in told
    assert "threshold = " in told


def test_a_topk_and_a_batch_topk_without_settings_are_not_told_apart(tmp_path):
    p = written.parts()
    tensors = {**written.linear(p), "b_dec": p["c"], "k": np.int32(3).reshape(()),
               "threshold": np.float32(0.7).reshape(())}  # fmt: skip

    def make(folder):
        return written.pytorch(folder, "ae.pt", tensors)

    assert "activation" in refusal(tmp_path, make)
    saved = read_autoencoder(tmp_path / "checkpoint")
    x = torch.as_tensor(p["x"])
    pre = written.relu((p["x"] - p["c"]) @ p["W"] + p["b"])
    _, one = encoder_of(saved, Answers(activation="topk"))
    _, other = encoder_of(saved, Answers(activation="batch_topk"))
    np.testing.assert_allclose(one.encode(x), written.topk(pre, 3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other.encode(x), pre * (pre > 0.7), rtol=1e-4, atol=1e-5)


def test_weights_without_settings_are_of_no_library_for_sure(tmp_path):
    def make(folder):
        return written.safetensors(folder, "sae.safetensors", written.plain(written.parts()))

    told = refusal(tmp_path, make)
    assert "layout" in told
    assert "saelens" in told
    place = tmp_path / "checkpoint"
    with pytest.raises(StudyError, match=r"cfg\.json"):
        encoder_of(read_autoencoder(place), Answers(), "saelens")


def test_batch_topk_of_saev_before_it_kept_a_threshold_is_asked_for(tmp_path):
    def make(folder):
        p = written.parts()
        header = written.saev_schema(2, "BatchTopK", top_k=3)
        return written.saev_file(folder, written.plain(p), header)

    assert "BatchTopK" in refusal(tmp_path, make)
    newer = written.saev_file(
        tmp_path / "newer", written.plain(written.parts()), written.saev_schema(9)
    )
    with pytest.raises(StudyError, match="schema 9"):
        encoder_of(read_autoencoder(newer), Answers())


class Whole(torch.nn.Module):
    """A module that somebody pickled whole."""


def test_pickled_objects_are_refused_by_name(tmp_path):
    torch.save({"cfg": Whole(), "state_dict": {}}, tmp_path / "weights.pt")
    with pytest.raises(StudyError, match="Whole"):
        read_autoencoder(tmp_path / "weights.pt")
    (tmp_path / "sae.pkl.gz").write_bytes(b"\x80\x04")
    with pytest.raises(StudyError, match=r"sae\.pkl\.gz is refused"):
        read_autoencoder(tmp_path / "sae.pkl.gz")


def test_a_pickled_object_behind_a_header_is_refused(tmp_path):
    with (tmp_path / "sae.pt").open("wb") as opened:
        opened.write(b'{"schema": 2, "cfg": {}}\n')
        torch.save(Whole(), opened)
    with pytest.raises(StudyError, match="refused"):
        read_autoencoder(tmp_path / "sae.pt")


def test_weights_that_do_not_fit_each_other_are_refused(tmp_path):
    def make(folder):
        tensors = {**written.plain(written.parts()), "b_enc": np.zeros(3, np.float32)}
        return written.safetensors(folder, "sae_weights.safetensors", tensors, written.lens())

    assert "does not fit together" in refusal(tmp_path, make)
