// Precision-recall curves over all voxels of lesion-test.

const DRAWN_AT_FIRST = 8;
const FIFTHS = [0, 0.2, 0.4, 0.6, 0.8, 1];

function curves(body) {
  const output = el("div", { class: "beside" });
  body.append(output);
  let off = new Set();
  let last = null;
  function draw() {
    const all = group.rows.filter((row) => row.curve.length);
    if (last !== group) {
      off = new Set(all.slice(DRAWN_AT_FIRST));
      last = group;
    }
    const rows = chosenRows().filter((row) => all.includes(row));
    output.replaceChildren();
    if (!rows.length) {
      output.append(quiet("The curves are made from the per-subject score histograms, which were not read for these rows."));
      return;
    }
    const chart = curvesPlot(rows.filter((row) => !off.has(row)), all);
    output.append(el("figure", {}, chart, el("figcaption", {},
      `Over all voxels of lesion-test after ${group.headline}, first seed of each row, about 100 points; ` +
      "dotted: the prevalence.")), legend(rows, all));
  }
  function legend(rows, all) {
    return el("ul", { class: "legend", "aria-label": "Curves shown" }, rows.map((row, place) => {
      const box = el("input", {
        type: "checkbox",
        checked: !off.has(row),
        onchange: () => {
          if (box.checked) off.delete(row);
          else off.add(row);
          draw();
          output.querySelectorAll(".legend input")[place].focus();
        },
      });
      const sample = svg("path", { "d": "M0 4H28", "fill": "none", "stroke-width": 3, ...stroke(all.indexOf(row)) });
      return el("li", {}, el("label", {}, box, svg("svg", { width: 28, height: 8, "aria-hidden": "true" }, sample),
        named(row)));
    }));
  }
  redraws.push(draw);
}

function curvesPlot(drawn, all) {
  const { width, left, right } = BOX;
  const x = (recall) => left + recall * (width - left - right);
  const precisions = drawn.flatMap((row) => row.curve.map((point) => point[1]));
  const up = upright(Math.min(Math.max(...precisions, group.prevalence || 0, 0.05), 1));
  const chart = frame(`Precision against recall over all voxels, ${group.title}`,
    FIFTHS.map((recall) => [recall, String(recall)]), up.ticks, x, up.y, "recall (voxels)", "precision");
  if (group.prevalence !== null) {
    chart.append(svg("path", {
      "fill": "none", "stroke": "var(--quiet)", "stroke-dasharray": "2 4",
      "d": `M${left} ${up.y(group.prevalence)}H${width - right}`,
    }, svg("title", {}, "prevalence: the precision of random scores")));
  }
  for (const row of drawn) {
    const d = row.curve.map(([recall, precision], i) =>
      `${i ? "L" : "M"}${x(recall).toFixed(1)} ${up.y(precision).toFixed(1)}`).join("");
    chart.append(svg("path", { "class": "curve", "fill": "none", "stroke-width": 2, ...stroke(all.indexOf(row)), d },
      svg("title", {}, named(row))));
  }
  return chart;
}
