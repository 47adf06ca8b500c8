"use strict";
// The table of units: filtered, sorted and drawn a page at a time. Text only ever goes in as text.
(() => {
  const data = window.ATLAS_UNITS;
  const table = document.getElementById("units");
  if (!data || !table) return;
  const body = table.tBodies[0];
  const field = (id) => document.getElementById(id);
  const query = field("query"), method = field("method"), layer = field("layer");
  const state = field("state"), found = field("found"), more = field("more");
  const measure = field("measure"), least = field("least"), tray = field("tray");
  const sides = table.dataset.kind === "sides";
  const names = Object.keys(data.methods);
  const count = data.unit.length;
  const first = 12, page = 36;  // a screenful at once, the rest when it comes near
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const text = (number) => (number < 0 ? "" : data.texts[number]);
  const layers = [...new Set(data.layer)];
  const words = new Map();
  let rows = [], drawn = 0, sort = "unit", down = false;

  const said = (name, i) => {
    const of = data.methods[name];
    return { label: text(of.label[i]), score: of.score[i], status: text(of.status[i]),
             clear: of.clear[i], count: of.count[i] };
  };

  // What a unit is found by: its key and its label, of one method or of all.
  const haystack = (name) => {
    if (!words.has(name)) {
      const of = name ? [name] : names;
      words.set(name, data.unit.map((unit, i) =>
        (unit + " " + text(data.class[i]) + " " + of.map((one) => text(data.methods[one].label[i])).join(" ")).toLowerCase()));
    }
    return words.get(name);
  };

  // What the column of figures shows: the score of the method, its confidence, or a metric.
  const figures = (name) => {
    const asked = measure ? measure.value : "score";
    if (asked === "score") return data.methods[name].score;
    if (asked === "confidence") return data.sure;
    return (data.metrics[name] || {})[asked] || [];
  };

  const passes = (i, name) => {
    if (least && least.value !== "") {
      const value = figures(name)[i];
      if (value === null || value === undefined || value < Number(least.value)) return false;
    }
    const wanted = state.value;
    if (layer && layer.value !== "" && data.layer[i] !== layers[Number(layer.value)]) return false;
    if (!wanted) return true;
    if (wanted === "sure" || wanted === "unsure") {
      const sure = data.sure[i];
      return sure !== null && (sure >= 0.9) === (wanted === "sure");
    }
    if (wanted === "differ") {
      const all = names.map((one) => text(data.methods[one].label[i])).filter((one) => one);
      return new Set(all).size > 1;
    }
    const one = said(name, i);
    if (wanted === "label") return one.label !== "";
    if (wanted === "none") return one.label === "";
    if (wanted === "clear") return one.clear === 1;
    if (wanted === "unclear") return one.clear === 0;
    return one.count > 1;
  };

  const compare = (name) => {
    const of = data.methods[name];
    if (sort === "score") {
      const column = figures(name);
      const value = (i) => (column[i] === null || column[i] === undefined ? -Infinity : column[i]);
      return (a, b) => value(a) - value(b);
    }
    if (sort === "label" || sort === "state") {
      const column = sort === "label" ? of.label : of.status;
      const place = new Map(data.texts.map((one, i) => [i, one])
        .sort((a, b) => order.compare(a[1], b[1])).map((pair, rank) => [pair[0], rank]));
      const rank = (i) => (column[i] < 0 ? Infinity : place.get(column[i]));
      return (a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b));
    }
    return (a, b) => a - b;
  };

  const element = (tag, kind, content) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (content !== undefined) made.textContent = content;
    return made;
  };

  const link = (i, label) => {
    const made = element("a");
    made.href = "units/" + data.page[i] + ".html";
    made.append(element("bdi", "", label));
    return made;
  };

  const most = 4, picked = new Set();
  const pick = (unit, box) => {
    if (box.checked && picked.size < most) picked.add(unit); else picked.delete(unit);
    box.checked = picked.has(unit);
    tray.hidden = !picked.size;
    const to = field("compare");
    to.textContent = picked.size < 2 ? "Choose another unit to compare" : "Compare " + picked.size + " units";
    to.href = "compare.html#" + new URLSearchParams([...picked].map((one) => ["u", one])).toString();
  };
  if (tray) {
    field("forget").addEventListener("click", () => {
      picked.clear();
      tray.hidden = true;
      for (const box of body.querySelectorAll("input")) box.checked = false;
    });
  }

  const row = (i, name) => {
    const made = element("tr");
    if (sides) {
      const head = element("th");
      head.scope = "row";
      head.append(link(i, data.unit[i]));
      made.append(head);
      for (const each of names) {
        const one = said(each, i);
        const cell = element("td", one.label ? "" : "quiet");
        cell.append(element("bdi", "", one.label || one.status || "-"));
        made.append(cell);
      }
      return made;
    }
    const one = said(name, i);
    const strip = element("span", "strip");
    for (const number of data.thumbs[i]) {
      const shown = element("img");
      shown.loading = "lazy"; shown.decoding = "async"; shown.alt = "";
      shown.width = 56; shown.height = 56;
      const file = data.pictures[number];
      shown.src = "pictures/" + file + ".jpg";
      strip.append(shown);
    }
    const pictures = element("td"); pictures.append(strip);
    const what = element("td", "what"); what.append(link(i, one.label || "no label"));
    const figure = figures(name)[i];
    const score = element("td", "num", figure === null || figure === undefined ? "-" : String(figure));
    const unit = element("td", "quiet"); unit.append(element("bdi", "", data.unit[i]));
    if (data.class[i] >= 0) {
      const known = element("span", "class-name", "class: ");
      known.append(element("bdi", "", text(data.class[i])));
      unit.append(known);
    }
    const how = element("td");
    how.append(element("span", one.status === "ok" ? "chip" : "chip warn", one.status || "not asked"));
    if (one.clear >= 0) {
      how.append(" ", element("span", one.clear ? "chip" : "chip warn",
                              one.clear ? "interpretable" : "not interpretable"));
    }
    if (one.count > 1) how.append(" ", element("span", "chip", one.count + " concepts"));
    const chosen = element("td", "choose"), box = element("input");
    box.type = "checkbox"; box.ariaLabel = "Compare " + data.unit[i]; box.title = "compare";
    box.checked = picked.has(data.unit[i]);
    box.addEventListener("change", () => pick(data.unit[i], box));
    chosen.append(box);
    made.append(pictures, what, score, unit, how, chosen);
    return made;
  };

  const draw = () => {
    const name = method ? method.value : names[0];
    const part = document.createDocumentFragment();
    const end = Math.min(drawn + (drawn ? page : first), rows.length);
    for (; drawn < end; drawn++) part.append(row(rows[drawn], name));
    body.append(part);
    more.hidden = drawn >= rows.length;
  };

  const refresh = () => {
    const name = method ? method.value : names[0];
    const typed = query.value.toLowerCase();
    const exact = /^\s*"(.*)"\s*$/s.exec(typed);  // in quotes: this very label
    const asked = typed.split(/\s+/).filter((one) => one);
    const where = haystack(sides ? "" : name);
    const of = data.methods[name];
    const meant = exact
      ? (i) => text(of.label[i]).toLowerCase() === exact[1]
      : (i) => asked.every((word) => where[i].includes(word));
    rows = [];
    for (let i = 0; i < count; i++) {
      if (meant(i) && passes(i, name)) rows.push(i);
    }
    if (measure) {
      table.querySelector("button[data-sort=score]").textContent =
        measure.value === "score" ? "Score" : measure.selectedOptions[0].textContent;
    }
    const by = compare(name);
    rows.sort((a, b) => (down ? by(b, a) : by(a, b)) || a - b);
    body.replaceChildren();
    drawn = 0;
    draw();
    found.textContent = rows.length.toLocaleString("en") + " of " + count.toLocaleString("en") + " units";
  };

  // So that a unit's page leads back to the table as it was.
  const keep = () => {
    if (sides) return;
    try { sessionStorage.setItem("dnd-list:" + document.body.dataset.study, location.hash); } catch { /* none */ }
  };

  const mark = () => {
    for (const head of table.querySelectorAll("th[aria-sort]")) head.setAttribute("aria-sort", "none");
    const button = table.querySelector(`button[data-sort="${sort}"]`);
    button.closest("th").setAttribute("aria-sort", down ? "descending" : "ascending");
  };

  const remember = () => {
    const kept = new URLSearchParams();
    if (query.value) kept.set("q", query.value);
    if (method && method.selectedIndex > 0) kept.set("method", method.value);
    if (layer && layer.value) kept.set("layer", layer.value);
    if (state.value) kept.set("show", state.value);
    if (measure && measure.selectedIndex > 0) kept.set("measure", measure.value);
    if (least && least.value !== "") kept.set("least", least.value);
    if (!sides && (sort !== "unit" || down)) kept.set("sort", (down ? "-" : "") + sort);
    history.replaceState(null, "", "#" + kept.toString());
    keep();
  };

  const recall = () => {
    const kept = new URLSearchParams(location.hash.slice(1));
    const choose = (select, value) => {
      if (select && [...select.options].some((one) => one.value === value)) select.value = value;
    };
    query.value = kept.get("q") || "";
    choose(method, kept.get("method") || names[0]);
    choose(layer, kept.get("layer") || "");
    choose(state, kept.get("show") || "");
    choose(measure, kept.get("measure") || "score");
    if (least) least.value = kept.get("least") || "";
    const order = kept.get("sort") || "unit", column = order.replace("-", "");
    if (!sides && table.querySelector(`button[data-sort="${CSS.escape(column)}"]`)) {
      sort = column;
      down = order.startsWith("-");
      mark();
    }
    refresh();
    keep();
  };

  query.addEventListener("input", () => { refresh(); remember(); });
  for (const one of [method, layer, state, measure]) {
    if (one) one.addEventListener("change", () => { refresh(); remember(); });
  }
  if (least) least.addEventListener("input", () => { refresh(); remember(); });
  field("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const button of table.querySelectorAll("button[data-sort]")) {
    button.addEventListener("click", () => {
      const again = sort === button.dataset.sort;
      sort = button.dataset.sort;
      down = again ? !down : sort === "score";
      mark();
      refresh();
      remember();
    });
  }
  more.addEventListener("click", draw);
  new IntersectionObserver((seen) => {
    if (seen.some((one) => one.isIntersecting) && !more.hidden) draw();
  }, { rootMargin: "600px" }).observe(more);
  window.addEventListener("hashchange", recall);
  const move = (by) => {
    const links = [...body.querySelectorAll("td.what a, tbody th a")];
    const now = links.findIndex((one) => one.closest("tr").contains(document.activeElement));
    const next = links[now < 0 ? 0 : now + by];
    if (!next) return;
    next.focus();
    next.closest("tr").scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (/^(select|textarea)$/i.test(at.tagName || "")) return;
    const typing = at.tagName === "INPUT" && at.type !== "checkbox";
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !typing) { event.preventDefault(); query.focus(); }
    else if (event.key === "ArrowDown" && at.type !== "number") { event.preventDefault(); move(1); }
    else if (event.key === "ArrowUp" && !typing) { event.preventDefault(); move(-1); }
    else if (event.key === "c" && !typing) {
      const line = at.closest && at.closest("tbody tr");
      const box = line && line.querySelector("input[type=checkbox]");
      if (box) box.click();
    }
  });
  recall();
})();
