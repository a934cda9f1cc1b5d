// Search and filters: listeners are told when what passes has changed.

const rowsOf = DATA.tables.flatMap((table) => table.rows.map((row) => ({ table, row })));
const family = (row) => (DATA.methods[row.method] || {}).family || "unknown";
const filters = { text: "", family: "", regime: "", contrast: "", test: "", preset: "" };
const listeners = [];

const hasWords = (text) =>
  filters.text.toLowerCase().split(/\s+/).every((word) => text.toLowerCase().includes(word));

const passesTable = (table) =>
  ["regime", "contrast", "test"].every((key) => !filters[key] || table[key] === filters[key]);

function passesRow(row, table) {
  if (filters.family && family(row) !== filters.family) return false;
  if (filters.preset && row.preset !== filters.preset) return false;
  const card = DATA.methods[row.method] || {};
  return !filters.text
    || hasWords([row.method, row.variant, row.train, card.title, card.family, card.paper, table.title].join(" "));
}

function choice(label, key, values) {
  const node = el("select", {
    id: `filter-${key}`,
    onchange: () => { filters[key] = node.value; refilter(); },
  }, el("option", { value: "" }, "all"), [...new Set(values)].sort().map((value) => el("option", { value }, value)));
  return el("label", { class: "field" }, label, node);
}

function check(label, id, onChange, checked) {
  const box = el("input", { type: "checkbox", id, checked, onchange: () => onChange(box.checked) });
  return el("label", { class: "check" }, box, label);
}

function buildFilters() {
  const form = byId("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  const text = el("input", {
    type: "search", id: "filter-text", placeholder: "method, paper, cohort …",
    oninput: () => { filters.text = text.value.trim(); refilter(); },
  });
  const reset = el("button", {
    type: "button", class: "plain", id: "reset",
    onclick: () => {
      for (const key of Object.keys(filters)) {
        filters[key] = "";
        byId(`filter-${key}`).value = "";
      }
      refilter();
    },
  }, "Reset");
  const toggle = (name) => (on) => document.body.classList.toggle(name, on);
  form.append(
    el("label", { class: "field wide" }, "Search", text),
    choice("Family", "family", rowsOf.map(({ row }) => family(row))),
    choice("Regime", "regime", DATA.tables.map((table) => table.regime)),
    choice("Contrast", "contrast", DATA.tables.map((table) => table.contrast)),
    choice("Test set", "test", DATA.tables.map((table) => table.test)),
    choice("Preset", "preset", rowsOf.map(({ row }) => row.preset)),
    check("Intervals", "toggle-intervals", toggle("show-intervals")),
    check("Costs", "toggle-costs", toggle("show-costs")),
    reset);
}

function refilter() {
  listeners.forEach((listener) => listener());
  const visible = rowsOf.filter(({ table, row }) => passesTable(table) && passesRow(row, table)).length;
  byId("status").textContent = `${visible} of ${rowsOf.length} rows shown.` +
    (visible < rowsOf.length ? " Ranks are those among all rows of a table." : "");
}
