// The leaderboard's tables.

const rankOf = (table) => new Map(table.rows.map((row, place) => [row, place]));

function costColumns() {
  return Object.entries(DATA.costs).map(([key, { title, meaning }]) => ({
    title, meaning, number: true, value: (row) => row.cost[key][1], cell: (row) => row.cost[key][0],
  }));
}

function figureColumn(table, name, place) {
  const best = Math.max(...table.rows.map((row) => row.cells[place][1] ?? -Infinity));
  const { title, meaning } = DATA.columns[name];
  return {
    title: name === `ap_${table.headline}` ? `${title} ←` : title,
    meaning,
    number: true,
    down: true,
    value: (row) => row.cells[place][1],
    cell: (row) => {
      const [printed, value, low, high] = row.cells[place];
      const number = el("span", { class: value !== null && value === best ? "best" : null }, printed);
      if (low === undefined) return number;
      return [number, el("span", { class: "ci" }, `${low}-${high}`, row.few ? "*" : "")];
    },
  };
}

function tableColumns(table) {
  const rank = rankOf(table);
  const text = (title, value, className) => ({ title, value, cell: value, className });
  const columns = [
    { title: "#", meaning: "rank; = shared, - not ranked, in brackets the ranks of 95 % of resamples",
      value: (row) => rank.get(row), cell: (row) => row.rank },
    { title: "method", row: true, value: (row) => row.method,
      cell: (row, line) => [
        opener(row, line, table, columns.length),
        el("span", { class: "under", "aria-hidden": "true" }, row.variant)] },
    text("family", family, "fact"),
    text("variant", (row) => row.variant, "fact mono"),
    text("grid", (row) => row.grid, "fact mono"),
    text("trained on", (row) => row.train, "fact"),
    { ...text("seeds", (row) => row.seeds.length, "fact"), number: true, down: true },
    { ...text("n (excluded)", (row) => row.scored, "fact"), number: true, down: true,
      cell: (row) => `${row.scored} (${row.excluded})` },
    { title: table.spread, meaning: "bootstrap interval over subjects and seeds; * from few subjects",
      number: true, down: true, value: (row) => (row.spread ? parseFloat(row.spread) : null),
      cell: (row) => row.spread },
    ...table.columns.map((name, place) => figureColumn(table, name, place)),
    ...costColumns().map((column) => ({ ...column, className: "cost" })),
  ];
  return columns;
}

// The button that opens a row's protocol and provenance, which are built when they are first asked for.
function opener(row, line, table, width) {
  const id = fresh();
  const button = el("button", {
    "type": "button", "class": "opener", "aria-expanded": "false", "aria-controls": id,
    "title": "protocol and provenance of this row",
    "onclick": () => {
      if (!line.details) {
        line.details = el("tr", { class: "details", id }, el("td", { colspan: width }, details(row, table)));
        line.row.after(line.details);
      }
      line.open = !line.open;
      button.setAttribute("aria-expanded", String(line.open));
      line.details.hidden = !line.open;
    },
  }, row.method);
  return button;
}

function leaderboards() {
  for (const table of DATA.tables) {
    const made = sortable(tableColumns(table), table.rows, table.title, { sorted: 0 });
    const block = el("article", { class: "block", "aria-labelledby": `${table.id}-title` },
      el("h3", { id: `${table.id}-title` }, table.title),
      table.dataset ? el("p", { class: "quiet" }, table.dataset) : null,
      el("ul", { class: "notes" }, table.notes.map((note) => el("li", {}, prose(note)))),
      made.node);
    byId("tables-body").append(block);
    listeners.push(() => {
      const here = passesTable(table);
      for (const line of made.lines) {
        line.row.hidden = !(here && passesRow(line.item, table));
        if (line.details) line.details.hidden = line.row.hidden || !line.open;
      }
      block.hidden = made.lines.every((line) => line.row.hidden);
    });
  }
}
