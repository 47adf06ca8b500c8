"use strict";
// A unit's page: keys, and the units that answer alike. Text only ever goes in as text.
(() => {
  const go = (selector) => {
    const link = document.querySelector(selector);
    if (link) location.href = link.href;
  };
  const flip = (selector) => {
    const box = document.querySelector(selector);
    if (box) box.click();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (/^(input|select|textarea)$/i.test(event.target.tagName || "") && event.target.type !== "checkbox") return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "ArrowLeft") go("a[rel=prev]");
    else if (event.key === "ArrowRight") go("a[rel=next]");
    else if (event.key === "h") flip(".show-heat");
    else if (event.key === "b") flip(".show-boxes");
    else if (event.key === "u") {
      let kept = "";
      try { kept = sessionStorage.getItem("dnd-list:" + document.body.dataset.study) || ""; } catch { /* none */ }
      location.href = document.body.dataset.root + "index.html" + kept;
    }
  });

  // Browsers download nothing for pages from the disk: a tab of its own shows the file instead.
  const download = document.querySelector("a[download]");
  if (download && location.protocol === "file:") download.target = "_blank";

  const data = window.ATLAS_UNITS, similar = window.ATLAS_SIMILAR;
  const form = document.getElementById("judge"), section = document.getElementById("near");
  if (!data || !similar || !form || !section) return;
  const here = data.unit.indexOf(form.dataset.unit);
  const near = here < 0 ? [] : similar.near[here];
  if (!near) return;
  section.hidden = false;
  document.getElementById("alone").hidden = near.length > 0;
  document.getElementById("beside").hidden = !near.length;
  const element = (tag, kind, content) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (content !== undefined) made.textContent = content;
    return made;
  };
  const main = data.methods[Object.keys(data.methods)[0]];
  const list = section.querySelector("ul");
  const asked = new URLSearchParams([["u", form.dataset.unit]]);
  for (let i = 0; i < near.length; i += 2) {
    const other = near[i];
    if (i < 6) asked.append("u", data.unit[other]);
    const item = element("li", "unit"), link = element("a"), strip = element("span", "strip");
    link.href = data.page[other] + ".html";
    for (const number of data.thumbs[other]) {
      const shown = element("img");
      shown.loading = "lazy"; shown.decoding = "async"; shown.alt = ""; shown.width = 56; shown.height = 56;
      shown.src = "../pictures/" + data.pictures[number] + ".jpg";
      strip.append(shown);
    }
    const name = element("strong");
    name.append(element("bdi", "", main.label[other] < 0 ? "no label" : data.texts[main.label[other]]));
    link.append(strip, name);
    const unit = element("span", "quiet");
    unit.append(element("bdi", "", data.unit[other]), " · " + near[i + 1].toFixed(2));
    item.append(link, unit);
    list.append(item);
  }
  document.getElementById("beside").href = "../compare.html#" + asked.toString();
})();
