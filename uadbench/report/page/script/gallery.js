// The same subjects' image, pseudo-healthy image, score map and outline for every method, slice by slice.
// The slices of a volume lie side by side in one picture, which is shifted.

const NO_MAPS = "No stored maps were found when this page was written; `uadbench run` and `uadbench score` " +
  "keep them under the runs folder.";
const GALLERY_NOTE = "The same subjects for every method whose maps are stored: for each kind of lesion the one " +
  "of median lesion volume, and a healthy one. Score maps are scaled from the 1st to the 99.5th percentile of " +
  "each scan; the outline is the reference, which no method has seen.";

function pictures() {
  const body = byId("pictures-body");
  if (!DATA.gallery.length) {
    body.append(quiet(NO_MAPS));
    return;
  }
  let [table] = DATA.gallery;
  let [subject] = table.subjects;
  let [slice, outlined, frames] = [subject.start, true, []];

  const tables = el("select", {
    id: "gallery-table", onchange: () => { table = DATA.gallery[tables.value]; offer(); },
  }, DATA.gallery.map((one, i) => el("option", { value: i }, one.table)));
  const subjects = el("select", {
    id: "gallery-subject", onchange: () => choose(table.subjects[subjects.value]),
  });
  const range = el("input", {
    type: "range", id: "gallery-slice", min: 0, step: 1,
    oninput: () => { slice = Number(range.value); move(); },
  });
  const where = el("output", { for: "gallery-slice", id: "gallery-where" });
  const cards = el("div", { class: "cards" });
  body.append(
    el("p", {}, GALLERY_NOTE),
    el("div", { class: "controls" },
      el("label", { class: "field" }, "Comparison group", tables),
      el("label", { class: "field" }, "Subject", subjects),
      check("Lesion outline", "gallery-outline", (on) => { outlined = on; move(); }, true)),
    el("div", { class: "slider" },
      el("div", {}, el("label", { for: "gallery-slice" }, "Slice, from below to above"), range), where),
    cards);

  function offer() {
    subjects.replaceChildren(...table.subjects.map((one, i) =>
      el("option", { value: i }, `${one.kind}: ${one.id}`)));
    choose(table.subjects[0]);
  }
  function picture(uri, name, caption) {
    const node = el("div", { class: "frame", role: "img" });
    node.style.aspectRatio = `${subject.width} / ${subject.height}`;
    for (const side of subject.sides ? ["left", "right"] : [])
      node.append(el("span", { class: side, "aria-hidden": "true" }, side[0].toUpperCase()));
    frames.push({ node, uri, name });
    return el("div", {}, node, el("p", { class: "caption" }, caption));
  }
  function card(title, ...content) {
    return el("figure", { class: "card" }, el("figcaption", {}, title), el("div", { class: "pair" }, ...content));
  }
  function choose(one) {
    [subject, slice, frames] = [one, one.start, []];
    range.max = one.slices.length - 1;
    range.value = slice;
    cards.replaceChildren(
      card("image", picture(one.image, `image of ${one.id}`, one.kind)),
      ...one.methods.map((made) => card(
        `${made.method} ${made.variant}${made.train === "none" ? "" : `, from ${made.train}`}`,
        made.restored
          ? picture(made.restored, `pseudo-healthy image of ${made.method}`, "pseudo-healthy") : null,
        picture(made.score, `score map of ${made.method}`, "score map"))));
    move();
  }
  function move() {
    const slices = subject.slices.length;
    where.textContent =
      `${subject.slices[slice]} (${slice + 1} of ${slices})${subject.lesion[slice] ? ", with lesion" : ""}`;
    range.setAttribute("aria-valuetext", where.textContent);
    for (const { node, uri, name } of frames) {
      const layers = outlined && subject.outline ? [subject.outline, uri] : [uri];
      node.style.backgroundImage = layers.map((layer) => `url("${layer}")`).join(", ");
      node.style.backgroundSize = `${slices * 100}% 100%`;
      node.style.backgroundPosition = `${slices > 1 ? slice / (slices - 1) * 100 : 0}% 0`;
      node.setAttribute("aria-label", `${name}, ${where.textContent}`);
    }
  }
  offer();
}
