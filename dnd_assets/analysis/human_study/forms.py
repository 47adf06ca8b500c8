"""What raters see: forms and rows for Label Studio and for Amazon Mechanical Turk.

Neither names a method: descriptions are numbered in the order in which they are shown. The HTML
form has no script, style or outside file, so that no content security policy stops it.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dnd_assets.files.csv_tables import FORMULA

SCALE: Final = {
    1: "strongly disagree",
    2: "disagree",
    3: "neither agree nor disagree",
    4: "agree",
    5: "strongly agree",
}
"""The five points (DnD, section 4.3)."""

REMARKS: Final = {
    "uninterpretable": "I see nothing that the pictures have in common.",
    "none": "None of the descriptions fits.",
}
QUESTION: Final = "This description fits what most of the pictures have in common."
_INTRODUCTION: Final = (
    "Look at all the pictures, then say for each description how far you agree: " + QUESTION
)
_IN_A_ROW: Final = 5


@dataclass(frozen=True)
class Form:
    """One task as a rater sees it.

    Attributes:
        id: of the task; tells neither the unit nor the methods.
        images: where a browser finds the pictures.
        descriptions: in the order shown.
    """

    id: str
    images: tuple[str, ...]
    descriptions: tuple[str, ...]

    def fields(self) -> dict[str, str]:
        """Names of the form's variables and their values."""
        return {
            "task": self.id,
            **{f"image_{i}": url for i, url in enumerate(self.images)},
            **{f"description_{i}": text for i, text in enumerate(self.descriptions)},
        }


def label_studio_tasks(forms: Sequence[Form]) -> str:
    """The tasks as Label Studio imports them."""
    return json.dumps([{"data": form.fields()} for form in forms], indent=1, ensure_ascii=False)


def label_studio_config(images: int, descriptions: int) -> str:
    """The labelling interface of Label Studio, XML."""
    lines = [
        "<View>",
        f'  <Header value="{_INTRODUCTION}"/>',
        '  <View style="display: grid; grid-template-columns: repeat(5, 1fr); gap: 8px">',
        *(f'    <Image name="picture_{i}" value="$image_{i}"/>' for i in range(images)),
        "  </View>",
    ]
    points = "".join(f'<Choice value="{point} {wording}"/>' for point, wording in SCALE.items())
    for i in range(descriptions):
        lines += [
            f'  <Text name="text_{i}" value="$description_{i}"/>',
            f'  <Choices name="rating_{i}" toName="text_{i}" choice="single-radio" '
            f'required="true" showInline="true">{points}</Choices>',
        ]
    remarks = "".join(
        f'<Choice value="{wording}" alias="{name}"/>' for name, wording in REMARKS.items()
    )
    lines.append(f'  <Choices name="remarks" toName="text_0" choice="multiple">{remarks}</Choices>')
    return "\n".join([*lines, "</View>", ""])


def mturk_rows(forms: Sequence[Form]) -> str:
    """The tasks as the CSV file of an MTurk project, ASCII.

    MTurk puts the values into the form as they are, so they are escaped here; a value that a
    spreadsheet would run starts with a character reference instead.
    """
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(forms[0].fields())
    for form in forms:
        writer.writerow([_escaped(value) for value in form.fields().values()])
    return text.getvalue()


def mturk_template(images: int, descriptions: int) -> str:
    """The HTML of an MTurk project; MTurk adds the form element and the button around it."""
    cells = [f'<td><img src="${{image_{i}}}" width="180" alt=""></td>' for i in range(images)]
    rows = [cells[i : i + _IN_A_ROW] for i in range(0, images, _IN_A_ROW)]
    lines = [
        f"<p>{html.escape(_INTRODUCTION)}</p>",
        "<table>",
        *(f"<tr>{''.join(row)}</tr>" for row in rows),
        "</table>",
    ]
    for i in range(descriptions):
        lines += [f"<fieldset><legend>${{description_{i}}}</legend>", *_points(i), "</fieldset>"]
    lines += [
        f'<p><label><input type="checkbox" name="{name}" value="1"> '
        f"{html.escape(wording)}</label></p>"
        for name, wording in REMARKS.items()
    ]
    return "\n".join([*lines, ""])


def _points(description: int) -> list[str]:
    return [
        f'<label><input type="radio" name="rating_{description}" value="{point}" required> '
        f"{point} {html.escape(wording)}</label><br>"
        for point, wording in SCALE.items()
    ]


def _escaped(value: str) -> str:
    """HTML text in ASCII that is no formula, and holds no variable of MTurk."""
    escaped = html.escape(value).replace("$", "&#36;")
    if escaped.startswith(FORMULA):
        escaped = f"&#{ord(escaped[0])};{escaped[1:]}"
    return escaped.encode("ascii", "xmlcharrefreplace").decode("ascii")
