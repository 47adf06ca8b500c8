"""The pages of a report: what the templates are given, and the templates themselves."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from importlib.resources import files
from itertools import pairwise
from typing import Final
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup, escape

from dnd_assets.analysis.metric_means import method_name
from dnd_assets.files.atomic import sha256
from dnd_assets.methods.metrics.means import Mean
from dnd_assets.report.entries import LONGEST, Entry
from dnd_assets.report.names import LONGEST_TEXT, visible
from dnd_assets.report.similar import LEAST
from dnd_assets.report.thumbnails import Thumbnail
from dnd_assets.results.unit_card.card import Distribution, UnitCard
from dnd_assets.workflow.atlas_address import page_name

STATIC: Final = (
    "atlas.css", "atlas.js", "compare.js", "ratings.js", "unit.js", "zoom.js"
)  # fmt: skip
_PARTS: Final = ("templates", "static")
_CARDS: Final = ("building", "card", "card_reader", "unit_records")
"""Modules that decide what a unit's card says."""
_HASH: Final = 12
_ANCHOR: Final = 80
Find = Callable[[str], Thumbnail | None]


@cache
def environment() -> jinja2.Environment:
    """Templates with everything escaped, and every text made visible before."""
    loader = jinja2.PackageLoader("dnd_assets.report")
    templates = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, finalize=_visible,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters |= {
        "number": number, "share": _share, "short": _short, "pretty": pretty, "data": _data,
        "method": method_name, "page": page_name,
        "anchor": anchor, "query": _query, "units": _units, "interval": interval,
    }  # fmt: skip
    return templates


def style() -> str:
    """Hash of everything that decides what pages look like."""
    package = files("dnd_assets.report")
    parts = [package.joinpath(part) for part in _PARTS]
    sources = [path for folder in (package, *parts) for path in folder.iterdir() if path.is_file()]
    cards = files("dnd_assets.results.unit_card")
    sources += [cards.joinpath(f"{name}.py") for name in _CARDS]
    hashes = sorted((path.name, sha256(path.read_bytes())) for path in sources)
    return sha256(json.dumps(hashes).encode())


def static(name: str) -> bytes:
    """A style sheet or script that is the same for every report."""
    return files("dnd_assets.report").joinpath("static", name).read_bytes()


def render(template: str, **values: object) -> bytes:
    """A page as UTF-8."""
    return environment().get_template(template).render(**values).encode()


def unit_page(
    card: UnitCard,
    entry: Entry,
    find: Find,
    names: Mapping[str, str],
    neighbours: tuple[str | None, str | None],
    title: str,
) -> bytes:
    """A unit's page.

    Args:
        card: the unit.
        entry: what the index says of it.
        find: the thumbnail of a picture.
        names: file names of probing images.
        neighbours: keys of the units before and after.
        title: name of the study.
    """
    largest = card.exemplars[0].activation if card.exemplars else None
    return render(
        "unit.html", root="../", here="", study=title, changes=False, networks=False, card=card,
        entry=entry, find=find, shot=partial(_shot, find), names=names, neighbours=neighbours,
        histogram=histogram(card),
        steps=steps(card), top=largest, ranges=_ranges(card), least=LEAST,
    )  # fmt: skip


def _shot(find: Find, content: str, alt: str, lazy: bool = True) -> Markup:
    """A picture as HTML; a page has fifty, which is why this is no macro.

    Args:
        find: the thumbnail of a picture.
        content: the picture's hash.
        alt: what it shows.
        lazy: whether it is loaded when it comes into view.
    """
    thumb, words = find(content), escape(visible(alt))
    if thumb is None:
        gone = f'<span class="gone" role="img" aria-label="{words}, not at hand">not at hand</span>'
        return Markup(gone)  # noqa: S704 (the words are escaped)
    loading = ' loading="lazy"' if lazy else ""
    return Markup(  # noqa: S704 (the words are escaped, the rest is ours)
        f'<img src="../{thumb.name}" width="{thumb.width}" height="{thumb.height}" alt="{words}"'
        f'{loading} decoding="async">'
    )


def histogram(card: UnitCard) -> dict[str, object] | None:
    """A unit's activation histogram as shapes in a box of 400 x 100; None without activations.

    Bars are as high as the logarithm of their counts: a few images in a tail of thousands have to
    be seen.
    """
    distribution = card.distribution
    if distribution is None or not distribution.counts:
        return None
    import math

    width = 400 / len(distribution.counts)
    tallest = max(math.log1p(count) for count in distribution.counts)
    bars = "".join(
        f"M{i * width:.1f} 100V{100 - 96 * math.log1p(count) / tallest:.1f}h{width - 1:.1f}V100z"
        for i, count in enumerate(distribution.counts)
        if count
    )
    marks = [
        (_place(exemplar.activation, distribution), exemplar.activation)
        for exemplar in card.exemplars
    ]
    ranges = [
        {
            "share": span.share,
            "from": _place(min(exemplar.activation for exemplar in span.images), distribution),
        }
        for span in card.ranges
        if span.images
    ]
    zero = _place(0.0, distribution) if distribution.low < 0 < distribution.high else None
    return {"bars": bars, "marks": marks, "ranges": ranges, "zero": zero}


def _place(value: float, distribution: Distribution) -> float:
    """Where a value stands on the histogram's axis, 0 to 400."""
    span = distribution.high - distribution.low
    return round(400 * min(max((value - distribution.low) / span, 0.0), 1.0), 1) if span else 200.0


def _ranges(card: UnitCard) -> list[dict[str, object]]:
    """The wider ranges, without those that are as large as a narrower one."""
    ranges = [{"span": card.ranges[0], "wider": False}] if card.ranges else []
    return ranges + [
        {"span": wider, "wider": True}
        for narrower, wider in pairwise(card.ranges)
        if wider.size > narrower.size
    ]


def steps(card: UnitCard) -> list[dict[str, object]]:
    """The lineage as the page shows it: each product with links to what it was made from."""
    assets = {step.asset for step in card.made}
    return [
        {
            "made": step,
            "parameters": _fragment(
                "parameters", tuple((name, _setting(it)) for name, it in step.parameters.items())
            ),
            "inputs": [(name, version, name in assets) for name, version in step.inputs.items()],
            "weights": _fragment("weights", tuple(sorted(step.weights.items()))),
        }
        for step in card.made
    ]


@lru_cache(maxsize=4096)
def _fragment(macro: str, pairs: tuple[tuple[str, str], ...]) -> Markup:
    """Lines of a step that most units share: of its parameters, or of the models behind it."""
    module = environment().get_template("steps.html").module
    return Markup(getattr(module, macro)(pairs))  # noqa: S704 (a template escapes)


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)


def _visible(value: object) -> object:
    """What stands in a page: text made visible, nothing for None."""
    if type(value) is str:  # the usual case first: a page holds hundreds
        usual = len(value) <= LONGEST_TEXT and value.isprintable()
        return value if usual else visible(value)
    if isinstance(value, int | Markup):
        return value
    if isinstance(value, str):
        return visible(value)
    return "" if value is None else value


def number(value: float | None) -> str:
    """A number with four digits that count; a dash for none."""
    if value is None or value != value:
        return "-"
    if isinstance(value, int) or (abs(value) >= 1000 and float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _short(text: str) -> str:
    return text[:_HASH]


def _data(png: bytes) -> Markup:
    """A small PNG inside the page; base64 holds nothing to escape."""
    return Markup("data:image/png;base64," + base64.b64encode(png).decode("ascii"))  # noqa: S704


@lru_cache(maxsize=4096)
def anchor(name: str) -> str:
    """The HTML id of a place in a page, from any name; hashes and run ids stay as they are."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:_ANCHOR]
    return safe if safe == name else f"{safe}-{sha256(name.encode('utf-8', 'replace'))[:8]}"


def _query(label: str) -> str:
    """The fragment (after #) of a link to the units of one label."""
    return urlencode({"q": f'"{visible(label)[:LONGEST]}"'}, errors="replace")


def _units(keys: Sequence[str]) -> str:
    """The fragment (after #) of a link that sets units side by side."""
    return urlencode([("u", visible(key)) for key in keys], errors="replace")


def interval(share: Mean) -> str:
    """The 95 % interval of a share of units that do or do not (Wilson, 1927).

    Unlike that of resamples it is no point where all units, or none, do.

    >>> interval(Mean(1.0, 1.0, 1.0, 27))
    '88 to 100 %'
    """
    from scipy.stats import binomtest

    bounds = binomtest(share.count, share.units).proportion_ci(method="wilson")
    return f"{100 * bounds.low:.0f} to {100 * bounds.high:.0f} %"


def pretty(value: object) -> Markup:
    """A value as JSON of several lines, ASCII, escaped."""
    return escape(json.dumps(value, indent=1, ensure_ascii=True, sort_keys=True))


def neighbours_of(entries: Sequence[str], place: int) -> tuple[str | None, str | None]:
    """The units before and after one."""
    before = entries[place - 1] if place else None
    return before, entries[place + 1] if place + 1 < len(entries) else None


def map_colours(entries: Sequence[Entry]) -> dict[str, int]:
    """A colour's number for each layer."""
    return {group: i % 8 for i, group in enumerate(dict.fromkeys(entry.group for entry in entries))}
