"use strict";
// Everything is built from the JSON block. Text reaches the document through textContent only.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http:" + "//www.w3.org/2000/svg"; // the name of a format, not an address that is loaded

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== "")
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

let numbered = 0;
const fresh = () => `n${numbered++}`;
const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
const prose = (text) => text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
const shown = (value) => (value === null || value === undefined ? "" : String(value));

// ---- costs ------------------------------------------------------------------------------------

const COSTS = {
  fit: ["training s", "seconds of training, mean over seeds"],
  score: ["scoring s/scan", "seconds of scoring per scan"],
  memory: ["memory MB", "peak memory of training and scoring"],
  parameters: ["parameters", "weights of the model"],
};
function costText(value) {
  if (value === null || value === undefined) return "";
  return value >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

// ---- filters ----------------------------------------------------------------------------------

const rowsOf = DATA.tables.flatMap((table) => table.rows.map((row) => ({ table, row })));
const family = (row) => (DATA.methods[row.method] || {}).family || "unknown";
const filters = { text: "", family: "", regime: "", contrast: "", test: "", preset: "" };
const listeners = [];

function passesTable(table) {
  return ["regime", "contrast", "test"].every((key) => !filters[key] || table[key] === filters[key]);
}
function passesRow(row, table) {
  if (filters.family && family(row) !== filters.family) return false;
  if (filters.preset && row.preset !== filters.preset) return false;
  if (!filters.text) return true;
  const card = DATA.methods[row.method] || {};
  const text = [row.method, row.variant, row.train, card.title, card.family, card.paper, table.title].join(" ");
  return filters.text.toLowerCase().split(/\s+/).every((word) => text.toLowerCase().includes(word));
}

function choice(label, key, values) {
  const select = el("select", {
    id: `filter-${key}`,
    onchange: () => { filters[key] = select.value; refilter(); },
  }, el("option", { value: "" }, "all"), values.map((value) => el("option", { value }, value)));
  return el("label", { class: "field" }, label, select);
}
function check(label, id, onChange, checked) {
  const box = el("input", { type: "checkbox", id, checked, onchange: () => onChange(box.checked) });
  return el("label", { class: "check" }, box, label);
}
const distinct = (values) => [...new Set(values)].sort();

function buildFilters() {
  const form = byId("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  const text = el("input", {
    type: "search", id: "filter-text", placeholder: "method, paper, cohort …",
    oninput: () => { filters.text = text.value.trim(); refilter(); },
  });
  form.append(
    el("label", { class: "field wide" }, "Search", text),
    choice("Family", "family", distinct(rowsOf.map(({ row }) => family(row)))),
    choice("Regime", "regime", distinct(DATA.tables.map((table) => table.regime))),
    choice("Contrast", "contrast", distinct(DATA.tables.map((table) => table.contrast))),
    choice("Test set", "test", distinct(DATA.tables.map((table) => table.test))),
    choice("Preset", "preset", distinct(rowsOf.map(({ row }) => row.preset))),
    check("Intervals", "toggle-intervals", (on) => document.body.classList.toggle("show-intervals", on)),
    check("Costs", "toggle-costs", (on) => document.body.classList.toggle("show-costs", on)),
    el("button", {
      type: "button", class: "plain", id: "reset",
      onclick: () => {
        Object.keys(filters).forEach((key) => { filters[key] = ""; byId(`filter-${key}`).value = ""; });
        refilter();
      },
    }, "Reset"),
  );
}
function refilter() {
  listeners.forEach((listener) => listener());
  const visible = rowsOf.filter(({ table, row }) => passesTable(table) && passesRow(row, table)).length;
  byId("status").textContent = `${visible} of ${rowsOf.length} rows shown. ` +
    (visible < rowsOf.length ? "Ranks are those among all rows of a table." : "");
}

// ---- sortable tables --------------------------------------------------------------------------

// columns: {title, meaning, number, className, value(item), cell(item)}; items keep their order where equal.
function sortable(columns, items, caption, options = {}) {
  const body = el("tbody");
  const headers = columns.map((column, index) => {
    const button = el("button", { type: "button", title: column.meaning, onclick: () => sort(index) }, column.title);
    const classes = [column.number ? "num" : "", (column.className || "").replace("mono", ""), column.row ? "stick" : ""].join(" ").trim();
    return el("th", { scope: "col", class: classes, "aria-sort": "none" }, button);
  });
  const lines = items.map((item, order) => {
    const line = { item, order, row: el("tr"), details: null };
    columns.forEach((column) => {
      const classes = [column.number ? "num" : "", column.className || ""].join(" ").trim();
      const content = column.cell(item, line);
      line.row.append(column.row ? el("th", { scope: "row", class: classes }, content)
        : el("td", { class: classes }, content));
    });
    return line;
  });
  const place = () => lines.forEach((line) => { body.append(line.row); if (line.details) body.append(line.details); });
  place();
  let sorted = { index: -1, down: false };
  function sort(index) {
    const column = columns[index];
    const down = sorted.index === index ? !sorted.down : Boolean(column.down);
    sorted = { index, down };
    const value = (line) => column.value(line.item);
    const blank = (v) => v === null || v === undefined || v === "";
    lines.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (blank(x) || blank(y)) return blank(x) - blank(y) || a.order - b.order;
      const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
      return (down ? -order : order) || a.order - b.order;
    });
    place();
    headers.forEach((header, i) =>
      header.setAttribute("aria-sort", i === index ? (down ? "descending" : "ascending") : "none"));
    byId("status").textContent = `Sorted by ${column.title}, ${down ? "highest" : "lowest"} first.`;
  }
  if (options.sorted !== undefined) headers[options.sorted].setAttribute("aria-sort", "ascending");
  const table = el("table", {}, el("caption", { hidden: true }, caption),
    el("thead", {}, el("tr", {}, headers)), body);
  const node = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
  return { node, lines, width: columns.length };
}

// ---- the tables -------------------------------------------------------------------------------

function leaderboards() {
  for (const table of DATA.tables) {
    const made = sortable(tableColumns(table), table.rows, table.title, { sorted: 0 });
    const block = el("article", { class: "block", "aria-labelledby": `${table.id}-title` },
      el("h3", { id: `${table.id}-title` }, table.title),
      table.dataset ? el("p", { class: "quiet" }, table.dataset) : null,
      el("ul", { class: "notes" }, table.notes.map((note) => el("li", {}, prose(note)))), made.node);
    byId("tables-body").append(block);
    listeners.push(() => {
      let any = false;
      const here = passesTable(table);
      for (const line of made.lines) {
        const visible = here && passesRow(line.item, table);
        line.row.hidden = !visible;
        if (line.details) line.details.hidden = !visible || !line.open;
        any = any || visible;
      }
      block.hidden = !any;
    });
  }
}

function tableColumns(table) {
  const order = new Map(table.rows.map((row, place) => [row, place]));
  const bests = table.columns.map((_, i) => Math.max(...table.rows.map((row) => row.cells[i][1] ?? -Infinity)));
  const text = (title, value, more) => ({ title, value, cell: value, ...more });
  const width = 7 + table.columns.length + Object.keys(COSTS).length;
  return [
    { title: "#", meaning: "rank; = shared, in brackets the ranks of 95 % of resamples", value: (row) => order.get(row),
      cell: (row) => row.rank },
    { title: "method", value: (row) => row.method, row: true, 
      cell: (row, line) => [opener(row, line, table, width), el("span", { class: "under", "aria-hidden": "true" }, row.variant)] },
    text("family", family, { className: "fact" }),
    text("variant", (row) => row.variant, { className: "fact mono" }),
    text("trained on", (row) => row.train, { className: "fact" }),
    { title: "seeds", className: "fact", number: true, down: true, value: (row) => row.seeds.length, cell: (row) => row.seeds.length },
    { title: table.spread, meaning: "bootstrap interval over persons and seeds; * from few persons", number: true,
      down: true, value: (row) => (row.spread ? parseFloat(row.spread) : null), cell: (row) => row.spread },
    ...table.columns.map((name, i) => ({
      title: DATA.columns[name].title, meaning: DATA.columns[name].meaning, number: true, down: true,
      value: (row) => row.cells[i][1],
      cell: (row) => {
        const [printed, value, low, high] = row.cells[i];
        const number = el("span", { class: value !== null && value === bests[i] ? "best" : null }, printed);
        return low === undefined ? number : [number, el("span", { class: "ci" }, `${low}-${high}`, row.few ? "*" : "")];
      },
    })),
    ...Object.entries(COSTS).map(([key, [title, meaning]]) => ({
      title, meaning, number: true, className: "cost", value: (row) => row.cost[key],
      cell: (row) => costText(row.cost[key]),
    })),
  ];
}

function opener(row, line, table, width) {
  const id = fresh();
  const button = el("button", {
    type: "button", class: "opener", "aria-expanded": "false", "aria-controls": id,
    title: "protocol and provenance of this row",
    onclick: () => {
      if (!line.details) {
        line.details = el("tr", { class: "details", id }, el("td", { colspan: width }, details(row, table)));
        line.row.after(line.details);
      }
      line.open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(line.open));
      line.details.hidden = !line.open;
    },
  }, row.method);
  return button;
}

const list = (pairs) => el("dl", {}, pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
  .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
const said = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : shown(value));

function link(text) {
  return /^https:\/\/[^\s]+$/.test(text) ? el("a", { href: text, rel: "noopener noreferrer" }, text) : text;
}

function details(row, table) {
  const card = DATA.methods[row.method] || {};
  const [first] = row.details;
  const settings = Object.entries(first.parameters).map(([name, value]) => [name, said(value)]);
  const splits = Object.entries(first.splits).map(([name, facts]) =>
    [name, [`${facts.subjects} scans of ${facts.persons} persons, `, el("span", { class: "mono" }, facts.hash)]]);
  const part = (title, ...content) => el("div", {}, el("h4", {}, title), ...content);
  const seconds = (timing) => Object.entries(timing).map(([stage, value]) => `${stage} ${costText(value)} s`).join(", ");
  return el("div", { class: "sheet" },
    part("Method", el("p", {}, card.title || row.method), card.summary ? el("p", { class: "quiet" }, card.summary) : null,
      list([["paper", card.paper], ["link", card.link ? link(card.link) : ""], ["family", family(row)]]),
      card.differences && card.differences.length
        ? [el("p", { class: "quiet" }, "Differences from the paper:"),
          el("ul", {}, card.differences.map((line) => el("li", {}, line)))] : null),
    part("Protocol", list([
      ["protocol", table.protocol], ["regime", table.regime], ["trained on", `${row.train} ${first.train_contrasts.join(", ")}`],
      ["tested on", `${table.test} ${table.contrast}`], ["scan score", first.scan_rule],
      ["precision", first.precision], ["limit", first.limit === null ? "" : `${first.limit} persons per partition`],
      ["p against the rank above", row.p === null ? "" : row.p.toPrecision(3)],
      ["AP left open by bins", first.ap_error],
      ["split rule", first.split.asked], ["preparation", Object.keys(first.preparation).length ? said(first.preparation) : ""],
    ]), el("h4", {}, "Frozen thresholds"), thresholds(first)),
    part("Options", list(settings), el("h4", {}, "Restoration"), Object.keys(first.restoration).length
      ? list(Object.entries(first.restoration)) : el("p", { class: "quiet" }, "The method emits no pseudo-healthy image.")),
    part("Splits", list(splits), el("h4", {}, `Left out: ${first.excluded_count}`),
      first.excluded.length ? el("ul", {}, first.excluded.map((line) => el("li", {}, line)),
        first.excluded_count > first.excluded.length
          ? el("li", {}, `and ${first.excluded_count - first.excluded.length} more, in the record`) : null) : null),
    part("Runs", row.details.map((run) => list([
      ["seed", run.seed], ["record", el("span", { class: "mono" }, run.record)],
      ["code", [el("span", { class: "mono" }, shown(run.code.commit)), run.code.changed ? " (with changes)" : ""]],
      ["time", seconds(run.timing)], ["parameters", run.n_parameters.toLocaleString("en")],
      ["hardware", Object.values(run.hardware).join(", ")],
    ])), list([["packages", Object.entries(first.packages).map((pair) => pair.join(" ")).join(", ")],
      ...Object.entries(first.hashes).map(([name, hash]) => [`${name} hash`, el("span", { class: "mono" }, hash)])])));
}

function thresholds(run) {
  const names = [["threshold", "at"], ["dsc", "DSC"], ["dsc_mean", "mean DSC"], ["fpr_healthy_test", "FPR healthy"],
    ["fpr_lesion_test", "FPR lesion scans"], ["ceiling", "DSC ceiling"]];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Frozen thresholds" }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "rule"), names.map(([, title]) => el("th", { scope: "col", class: "num" }, title)))),
    el("tbody", {}, Object.entries(run.points).map(([point, facts]) => el("tr", {}, el("th", { scope: "row" }, point),
      names.map(([key]) => el("td", { class: "num" }, facts[key])))))));
}

// ---- families ---------------------------------------------------------------------------------

function families() {
  const tables = new Map(DATA.tables.map((table) => [table.title + table.split, table]));
  DATA.families.forEach((comparison, place) => {
    const table = DATA.tables[place];
    const best = comparison.kinds.map((_, i) => comparison.rows.reduce((top, [, cells]) =>
      (cells[i] && Number(cells[i][0]) > top ? Number(cells[i][0]) : top), -1));
    const node = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${comparison.table} by family` },
      el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "stick" }, "family"),
        comparison.kinds.map(([kind, scans, prevalence]) => el("th", { scope: "col", class: "num" }, kind,
          el("br"), el("span", { class: "quiet" }, `${scans} scans, random ${prevalence}`))))),
      el("tbody", {}, comparison.rows.map(([name, cells]) => el("tr", {}, el("th", { scope: "row" }, name),
        cells.map((cell, i) => el("td", { class: "num" }, cell ? [
          el("span", { class: Number(cell[0]) === best[i] ? "best" : null }, cell[0]), ` ${cell[1]}`, el("br"),
          el("span", { class: "quiet" }, cell[3] > 1 ? `median ${cell[2]} of ${cell[3]}` : "one row")] : "–")))))));
    const block = el("article", { class: "block" }, el("h3", {}, comparison.table), node);
    byId("families-body").append(block);
    listeners.push(() => { block.hidden = !passesTable(table); });
  });
}

// ---- a closer look ----------------------------------------------------------------------------

let group = DATA.tables[0];
const redraws = [];

function closer() {
  const select = el("select", { id: "group", onchange: () => {
    group = DATA.tables.find((table) => table.id === select.value);
    redraws.forEach((redraw) => redraw());
  } });
  byId("closer-choice").append(el("label", { class: "field" }, "Comparison group", select));
  const offer = () => {
    const offered = DATA.tables.filter(passesTable);
    const choices = offered.length ? offered : DATA.tables;
    select.replaceChildren(...choices.map((table) => el("option", { value: table.id }, table.title)));
    if (!choices.includes(group)) { group = choices[0]; }
    select.value = group.id;
    redraws.forEach((redraw) => redraw());
  };
  listeners.push(offer);
  strata(byId("strata-body"));
  cost(byId("cost-body"));
  curves(byId("curves-body"));
}
const chosenRows = () => group.rows.filter((row) => passesRow(row, group));
const named = (row) => (group.rows.filter((other) => other.method === row.method).length > 1
  ? `${row.method} ${row.variant}${row.train === group.rows[0].train ? "" : ` from ${row.train}`}` : row.method);

const MEASURES = { recall: "recall of lesions", dsc: "DSC, pooled", fpr: "false positives per voxel of healthy scans" };

function strata(body) {
  const state = { measure: "recall", by: "lesion kind" };
  const pick = (label, key, values) => {
    const select = el("select", { id: `strata-${key}`, onchange: () => { state[key] = select.value; draw(); } },
      values.map(([value, title]) => el("option", { value }, title)));
    select.value = state[key];
    return el("label", { class: "field" }, label, select);
  };
  const kinds = ["lesion kind", "lesion size", "lesion volume of the scan", "site", "sex", "age", "contrast"];
  const output = el("div");
  body.append(el("div", { class: "controls" }, pick("Measure", "measure", Object.entries(MEASURES)),
    pick("By", "by", kinds.map((kind) => [kind, kind]))), output);
  function found(row) {
    if (state.by !== "contrast") return row.strata.filter((one) => one[0] === state.by);
    // The same method on the other contrasts of the same test set; they are other tables, and not ranked.
    return DATA.tables.filter((t) => t.test === group.test && t.regime === group.regime && t.protocol === group.protocol)
      .flatMap((t) => t.rows.filter((r) => r.method === row.method && r.variant === row.variant && r.train === row.train))
      .flatMap((r) => r.strata.filter((one) => one[0] === "contrast"));
  }
  function draw() {
    output.replaceChildren();
    const rows = chosenRows();
    const names = [...new Map(rows.flatMap((row) => found(row).filter((one) => one[4][state.measure])
      .map((one) => [one[1], one]))).values()];
    if (!names.length) {
      output.append(el("p", { class: "quiet" }, prose(DATA.resamples
        ? "None of these rows has this measure in these groups."
        : "Strata are made from the pieces; of so many records that takes minutes. `uadbench leaderboard --dataset … --format html` makes a page of one test set.")));
      return;
    }
    const healthy = state.measure === "fpr";
    const gap = ["site", "sex", "age"].includes(state.by) && names.length > 1;
    const of = (row, name) => (found(row).find((one) => one[1] === name) || [0, 0, 0, 0, {}])[4][state.measure];
    const table = sortable([
      { title: "method", row: true, value: named, cell: named },
      ...names.map((one) => ({
        title: `${one[1]} (${healthy ? one[3] : one[2]})`, number: true, down: true,
        value: (row) => { const f = of(row, one[1]); return f ? Number(f[0]) : null; },
        cell: (row) => {
          const f = of(row, one[1]);
          return f ? [f[0], el("span", { class: "ci" }, f[1] === f[2] ? "no spread" : `${f[1]}-${f[2]}${f[3] ? "*" : ""}`)] : "";
        },
      })),
      ...(gap ? [{ title: "widest gap", number: true, down: true, value: (row) => widest(row), cell: (row) => {
        const w = widest(row); return w === null ? "" : w.toFixed(3); } }] : []),
    ], rows, `${MEASURES[state.measure]} by ${state.by}`);
    function widest(row) {
      const values = names.map((one) => of(row, one[1])).filter(Boolean).map((f) => Number(f[0]));
      return values.length > 1 ? Math.max(...values) - Math.min(...values) : null;
    }
    table.node.classList.add("always");
    output.append(table.node, el("p", { class: "quiet" },
      `In brackets the number of scans${state.by === "lesion size" ? " with lesions of that size" : ""}. `,
      `At the threshold frozen at ${rows[0].point}; 95 % intervals over persons; * from fewer than ${DATA.few_persons} persons; no spread: the same for all of them.`));
  }
  redraws.push(draw);
}

// ---- charts -----------------------------------------------------------------------------------

const BOX = { width: 720, height: 420, left: 62, right: 24, top: 16, bottom: 52 };
const COLOURS = 8;
const DASHES = ["", "7 4", "2 3", "10 3 2 3"];
const stroke = (place) => ({ stroke: `var(--c${place % COLOURS})`, "stroke-dasharray": DASHES[Math.floor(place / COLOURS) % DASHES.length] || null });
const nice = (value) => String(Number(value.toPrecision(2)));

function frame(label, xTicks, yTicks, x, y, xTitle, yTitle) {
  const { width, height, left, right, top, bottom } = BOX;
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    yTicks.map(([value, text]) => [svg("path", { class: "grid", d: `M${left} ${y(value)}H${width - right}` }),
      svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, text)]),
    xTicks.map(([value, text]) => [svg("path", { class: "grid", d: `M${x(value)} ${top}V${height - bottom}` }),
      svg("text", { x: x(value), y: height - bottom + 18, "text-anchor": "middle" }, text)]),
    svg("path", { class: "axis", d: `M${left} ${top}V${height - bottom}H${width - right}` }),
    svg("text", { x: (left + width - right) / 2, y: height - 10, "text-anchor": "middle" }, xTitle),
    svg("text", { x: 16, y: (top + height - bottom) / 2, "text-anchor": "middle",
      transform: `rotate(-90 16 ${(top + height - bottom) / 2})` }, yTitle));
}
function steps(most) {
  const raw = most / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

function cost(body) {
  const state = { cost: "fit", quality: "ap" };
  const output = el("div");
  const axis = el("select", { id: "cost-axis", onchange: () => { state.cost = axis.value; draw(); } },
    Object.entries(COSTS).map(([key, [title]]) => el("option", { value: key }, title)));
  const quality = el("select", { id: "cost-quality", onchange: () => { state.quality = quality.value; draw(); } });
  body.append(el("div", { class: "controls" }, el("label", { class: "field" }, "Cost", axis),
    el("label", { class: "field" }, "Quality", quality)), output);
  function draw() {
    if (!group.columns.includes(state.quality)) state.quality = group.columns[0];
    quality.replaceChildren(...group.columns.map((name) => el("option", { value: name }, DATA.columns[name].title)));
    quality.value = state.quality;
    output.replaceChildren();
    const column = group.columns.indexOf(state.quality);
    const points = chosenRows().map((row) => ({ row, x: row.cost[state.cost], y: row.cells[column][1], text: row.cells[column][0] }))
      .filter((point) => point.x !== null && point.y !== null).sort((a, b) => a.x - b.x || b.y - a.y);
    if (!points.length) { output.append(el("p", { class: "quiet" }, "No row has both.")); return; }
    let top = -Infinity;
    points.forEach((point) => { point.front = point.y > top; top = Math.max(top, point.y); });
    const positive = points.map((p) => p.x).filter((v) => v > 0);
    const low = Math.floor(Math.log10(Math.min(...positive, 1e9)) - 0.05);
    const high = Math.max(Math.ceil(Math.log10(Math.max(...positive, 1e-9)) + 0.05), low + 1);
    const zero = points.some((p) => p.x <= 0);
    const [first, last] = positive.length ? [low - (zero ? 1 : 0), high] : [0, 1];
    const place = (v) => (v > 0 ? Math.log10(v) : first);
    const x = (v) => BOX.left + (place(v) - first) / (last - first) * (BOX.width - BOX.left - BOX.right);
    const ticks = steps(Math.max(top, 0.01));
    const most = ticks[ticks.length - 1];
    const y = (v) => BOX.height - BOX.bottom - v / most * (BOX.height - BOX.top - BOX.bottom);
    const xTicks = [...(zero ? [[0, "0"]] : [])];
    for (let p = zero ? low : first; positive.length && p <= last; p++) xTicks.push([10 ** p, p >= 6 ? `${nice(10 ** (p - 6))}M` : p >= 3 ? `${nice(10 ** (p - 3))}k` : nice(10 ** p)]);
    const title = DATA.columns[state.quality].title;
    const chart = frame(`${title} against ${COSTS[state.cost][0]}; the same numbers are in the table below`,
      xTicks, ticks.map((v) => [v, nice(v)]), x, y, `${COSTS[state.cost][0]}${xTicks.length > 2 ? " (logarithmic)" : ""}`, title);
    const front = points.filter((p) => p.front);
    chart.append(svg("path", { fill: "none", stroke: "var(--accent)", "stroke-width": 1.5,
      d: front.map((p, i) => (i ? `H${x(p.x)}V${y(p.y)}` : `M${x(p.x)} ${y(p.y)}`)).join("") + `H${BOX.width - BOX.right}` }));
    const taken = [];
    points.forEach((p) => {
      const [px, py] = [x(p.x), y(p.y)];
      chart.append(svg("circle", { cx: px, cy: py, r: p.front ? 5.5 : 4, fill: p.front ? "var(--accent)" : "var(--quiet)" },
        svg("title", {}, `${named(p.row)}: ${p.text}, ${costText(p.x)}`)));
      if (points.length > 14 && !p.front) return;
      const end = px > BOX.width - 150;
      let ty = py - 7;
      while (taken.some(([ox, oy]) => Math.abs(ox - px) < 110 && Math.abs(oy - ty) < 13)) ty -= 13;
      taken.push([px, ty]);
      chart.append(svg("text", { x: px + (end ? -8 : 8), y: Math.max(ty, 12), "text-anchor": end ? "end" : "start" }, named(p.row)));
    });
    const table = sortable([
      { title: "method", row: true, value: (p) => named(p), cell: (p) => named(p) },
      { title, number: true, down: true, value: (p) => p.cells[column][1], cell: (p) => p.cells[column][0] },
      ...Object.entries(COSTS).map(([key, [name, meaning]]) => ({ title: name, meaning, number: true,
        value: (p) => p.cost[key], cell: (p) => costText(p.cost[key]) })),
      { title: "hardware", value: (p) => p.cost.hardware, cell: (p) => p.cost.hardware },
    ], chosenRows(), `Costs, ${group.title}`);
    output.append(el("figure", {}, chart, el("figcaption", {},
      "The line joins what no cheaper row exceeds. Times compare only where the hardware is the same.")), table.node);
  }
  redraws.push(draw);
}

function curves(body) {
  const output = el("div", { class: "beside" });
  body.append(output);
  let off = new Set();
  let last = null;
  function draw() {
    const rows = chosenRows().filter((row) => row.curve.length);
    if (last !== group) { off = new Set(group.rows.filter((row) => row.curve.length).slice(8)); last = group; }
    output.replaceChildren();
    if (!rows.length) { output.append(el("p", { class: "quiet" }, "The curves are made from the pieces, which were not read for these rows.")); return; }
    const all = group.rows.filter((row) => row.curve.length);
    const drawn = rows.filter((row) => !off.has(row));
    const { width, height, left, right, top, bottom } = BOX;
    const x = (v) => left + v * (width - left - right);
    const most = Math.max(...steps(Math.max(...drawn.flatMap((row) => row.curve.map((p) => p[1])), group.prevalence || 0, 0.05)));
    const ceiling = Math.min(most, 1);
    const y = (v) => height - bottom - v / ceiling * (height - top - bottom);
    const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((v) => [v, String(v)]);
    const chart = frame(`Precision against recall over all voxels, ${group.title}`, ticks,
      [0, 0.2, 0.4, 0.6, 0.8, 1].map((v) => [v * ceiling, nice(v * ceiling)]), x, y, "recall (voxels)", "precision");
    if (group.prevalence !== null) {
      chart.append(svg("path", { fill: "none", stroke: "var(--quiet)", "stroke-dasharray": "2 4", d: `M${left} ${y(group.prevalence)}H${width - right}` },
        svg("title", {}, "prevalence: the precision of random scores")));
    }
    drawn.forEach((row) => chart.append(svg("path", { fill: "none", "stroke-width": 2, ...stroke(all.indexOf(row)),
      d: row.curve.map(([r, p], i) => `${i ? "L" : "M"}${x(r).toFixed(1)} ${y(Math.min(p, ceiling)).toFixed(1)}`).join("") },
      svg("title", {}, named(row)))));
    const legend = el("ul", { class: "legend", "aria-label": "Curves shown" }, rows.map((row) => {
      const box = el("input", { type: "checkbox", checked: !off.has(row), onchange: () => {
        if (box.checked) off.delete(row); else off.add(row);
        const focus = rows.indexOf(row);
        draw();
        output.querySelectorAll(".legend input")[focus].focus();
      } });
      return el("li", {}, el("label", {}, box, svg("svg", { width: 28, height: 8, "aria-hidden": "true" },
        svg("path", { d: "M0 4H28", fill: "none", "stroke-width": 3, ...stroke(all.indexOf(row)) })), named(row)));
    }));
    output.append(el("figure", {}, chart, el("figcaption", {},
      `Over all voxels of lesion-test after ${DATA.headline}, first seed of each row, about 100 points; dotted: the prevalence.`)), legend);
  }
  redraws.push(draw);
}

// ---- pictures ---------------------------------------------------------------------------------

function pictures() {
  const body = byId("pictures-body");
  if (!DATA.gallery.length) {
    body.append(el("p", { class: "quiet" }, prose("No stored maps were found when this page was written; `uadbench run` and `uadbench score` keep them under the runs folder.")));
    return;
  }
  let table = DATA.gallery[0], subject = table.subjects[0], slice = subject.start, outlined = true, frames = [];
  const option = (value, text) => el("option", { value }, text);
  const tables = el("select", { id: "gallery-table", onchange: () => { table = DATA.gallery[tables.value]; offer(); } },
    DATA.gallery.map((one, i) => option(i, one.table)));
  const subjects = el("select", { id: "gallery-subject", onchange: () => choose(table.subjects[subjects.value]) });
  const range = el("input", { type: "range", id: "gallery-slice", min: 0, step: 1, oninput: () => { slice = Number(range.value); move(); } });
  const where = el("output", { for: "gallery-slice", id: "gallery-where" });
  const cards = el("div", { class: "cards" });
  body.append(el("p", {}, "The same subjects for every method whose maps are stored: for each kind of lesion the one of median lesion volume, and a healthy one. " +
    "Score maps are scaled from the 1st to the 99.5th percentile of each scan; the outline is the reference, which no method has seen."),
    el("div", { class: "controls" }, el("label", { class: "field" }, "Comparison group", tables),
      el("label", { class: "field" }, "Subject", subjects),
      check("Lesion outline", "gallery-outline", (on) => { outlined = on; move(); }, true)),
    el("div", { class: "slider" }, el("div", {}, el("label", { for: "gallery-slice" }, "Slice, from below to above"), range), where), cards);
  function offer() {
    subjects.replaceChildren(...table.subjects.map((one, i) => option(i, `${one.kind}: ${one.id}`)));
    choose(table.subjects[0]);
  }
  function picture(uri, name, caption) {
    const node = el("div", { class: "frame", role: "img" });
    node.style.aspectRatio = `${subject.width} / ${subject.height}`;
    if (subject.sides) node.append(el("span", { class: "left", "aria-hidden": "true" }, "L"), el("span", { class: "right", "aria-hidden": "true" }, "R"));
    frames.push({ node, uri, name });
    return el("div", {}, node, el("p", { class: "caption" }, caption));
  }
  function choose(one) {
    subject = one; slice = one.start; frames = [];
    range.max = one.slices.length - 1;
    range.value = slice;
    cards.replaceChildren(el("figure", { class: "card" }, el("figcaption", {}, "image"),
      el("div", { class: "pair" }, picture(one.image, `image of ${one.id}`, one.kind))));
    one.methods.forEach((method) => cards.append(el("figure", { class: "card" },
      el("figcaption", {}, `${method.method} ${method.variant}${method.train === "none" ? "" : `, from ${method.train}`}`),
      el("div", { class: "pair" },
        method.restored ? picture(method.restored, `pseudo-healthy image of ${method.method}`, "pseudo-healthy") : null,
        picture(method.score, `score map of ${method.method}`, "score map")))));
    move();
  }
  function move() {
    const count = subject.slices.length;
    where.textContent = `${subject.slices[slice]} (${slice + 1} of ${count})${subject.lesion[slice] ? ", with lesion" : ""}`;
    range.setAttribute("aria-valuetext", where.textContent);
    for (const { node, uri, name } of frames) {
      const layers = outlined && subject.outline ? [subject.outline, uri] : [uri];
      node.style.backgroundImage = layers.map((layer) => `url("${layer}")`).join(", ");
      node.style.backgroundSize = `${count * 100}% 100%`;
      node.style.backgroundPosition = `${count > 1 ? slice / (count - 1) * 100 : 0}% 0`;
      node.setAttribute("aria-label", `${name}, ${where.textContent}`);
    }
  }
  offer();
}

// ---- published figures, failures, reading -----------------------------------------------------

function published() {
  const body = byId("published-body");
  if (!DATA.published.length) {
    body.append(el("p", { class: "quiet" }, "Nothing is published of these methods on these test sets and contrasts."));
  }
  for (const listing of DATA.published) {
    const at = (name) => listing.headers.indexOf(name);
    const numbers = ["ours", "published", "difference"];
    const made = sortable(listing.headers.map((title, i) => ({
      title, row: i === 0, number: numbers.includes(title), down: numbers.includes(title),
      className: ["verdict", "source"].includes(title) ? "wrap" : "",
      value: (line) => (numbers.includes(title) ? (line[i] ? parseFloat(line[i]) : null) : line[i]),
      cell: (line) => (title === "verdict" ? el("span", { class: verdictClass(line[i]) }, line[i]) : line[i]),
    })), listing.lines, listing.title);
    body.append(el("article", { class: "block" }, el("h3", {}, listing.title), listing.notes.map((note) => el("p", { class: "quiet" }, prose(note))), made.node));
    listeners.push(() => made.lines.forEach(({ item, row }) => {
      const of = { method: item[at("method")], variant: item[at("variant")], train: item[at("trained on")] };
      const words = filters.text.toLowerCase().split(/\s+/);
      row.hidden = !((!filters.family || family(of) === filters.family) && (!filters.test || item[at("test")] === filters.test) &&
        (!filters.contrast || item[at("contrast")] === filters.contrast) &&
        words.every((word) => item.join(" ").toLowerCase().includes(word)));
    }));
  }
}
const verdictClass = (text) => (/^(comparable|inside)/.test(text) ? "good" : /^outside/.test(text) ? "bad" : "");

function reading() {
  byId("reading-body").append(
    el("dl", { class: "meanings" }, Object.values(DATA.columns).map(({ title, meaning }) => [el("dt", {}, title), el("dd", {}, prose(meaning))])),
    el("p", {}, DATA.resamples
      ? `95 % intervals: studentised bootstrap over persons and seeds, ${DATA.resamples} resamples. Rows share a rank (=) where the paired bootstrap does not tell them apart.`
      : "No intervals: there are too many records for the bootstrap while one waits; ranks are in the order of the numbers."),
    el("p", {}, "Regimes: cross (healthy volunteers to patients of another cohort), within (lesion-free slices of patients to other patients of the same set), synthetic, none (untrained, no healthy cohort of the contrast) and phantom (a check of the machinery, no evidence about brains). Numbers of different protocol, regime, contrast, test split or metric version are never ranked together."));
  byId("summary").textContent = [
    count(DATA.records, "record"), count(Object.keys(DATA.methods).length, "method"),
    count(new Set(DATA.tables.map((t) => t.test)).size, "test set"), count(DATA.tables.length, "table")].join(", ") + ".";
  byId("foot").textContent = `Written by uadbench ${DATA.version} from records alone. The same numbers: uadbench leaderboard --format markdown, csv, json or latex.`;
  if (DATA.failed.length) {
    byId("failures").hidden = false;
    byId("failures-body").append(el("ul", {}, DATA.failed.map(([place, reason]) => el("li", {}, el("code", {}, place), `: ${reason}`))));
  }
}

buildFilters();
leaderboards();
families();
closer();
pictures();
published();
reading();
refilter();
