// Tables that sort by any column.
// A column: {title, meaning, number, down, row, className, value(item), cell(item, line)}.

const isBlank = (value) => value === null || value === undefined || value === "";
const classes = (...names) => names.filter(Boolean).join(" ") || null;

// Which of two lines comes first: blanks last, equal ones as they were given.
function ordered(value, down) {
  return (a, b) => {
    const [x, y] = [value(a.item), value(b.item)];
    if (isBlank(x) || isBlank(y)) return isBlank(x) - isBlank(y) || a.order - b.order;
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return (down ? -order : order) || a.order - b.order;
  };
}

function lineOf(columns, item, order) {
  const line = { item, order, row: el("tr"), details: null, open: false };
  for (const column of columns) {
    const attributes = { class: classes(column.number && "num", column.className) };
    if (column.row) attributes.scope = "row";
    line.row.append(el(column.row ? "th" : "td", attributes, column.cell(item, line)));
  }
  return line;
}

// Returns the node and its lines; `sorted`: the column by which the items come sorted.
function sortable(columns, items, caption, { sorted = -1 } = {}) {
  const body = el("tbody");
  const lines = items.map((item, order) => lineOf(columns, item, order));
  const headers = columns.map((column, index) => el("th", {
    "scope": "col",
    "class": classes(column.number && "num", column.className, column.row && "stick"),
    "aria-sort": index === sorted ? "ascending" : "none",
  }, el("button", { type: "button", title: column.meaning, onclick: () => sort(index) }, column.title)));
  let state = { index: -1, down: false };

  function place() {
    body.append(...lines.flatMap((line) => (line.details ? [line.row, line.details] : [line.row])));
  }
  function sort(index) {
    const column = columns[index];
    state = { index, down: state.index === index ? !state.down : Boolean(column.down) };
    lines.sort(ordered(column.value, state.down));
    place();
    const direction = state.down ? "descending" : "ascending";
    headers.forEach((header, i) => header.setAttribute("aria-sort", i === index ? direction : "none"));
    byId("status").textContent = `Sorted by ${column.title}, ${state.down ? "highest" : "lowest"} first.`;
  }
  place();
  return { node: scrolled(caption, el("thead", {}, el("tr", {}, headers)), body), lines };
}
