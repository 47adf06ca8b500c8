"""Ablations: one setting changed, everything else as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.errors import NotFoundError
from dnd_assets.study.ablations import NAMED, ablation, differing, variants
from dnd_assets.study.study import load_study, parse_study

NAMES = st.one_of(
    st.sampled_from(sorted(NAMED)),
    st.builds("{}{}".format, st.sampled_from(["k", "nc", "q"]), st.integers(1, 500)),
)


@pytest.fixture(scope="module")
def study():
    return load_study("known-answers")


@given(name=NAMES)
def test_only_what_an_ablation_names_changes(name):
    study = load_study("known-answers")
    changed = variants(study, [name])[name]
    before, after = study.model_dump(), changed.model_dump()
    one = ablation(name)

    assert changed.name == f"known-answers+{name}"
    assert changed.folder == study.folder
    for section, key, value in one.settings:
        assert after[section].pop(key) == value
        before[section].pop(key)
        if key == "kind":  # another kind has other settings
            after.pop(section)
            before.pop(section)
    assert {**after, "name": ""} == {**before, "name": ""}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("no-crops", "dissection.crop = false"),
        ("no-selection", 'dissection.select = "first"'),
        ("paper-selection", 'dissection.select = "scores"'),
        ("mean-rank", 'dissection.scoring = "mean_rank", dissection.select = "scores"'),
        ("no-summariser", 'summariser.kind = "none"'),
        ("renderer", 'text_to_image.kind = "world"'),
        ("k5", "dissection.exemplars = 5"),
        ("nc3", "dissection.candidates = 3"),
        ("q20", "dissection.images_per_concept = 20"),
    ],
)
def test_a_setting_reads_as_in_the_study_file(name, shown):
    assert str(ablation(name)) == shown


def test_the_study_itself_is_left_alone(study):
    before = study.model_dump()
    variants(study, NAMED)
    assert study.model_dump() == before


def test_names_keep_their_order_and_count_once(study):
    assert list(variants(study, ["q5", "no-crops", "q5"])) == ["q5", "no-crops"]


def test_those_that_change_nothing_are_left_out(study):
    assert study.dissection.select == "detection"
    same = set(NAMED) - set(differing(study))
    assert same == {"mean-rank"}, "what the selection by scores does under the study's own scoring"
    chosen = study.dissection.model_copy(update={"select": "scores"})
    by_scores = study.model_copy(update={"dissection": chosen})
    assert set(differing(by_scores)) == set(NAMED) - {"mean-rank", "paper-selection"}


def test_the_renderer_is_compared_where_the_world_is_painted(study):
    assert "renderer" in differing(study)
    assert variants(study, ["renderer"])["renderer"].text_to_image.kind == "world"
    of_photographs = study.probing_set.model_copy(update={"world": None, "folders": ["here"]})
    assert "renderer" not in differing(study.model_copy(update={"probing_set": of_photographs}))


def test_scoring_functions_are_compared_where_they_decide_the_label(study):
    scorings = [one for one in NAMED.values() if one.key == "scoring"]
    assert len(scorings) == 4
    for one in scorings:
        assert one.of(study).dissection.select == "scores"


@pytest.mark.parametrize("name", ["no-crop", "k0", "k", "nc-3", "k5\n", "K5", "q1000000000", ""])
def test_an_unknown_name_lists_the_nearest(study, name):
    with pytest.raises(NotFoundError, match=r"nearest: .*(no-crops|k5|nc5|q5)"):
        variants(study, [name])


def test_no_study_file_can_take_a_variants_name(study):
    table = {**study.model_dump(exclude={"folder"}), "name": "known-answers+no-crops"}
    with pytest.raises(Exception, match="name"):
        parse_study(table, study.folder)
