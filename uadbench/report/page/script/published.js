// Published figures beside ours, and the bands.

const NUMBERS = ["ours", "published", "difference"];
const verdictClass = (text) => (/^(comparable|inside)/.test(text) ? "good" : /^outside/.test(text) ? "bad" : null);

function publishedColumn(title, place) {
  const number = NUMBERS.includes(title);
  const text = (line) => line[place];
  return {
    title,
    number,
    row: place === 0,
    down: number,
    className: ["verdict", "source"].includes(title) ? "wrap" : "",
    value: number ? (line) => (line[place] ? parseFloat(line[place]) : null) : text,
    cell: title === "verdict" ? (line) => el("span", { class: verdictClass(line[place]) }, line[place]) : text,
  };
}

function passesLine(line, headers) {
  const at = (name) => line[headers.indexOf(name)];
  const asked = { family: family({ method: at("method") }), test: at("test"), contrast: at("contrast") };
  return Object.entries(asked).every(([key, value]) => !filters[key] || filters[key] === value)
    && hasWords(line.join(" "));
}

function published() {
  const body = byId("published-body");
  if (!DATA.published.length)
    body.append(quiet("Nothing is published of these methods on these test sets and contrasts."));
  for (const { title, headers, lines, notes } of DATA.published) {
    const made = sortable(headers.map(publishedColumn), lines, title);
    body.append(el("article", { class: "block" }, el("h3", {}, title), notes.map(quiet), made.node));
    listeners.push(() => made.lines.forEach(({ item, row }) => { row.hidden = !passesLine(item, headers); }));
  }
}
