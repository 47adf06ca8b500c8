"""CLIP-Dissect: parity with the reference, worked cases, invariants, refusals."""

import math
import resource

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.errors import StudyError
from dnd_assets.methods.clip_dissect.best_concepts import interpretable, top_concepts
from dnd_assets.methods.clip_dissect.concept_activation_matrix import (
    ConceptActivationMatrix,
    part_of,
)
from dnd_assets.methods.clip_dissect.similarity import (
    SIMILARITY,
    cos,
    cos_cubed,
    describable,
    hard_log_likelihood,
    log_prior,
    rank_reorder,
    soft_log_likelihood,
    soft_wpmi,
    wpmi,
)

ALONE = ("cos", "cos_cubed", "rank_reorder")
LIKELIHOODS = {"wpmi": hard_log_likelihood, "soft_wpmi": soft_log_likelihood}
SMALL = {
    "wpmi": {"top_images": 5},
    "soft_wpmi": {"top_images": 7},
    "rank_reorder": {"top_share": 0.2},
}


def small(name, products, activations, **options):
    return SIMILARITY[name](products, activations, **SMALL.get(name, {}), **options)


def random_case(seed=0, images=60, concepts=9, units=6, dimensions=8):
    generator = torch.Generator().manual_seed(seed)
    factors = ConceptActivationMatrix(
        torch.randn(images, dimensions, generator=generator) + 1,
        torch.randn(concepts, dimensions, generator=generator) + 1,
    )
    return factors, torch.randn(images, units, generator=generator)


@st.composite
def cases(draw):
    images = draw(st.integers(20, 45))
    concepts, units = draw(st.tuples(st.integers(1, 7), st.integers(1, 5)))
    return random_case(draw(st.integers(0, 2**31)), images, concepts, units)


def reference_cases(shared_dir):
    for name in ("a", "b"):
        with np.load(shared_dir / "conformance" / f"clip_dissect_open_{name}.npz") as arrays:
            yield {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def exact(name, products, activations):
    """The likelihoods of a reference case in float64, with its prior."""
    a, top, lam = {"wpmi": (2.0, 28, 0.6), "soft_wpmi": (10.0, 100, 1.0)}[name]
    rows = activations.double().argsort(dim=0, descending=True, stable=True)[:top]
    shares = torch.softmax(products.double()[rows.T] * a, dim=2)
    if name == "soft_wpmi":
        belongs = 0.998 - torch.arange(top, dtype=torch.float64) / top * (0.998 - 0.97)
        shares = 1 + belongs[:, None] * (shares - 1)
    found = (shares + 1e-7).log().sum(dim=1)
    return found - lam * (found.logsumexp(dim=0) - torch.tensor(float(len(found))).log())


@pytest.mark.parametrize("name", ["cos", "cos_cubed", "wpmi", "soft_wpmi"])
def test_all_reference_cases(shared_dir, name):
    for case in reference_cases(shared_dir):
        found, reference = SIMILARITY[name](case["P"], case["A"]), case[f"sim_{name}"]
        bound = 1e-5
        if "wpmi" in name:
            # The reference's own float32 is off by more than that, and processors round its
            # exponentials differently: nothing can be nearer to it than it is to the truth.
            own = (reference - exact(name, case["P"], case["A"])).abs().max().item()
            bound = max(bound, own)

        assert found.dtype == torch.float32
        torch.testing.assert_close(found, reference, rtol=0, atol=bound)


def test_rank_reorder_picks_the_concept_of_a_shuffled_baseline(shared_dir):
    for case in reference_cases(shared_dir):
        products, activations = case["P"][:, :20].abs() + 0.01, case["A"][:, :6]
        found = rank_reorder(products, activations)

        for unit, row in enumerate(found):
            shuffled = naive_rank_reorder(products, activations[:, unit], shuffles=5)
            assert shuffled.argmax() == row.argmax()
            assert torch.corrcoef(torch.stack([shuffled, row.double()]))[0, 1] > 1 - 1e-9


def naive_rank_reorder(products, values, shuffles=0, share=0.05, p=3):
    """The formula by sorting lists; the baseline by shuffles, or by all pairs."""
    rows = sorted(range(len(values)), key=lambda i: -values[i])[: int(len(values) * share)]
    q = values[rows].double()
    if shuffles:
        generator = torch.Generator().manual_seed(0)
        orders = [q[torch.randperm(len(q), generator=generator)] for _ in range(shuffles)]
        baseline = torch.stack([(q - other).abs() ** p for other in orders]).mean()
    else:
        baseline = sum(abs(x - y) ** p for x in q for y in q) / len(q) ** 2
    found = []
    for m in range(products.shape[1]):
        column = products[rows, m].double()
        ranks = [sum(bool(other > value) for other in column) for value in column]
        reordered = torch.stack([q[rank] for rank in ranks])
        error = ((q - reordered).abs() ** p).mean() / baseline
        found.append(-error / column.mean() ** 0.5)
    return torch.stack(found)


def test_rank_reorder_by_a_double_loop():
    factors, activations = random_case(images=200)
    products = factors.part().abs() + 0.01

    found = rank_reorder(products, activations)

    expected = torch.stack([naive_rank_reorder(products, values) for values in activations.T])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_wpmi_by_a_double_loop():
    factors, activations = random_case()
    products = factors.part().double().numpy()
    likelihood = np.zeros((6, 9))
    soft = np.zeros((6, 9))
    for unit in range(6):
        rows = sorted(range(60), key=lambda i: -activations[i, unit])
        for m in range(9):
            for row in rows[:28]:
                share = np.exp(2 * products[row, m]) / np.exp(2 * products[row]).sum()
                likelihood[unit, m] += math.log(share + 1e-7)
            for i, row in enumerate(rows[:40]):
                share = np.exp(10 * products[row, m]) / np.exp(10 * products[row]).sum()
                member = 0.998 - i / 40 * 0.028
                soft[unit, m] += math.log(1 + member * (share - 1) + 1e-7)
    expected = likelihood - 0.6 * np.log(np.exp(likelihood).mean(axis=0))
    np.testing.assert_allclose(wpmi(factors, activations), expected, atol=1e-4)
    expected = soft - np.log(np.exp(soft).mean(axis=0))
    np.testing.assert_allclose(soft_wpmi(factors, activations, top_images=40), expected, atol=2e-3)


def test_cosines_of_a_worked_case():
    activations = torch.tensor([[3.0], [4.0], [0.0]])
    products = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])

    # (3, 4, 0) has length 5: 3 / 5, and nothing in common with (0, 0, 2).
    assert cos(products, activations).tolist() == [[pytest.approx(0.6), 0.0]]


def test_cos_cubed_of_a_worked_case():
    activations = torch.tensor([[0.0], [3.0], [6.0]])
    products = torch.tensor([[3.0, 1.0], [0.0, 1.0], [0.0, 4.0]])

    # Centred and cubed: q (-27, 0, 27), P (8, -1, -1) and (-1, -1, 8).
    # Cosine (-27 * 8 - 27) / (27 sqrt(2) sqrt(66)) = -9 / sqrt(132), and its opposite.
    expected = 9 / math.sqrt(132)
    assert cos_cubed(products, activations)[0].tolist() == pytest.approx([-expected, expected])


def test_cos_cubed_clips_small_norms():
    activations = torch.tensor([[0.0], [0.02]])
    products = torch.tensor([[0.0], [2.0]])

    # q: (-1e-6, 1e-6), of norm 1.4e-6, divided by 1e-3; P: (-1, 1) / sqrt(2).
    assert cos_cubed(products, activations).item() == pytest.approx(2e-3 / math.sqrt(2))


def test_rank_reorder_of_a_worked_case():
    activations = torch.tensor([[4.0], [2.0], [0.0]])
    products = torch.tensor([[0.36, 0.01], [0.25, 0.25], [0.14, 0.49]])

    # The first concept has the unit's order. The second has the reverse: q' = (0, 2, 4), mean of
    # |q - q'|^3 = (64 + 0 + 64) / 3. All nine pairs: (4 * 8 + 2 * 64) / 9 = 160 / 9. Mean P = 0.25.
    expected = -(128 / 3) / (160 / 9) / 0.5
    found = rank_reorder(products, activations, top_share=1.0)
    assert found.tolist() == [[0.0, pytest.approx(expected)]]


def test_wpmi_of_a_worked_case():
    # With a = log 3 the softmax of (1, 0) is (3/4, 1/4), that of (0, 0) is (1/2, 1/2).
    products = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    activations = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    options = {"a": math.log(3), "top_images": 1, "min_prob": 0.0}

    found = wpmi(products, activations, lam=0.5, **options)

    # p(t) = (3/4 + 1/2) / 2 = 5/8 and (1/4 + 1/2) / 2 = 3/8.
    p = [[3 / 4, 1 / 4], [1 / 2, 1 / 2]]
    prior = [5 / 8, 3 / 8]
    expected = [[math.log(p[k][m]) - 0.5 * math.log(prior[m]) for m in (0, 1)] for k in (0, 1)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_soft_wpmi_of_a_worked_case():
    products = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    activations = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    options = {"a": math.log(3), "top_images": 2, "p_start": 1.0, "p_end": 0.0, "min_prob": 0.0}

    found = soft_wpmi(products, activations, **options)

    # Memberships 1 and 1/2. Unit 0: 3/4 (1 - 1/2 * 1/2) = 9/16, and 1/4 * 3/4 = 3/16.
    # Unit 1: 1/2 (1 - 1/2 * 1/4) = 7/16, and 1/2 (1 - 1/2 * 3/4) = 5/16. Means 1/2 and 1/4.
    ratios = [[9 / 8, 3 / 4], [7 / 8, 5 / 4]]
    torch.testing.assert_close(found, torch.tensor(ratios).log())


def test_soft_wpmi_with_certain_membership_is_wpmi():
    factors, activations = random_case()
    options = {"a": 3.0, "lam": 0.6, "top_images": 28}

    soft = soft_wpmi(factors, activations, p_start=1.0, p_end=1.0, **options)

    torch.testing.assert_close(soft, wpmi(factors, activations, **options), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", SIMILARITY)
@given(case=cases(), block=st.integers(1, 2000))
def test_blocks_and_the_form_of_p_do_not_matter(name, case, block):
    factors, activations = case
    options = {} if name in LIKELIHOODS else {"block": block}
    whole = small(name, factors.part(), activations)

    torch.testing.assert_close(small(name, factors, activations, **options), whole)
    torch.testing.assert_close(small(name, factors.part(), activations, **options), whole)


@pytest.mark.parametrize("name", ALONE)
@given(case=cases(), data=st.data())
def test_other_units_do_not_matter(name, case, data):
    factors, activations = case
    chosen = data.draw(st.permutations(range(activations.shape[1])))[:2]

    some = small(name, factors, activations[:, chosen])

    torch.testing.assert_close(some, small(name, factors, activations)[chosen])


@pytest.mark.parametrize("name", LIKELIHOODS)
@given(case=cases(), data=st.data())
def test_with_one_prior_other_units_do_not_matter_to_the_bit(name, case, data):
    factors, activations = case
    chosen = data.draw(st.permutations(range(activations.shape[1])))[:2]
    prior = log_prior(LIKELIHOODS[name](factors, activations, **SMALL[name]))

    whole = small(name, factors, activations)
    some = small(name, factors, activations[:, chosen], prior=prior)

    assert torch.equal(some, whole[chosen])


@pytest.mark.parametrize("name", SIMILARITY)
@given(case=cases(), data=st.data())
def test_concepts_may_come_in_any_order(name, case, data):
    factors, activations = case
    order = data.draw(st.permutations(range(factors.shape[1])))

    permuted = small(name, factors.part()[:, order], activations)

    whole = small(name, factors, activations)[:, order]
    torch.testing.assert_close(permuted, whole, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("name", SIMILARITY)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_units_that_tell_nothing_are_nan_and_change_no_other(name, value):
    factors, activations = random_case()
    spoilt = activations.clone()
    if value is None:
        spoilt[:, 2] = 0.25
    else:
        spoilt[11, 2] = value
    others = [0, 1, 3, 4, 5]

    found = small(name, factors, spoilt)

    assert describable(spoilt).tolist() == [True, True, False, True, True, True]
    assert found[2].isnan().all()
    torch.testing.assert_close(found[others], small(name, factors, activations[:, others]))
    assert small(name, factors, spoilt[:, 2:3]).isnan().all()


def test_equal_activations_are_taken_by_row():
    products = torch.eye(4)
    activations = torch.tensor([[0.0], [5.0], [5.0], [5.0]])

    found = hard_log_likelihood(products, activations, top_images=2)

    assert found[0].argsort(descending=True, stable=True).tolist() == [1, 2, 0, 3]
    assert found[0, 0] == found[0, 3]


def test_rank_reorder_where_the_top_images_are_equal_is_nan():
    activations = torch.tensor([[1.0]] * 10 + [[0.0]] * 30)

    assert rank_reorder(torch.rand(40, 3) + 0.1, activations).isnan().all()


def test_rank_reorder_of_a_concept_that_the_images_are_unlike():
    products = torch.rand(40, 2) + 0.1
    products[:, 1] *= -1

    found = rank_reorder(products, torch.rand(40, 1))

    assert found[0].isfinite().tolist() == [True, False]
    assert found[0, 1] == -math.inf
    assert top_concepts(found, 2)[0][1] == (1, -math.inf)


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_rank_reorder_does_not_depend_on_the_scale_of_activations(scale):
    factors, activations = random_case()

    found = rank_reorder(factors, activations * scale)

    torch.testing.assert_close(found, rank_reorder(factors, activations))


@pytest.mark.parametrize(("name", "top"), [("wpmi", 28), ("soft_wpmi", 100)])
def test_fewer_images_than_asked_for_are_refused(name, top):
    factors, activations = random_case(images=20)

    with pytest.raises(StudyError, match=f"the {top} most activating.*only 20 images.*to 20 or"):
        SIMILARITY[name](factors, activations)
    with pytest.raises(ValueError, match="top_images = 0"):
        SIMILARITY[name](factors, activations, top_images=0)


def test_a_share_of_less_than_two_images_is_refused():
    factors, activations = random_case(images=39)

    with pytest.raises(StudyError, match=r"top 0.05 of 39 images.*fewer than 2.*with 40 images"):
        rank_reorder(factors, activations)
    with pytest.raises(ValueError, match="top_share = 0"):
        rank_reorder(factors, activations, top_share=0)


@pytest.mark.parametrize("name", SIMILARITY)
def test_shapes_that_do_not_fit_are_refused(name):
    factors, activations = random_case()

    for products, values in (
        (factors, activations[:7]),
        (factors.part()[:7], activations),
        (factors.part()[:, 0], activations),
    ):
        with pytest.raises(ValueError, match="same images in the same order"):
            small(name, products, values)
    with pytest.raises(ValueError, match="no image or no concept"):
        small(name, factors.part()[:, :0], activations)


def test_p_that_is_not_finite_is_refused():
    factors, activations = random_case()
    products = factors.part()
    products[3, 5] = math.nan

    with pytest.raises(ValueError, match="image 3, concept 5"):
        wpmi(products, activations)


def test_embeddings_that_cannot_be_compared_are_refused():
    images, texts = torch.rand(5, 3), torch.rand(4, 3)

    with pytest.raises(ValueError, match=r"\(5, 3\) and of concepts \(4, 2\).*same CLIP"):
        ConceptActivationMatrix(images, texts[:, :2])
    texts[2] = 0
    with pytest.raises(ValueError, match="concept 2 is zero"):
        ConceptActivationMatrix(images, texts)
    images[1, 1] = math.inf
    with pytest.raises(ValueError, match="image 1 is zero or not finite"):
        ConceptActivationMatrix(images, texts)


def test_a_prior_of_other_concepts_is_refused():
    factors, activations = random_case()

    with pytest.raises(ValueError, match="does not fit 9 concepts"):
        wpmi(factors, activations, prior=torch.zeros(8))


def test_parts_of_p_are_cosines():
    factors = ConceptActivationMatrix(
        torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[9.0, 0.0]])
    )

    assert factors.shape == (2, 1)
    torch.testing.assert_close(factors.part(), torch.tensor([[0.6], [0.0]]))
    rows = torch.tensor([1, 0, 0])
    torch.testing.assert_close(part_of(factors, rows), torch.tensor([[0.0], [0.6], [0.6]]))
    torch.testing.assert_close(part_of(factors.part(), rows), part_of(factors, rows))


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, -math.inf]), min_size=1), st.integers(1, 9))
def test_top_concepts_sort_stably(values, n):
    expected = sorted(range(len(values)), key=lambda i: -values[i])[:n]

    assert top_concepts(torch.tensor([values]), n) == [[(i, values[i]) for i in expected]]


def test_top_concepts_leave_out_nan():
    found = top_concepts(torch.tensor([[0.5, math.nan, 0.75], [math.nan] * 3]), 3)

    assert found == [[(2, 0.75), (0, 0.5)], []]
    with pytest.raises(ValueError, match="n = 0"):
        top_concepts(torch.zeros(1, 1), 0)


def test_interpretable_is_above_the_cutoff():
    similarities = torch.tensor([[0.1, 0.17], [0.1, 0.16], [math.nan, math.nan], [-1.0, 3.0]])

    assert interpretable(similarities).tolist() == [True, False, False, True]
    assert interpretable(similarities, cutoff=1.0).tolist() == [False, False, False, True]


def test_p_is_never_held_as_a_whole():
    """P would have 800 MB."""
    factors, activations = random_case(images=20_000, concepts=10_000, units=4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    soft_wpmi(factors, activations)
    cos_cubed(factors, activations, block=1 << 22)

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400_000  # kB
