"""Scoring functions: parity with the reference, worked cases, invariants, refusals."""

import inspect
import json

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from dnd_assets.methods.dissection.scoring import (
    SCORING,
    best_concepts,
    image_products,
    mean_rank,
    ranks,
    topk_squared,
    topk_squared_image_products,
)

# Two concepts of three images: ranks 0, 2, 5 and 1, 3, 4.
ACTIVATIONS = torch.tensor([[9.0, 7.0, 1.0], [8.0, 5.0, 4.0]], dtype=torch.float64)
RIGHT, UP = [1.0, 0.0], [0.0, 1.0]
GENERATED = torch.tensor([[RIGHT, UP, RIGHT], [UP, [3.0, 4.0], RIGHT]], dtype=torch.float64)
EXEMPLARS = torch.tensor([RIGHT, [2.0, 0.0]], dtype=torch.float64)


@st.composite
def inputs(draw):
    """Activations without ties and embeddings of random shapes."""
    concepts, images, exemplars = draw(
        st.tuples(st.integers(1, 5), st.integers(1, 8), st.integers(1, 4))
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    options = {"generator": generator, "dtype": torch.float64}
    activations = torch.randperm(concepts * images, generator=generator).double()
    return (
        activations.view(concepts, images),
        torch.randn(concepts, images, 6, **options),
        torch.randn(exemplars, 6, **options),
    )


def reference_cases(shared_dir):
    cases = json.loads((shared_dir / "conformance" / "concept_scores_open.json").read_text())
    assert len(cases) == 20
    for case in cases:
        arguments = [
            torch.tensor(case[name], dtype=torch.float64)
            for name in ("activations", "generated", "target")
        ]
        yield case, arguments


@pytest.mark.parametrize(
    ("name", "field", "sign"),
    [
        ("mean_rank", "mean_rank", -1),
        ("topk_squared", "topk_sq_mean", -1),
        ("image_products", "image_products", 1),
        ("topk_squared_image_products", "topk_compare", 1),
    ],
)
def test_all_reference_cases_score_alike(shared_dir, name, field, sign):
    for case, arguments in reference_cases(shared_dir):
        expected = torch.zeros(len(case[field]), dtype=torch.float64)
        for concept, score in case[field]:
            expected[concept] = sign * score

        torch.testing.assert_close(SCORING[name](*arguments), expected, rtol=0, atol=1e-9)


def test_all_reference_cases_rank_alike(shared_dir):
    for case, arguments in reference_cases(shared_dir):
        assert ranks(arguments[0]).sort(dim=1).values.tolist() == case["ranks_zero_based"]


def test_ranks_of_ties_go_by_concept_then_image():
    found = ranks(torch.tensor([[1.0, 5.0, 5.0], [5.0, 1.0, 7.0]]))

    assert found.tolist() == [[4, 1, 2], [3, 5, 0]]
    assert found.dtype == torch.int64
    assert ranks(torch.zeros(3, 40)).flatten().tolist() == list(range(120))


def test_mean_rank_of_a_worked_case():
    assert mean_rank(ACTIVATIONS, GENERATED, EXEMPLARS).tolist() == [-7 / 3, -8 / 3]


def test_topk_squared_of_a_worked_case():
    arguments = (ACTIVATIONS, GENERATED, EXEMPLARS)

    assert topk_squared(*arguments, beta=2).tolist() == [-(0 + 4) / 2, -(1 + 9) / 2]
    assert topk_squared(*arguments).tolist() == [-29 / 3, -26 / 3]


def test_image_products_of_a_worked_case():
    arguments = (ACTIVATIONS, GENERATED, EXEMPLARS)

    # The three most active: right and up of the first concept, up of the second.
    assert image_products(*arguments, top_images=3).tolist() == [0.5, 0.0]
    # One more: (3, 4), whose cosine with right is 0.6.
    assert image_products(*arguments, top_images=4).tolist() == pytest.approx([0.5, 0.3])
    assert image_products(*arguments, top_images=1).tolist() == [1.0, -1.0]
    assert image_products(*arguments).tolist() == pytest.approx([2 / 3, 1.6 / 3])


def test_the_default_of_a_worked_case():
    arguments = (ACTIVATIONS, GENERATED, EXEMPLARS)

    found = topk_squared_image_products(*arguments, beta=2, top_images=4)
    assert found.tolist() == pytest.approx([2 * 0.5, 1 * 0.3])
    # With all ranks the second concept leads.
    found = topk_squared_image_products(*arguments, beta=3, top_images=4)
    assert found.tolist() == pytest.approx([1 * 0.5, 2 * 0.3])


def test_equal_topk_squared_take_the_order_of_concepts():
    # Ranks 0 5, 3 4 and 1 2: 0 + 25 = 9 + 16.
    activations = torch.tensor([[9.0, 4.0], [6.0, 5.0], [8.0, 7.0]], dtype=torch.float64)
    generated = torch.tensor([[RIGHT, RIGHT]] * 3, dtype=torch.float64)

    assert topk_squared(activations, generated, EXEMPLARS).tolist() == [-12.5, -12.5, -2.5]
    found = topk_squared_image_products(activations, generated, EXEMPLARS)
    assert found.tolist() == pytest.approx([2.0, 1.0, 3.0])


@pytest.mark.parametrize("name", SCORING)
def test_one_concept_of_one_image(name):
    expected = {"mean_rank": 0.0, "topk_squared": 0.0}.get(name, 0.6)
    generated = torch.tensor([[[3.0, 4.0]]])

    found = SCORING[name](torch.ones(1, 1), generated, torch.tensor([RIGHT]))

    assert found.tolist() == pytest.approx([expected])


@pytest.mark.parametrize("name", SCORING)
def test_every_function_takes_the_same_arguments_and_gives_float64(name):
    function = SCORING[name]

    assert inspect.signature(function) == inspect.signature(mean_rank)
    found = function(ACTIVATIONS.half(), GENERATED.float(), EXEMPLARS.bfloat16())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, function(ACTIVATIONS, GENERATED, EXEMPLARS))


@pytest.mark.parametrize("name", SCORING)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_values_that_are_not_finite_are_refused(name, value, place):
    arguments = [ACTIVATIONS.clone(), GENERATED.clone(), EXEMPLARS.clone()]
    arguments[place].view(-1)[0] = value

    with pytest.raises(ValueError, match="NaN or infinite"):
        SCORING[name](*arguments)


@pytest.mark.parametrize("name", SCORING)
def test_shapes_that_do_not_fit_are_refused(name):
    for arguments in (
        (ACTIVATIONS[:, :2], GENERATED, EXEMPLARS),
        (ACTIVATIONS, GENERATED[:1], EXEMPLARS),
        (ACTIVATIONS, GENERATED, EXEMPLARS[:, :1]),
        (ACTIVATIONS, GENERATED, EXEMPLARS[:0]),
        (ACTIVATIONS[0], GENERATED[0], EXEMPLARS),
        (ACTIVATIONS[:0], GENERATED[:0], EXEMPLARS),
    ):
        with pytest.raises(ValueError, match=r"shapes \(J, Q\), \(J, Q, D\) and \(K, D\)"):
            SCORING[name](*arguments)
    for wrong in ({"beta": 0}, {"top_images": 0}):
        with pytest.raises(ValueError, match="positive"):
            SCORING[name](ACTIVATIONS, GENERATED, EXEMPLARS, **wrong)


@given(inputs())
def test_ranks_are_a_permutation(arguments):
    found = ranks(arguments[0])

    assert sorted(found.flatten().tolist()) == list(range(found.numel()))
    assert (arguments[0].flatten()[found.flatten().argsort()].diff() < 0).all()


@pytest.mark.parametrize("name", SCORING)
@given(arguments=inputs(), data=st.data())
def test_scores_follow_their_concept(name, arguments, data):
    """The order of the concepts does not matter, unless two tie in TopK squared."""
    activations, generated, exemplars = arguments
    assume(len(topk_squared(*arguments).unique()) == len(activations))
    order = data.draw(st.permutations(range(len(activations))))

    plain = SCORING[name](*arguments)
    permuted = SCORING[name](activations[order], generated[order], exemplars)

    torch.testing.assert_close(permuted, plain[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCORING)
@given(arguments=inputs(), seed=st.integers(0, 1000))
def test_the_order_of_images_does_not_matter(name, arguments, seed):
    activations, generated, exemplars = arguments
    order = torch.randperm(activations.shape[1], generator=torch.Generator().manual_seed(seed))

    permuted = SCORING[name](activations[:, order], generated[:, order], exemplars.flip(0))

    torch.testing.assert_close(permuted, SCORING[name](*arguments), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCORING)
@given(arguments=inputs())
def test_only_the_order_of_activations_and_the_direction_of_embeddings_count(name, arguments):
    activations, generated, exemplars = arguments

    found = SCORING[name](activations.mul(0.1).exp(), generated * 7, exemplars * 0.01)

    torch.testing.assert_close(found, SCORING[name](*arguments), rtol=0, atol=1e-12)


@given(inputs())
def test_a_more_active_concept_ranks_no_worse(arguments):
    activations, *embeddings = arguments
    raised = activations.clone()
    raised[0] += 1000

    assert mean_rank(raised, *embeddings)[0] >= mean_rank(*arguments)[0]
    assert topk_squared(raised, *embeddings)[0] >= topk_squared(*arguments)[0]
    assert topk_squared(raised, *embeddings).argmax() == 0


@given(inputs())
def test_image_products_are_cosines(arguments):
    assert image_products(*arguments).abs().max() <= 1 + 1e-12


def test_best_concepts_come_best_first_with_ties_in_their_order():
    concepts = ["a", "b", "c", "d"]
    scores = torch.tensor([0.5, 0.75, -1.0, 0.75])

    assert best_concepts(concepts, scores, 3) == [("b", 0.75), ("d", 0.75), ("a", 0.5)]
    assert len(best_concepts(concepts, scores, 9)) == 4
    assert best_concepts([], [], 3) == []
    with pytest.raises(ValueError, match="do not fit"):
        best_concepts(["a"], [1.0, 2.0], 1)
    with pytest.raises(ValueError, match="NaN"):
        best_concepts(["a", "b"], [1.0, float("nan")], 1)
