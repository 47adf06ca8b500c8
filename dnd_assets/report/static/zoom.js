"use strict";
// A click on a picture shows it large, with its map and boxes; arrow keys lead to those beside it.
(() => {
  const whole = "main .frame, main .small, main .tile";
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  dialog.setAttribute("aria-label", "A picture, enlarged");
  const stage = document.createElement("div");
  stage.className = "stage";
  const words = document.createElement("p");
  words.className = "words";
  const button = (name, title) => {
    const made = document.createElement("button");
    made.type = "button"; made.className = name; made.textContent = title;
    return made;
  };
  const before = button("before", "←"), after = button("after", "→"), close = button("close", "×");
  before.ariaLabel = "The picture before"; after.ariaLabel = "The next picture"; close.ariaLabel = "Close";
  dialog.append(close, before, stage, after, words);
  document.body.append(dialog);
  let pictures = [], at = 0;

  const pictureOf = (target) => {
    const found = target.closest && target.closest(whole);
    return found && !dialog.contains(found) && found.querySelector("img, image") ? found : null;
  };

  const show = () => {
    const from = pictures[at];
    const image = from.querySelector("img") || from.querySelector("image");
    const width = image.naturalWidth || 1, height = image.naturalHeight || 1;
    const large = from.cloneNode(true);
    large.querySelectorAll("figcaption").forEach((one) => one.remove());
    const crop = from.querySelector("svg image:not([filter])");
    const ratio = crop ? 1 : width / height;
    large.className = "large";
    large.style.setProperty("--ratio", ratio);
    stage.replaceChildren(large);
    const figure = from.closest("figure, li");
    const told = figure && figure.querySelector("figcaption, .said");
    const said = told ? told.cloneNode(true) : null;
    if (said) {
      said.querySelectorAll("label").forEach((one) => one.remove());
      said.querySelectorAll(".file").forEach((one) => one.prepend("  "));
    }
    words.textContent = (said ? said.textContent.replace(/\s+/g, " ").trim() : image.alt || "") +
      "  (" + (at + 1) + " of " + pictures.length + ")";
    before.disabled = at === 0; after.disabled = at === pictures.length - 1;
  };

  const step = (by) => {
    at = Math.min(Math.max(at + by, 0), pictures.length - 1);
    show();
  };

  const open = (from) => {
    const group = from.closest("ol, ul, .paintings, .unit-column") || document;
    pictures = [...group.querySelectorAll(whole)].filter((one) => pictureOf(one));
    at = Math.max(pictures.indexOf(from), 0);
    show();
    dialog.showModal();
  };

  document.addEventListener("click", (event) => {
    const from = pictureOf(event.target);
    if (from && !event.target.closest("a, label, input, button")) open(from);
  });
  for (const one of document.querySelectorAll("main .frame, main .small, main .tile")) {
    if (!pictureOf(one) || one.closest("a")) continue;
    one.tabIndex = 0;
    one.setAttribute("role", "button");
    one.setAttribute("aria-label", "Enlarge: " + ((one.querySelector("img") || {}).alt || "picture"));
  }
  close.addEventListener("click", () => dialog.close());
  before.addEventListener("click", () => step(-1));
  after.addEventListener("click", () => step(1));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.addEventListener("keydown", (event) => {
    if (dialog.open) {
      if (event.key === "ArrowLeft") step(-1);
      else if (event.key === "ArrowRight") step(1);
      else return;
      event.preventDefault();
    } else if ((event.key === "Enter" || event.key === " ") && event.target.matches(whole)) {
      event.preventDefault();
      open(event.target);
    }
  });
})();
