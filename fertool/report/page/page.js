"use strict";
// The page's own behaviour: the theme, the table of conditions, shell lines to copy, details opened for print.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function press(button, group) {
  for (const other of group) other.setAttribute("aria-pressed", String(other === button));
}

function setUpTheme() {
  const order = ["auto", "light", "dark"];
  for (const button of all("button.theme")) {
    button.addEventListener("click", () => {
      const now = document.documentElement.dataset.theme || "auto";
      const next = order[(order.indexOf(now) + 1) % order.length];
      if (next === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      button.textContent = `Theme: ${next}`;
    });
  }
}

// --- the table of conditions ---------------------------------------------------------------------------------

function sortValue(row, column, measure) {
  const cell = row.children[column];
  const raw = cell.dataset[`sort${measure[0].toUpperCase()}${measure.slice(1)}`] ?? cell.dataset.sort;
  return cell.dataset.kind === "text" ? raw : Number.parseFloat(raw);
}

function compare(one, other) {
  if (typeof one === "string") return one.localeCompare(other);
  if (Number.isNaN(one)) return Number.isNaN(other) ? 0 : 1;
  return Number.isNaN(other) ? -1 : one - other;
}

function sortBy(table, column, ascending) {
  const rows = all("tbody tr", table);
  const measure = table.dataset.measure;
  rows.sort((one, other) => {
    const [a, b] = [sortValue(one, column, measure), sortValue(other, column, measure)];
    const missing = [a, b].some((value) => typeof value !== "string" && Number.isNaN(value));
    return missing || ascending ? compare(a, b) : compare(b, a);
  });
  table.tBodies[0].append(...rows);
}

function setUpSorting(table) {
  const headings = all("thead th[aria-sort]", table);
  for (const heading of headings) {
    heading.querySelector("button").addEventListener("click", () => {
      // figures begin with the highest, names with the first
      const first = heading.dataset.kind === "text" ? "ascending" : "descending";
      const second = first === "ascending" ? "descending" : "ascending";
      const next = heading.getAttribute("aria-sort") === first ? second : first;
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", next);
      sortBy(table, heading.cellIndex, next === "ascending");
    });
  }
}

function setUpMeasures(table) {
  const buttons = all("button[data-measure]");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      table.dataset.measure = button.dataset.measure;
      document.body.dataset.measure = button.dataset.measure;
      press(button, buttons);
      const sorted = table.querySelector('th[aria-sort="ascending"], th[aria-sort="descending"]');
      if (sorted) sortBy(table, sorted.cellIndex, sorted.getAttribute("aria-sort") === "ascending");
    });
  }
}

function setUpFilters(table) {
  const filters = all("select[data-filter]");
  const status = document.querySelector(".rows-shown");
  const apply = () => {
    let shown = 0;
    for (const row of all("tbody tr", table)) {
      row.hidden = filters.some((filter) => {
        const { filter: name } = filter.dataset;
        if (filter.value === "") return false;
        return !(row.dataset[name] ?? "").split("|").includes(filter.value);
      });
      shown += row.hidden ? 0 : 1;
    }
    if (status) status.textContent = `${shown} row${shown === 1 ? "" : "s"}`;
  };
  for (const filter of filters) filter.addEventListener("change", apply);
  apply();
}

// --- the gallery ---------------------------------------------------------------------------------------------

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function fillTable(table, caption, names, rows) {
  const [head, body] = [element("thead"), element("tbody")];
  const headings = element("tr");
  headings.append(...["", ...names].map((name) => element("th", name)));
  for (const [name, values] of rows) {
    const row = element("tr");
    const highest = Math.max(...(values ?? []));
    const cells = names.map((_, number) => {
      const value = values?.[number];
      const text = value === undefined ? "-" : `${(100 * value).toFixed(1)}%`;
      return element("td", text, value === highest ? "highest" : "");
    });
    row.append(element("th", name), ...cells);
    body.append(row);
  }
  head.append(headings);
  table.replaceChildren(element("caption", caption), head, body);
}

function enlarge(dialog, data, number) {
  const face = data.faces[number];
  dialog.dataset.face = number;
  dialog.querySelector("h3").textContent = `Face ${face.row}: ${face.label}`;
  const pictures = all(`button.face[data-face="${number}"]`)
    .filter((button) => button.parentElement.checkVisibility())
    .map((button) => {
      const figure = element("figure");
      const column = face.columns[button.dataset.column];
      figure.append(button.querySelector(".picture").cloneNode(true));
      figure.append(element("figcaption", column ? `${column.name}, ${column.detail}` : "the face"));
      return figure;
    });
  dialog.querySelector(".enlarged-pictures").replaceChildren(...pictures);
  const shown = face.columns.filter((_, index) => {
    const cell = document.querySelector(`button.face[data-face="${number}"][data-column="${index}"]`);
    return cell.parentElement.checkVisibility();
  });
  const said = (values) => shown.map((column) => [column.name, column[values]]);
  fillTable(document.getElementById("probabilities"), "Probabilities", data.classes, said("probabilities"));
  fillTable(document.getElementById("face-shares"), "Shares of the heatmap", data.regions, said("shares"));
  if (!dialog.open) dialog.showModal();
}

function setUpEnlarging(gallery) {
  const dialog = document.getElementById("enlarged");
  const data = JSON.parse(document.getElementById("gallery-data").textContent);
  const step = (by) => {
    const visible = all("tbody tr", gallery).filter((row) => !row.hidden)
      .map((row) => Number(row.querySelector("button.face").dataset.face));
    const at = visible.indexOf(Number(dialog.dataset.face));
    enlarge(dialog, data, visible[(at + by + visible.length) % visible.length]);
  };
  for (const button of all("button.face", gallery)) {
    button.addEventListener("click", () => enlarge(dialog, data, Number(button.dataset.face)));
  }
  document.getElementById("previous-face").addEventListener("click", () => step(-1));
  document.getElementById("next-face").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
}

function setUpGallery(gallery) {
  const strength = document.getElementById("heat-strength");
  const show = () => document.documentElement.style.setProperty("--heat-strength", strength.value / 100);
  strength.addEventListener("input", show);
  const outlines = document.getElementById("outlines");
  outlines.addEventListener("click", () => {
    const hidden = document.body.classList.toggle("no-outlines");
    outlines.setAttribute("aria-pressed", String(!hidden));
  });
  const emotion = document.getElementById("gallery-faces");
  emotion.addEventListener("change", () => {
    for (const row of all("tbody tr", gallery)) {
      row.hidden = emotion.value !== "" && row.dataset.emotion !== emotion.value;
    }
  });
  const columns = document.getElementById("gallery-set");
  const choose = () => {
    for (const cell of all("[data-set]", gallery)) cell.hidden = cell.dataset.set !== columns.value;
  };
  if (columns) {
    columns.addEventListener("change", choose);
    choose();
  }
  setUpEnlarging(gallery);
}

// --- everywhere ----------------------------------------------------------------------------------------------

function setUpCopying() {
  for (const button of all("button.copy")) {
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("pre, code").textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(button.parentElement.querySelector("pre, code"));
        button.textContent = "selected";
      }
    });
  }
}

function setUpFolds() {
  // a link to something folded away unfolds it
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", open);
  open();
}

function setUpPrinting() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
}

setUpTheme();
for (const table of all("table.conditions")) {
  setUpSorting(table);
  setUpMeasures(table);
  setUpFilters(table);
}
for (const gallery of all(".gallery")) setUpGallery(gallery);
setUpCopying();
setUpFolds();
setUpPrinting();
