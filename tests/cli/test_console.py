"""Nothing that a command prints is cut, whatever it prints to."""

import io
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from dnd_assets.cli.app import err, out
from dnd_assets.cli.console import Console
from tests import studies
from tests.command_line import dnd, toml

WIDTHS = (40, 80, 200)
GUIDES = str.maketrans("│├└─", "    ")


def words(text):
    """The numbers, names and hashes of a text, each whole."""
    return sorted(text.translate(GUIDES).split())


def printed(shown, width, *, terminal):
    text = io.StringIO()
    Console(file=text, width=width, force_terminal=terminal, color_system=None).print(shown())
    return text.getvalue()


word = st.text("abcÄ猫-.0123456789/[]:", min_size=1, max_size=70)
sentence = st.lists(word, min_size=1, max_size=8).map(" ".join)


@settings(max_examples=30)
@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(sentence, min_size=n, max_size=n), min_size=2, max_size=4)
    ),
    st.sampled_from(WIDTHS),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.sampled_from(["", "a title/of/things-that-is-longer than the table"]),
)
def test_no_word_of_a_table_is_cut(rows, width, no_wrap, title):
    def table():
        made = Table(box=None, pad_edge=False, title=title or None)
        for name, whole in zip(rows[0], no_wrap, strict=False):
            made.add_column(escape(name), no_wrap=whole, justify="right" if whole else "left")
        for row in rows[1:]:
            made.add_row(*map(escape, row))
        return made

    expected = words(" ".join([title, *(cell for row in rows for cell in row)]))
    piped = printed(table, width, terminal=False)
    assert words(piped) == expected
    assert len(piped.splitlines()) == len(rows) + bool(title), "a row is a line"
    assert words(printed(table, width, terminal=True)) == expected


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), sentence), min_size=1), st.sampled_from(WIDTHS))
def test_no_word_of_a_tree_is_cut(lines, width):
    def tree():
        root = Tree("root")
        path = [root]
        for depth, text in lines:
            path = path[: depth + 1]
            path.append(path[-1].add(escape(text)))
        return root

    expected = words(" ".join(["root", *(text for _, text in lines)]))
    piped = printed(tree, width, terminal=False)
    assert words(piped) == expected
    assert len(piped.splitlines()) == len(lines) + 1, "a branch is a line"
    assert words(printed(tree, width, terminal=True)) == expected


def test_a_table_that_fits_a_terminal_when_wrapped_is_wrapped():
    def table():
        made = Table("unit", "label", box=None, pad_edge=False)
        made.add_row("net/fc/3", "a green circle on the grass of a very long field")
        return made

    lines = printed(table, 40, terminal=True).splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 40


def test_text_is_printed_as_it_is():
    file = io.StringIO()
    console = Console(file=file, width=40)
    text = "a :dog: of " + "f" * 64 + " -13.9"
    console.print(text, markup=False)
    assert file.getvalue() == text + "\n"


COMMANDS = [
    ["labels"],
    ["trace", "net/colours/1"],
    ["trace", "net/spoilt/0"],
    ["trace", "net/colours/1", "--asset", "scores"],
    ["explain", "net/colours/1"],
    ["explain", "net/colours/1", "--asset", "crops"],
    ["diff", "run-1", "run-2"],
    ["plan"],
    ["doctor"],
    ["layers", "net"],
    ["compare", "--no-run"],
    ["search", "red"],
    ["look", "images/000.png", "--layer", "colours"],
    ["clarity"],
    ["verify", "--quiet"],
    ["gc"],
    ["labels", "--asset", "label"],
    ["trace", "net/colours/99"],
]


@pytest.fixture(scope="module")
def project(colours, labelled, tmp_path_factory):
    """The small study, labelled by two scoring functions."""
    folder = tmp_path_factory.mktemp("printed") / "folder"
    shutil.copytree(labelled[0], folder)
    studies.label(colours, folder, run="run-1")
    table = studies.changed(colours, dissection__scoring="mean_rank")
    studies.label(table, folder, run="run-2")
    (folder / "study.toml").write_text(toml(table), encoding="utf-8")
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_cuts_what_it_prints(project, command, monkeypatch):
    monkeypatch.chdir(project)

    def output(width, *, terminal):
        for console in (out, err):
            monkeypatch.setattr(console, "_force_terminal", terminal)
            monkeypatch.setattr(console, "_color_system", None)
            console.width = width
        result = dnd(project, *command)
        assert not isinstance(result.exception, AssertionError | TypeError), result.exception
        return result.output or str(result.exception)

    try:
        if command[0] in ("search", "clarity"):
            output(10_000, terminal=False)  # what is computed once is there then
        whole = words(output(10_000, terminal=False))
        assert len(whole) > 3
        for width, terminal in ((40, True), (80, True), (200, True), (80, False)):
            assert words(output(width, terminal=terminal)) == whole, (width, terminal)
    finally:
        for console in (out, err):
            console._width = None
