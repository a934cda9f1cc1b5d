// What a reader must know, and what failed.

const REGIMES = "Regimes: cross (healthy volunteers to patients of another cohort), within (lesion-free slices of " +
  "patients to other patients of the same set), synthetic (trained on contrasts drawn from label maps), none " +
  "(untrained, no healthy cohort of the contrast) and phantom (tests the software, no evidence about " +
  "brains). Numbers of different protocol, regime, contrast, scored patients, card or metric version are never " +
  "ranked together.";

function uncertainty() {
  if (!DATA.resamples)
    return "No intervals and no ranks: nothing was resampled.";
  return `95 % intervals: studentised bootstrap over subjects and seeds, ${DATA.resamples} resamples. Rows share a ` +
    "rank (=) where the paired bootstrap does not tell them apart.";
}

function reading() {
  byId("reading-body").append(
    el("dl", { class: "meanings" }, Object.values(DATA.columns).map(({ title, meaning }) =>
      [el("dt", {}, title), el("dd", {}, prose(meaning))])),
    el("p", {}, uncertainty()), el("p", {}, REGIMES));
  const tests = new Set(DATA.tables.map((table) => table.test)).size;
  byId("summary").textContent = [
    count(DATA.records, "record"), count(Object.keys(DATA.methods).length, "method"),
    count(tests, "test set"), count(DATA.tables.length, "table")].join(", ") + ".";
  byId("foot").textContent = `Written by uadbench ${DATA.version} from records alone. ` +
    "The same numbers: uadbench leaderboard --format markdown, csv, json or latex.";
}

function failures() {
  if (!DATA.failed.length) return;
  byId("failures").hidden = false;
  byId("failures-body").append(el("ul", {}, DATA.failed.map(([place, reason]) =>
    el("li", {}, el("code", {}, place), `: ${reason}`))));
}

buildFilters();
leaderboards();
families();
closer();
pictures();
published();
failures();
reading();
refilter();
