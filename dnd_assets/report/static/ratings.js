"use strict";
// Judgements of labels, kept in this browser and exported as a file; nothing is ever sent.
(() => {
  const study = document.body.dataset.study;
  const place = "dnd-ratings:" + study;
  let memory = {};

  const read = () => {
    try {
      const found = JSON.parse(localStorage.getItem(place) || "{}");
      return found && typeof found === "object" ? found : {};
    } catch { return memory; }
  };
  const write = (all) => {
    memory = all;
    try { localStorage.setItem(place, JSON.stringify(all)); return true; } catch { return false; }
  };
  const put = (rating) => {
    const all = read();
    if (rating.verdict || rating.better) all[rating.unit] = rating;
    else delete all[rating.unit];
    return write(all);
  };

  const form = document.getElementById("judge");
  if (form) {
    const { unit, method, label } = form.dataset;
    const better = document.getElementById("better"), kept = document.getElementById("kept");
    const buttons = [...form.querySelectorAll("button[data-verdict]")];
    const mine = () => read()[unit] || {};
    const draw = (saved) => {
      const rating = mine();
      for (const one of buttons) one.setAttribute("aria-pressed", String(one.dataset.verdict === rating.verdict));
      const count = Object.keys(read()).length;
      kept.textContent = saved === false ? "This browser keeps nothing for pages from the disk: export before you leave."
        : count ? count + (count === 1 ? " rating" : " ratings") + " in this browser" : "";
    };
    const save = (changes) => {
      const rating = { unit, method, label, verdict: "", better: "", ...mine(), ...changes };
      draw(put({ ...rating, unit, method, label, at: new Date().toISOString() }));
    };
    for (const one of buttons) {
      one.addEventListener("click", () => {
        save({ verdict: mine().verdict === one.dataset.verdict ? "" : one.dataset.verdict });
      });
    }
    better.value = mine().better || "";
    better.addEventListener("input", () => save({ better: better.value.trim() }));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    draw();
  }

  const table = document.getElementById("rated");
  if (!table) return;
  const told = document.getElementById("told"), button = document.getElementById("export");
  const pages = new Map(window.ATLAS_UNITS.unit.map((unit, i) => [unit, window.ATLAS_UNITS.page[i]]));

  const cell = (text) => {
    const made = document.createElement("td");
    const inner = document.createElement("bdi");
    inner.textContent = text;
    made.append(inner);
    return made;
  };
  const draw = () => {
    const all = Object.values(read());
    table.tBodies[0].replaceChildren(...all.map((rating) => {
      const row = document.createElement("tr"), head = document.createElement("th");
      head.scope = "row";
      const name = document.createElement(pages.has(rating.unit) ? "a" : "bdi");
      if (pages.has(rating.unit)) name.href = "units/" + pages.get(rating.unit) + ".html";
      name.textContent = rating.unit;
      head.append(name);
      const remove = document.createElement("button");
      remove.type = "button"; remove.textContent = "remove"; remove.ariaLabel = "Remove the rating of " + rating.unit;
      remove.addEventListener("click", () => { put({ unit: rating.unit }); draw(); });
      const last = document.createElement("td");
      last.append(remove);
      const verdict = { up: "right", down: "wrong" }[rating.verdict] || "";
      row.append(head, cell(rating.label || "no label"), cell(verdict), cell(rating.better), last);
      return row;
    }));
    button.disabled = !all.length;
    told.textContent = all.length ? all.length + (all.length === 1 ? " rating" : " ratings")
      : "No ratings yet: open a unit and press right or wrong.";
  };
  button.addEventListener("click", () => {
    const file = { format: "dnd-ratings", version: 1, study, ratings: Object.values(read()) };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: "application/json" }));
    link.download = "ratings-" + study.replace(/[^A-Za-z0-9_-]+/g, "-") + ".json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  draw();
})();
