// A row's protocol and provenance, on demand.

const mono = (text) => el("span", { class: "mono" }, shown(text));
const said = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : shown(value));
const part = (title, ...content) => el("div", {}, el("h4", {}, title), ...content);
const list = (pairs) => el("dl", {}, pairs.filter(([, value]) => !isBlank(value)).map(([name, value]) =>
  [el("dt", {}, name), el("dd", {}, value)]));
const bullets = (lines) => (lines.length ? el("ul", {}, lines.map((line) => el("li", {}, line))) : null);
const link = (text) => (/^https:\/\/[^\s]+$/.test(text)
  ? el("a", { href: text, rel: "noopener noreferrer" }, text) : text);

function details(row, table) {
  const [first] = row.details;
  return el("div", { class: "sheet" }, methodPart(row), protocolPart(row, table, first), optionsPart(first),
    splitsPart(first), runsPart(row.details));
}

function methodPart(row) {
  const card = DATA.methods[row.method] || {};
  const differences = card.differences || [];
  return part("Method", el("p", {}, card.title || row.method), card.summary ? quiet(card.summary) : null,
    list([["paper", card.paper], ["link", card.link ? link(card.link) : ""], ["family", family(row)]]),
    differences.length ? quiet("Differences from the paper:") : null, bullets(differences));
}

function protocolPart(row, table, run) {
  const prepared = Object.keys(run.preparation).length ? said(run.preparation) : "";
  return part("Protocol", list([
    ["protocol", table.protocol],
    ["regime", table.regime],
    ["trained on", `${row.train} ${run.train_contrasts.join(", ")}`],
    ["tested on", `${table.test} ${table.contrast}`],
    ["scan score", run.scan_rule],
    ["precision", run.precision],
    ["limit", run.limit === null ? "" : `${run.limit} subjects per partition`],
    ["p against the rank above", row.p === null ? "" : row.p.toPrecision(3)],
    ["AP left open by bins", run.ap_error],
    ["split rule", run.split.asked],
    ["preparation", prepared],
  ]), el("h4", {}, "Frozen thresholds"), thresholds(run));
}

const HASH_NAMES = { pieces: "score histograms" };
const THRESHOLDS = {
  threshold: "at", dsc: "DSC", dsc_mean: "mean DSC", fpr_healthy_test: "FPR healthy",
  fpr_lesion_test: "FPR lesion scans", ceiling: "DSC ceiling",
};

function thresholds(run) {
  const heads = Object.values(THRESHOLDS).map((title) => el("th", { scope: "col", class: "num" }, title));
  const cells = (facts) => Object.keys(THRESHOLDS).map((key) => el("td", { class: "num" }, facts[key]));
  return scrolled("Frozen thresholds",
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "rule"), heads)),
    el("tbody", {}, Object.entries(run.points).map(([point, facts]) =>
      el("tr", {}, el("th", { scope: "row" }, point), cells(facts)))));
}

function optionsPart(run) {
  const restoration = Object.entries(run.restoration);
  return part("Options", list(Object.entries(run.parameters).map(([name, value]) => [name, said(value)])),
    el("h4", {}, "Restoration"),
    restoration.length ? list(restoration) : quiet("The method emits no pseudo-healthy image."));
}

function splitsPart(run) {
  const more = run.excluded_count - run.excluded.length;
  return part("Splits",
    list(Object.entries(run.splits).map(([name, facts]) =>
      [name, [`${facts.subjects} scans of ${facts.persons} subjects, `, mono(facts.hash)]])),
    el("h4", {}, `Left out: ${run.excluded_count}`),
    bullets([...run.excluded, ...(more > 0 ? [`and ${more} more, in the record`] : [])]));
}

function runsPart(runs) {
  const [first] = runs;
  const times = (timing) => Object.entries(timing).map(([stage, text]) => `${stage} ${text} s`).join(", ");
  return part("Runs",
    runs.map((run) => list([
      ["seed", run.seed],
      ["record", mono(run.record)],
      ["code", [mono(run.code.commit), run.code.changed ? " (with changes)" : ""]],
      ["time", times(run.timing)],
      ["parameters", run.n_parameters.toLocaleString("en")],
      ["hardware", Object.values(run.hardware).join(", ")],
    ])),
    list([
      ["packages", Object.entries(first.packages).map((pair) => pair.join(" ")).join(", ")],
      ...Object.entries(first.hashes).map(([name, hash]) => [`${HASH_NAMES[name] ?? name} hash`, mono(hash)]),
    ]));
}
