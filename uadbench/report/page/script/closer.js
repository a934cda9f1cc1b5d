// One table of the leaderboard at a time: strata, gaps between groups of people, cost, curves.

let group = DATA.tables[0];
const redraws = [];
const redraw = () => redraws.forEach((draw) => draw());

const chosenRows = () => group.rows.filter((row) => passesRow(row, group));

// A row's method, with what tells it from other rows of the same method.
function named(row) {
  const alone = group.rows.filter((other) => other.method === row.method).length === 1;
  if (alone) return row.method;
  return `${row.method} ${row.variant}${row.train === group.rows[0].train ? "" : ` from ${row.train}`}`;
}

function select(id, label, options, value, onChange) {
  const node = el("select", { id, onchange: () => onChange(node.value) },
    options.map(([name, title]) => el("option", { value: name }, title)));
  node.value = value;
  return el("label", { class: "field" }, label, node);
}

function closer() {
  const groups = el("select", {
    id: "group",
    onchange: () => { group = DATA.tables.find((table) => table.id === groups.value); redraw(); },
  });
  byId("closer-choice").append(el("label", { class: "field" }, "Comparison group", groups));
  listeners.push(() => {
    const offered = DATA.tables.filter(passesTable);
    const choices = offered.length ? offered : DATA.tables;
    groups.replaceChildren(...choices.map((table) => el("option", { value: table.id }, table.title)));
    if (!choices.includes(group)) group = choices[0];
    groups.value = group.id;
    redraw();
  });
  strata(byId("strata-body"));
  gaps(byId("gaps-body"));
  cost(byId("cost-body"));
  curves(byId("curves-body"));
}

const NO_HISTOGRAMS = "Strata are made from the per-subject score histograms; of so many records that takes minutes. " +
  "`uadbench leaderboard --dataset … --format html` makes a page of one test set.";
const GROUPS = ["lesion kind", "lesion size", "lesion volume of the scan", "site", "sex", "age", "contrast"];

// The strata of a row by one thing. Other contrasts of a test set are other tables, and not ranked with it.
function strataOf(row, by) {
  const own = (one) => one[0] === by;
  if (by !== "contrast") return row.strata.filter(own);
  return DATA.tables
    .filter((t) => ["test", "regime", "protocol"].every((key) => t[key] === group[key]))
    .flatMap((t) => t.rows.filter((r) => ["method", "variant", "train"].every((key) => r[key] === row[key])))
    .flatMap((r) => r.strata.filter(own));
}

function strata(body) {
  const state = { measure: "recall", by: "lesion kind" };
  const change = (key) => (value) => { state[key] = value; draw(); };
  const output = el("div");
  body.append(el("div", { class: "controls" },
    select("strata-measure", "Measure", Object.entries(DATA.measures), state.measure, change("measure")),
    select("strata-by", "By", GROUPS.map((name) => [name, name]), state.by, change("by"))), output);

  const figure = (row, name) => (strataOf(row, state.by).find((one) => one[1] === name) || [])[4]?.[state.measure];
  function column([, name, lesionScans, healthyScans]) {
    return {
      title: `${name} (${state.measure === "fpr" ? healthyScans : lesionScans})`,
      number: true,
      down: true,
      value: (row) => figure(row, name)?.[1],
      cell: (row) => withInterval(figure(row, name)?.[0]),
    };
  }
  function draw() {
    output.replaceChildren();
    const rows = chosenRows();
    const all = rows.flatMap((row) => strataOf(row, state.by)).filter((one) => one[4][state.measure]);
    const distinctNames = [...new Map(all.map((one) => [one[1], one])).values()];
    if (!distinctNames.length) {
      output.append(quiet(DATA.resamples ? "None of these rows has this measure in these groups." : NO_HISTOGRAMS));
      return;
    }
    const columns = [{ title: "method", row: true, value: named, cell: named }, ...distinctNames.map(column)];
    const table = sortable(columns, rows, `${DATA.measures[state.measure]} by ${state.by}`);
    table.node.classList.add("always");
    output.append(table.node, quiet(
      `In brackets the number of scans${state.by === "lesion size" ? " with lesions of that size" : ""}. ` +
      `At the threshold frozen at ${rows[0].point}; 95 % intervals over subjects and seeds; ${DATA.few_note}`));
  }
  redraws.push(draw);
}

function gaps(body) {
  const state = { by: DATA.people[0] };
  const output = el("div");
  body.append(el("div", { class: "controls" }, select("gaps-by", "Between", DATA.people.map((name) => [name, name]),
    state.by, (value) => { state.by = value; draw(); })), output);
  function column([measure, title]) {
    const gap = (row) => row.gaps.find((one) => one[0] === state.by && one[1] === measure);
    return {
      title,
      number: true,
      down: true,
      value: (row) => gap(row)?.[5],
      cell: (row) => {
        const found = gap(row);
        return found ? [withInterval(found[4]), el("span", { class: "ci" }, `${found[2]} to ${found[3]}`)] : "";
      },
    };
  }
  function draw() {
    output.replaceChildren();
    const rows = chosenRows().filter((row) => row.gaps.some((one) => one[0] === state.by));
    const measured = Object.entries(DATA.measures).filter(([measure]) =>
      rows.some((row) => row.gaps.some((one) => one[0] === state.by && one[1] === measure)));
    if (!rows.length) {
      output.append(quiet(DATA.resamples ? "There are not two groups to compare." : NO_HISTOGRAMS));
      return;
    }
    const columns = [{ title: "method", row: true, value: named, cell: named },
      ...measured.map(column)];
    const table = sortable(columns, rows, `Widest gap between groups by ${state.by}`);
    table.node.classList.add("always");
    output.append(table.node, quiet(`${DATA.gap_note} ${DATA.few_note}`));
  }
  redraws.push(draw);
}
