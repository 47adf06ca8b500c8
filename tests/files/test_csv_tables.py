"""CSV files of any origin: marks, quotes, delimiters, and what is wrong with them."""

import pytest

from dnd_assets.errors import NotFoundError, TableError
from dnd_assets.files.csv_tables import read_csv, read_text, unguarded


@pytest.fixture
def table(tmp_path):
    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def fields(path):
    return [row for _, row in read_csv(path).rows]


def test_marks_quotes_and_line_ends_are_read(table):
    found = read_csv(table('\ufeffUnit,Label\r\n1,"tench, Tinca ""tinca"""\r\n\r\n2,"two\nlines"'))

    assert found.columns == ("Unit", "Label")
    assert found.rows == ((2, ("1", 'tench, Tinca "tinca"')), (5, ("2", "two\nlines")))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_that_of_the_header(table, delimiter):
    path = table(f"unit{delimiter}label\n1{delimiter}a fish")

    assert fields(path) == [("1", "a fish")]


def test_columns_are_found_by_name_whatever_the_case(table):
    found = read_csv(table("Neuron_ID, Label \n1,a"))

    assert found.column(("unit", "neuron id"), "unit") == 0
    assert found.column(("label",), "label") == 1
    assert found.find(("truth",)) is None
    with pytest.raises(
        TableError, match=r"no column for the truth; .* truth, class; the file has 'Neuron_ID'"
    ):
        found.column(("truth", "class"), "truth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no header and no rows"),
        ("unit,label\n", "a header but no rows"),
        ("unit,unit\n1,2", "several columns named 'unit'"),
        ('unit,label\n1,"open\n', r"line 2: unexpected end of data.*Close every quote"),
        ('unit,label\n1,"a"b\n', "line 2: .*Close every quote"),
        ("unit,label\n1,a\n2,tench, Tinca\n", "line 3: 3 fields, but the header has 2.*quotes"),
        ("unit,label\n1\n", "line 2: 1 fields, but the header has 2"),
        (b"unit,label\n1,caf\xe9\n", "not UTF-8 text .byte 16.*Save it"),
        ("unit,label\n1,a".encode("utf-16"), "not UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(table, content, message):
    with pytest.raises(TableError, match=message):
        read_csv(table(content))


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "labels.csv").write_text("a")
    with pytest.raises(NotFoundError, match=r"no file .*label\.csv; .* holds: labels\.csv"):
        read_csv(tmp_path / "label.csv")
    with pytest.raises(NotFoundError, match="holds: nothing"):
        read_text(tmp_path / "none" / "label.csv")
    with pytest.raises(NotFoundError, match="no file"):
        read_text(tmp_path / "labels.csv" / "x")
    with pytest.raises(TableError, match=r"cannot read .*: it is no file"):
        read_text(tmp_path)


def test_guards_of_formulas_come_off_and_other_apostrophes_stay():
    assert unguarded("'=1+1") == "=1+1"
    assert unguarded("'-dash") == "-dash"
    assert unguarded("'tis") == "'tis"
    assert unguarded("=1+1") == "=1+1"
    assert unguarded("") == ""
