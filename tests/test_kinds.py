"""Kinds of models: one file each, told apart by `kind`, and light enough for every reader."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from dnd_assets.engine.context_builder import build_context
from dnd_assets.settings import Kind, kinds_of, one_of
from dnd_assets.study.study import Study, parse_study
from resources.model import Model
from tests.study.test_study import table

SECTIONS = {
    section: kinds_of(field.annotation)
    for section, field in Study.model_fields.items()
    if kinds_of(field.annotation)
}
NEEDED = {
    "blip2": {"checkpoint": "a/b"},
    "vlm": {"checkpoint": "a/b"},
    "concepts": {"concepts": "words.txt"},
    "own": {"source": "mine:caption"},
    "land_cover": {"scenes": "scenes"},
    "conse": {"classifier": "timm:x"},
}
"""What some kinds cannot do without."""
EACH = [(section, kind) for section, kinds in SECTIONS.items() for kind in kinds]


class Fruit(Kind):
    """What kinds of the package below have in common."""

    GROWN: ClassVar[str] = ""


@pytest.fixture
def fruits(tmp_path, monkeypatch):
    """A package of two kinds, which is not imported yet."""
    folder = tmp_path / "orchard"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name, option in (("apple", "red: bool = True"), ("pear", "sweet: int = 3")):
        (folder / f"{name}.py").write_text(
            "from typing import Literal\nfrom tests.test_kinds import Fruit\n\n\n"
            f"class {name.title()}(Fruit):\n    kind: Literal['{name}'] = '{name}'\n    {option}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [one for one in sys.modules if one.partition(".")[0] == "orchard"]:
        del sys.modules[name]


def test_a_file_in_the_package_is_a_kind_and_no_other_is_named(fruits):
    read = TypeAdapter(one_of("orchard", Fruit, "apple")).validate_python
    assert (read({}).kind, read({}).red) == ("apple", True), "a section that names no kind"
    assert read({"kind": "pear", "sweet": 4}).options == {"sweet": 4}
    with pytest.raises(ValidationError, match=r"sweet is no option of kind = 'apple'.*pear"):
        read({"kind": "apple", "sweet": 4})
    assert read({"kind": "apple", "sweet": 3}).options == {"red": True}, "its usual value"
    with pytest.raises(ValidationError, match="size"):
        read({"size": 3})
    with pytest.raises(ValidationError, match="'apple', 'pear'"):
        read({"kind": "plum"})


def test_two_files_of_one_kind_are_refused(fruits):
    (fruits / "quince.py").write_text((fruits / "pear.py").read_text().replace("Pear", "Quince"))
    with pytest.raises(TypeError, match=r"Quince.*Pear.*one kind"):
        one_of("orchard", Fruit, "apple")


@pytest.mark.parametrize(("section", "kind"), EACH, ids=["-".join(one) for one in EACH])
def test_each_kind_builds_a_model_from_its_settings(section, kind, tmp_path):
    collection = {"collection": {"tables": ["captions.csv"]}}
    given = {section: {"kind": kind, **NEEDED.get(kind, {})}}
    study = parse_study(table(**given, **collection), tmp_path)
    chosen = getattr(study, section)
    found = getattr(build_context(study, tmp_path / "state", reading=True), section)
    assert isinstance(found, Model)
    shared = chosen.options.keys() & type(found).model_fields.keys()
    assert {name: getattr(found, name) for name in shared} == {
        name: chosen.options[name] for name in shared
    }
    assert NEEDED.get(kind, {}).keys() <= shared
    assert parse_study(study.model_dump(mode="json"), tmp_path) == study, "as it is recorded"


@pytest.mark.parametrize(("section", "kind"), EACH, ids=["-".join(one) for one in EACH])
def test_a_study_that_was_recorded_with_the_options_of_all_kinds_is_read(section, kind, tmp_path):
    """Before each kind had a class of its own, runs were recorded with all of them."""
    every: dict[str, object] = {}
    for one in reversed([SECTIONS[section][kind], *SECTIONS[section].values()]):
        every |= {name: field.get_default() for name, field in one.model_fields.items()}
    if section == "captioner":
        every["checkpoint"] = SECTIONS["captioner"]["blip"]().checkpoint
    given = {section: {**every, "kind": kind, **NEEDED.get(kind, {})}}
    collection = {"collection": {"tables": ["captions.csv"]}}
    plain = {section: {"kind": kind, **NEEDED.get(kind, {})}}
    assert parse_study(table(**given, **collection), tmp_path) == parse_study(
        table(**plain, **collection), tmp_path
    )


def test_what_kinds_say_of_their_options_is_of_options_and_does_not_contradict():
    for section, kinds in SECTIONS.items():
        for kind, one in kinds.items():
            assert one.NO_RESULT.keys() <= one.model_fields.keys(), (section, kind)
            for other in kinds.values():
                both = one.model_fields.keys() & other.model_fields.keys() - {"kind"}
                assert {n for n in both if n in one.NO_RESULT} == {
                    n for n in both if n in other.NO_RESULT
                }, "readers know an option by its section and name"


HEAVY = "dagster torch scipy transformers diffusers open_clip httpx duckdb"


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("dnd_assets.study.study", HEAVY),
        (", ".join(f"resources.{role}.kinds" for role in
                   ("captioners", "summarisers", "text_to_image", "encoders")),
         f"{HEAVY} numpy PIL"),
    ],
    ids=["study", "kinds"],
)  # fmt: skip
def test_settings_import_nothing_heavy(modules, heavy):
    """Every reader of a study imports all of them."""
    code = (
        f"import sys\nimport {modules}\n"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_file_of_kinds_is_named_for_its_kind():
    for kinds in SECTIONS.values():
        for kind, one in kinds.items():
            assert Path(str(sys.modules[one.__module__].__file__)).stem == kind
            assert one.model_fields["kind"].annotation == Literal[kind]
