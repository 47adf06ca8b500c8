"""ConSE from real classes: a ViT classifier and an MPNet, the networks of a study, refusals."""

import numpy as np
import pytest

from dnd_assets.errors import StudyError
from dnd_assets.study.study import parse_study
from resources.encoders.conse import Conse
from resources.encoders.sentence import SentenceEncoder
from tests import studies
from tests.resources import tiny

CLASSIFIER = "module:tests.classifiers:colour_classifier"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    return tiny.sentences(tmp_path_factory.mktemp("sentences") / "mpnet")


@pytest.fixture(scope="module")
def conse(sentences, cpu):
    return Conse(classifier=CLASSIFIER, sentences=str(sentences), compute=cpu)


def red_and_blue(share):
    """A picture whose left part is red and whose rest is blue."""
    from PIL import Image

    image = Image.new("RGB", (32, 32), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, int(32 * share), 32))
    return image


def test_a_picture_lies_among_the_names_of_its_classes(conse):
    """Red 20, blue 0: the probability of red is 1 but for e^-20."""
    (red,), names = conse.embed_images([red_and_blue(1.0)], 4), conse.embed_texts(["red", "blue"])

    assert red @ names[0] == pytest.approx(1, abs=1e-4)
    assert red @ names[1] == pytest.approx(names[0] @ names[1], abs=1e-3)


def test_half_red_half_blue_lies_between(conse, sentences, cpu):
    """Scores of red and blue are equal, 10, that of green is 0: e^-10 of a class on top."""
    (found,) = conse.embed_images([red_and_blue(0.5)], 1)

    red, green, blue = SentenceEncoder(model=str(sentences), compute=cpu).encode(
        ["red", "green", "blue"]
    )
    between = red + np.exp(-10) * green + blue
    assert found == pytest.approx(between / np.linalg.norm(between), abs=1e-3)


def test_neither_batch_nor_company_matters(conse, photos):
    rest = np.concatenate([conse.embed_images([photo], 1) for photo in photos])

    assert np.array_equal(conse.embed_images(photos, 3), rest)
    assert np.array_equal(conse.embed_images(photos[::-1], 64), rest[::-1])
    assert conse.embed_images([], 4).shape == (0, 16)
    texts = ["red", "a blue circle", "circle on sand"]
    alone = np.concatenate([conse.embed_texts([text]) for text in texts])
    assert np.array_equal(conse.embed_texts(texts), alone)


def test_a_classifier_of_transformers_serves_too(vit_folder, sentences, photos, cpu):
    own = Conse(classifier=f"hf:{vit_folder}", sentences=str(sentences), top=1, compute=cpu)

    vectors = own.embed_images(photos, 4)

    names = own.embed_texts(["cat", "dog", "bird"])
    assert np.isclose(vectors @ names.T, 1, atol=1e-4).any(axis=1).all()


def test_the_fingerprint_names_both_models_and_t(conse, sentences, cpu, vit_folder):
    found = conse.fingerprint()

    assert found["space"] == "ConSE"
    others = [
        Conse(classifier=CLASSIFIER, sentences=str(sentences), top=3, compute=cpu),
        Conse(classifier=f"hf:{vit_folder}", sentences=str(sentences), compute=cpu),
    ]
    assert all(other.fingerprint() != found for other in others)
    assert "ConSE" in conse.title()


def test_what_is_no_classifier_is_refused(sentences, photos, cpu):
    def of(classifier):
        return Conse(classifier=classifier, sentences=str(sentences), compute=cpu)

    with pytest.raises(StudyError, match="names of its classes"):
        of("torchvision:resnet18").embed_images(photos, 4)
    with pytest.raises(StudyError, match="NaN or infinite"):
        of("module:tests.networks:colour_net").embed_images([red_and_blue(0.5)], 4)
    with pytest.raises(StudyError, match="nearest: efficientnet-lite:"):
        of("efficientnet-light:efficientnet-lite2").check()
    with pytest.raises(StudyError, match="hf download"):
        Conse(classifier=CLASSIFIER, sentences="no/where", compute=cpu).check()


def test_a_study_runs_on_it(colours, colour_folder, sentences):
    """All seven products and CLIP-Dissect, with ConSE in the place of CLIP."""
    (colour_folder / "concepts.txt").write_text("red\ngreen\nblue\n")
    table = studies.changed(
        colours,
        clip={"kind": "conse", "classifier": CLASSIFIER, "sentences": str(sentences)},
        clip_dissect={"concepts": "concepts.txt", "similarity": "cos_cubed"},
    )

    found = studies.label(table, colour_folder, ["net/colours/0-2"], last="clip_dissect_labels")

    assert set(studies.statuses(found).values()) == {"ok"}
    labels = {
        key: one.product.payload["label"]
        for (asset, key), one in found.items()
        if asset == "clip_dissect_labels"
    }
    assert labels == {"net/colours/0": "red", "net/colours/1": "green", "net/colours/2": "blue"}


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ({"kind": "conse"}, "needs a classifier"),
        (
            {"kind": "conse", "classifier": "x", "model": "y"},
            "model is no option of kind = 'conse'",
        ),
        ({"classifier": "x"}, "classifier is no option of kind = 'open_clip'"),
        ({"kind": "cons"}, "'cons' is not known; nearest: conse"),
    ],
)
def test_settings_that_do_not_fit_are_told(colours, tmp_path, clip, message):
    with pytest.raises(StudyError, match=message):
        parse_study(colours | {"clip": clip}, tmp_path)
