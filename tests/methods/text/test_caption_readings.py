"""How words of a caption read together: by hand, and as a mapping."""

from dnd_assets.methods.dissection.detection_label import reference_of
from dnd_assets.methods.text.caption_readings import Readings, shortened

CAPTION = "two large red rings with horizontal stripes on grass"


def words(*some: str) -> frozenset[str]:
    return frozenset(some)


def test_small_words_before_what_is_kept_stay():
    assert shortened(CAPTION, words("large", "grass")) == "large on grass"
    assert shortened(CAPTION, words("red", "horizontal", "stripe")) == "red with horizontal stripes"
    assert shortened(CAPTION, words("stripe", "grass")) == "stripes on grass"
    assert shortened(CAPTION, words("grass")) == "grass"
    assert shortened(CAPTION, words("blue")) == ""


def test_words_that_never_stand_side_by_side_read_as_in_a_caption():
    captions = [CAPTION, "a large blue ring on grass", "a small star at night"]
    found = reference_of(["a", "b", "c"], captions).forms
    assert found[words("large", "grass")] == "large on grass"
    assert found[words("ring", "grass")] in ("ring on grass", "rings on grass")
    assert found.get(words("large", "night")) is None
    assert words("star", "grass") not in found


def test_phrases_are_as_they_were_given():
    found = Readings({words("red", "ring"): "red rings"}, [], [])
    assert dict(found) == {words("red", "ring"): "red rings"}
    assert found.get(words("ring")) is None
    assert len(found) == 1
