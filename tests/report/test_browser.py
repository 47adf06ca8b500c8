"""A report in a browser, opened from the disk: what it shows, and what it never does."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from dnd_assets.analysis.atlas_ratings import read_atlas_ratings
from dnd_assets.report.build import build_report
from dnd_assets.report.names import visible
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.units import Unit
from dnd_assets.workflow.atlas_address import page_name
from tests.report import hostile, made
from tests.report.conftest import UNITS, context_of


class Watched:
    """A page, and everything it asked for or complained of."""

    def __init__(self, chrome, **options):
        self.page = chrome.new_page(**options)
        self.requests, self.stopped, self.complaints = [], [], []
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.on("requestfailed", lambda one: self.stopped.append((one.url, one.failure)))
        self.page.on("console", lambda one: self.complaints.append(one.text))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))
        self.page.on("dialog", lambda one: (self.complaints.append("dialog"), one.dismiss()))

    def open(self, file):
        self.page.goto(file.as_uri())
        return self.page

    @property
    def outside(self):
        return [url for url in self.requests if not url.startswith(("file:", "data:"))]


@pytest.fixture
def watched(chrome):
    one = Watched(chrome, viewport={"width": 1280, "height": 900})
    yield one
    one.page.close()


def shown(page):
    return page.locator("tbody tr").count()


def test_the_index_finds_filters_and_sorts(watched, atlas):
    page = watched.open(atlas[0] / "index.html")
    page.wait_for_selector("tbody tr")
    assert shown(page) == 12
    assert page.inner_text("#found") == "12 of 12 units"
    page.fill("#query", "LABEL conv-2")
    assert page.locator(".what").all_inner_texts() == [f"label {n}" for n in range(6, 12)]
    page.fill("#query", '"Label 1"')
    assert page.locator(".what").all_inner_texts() == ["label 1"]
    page.fill("#query", "")
    page.select_option("#layer", label="net/conv/2")
    assert shown(page) == 6
    page.select_option("#layer", "")
    page.select_option("#method", "clip_dissect_labels")
    page.select_option("#state", "unclear")
    assert shown(page) == 6
    assert page.locator(".what").first.inner_text() == "label 4"
    page.select_option("#state", "")
    page.click("button[data-sort=score]")
    scores = [float(text) for text in page.locator("td.num").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert page.get_attribute("th:has(button[data-sort=score])", "aria-sort") == "descending"
    page.click("button[data-sort=score]")
    scores = [float(text) for text in page.locator("td.num").all_inner_texts()]
    assert scores == sorted(scores)
    assert watched.complaints == watched.outside == []


def test_a_link_to_a_filtered_index_works(watched, atlas):
    page = watched.open(atlas[0] / "index.html")
    page.goto((atlas[0] / "index.html").as_uri() + "#q=%22label+7%22&show=label")
    assert page.locator(".what").all_inner_texts() == ["label 7"]
    assert page.input_value("#query") == '"label 7"'


def test_keys_lead_from_search_to_a_unit_and_its_lineage(watched, atlas):
    page = watched.open(atlas[0] / "index.html")
    page.wait_for_selector("tbody tr")
    page.keyboard.press("/")
    page.keyboard.type("conv.1/0")
    assert shown(page) == 1
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('td') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/units/*.html")
    page.focus("#synthetic_images summary")
    page.keyboard.press("Enter")  # the first click
    link = page.locator("#synthetic_images a", has_text=re.compile("^[0-9a-f]{12}$")).last
    assert link.is_visible()
    link.focus()
    page.keyboard.press("Enter")  # the second
    page.wait_for_url("**/sources.html#p-*")
    assert page.locator(".step:target > dl").inner_text().count("One realistic image of") == 1
    assert watched.complaints == watched.outside == []


def test_heat_map_and_boxes_are_switched_without_a_script(chrome, atlas):
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((atlas[0] / "units" / page_name(UNITS[0].key)).as_uri())
    heat, boxes = page.locator(".heat").first, page.locator(".boxes").first
    assert heat.is_visible()
    assert boxes.is_visible()
    page.locator(".one-heat input").first.uncheck()
    assert not heat.is_visible()
    assert boxes.is_visible()
    page.locator(".one-heat input").first.check()
    assert heat.is_visible()
    page.uncheck(".show-heat")
    page.uncheck(".show-boxes")
    assert not heat.is_visible()
    assert not boxes.is_visible()
    context.close()


def test_pictures_load_as_they_come_near(watched, atlas):
    page = watched.open(atlas[0] / "units" / page_name(UNITS[0].key))
    page.wait_for_load_state()
    wanted = page.locator("img[loading=lazy]").count()
    assert wanted > 20
    broken = "[...document.images].filter((i) => i.complete && !i.naturalWidth).length"
    assert page.evaluate(broken) == 0


def test_a_picture_is_enlarged_with_its_map_and_the_arrows_lead_on(watched, atlas):
    page = watched.open(atlas[0] / "units" / page_name(UNITS[0].key))
    small = page.locator(".shots .frame").first.bounding_box()
    page.locator(".shots .frame").first.click()
    large = page.locator("dialog.zoom .large")
    assert large.bounding_box()["width"] > 2 * small["width"]
    assert page.locator("dialog.zoom .heat").is_visible()
    assert page.locator("dialog.zoom .boxes").is_visible()
    assert "(1 of 8)" in page.inner_text("dialog.zoom .words")
    page.keyboard.press("ArrowRight")
    assert "(2 of 8)" in page.inner_text("dialog.zoom .words")
    page.keyboard.press("Escape")
    assert not page.locator("dialog.zoom").is_visible()
    page.locator(".paintings .small").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog.zoom img").is_visible()
    assert watched.complaints == watched.outside == []


def test_arrow_keys_lead_from_unit_to_unit_and_u_back_to_the_table_as_it_was(watched, atlas):
    page = watched.open(atlas[0] / "index.html")
    page.select_option("#layer", label="net/conv.1")
    page.fill("#least", "0.5")
    page.click("button[data-sort=score]")
    address = page.url
    before = page.locator(".what").all_inner_texts()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/units/*.html")
    assert page.inner_text("h1 bdi") == before[1]
    page.goto((atlas[0] / "units" / page_name(UNITS[3].key)).as_uri())
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/{page_name(UNITS[4].key)}")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/{page_name(UNITS[3].key)}")
    page.focus("#better")
    page.keyboard.type("word")
    page.keyboard.press("ArrowLeft")  # in a field it moves the cursor alone
    assert page.url.endswith(page_name(UNITS[3].key))
    page.fill("#better", "")
    page.locator("h1").click()
    page.keyboard.press("u")
    page.wait_for_url("**/index.html*")
    assert page.url == address
    assert page.locator(".what").all_inner_texts() == before
    assert page.get_attribute("th:has(button[data-sort=score])", "aria-sort") == "descending"
    assert watched.complaints == watched.outside == []


def test_an_address_holds_method_layer_measure_and_order(watched, atlas):
    address = (atlas[0] / "index.html").as_uri()
    asked = "#method=clip_dissect_labels&layer=1&measure=score&least=0.15&sort=-score"
    page = watched.page
    page.goto(address + asked)
    page.wait_for_selector("tbody tr")
    scores = [float(text) for text in page.locator("td.num").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert 0 < len(scores) < 6
    assert min(scores) >= 0.15
    page.fill("#least", "0.3")
    assert shown(page) == 0
    assert "least=0.3" in page.url


def test_units_are_compared_side_by_side_and_the_address_says_which(watched, atlas):
    from playwright.sync_api import expect

    page = watched.open(atlas[0] / "index.html")
    page.wait_for_selector("tbody tr")
    for place in range(5):
        page.locator("tbody .choose input").nth(place).click()
    assert page.locator("tbody .choose input:checked").count() == 4  # four at most
    page.click("#compare")
    page.wait_for_selector(".unit-column")
    assert page.locator(".unit-column h2").all_inner_texts() == [f"label {n}" for n in range(4)]
    cards = Cards(atlas[1].context.lineage, atlas[1].context.store, "atlas")
    four = list(cards.read([unit.key for unit in UNITS[:4]]))
    seen = [{one.image for one in card.exemplars} for card in four]
    common = {i for some in seen for i in some if sum(i in other for other in seen) > 1}
    assert page.inner_text("#found").startswith(f"{len(common)} exemplar")
    shared = sum(len(some & common) for some in seen)
    assert page.locator(".unit-column .chip", has_text="shared").count() == shared
    tops = page.locator(".unit-column").nth(2).locator(".value").all_inner_texts()
    assert [float(v) for v in tops] == [float(f"{e.activation:.4g}") for e in four[2].exemplars]
    address = page.url
    # The page draws what its address names when the browser tells it of the new address.
    page.click("button.drop >> nth=0")
    expect(page.locator(".unit-column")).to_have_count(3)
    page.fill("#query", "label 9")
    page.keyboard.press("Enter")
    expect(page.locator(".unit-column h2").last).to_have_text("label 9")
    page.goto(address)
    expect(page.locator(".unit-column")).to_have_count(4)
    page.goto((atlas[0] / "compare.html").as_uri() + "#u=no/such/1&u=net/conv.1/0")
    page.reload()
    assert page.inner_text("#found") == "Not in this atlas: no/such/1"
    assert watched.complaints == watched.outside == []


def test_units_that_answer_alike_are_shown_with_their_labels(watched, atlas):
    page = watched.open(atlas[0] / "units" / page_name(UNITS[0].key))
    first = page.locator("#near .unit").first
    assert first.inner_text().split("\n") == ["label 6", f"{UNITS[6].key} · 1.00"]
    page.click("#beside")
    page.wait_for_selector(".unit-column")
    assert page.locator(".unit-column h2").first.inner_text() == "label 0"
    assert page.locator(".unit-column h2").nth(1).inner_text() == "label 6"


def test_ratings_are_exported_as_a_file_that_the_command_reads(watched, atlas, tmp_path):
    page = watched.open(atlas[0] / "units" / page_name(UNITS[0].key))
    page.click("button[data-verdict=down]")
    page.fill("#better", 'stripes, "<b>" & more')
    page.goto((atlas[0] / "units" / page_name(UNITS[1].key)).as_uri())
    page.click("button[data-verdict=up]")
    page.reload()
    assert page.get_attribute("button[data-verdict=up]", "aria-pressed") == "true"
    page.goto((atlas[0] / "ratings.html").as_uri())
    assert shown(page) == 2
    with page.expect_download() as waiting:
        page.click("#export")
    assert waiting.value.suggested_filename == "ratings-atlas.json"
    waiting.value.save_as(tmp_path / "r.json")
    found = read_atlas_ratings(tmp_path / "r.json", "atlas")
    assert [(r.unit, r.method, r.label, r.verdict, r.better) for r in found] == [
        (UNITS[0].key, "labels", "label 0", "down", 'stripes, "<b>" & more'),
        (UNITS[1].key, "labels", "label 1", "up", ""),
    ]
    page.locator("#rated button").first.click()
    assert shown(page) == 1
    assert watched.complaints == watched.outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_follow_the_system(chrome, atlas, scheme):
    size = {"width": 360, "height": 740}
    context = chrome.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    for name in (
        "index",
        "overview",
        "methods",
        "sources",
        "compare",
        "ratings",
        f"units/{page_name(UNITS[0].key)[:-5]}",
    ):
        page.goto((atlas[0] / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    ink, paper = (
        sum(
            map(
                int, re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{one}"))[:3]
            )
        )
        for one in ("color", "backgroundColor")
    )
    assert (ink < paper) == (scheme == "light")
    context.close()


def test_every_page_can_be_read_aloud(watched, atlas):
    for name in (
        "index",
        "overview",
        "methods",
        "compare",
        "ratings",
        f"units/{page_name(UNITS[0].key)[:-5]}",
    ):
        page = watched.open(atlas[0] / f"{name}.html")
        assert page.get_attribute("html", "lang") == "en"
        assert page.locator("main").count() == page.locator("h1").count() == 1
        assert page.locator("nav[aria-label]").count() >= 1
        assert page.locator("img:not([alt])").count() == 0
        unnamed = (
            "[...document.querySelectorAll('input, select, button')].filter((one) => "
            "!one.labels?.length && !one.textContent.trim() && !one.ariaLabel).length"
        )
        assert page.evaluate(unnamed) == 0
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4')].map((one) => Number(one.tagName[1]))"
        )
        assert all(after - before <= 1 for before, after in pairwise(levels))


class Tags(HTMLParser):
    """The elements of a page with the names of their attributes, without texts."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, sorted(name for name, _ in attrs)))


COUNT = len(hostile.TEXTS)
TEXTS = {
    "hostile": made.Texts(
        label=lambda n: hostile.TEXTS[n % COUNT], caption=lambda n: hostile.TEXTS[n % COUNT],
        file=hostile.file_name,
    ),
    "harmless": made.Texts(label=lambda n: f"x{n % COUNT}", caption=lambda n: f"y{n % COUNT}"),
}  # fmt: skip
LAYERS = {
    "hostile": [f"a.b {hostile.TEXTS[n]}" for n in (0, 9, 48, 51)],
    "harmless": [f"layer {n}" for n in range(4)],
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The same report with hostile texts and with harmless ones."""
    found = {}
    for name, texts in TEXTS.items():
        folder = tmp_path_factory.mktemp(name)
        units = [Unit("net", LAYERS[name][n % 4], n // 4) for n in range(COUNT)]
        study_context = context_of(folder, units)
        made.fill(study_context, folder / "photos", units, 12, 6, 16, texts)
        build_report(study_context, folder / "out")
        found[name] = (folder / "out", study_context, units)
    return found


def test_hostile_texts_change_no_element_of_any_unit_page(reports):
    for bad, good in zip(reports["hostile"][2], reports["harmless"][2], strict=True):
        pages = [
            (reports[name][0] / "units" / page_name(unit.key)).read_text()
            for name, unit in (("hostile", bad), ("harmless", good))
        ]
        assert Tags(pages[0]).found == Tags(pages[1]).found


def test_hostile_texts_leave_no_odd_file(reports):
    folder = reports["hostile"][0]
    for file in folder.rglob("*"):
        assert re.fullmatch(r"[a-z0-9.-]+", file.name), file
    outer = {file.name for file in folder.parent.iterdir()}
    assert outer == {"out", "photos", "state"}


def test_fifty_hostile_texts_change_nothing(watched, reports):
    folder, study_context, units = reports["hostile"]
    assert len(set(hostile.TEXTS)) >= 50
    cards = {
        card.unit: card
        for card in Cards(study_context.lineage, study_context.store, "atlas").read()
    }
    for name in ("index", "overview", "methods", "sources"):
        page = watched.open(folder / f"{name}.html")
        page.wait_for_load_state()
        assert page.evaluate("typeof window.pwned") == "undefined", name
    page.set_viewport_size({"width": 360, "height": 740})
    for unit in units:
        page = watched.open(folder / "units" / page_name(unit.key))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, unit
        assert page.evaluate("typeof window.pwned") == "undefined", unit
        label = visible(cards[unit.key].label)
        assert page.evaluate("document.querySelector('h1 bdi').textContent") == label
    page = watched.open(folder / "index.html")
    page.wait_for_selector("tbody tr")
    page.fill("#query", "<script>")
    page.locator("tbody tr a").first.click()
    page.wait_for_url("**/units/*.html")
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert watched.complaints == watched.outside == []


def test_the_policy_stops_what_would_slip_through(watched, reports, tmp_path):
    """Even text that were not escaped could neither run nor ask for anything."""
    text = (reports["hostile"][0] / "index.html").read_text()
    slipped = (
        "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
        "<img src='https://evil.example/x.png'><style>body{background:url(https://evil.example/)}"
        "</style><iframe src='https://evil.example/'></iframe><main id=\"main\">"
    )
    (tmp_path / "index.html").write_text(text.replace('<main id="main">', slipped))
    page = watched.open(tmp_path / "index.html")
    page.wait_for_load_state()
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert any("Content Security Policy" in one for one in watched.complaints)
    # What the policy stops is told as asked for; it never left.
    stopped = {url for url, why in watched.stopped if why == "csp"}
    assert set(watched.outside) <= stopped
