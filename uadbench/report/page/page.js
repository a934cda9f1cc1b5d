"use strict";
// Sorts tables, filters rows and moves pictures. Everything that is shown is in the document already.
const byId = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const say = (text) => { byId("status").textContent = text; };
function el(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// ---- sorting: a new order is a new ranking, where the table ranks at all ----

const blank = (value) => value === "" || value === undefined;

function cellValue(row, index) {
  const cell = row.children[index];
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  return cell.firstChild ? cell.textContent.trim() : "";
}

function sortBy(table, header, index) {
  const kind = header.dataset.sort;
  const first = kind === "down" ? "descending" : "ascending";
  const other = kind === "down" ? "ascending" : "descending";
  const order = header.ariaSort === first ? other : first;
  all("th[aria-sort]", table).forEach((one) => { one.ariaSort = "none"; });
  header.ariaSort = order;
  const sign = order === "descending" ? -1 : 1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [row, kind === "rank" ? Number(row.dataset.order) : cellValue(row, index)]);
  rows.sort(([, a], [, b]) => {
    if (blank(a) || blank(b)) return blank(a) - blank(b);
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  });
  body.append(...rows.map(([row]) => row));
  rerank(rows, kind);
  say(`Sorted by ${header.textContent}, ${order === "descending" ? "highest" : "lowest"} first.`);
}

// By a figure the rows are numbered anew, equal values alike; by rank, name or AP the table's own ranks return.
function rerank(rows, kind) {
  const own = (kind !== "down" && kind !== "up") || rows.every(([row], i) => Number(row.dataset.order) === i);
  rows.forEach(([row, value]) => {
    const cell = row.querySelector(".rank");
    if (!cell || cell.dataset.own === "-") return;
    const better = rows.filter(([, one]) => !blank(one) && one !== value && (kind === "down") === (one > value));
    cell.textContent = own ? cell.dataset.own : blank(value) ? "-" : better.length + 1;
    row.classList.toggle("reordered", !own);
  });
}

function makeSortable(table) {
  [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.order = place; });
  all(".rank", table).forEach((cell) => { cell.dataset.own = cell.textContent; });
  [...table.tHead.rows[0].cells].forEach((header, index) => {
    if (!header.dataset.sort) return;
    const button = el("button", { type: "button", onclick: () => sortBy(table, header, index) });
    button.append(...header.childNodes);
    header.append(button);
    header.ariaSort = "none";
  });
}

// ---- filters: kept in the address, and looked at in every section ----

const KEYS = { family: "family", test: "test set", contrast: "MR contrast", setting: "training setting", preset: "preset" };
const filters = Object.fromEntries(["text", ...Object.keys(KEYS)].map((key) => [key, ""]));
const factOf = (row, key) => row.closest(`[data-${key}]`)?.dataset[key];

function passes(row) {
  const words = filters.text.toLowerCase().split(/\s+/);
  const text = row.dataset.text ?? "";
  if (!words.every((word) => text.includes(word))) return false;
  return Object.keys(KEYS).every((key) => !filters[key] || [undefined, filters[key]].includes(factOf(row, key)));
}

function refilter() {
  const rows = all("[data-row]");
  rows.forEach((row) => row.toggleAttribute("hidden", !passes(row))); // shapes of a chart have no `hidden` of their own
  const active = Object.entries(filters).filter(([, value]) => value);
  const empty = (node) => node.querySelector("[data-row]") && !node.querySelector("[data-row]:not([hidden])");
  all("[data-block]").forEach((block) => { block.hidden = Boolean(active.length) && empty(block); });
  all(".none").forEach((note) => { note.hidden = !active.length || !empty(note.parentElement); });
  byId("filters").open ||= Boolean(active.length);
  const main = all(".board [data-row]");
  const count = main.filter((row) => !row.hidden).length;
  const shown = count ? `${count} of ${main.length} rows shown; ranks are among all rows.` : "No row matches the filters.";
  say(active.length ? shown : "");
  const query = new URLSearchParams(active).toString();
  history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash);
}

function buildFilters() {
  const asked = new URLSearchParams(location.search);
  const form = byId("filters").querySelector("form");
  form.onsubmit = (event) => event.preventDefault();
  const text = el("input", { type: "search", id: "filter-text", oninput: () => { filters.text = text.value.trim(); refilter(); } });
  form.append(el("label", {}, "search", text));
  for (const [key, title] of Object.entries(KEYS)) {
    const values = [...new Set(all(`[data-${key}]`).map((node) => node.dataset[key]))].filter(Boolean).sort();
    if (values.length < 2) continue; // one value is no choice
    const options = ["", ...values].map((value) => el("option", { value, textContent: value || "all" }));
    const choice = el("select", { id: `filter-${key}`, onchange: () => { filters[key] = choice.value; refilter(); } }, ...options);
    form.append(el("label", {}, title, choice));
  }
  form.append(el("button", { type: "button", id: "reset", textContent: "reset", onclick: () => set(new URLSearchParams()) }));
  byId("filters").hidden = false;
  set(asked);
}

function set(asked) {
  for (const key of Object.keys(filters)) {
    const field = byId(`filter-${key}`);
    if (!field) continue;
    field.value = asked.get(key) ?? "";
    filters[key] = field.value || "";
  }
  refilter();
}

// ---- pictures ----

function moveSlices(subject) {
  const labels = subject.dataset.slices.split("|");
  const range = subject.querySelector("input[type=range]");
  range.oninput = () => {
    const place = Number(range.value);
    subject.style.setProperty("--at", `${place / (labels.length - 1) * 100}%`);
    subject.querySelector("output").textContent = labels[place];
    range.setAttribute("aria-valuetext", labels[place]);
  };
}

all("table:not(:has(.heading))").forEach(makeSortable);
all(".subject").forEach(moveSlices);
buildFilters();
