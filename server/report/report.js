"use strict";
// Tooltips, arrow keys and the theme button. Without this script every figure is still there: native tooltips,
// tables under each plot, and the theme of the system.
(() => {
  const tip = document.getElementById("tip");

  const show = (element) => {
    tip.replaceChildren(...element.dataset.tip.split("\n").map((line, i) => {
      const row = document.createElement(i ? "span" : "b");
      row.textContent = line;
      return row;
    }));
    tip.hidden = false;
    const at = element.getBoundingClientRect(), own = tip.getBoundingClientRect(), room = document.documentElement;
    const left = Math.min(Math.max(8, at.left + at.width / 2 - own.width / 2), room.clientWidth - own.width - 8);
    const tall = at.height > 120;  // a slice of a plot: sit inside its upper edge, else above or below
    const above = at.top - own.height - 8;
    const top = tall ? Math.max(8, above) : above > 8 ? above : at.bottom + 8;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${top + scrollY}px`;
  };
  const hide = () => { tip.hidden = true; };

  const arm = (element, text) => {
    element.dataset.tip = text;
    element.addEventListener("pointerenter", () => show(element));
    element.addEventListener("pointerleave", hide);
    element.addEventListener("focus", () => show(element));
    element.addEventListener("blur", hide);
    element.addEventListener("click", () => show(element));
  };
  for (const element of document.querySelectorAll("[title]")) {
    arm(element, element.getAttribute("title"));
    element.removeAttribute("title");
  }
  for (const title of document.querySelectorAll("svg title")) {
    const element = title.parentElement;
    arm(element, title.textContent);
    title.remove();
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // One tab stop for each plot and map; inside, the arrow keys move.
  for (const group of document.querySelectorAll("[data-rove]")) {
    const rows = group.dataset.rove === "grid"
      ? [...group.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("[data-tip]")])
      : [[...group.querySelectorAll("[data-tip]")]];
    const all = rows.flat();
    if (!all.length) continue;
    for (const element of all) {
      element.tabIndex = -1;
      if (group.dataset.rove === "grid") element.setAttribute("aria-label", element.dataset.tip.replaceAll("\n", ", "));
    }
    all[0].tabIndex = 0;
    group.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      const row = rows.findIndex((cells) => cells.includes(event.target));
      if (!step || row < 0 || (rows.length === 1 && step[0])) return;
      const next = rows[row + step[0]]?.[rows[row].indexOf(event.target) + step[1]];
      if (!next) return;
      event.preventDefault();
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }

  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();

  // On paper nothing can be opened; the tables under plots stay shut, they repeat what is drawn.
  const closed = () => document.querySelectorAll("details:not([open]):not(figure details)");
  addEventListener("beforeprint", () => { for (const d of closed()) { d.open = true; d.dataset.printed = ""; } });
  addEventListener("afterprint", () => {
    for (const d of document.querySelectorAll("[data-printed]")) { d.open = false; delete d.dataset.printed; }
  });
})();
