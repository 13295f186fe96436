// The table of the images: headings sort it, names open an image.

import { byId, count, make, mark, percent } from "./dom.js";

const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
let sort = { key: "", descending: false };

/** Connect the headings and the arrow keys, once; `changed()` is called when the order changes. */
export function prepareTable(changed) {
  for (const heading of document.querySelectorAll("[data-sort]")) {
    heading.addEventListener("click", () => {
      const { sort: key } = heading.dataset;
      // The most probable images first.
      const descending = sort.key === key ? !sort.descending : key === "probability";
      sort = { key, descending };
      document.querySelector("[aria-sort]")?.removeAttribute("aria-sort");
      heading.closest("th").ariaSort = descending ? "descending" : "ascending";
      changed();
    });
  }
  byId("rows").addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    const names = [...byId("rows").querySelectorAll("button")];
    const next = names[names.indexOf(event.target) + by];
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.click();
  });
}

/** Rows in the chosen order; those without a value come last. */
export function sorted(rows) {
  if (!sort.key) return rows;
  const sign = sort.descending ? -1 : 1;
  return rows.toSorted((first, second) => {
    const [a, b] = [value(first), value(second)];
    if (a === b) return 0;
    if (a === undefined) return 1;
    if (b === undefined) return -1;
    return sign * (typeof a === "number" ? a - b : COLLATOR.compare(a, b));
  });
}

/** Show the rows; `open(row)` is called when a name is chosen. */
export function showTable(rows, current, open) {
  const focused = document.activeElement?.closest("#rows button")?.dataset.id;
  byId("rows").replaceChildren(...rows.map((row) => line(row, row === current, open)));
  if (focused) byId("rows").querySelector(`[data-id="${focused}"]`)?.focus();
}

/** The error or the number of warnings of an image. */
export function notes({ prediction, error }) {
  if (error) return error.message;
  return prediction?.warnings?.length ? count(prediction.warnings.length, "warning") : "";
}

function value({ name, prediction }) {
  return { file: name, label: prediction?.label, probability: prediction?.probability }[sort.key];
}

function line(row, current, open) {
  const name = make("button", { type: "button", className: "name", title: row.name }, row.name);
  name.dataset.id = row.id;
  if (current) name.ariaCurrent = "true";
  // The whole row is a target for the mouse; the keyboard uses the name.
  return make("tr", { className: current ? "current" : "", onclick: () => open(row) },
    make("th", { scope: "row" }, name, make("span", { className: "notes" }, notes(row))),
    ...predicted(row));
}

function predicted({ prediction, error }) {
  if (!prediction) {
    const text = error ? "no prediction" : "waiting";
    return [make("td", { className: "soft" }, text), make("td", { className: "number" })];
  }
  return [
    make("td", { className: "predicted" }, mark(prediction.label), prediction.label),
    make("td", { className: "number" }, percent(prediction.probability)),
  ];
}
