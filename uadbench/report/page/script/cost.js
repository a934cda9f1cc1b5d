// Quality against cost, with the front of what no cheaper row exceeds.

const LABELLED = 14; // with more points only those on the front have a name beside them

function cost(body) {
  const state = { cost: Object.keys(DATA.costs)[0], quality: DATA.tables.length ? group.columns[0] : "" };
  const output = el("div");
  const choices = el("div", { class: "controls" });
  body.append(choices, output);
  const change = (key) => (value) => { state[key] = value; draw(); };

  function offer() {
    if (!group.columns.includes(state.quality)) state.quality = group.columns[0];
    choices.replaceChildren(
      select("cost-axis", "Cost", Object.entries(DATA.costs).map(([key, one]) => [key, one.title]),
        state.cost, change("cost")),
      select("cost-quality", "Quality", group.columns.map((name) => [name, DATA.columns[name].title]),
        state.quality, change("quality")));
  }
  function points() {
    const column = group.columns.indexOf(state.quality);
    const found = chosenRows()
      .map((row) => ({ row, x: row.cost[state.cost][1], y: row.cells[column][1], text: row.cells[column][0] }))
      .filter((point) => point.x !== null && point.y !== null)
      .sort((a, b) => a.x - b.x || b.y - a.y);
    let top = -Infinity;
    for (const point of found) {
      point.front = point.y > top;
      top = Math.max(top, point.y);
    }
    return found;
  }
  function draw() {
    output.replaceChildren();
    const found = points();
    if (!found.length) {
      output.append(quiet("No row has both."));
      return;
    }
    output.append(
      el("figure", {}, paretoPlot(found, state),
        el("figcaption", {}, `The line joins what no cheaper row exceeds. ${DATA.cost_note}`)),
      costTable(state.quality));
  }
  redraws.push(() => { offer(); draw(); });
}

function paretoPlot(points, state) {
  const [title, costTitle] = [DATA.columns[state.quality].title, DATA.costs[state.cost].title];
  const across = logarithmic(points.map((p) => p.x));
  const up = upright(Math.max(...points.map((p) => p.y), 0.01));
  const chart = frame(`${title} against ${costTitle}; the same numbers are in the table below`,
    across.ticks, up.ticks, across.x, up.y, `${costTitle}${across.ticks.length > 2 ? " (logarithmic)" : ""}`, title);
  const line = points.filter((p) => p.front)
    .map((p, i) => (i ? `H${across.x(p.x)}V${up.y(p.y)}` : `M${across.x(p.x)} ${up.y(p.y)}`)).join("");
  chart.append(svg("path", {
    "fill": "none", "stroke": "var(--accent)", "stroke-width": 1.5, "d": `${line}H${BOX.width - BOX.right}`,
  }));
  const taken = [];
  for (const point of points) {
    const [x, y] = [across.x(point.x), up.y(point.y)];
    const told = `${named(point.row)}: ${point.text}, ${point.row.cost[state.cost][0]}`;
    chart.append(svg("circle", {
      cx: x, cy: y, r: point.front ? 5.5 : 4, fill: point.front ? "var(--accent)" : "var(--quiet)",
    }, svg("title", {}, told)));
    if (points.length <= LABELLED || point.front) chart.append(label(named(point.row), x, y, taken));
  }
  return chart;
}

// A name beside a point, moved up until it covers none of those before it.
function label(text, x, y, taken) {
  const atEnd = x > BOX.width - 150;
  let height = y - 7;
  while (taken.some(([otherX, other]) => Math.abs(otherX - x) < 110 && Math.abs(other - height) < 13)) height -= 13;
  taken.push([x, height]);
  return svg("text", { x: x + (atEnd ? -8 : 8), y: Math.max(height, 12), "text-anchor": atEnd ? "end" : "start" }, text);
}

function costTable(quality) {
  const column = group.columns.indexOf(quality);
  return sortable([
    { title: "method", row: true, value: named, cell: named },
    { title: DATA.columns[quality].title, number: true, down: true, value: (row) => row.cells[column][1],
      cell: (row) => row.cells[column][0] },
    ...costColumns(),
    { title: "hardware", value: (row) => row.cost.hardware, cell: (row) => row.cost.hardware },
  ], chosenRows(), `Costs, ${group.title}`).node;
}
