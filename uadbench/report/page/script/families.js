// The best and the median row of each family on each kind of lesion.

function familyCell(cell, best) {
  if (!cell) return el("td", { class: "num" }, "–");
  const [ap, method, median, members] = cell;
  return el("td", { class: "num" },
    el("span", { class: Number(ap) === best ? "best" : null }, ap), ` ${method}`, el("br"),
    el("span", { class: "quiet" }, members > 1 ? `median ${median} of ${members}` : "one row"));
}

function familyTable({ table, kinds, rows }) {
  const best = kinds.map((_, i) => Math.max(...rows.map(([, cells]) => (cells[i] ? Number(cells[i][0]) : -1))));
  const heads = kinds.map(([kind, scans, prevalence]) => el("th", { scope: "col", class: "num" }, kind,
    el("br"), el("span", { class: "quiet" }, `${scans} scans, random ${prevalence}`)));
  return scrolled(`${table} by family`,
    el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "stick" }, "family"), heads)),
    el("tbody", {}, rows.map(([name, cells]) => el("tr", {}, el("th", { scope: "row" }, name),
      cells.map((cell, i) => familyCell(cell, best[i]))))));
}

function families() {
  DATA.families.forEach((comparison, place) => {
    const block = el("article", { class: "block" }, el("h3", {}, comparison.table), familyTable(comparison));
    byId("families-body").append(block);
    listeners.push(() => { block.hidden = !passesTable(DATA.tables[place]); });
  });
}
