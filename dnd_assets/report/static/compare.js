"use strict";
// Two to four units side by side, named by the address. Text only ever goes in as text.
(() => {
  const data = window.ATLAS_UNITS, shots = window.ATLAS_EXEMPLARS;
  const place = document.getElementById("compared");
  if (!data || !shots || !place) return;
  const most = 4, hits = document.getElementById("hits"), query = document.getElementById("query");
  const found = document.getElementById("found");
  const names = Object.keys(data.methods);
  const at = new Map(data.unit.map((unit, i) => [unit, i]));
  const text = (number) => (number < 0 ? "" : data.texts[number]);
  const number = (value) => (value === null || value === undefined ? "-" : String(value));
  const element = (tag, kind, content) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (content !== undefined) made.textContent = content;
    return made;
  };
  const asked = () => new URLSearchParams(location.hash.slice(1)).getAll("u");
  const ask = (units) => {
    location.hash = new URLSearchParams(units.map((one) => ["u", one])).toString();
  };
  const words = data.unit.map((unit, i) => (unit + " " + text(data.class[i]) + " " +
    names.map((one) => text(data.methods[one].label[i])).join(" ")).toLowerCase());

  const row = (table, name, value) => {
    const line = element("tr"), head = element("th", "", name), cell = element("td");
    head.scope = "row";
    cell.append(element("bdi", "", value));
    line.append(head, cell);
    table.append(line);
  };

  const column = (i, shared) => {
    const made = element("section", "unit-column");
    const title = element("h2"), link = element("a");
    link.href = "units/" + data.page[i] + ".html";
    link.append(element("bdi", "", text(data.methods[names[0]].label[i]) || "no label"));
    title.append(link);
    const key = element("p", "quiet");
    key.append(element("bdi", "", data.unit[i]));
    const gone = element("button", "drop", "remove");
    gone.type = "button"; gone.ariaLabel = "Remove " + data.unit[i];
    gone.addEventListener("click", () => ask(asked().filter((one) => one !== data.unit[i])));
    key.append(" ", gone);
    const table = element("table"), body = element("tbody");
    if (text(data.class[i])) row(body, "class", text(data.class[i]));
    if (data.sure[i] !== null) row(body, "confidence", number(data.sure[i]));
    for (const name of names) {
      const of = data.methods[name];
      const score = of.score[i] === null ? "" : " (" + of.score[i] + ")";
      if (of.status[i] >= 0) row(body, name.replace(/_?labels$/, "").replaceAll("_", "-") || "dnd",
        (text(of.label[i]) || text(of.status[i])) + score);
    }
    for (const [name, values] of Object.entries(data.metrics[names[0]] || {})) {
      row(body, name, number(values[i]));
    }
    table.append(body);
    const list = element("ol", "shots");
    shots.images[i].forEach((picture, place) => {
      if (picture < 0) return;
      const item = element("li"), figure = element("figure"), frame = element("div", "frame");
      const image = element("img");
      image.loading = "lazy"; image.decoding = "async";
      image.alt = "Exemplar " + (place + 1) + " of " + data.unit[i];
      image.src = "pictures/" + shots.pictures[picture] + ".jpg";
      frame.append(image);
      const told = element("figcaption");
      told.append(element("span", "value", number(shots.values[i][place])));
      if (shared.has(picture)) told.append(" ", element("span", "chip", "shared"));
      figure.append(frame, told);
      item.append(figure);
      list.append(item);
    });
    made.append(title, key, table, list);
    return made;
  };

  const draw = () => {
    const all = [...new Set(asked())], known = all.filter((one) => at.has(one)).slice(0, most);
    const seen = new Map();
    for (const unit of known) {
      for (const picture of new Set(shots.images[at.get(unit)])) seen.set(picture, (seen.get(picture) || 0) + 1);
    }
    const shared = new Set([...seen].filter((pair) => pair[1] > 1).map((pair) => pair[0]));
    place.replaceChildren(...known.map((unit) => column(at.get(unit), shared)));
    place.style.setProperty("--columns", Math.max(known.length, 1));
    const lost = all.filter((one) => !at.has(one));
    const count = [...shared].filter((one) => one >= 0).length;
    found.textContent = lost.length ? "Not in this atlas: " + lost.join(", ")
      : all.length > most ? "Only the first four of " + all.length + " units are shown."
      : known.length < 2 ? "Add " + (known.length ? "another unit" : "two units") + " to compare."
      : count + (count === 1 ? " exemplar is" : " exemplars are") + " shared by units here.";
  };

  const search = () => {
    const wanted = query.value.toLowerCase().split(/\s+/).filter((one) => one);
    const some = [], whole = query.value.trim().toLowerCase();
    for (let i = 0; wanted.length && i < words.length; i++) {
      if (wanted.every((one) => words[i].includes(one))) some.push(i);
    }
    // Units that are called what was typed come before those whose other words hold it.
    const called = (i) => (text(data.methods[names[0]].label[i]).toLowerCase() === whole ? 0 : 1);
    some.sort((a, b) => called(a) - called(b) || a - b).splice(8);
    hits.replaceChildren(...some.map((i) => {
      const item = element("li"), button = element("button");
      button.type = "button";
      button.append(element("bdi", "", text(data.methods[names[0]].label[i]) || "no label"), " ",
        element("span", "quiet", data.unit[i]));
      button.addEventListener("click", () => {
        ask([...asked().filter((one) => one !== data.unit[i]).slice(0, most - 1), data.unit[i]]);
        query.value = "";
        search();
        query.focus();
      });
      item.append(button);
      return item;
    }));
  };
  query.addEventListener("input", search);
  document.getElementById("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const first = hits.querySelector("button");
    if (first) first.click();
  });
  window.addEventListener("hashchange", draw);
  document.addEventListener("keydown", (event) => {
    const typing = /^(input|select|textarea)$/i.test(event.target.tagName || "");
    if (event.key === "/" && !typing) { event.preventDefault(); query.focus(); }
  });
  draw();
})();
