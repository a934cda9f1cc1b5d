// Parts that charts share.

const BOX = { width: 720, height: 420, left: 62, right: 24, top: 16, bottom: 52 };
const COLOURS = 8;
const DASHES = ["", "7 4", "2 3", "10 3 2 3"];
const nice = (value) => String(Number(value.toPrecision(2)));

// Colour and dashes of the line at a place of a list: no two of the first 32 are alike.
const stroke = (place) => ({
  "stroke": `var(--c${place % COLOURS})`,
  "stroke-dasharray": DASHES[Math.floor(place / COLOURS) % DASHES.length] || null,
});

// Axes with ticks, each [value, text]; x and y give the place of a value.
function frame(label, xTicks, yTicks, x, y, xTitle, yTitle) {
  const { width, height, left, right, top, bottom } = BOX;
  const middle = (top + height - bottom) / 2;
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    yTicks.map(([value, text]) => [
      svg("path", { class: "grid", d: `M${left} ${y(value)}H${width - right}` }),
      svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, text)]),
    xTicks.map(([value, text]) => [
      svg("path", { class: "grid", d: `M${x(value)} ${top}V${height - bottom}` }),
      svg("text", { x: x(value), y: height - bottom + 18, "text-anchor": "middle" }, text)]),
    svg("path", { class: "axis", d: `M${left} ${top}V${height - bottom}H${width - right}` }),
    svg("text", { x: (left + width - right) / 2, y: height - 10, "text-anchor": "middle" }, xTitle),
    svg("text", { x: 16, y: middle, "text-anchor": "middle", transform: `rotate(-90 16 ${middle})` }, yTitle));
}

// Round steps from 0 to at least `most`, about five.
function steps(most) {
  const raw = most / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

// Places and ticks from 0 to a rounded top, upwards.
function upright(most) {
  const ticks = steps(most);
  const top = ticks[ticks.length - 1];
  const y = (value) => BOX.height - BOX.bottom - value / top * (BOX.height - BOX.top - BOX.bottom);
  return { y, ticks: ticks.map((value) => [value, nice(value)]) };
}

const powerText = (p) => (p >= 6 ? `${nice(10 ** (p - 6))}M` : p >= 3 ? `${nice(10 ** (p - 3))}k` : nice(10 ** p));

// Places and ticks of a logarithmic axis, to the right; what costs nothing stands at its left end.
function logarithmic(values) {
  const positive = values.filter((value) => value > 0);
  const zero = positive.length < values.length;
  const low = positive.length ? Math.floor(Math.log10(Math.min(...positive)) - 0.05) : 0;
  const high = positive.length ? Math.max(Math.ceil(Math.log10(Math.max(...positive)) + 0.05), low + 1) : 1;
  const first = zero ? low - 1 : low;
  const place = (value) => (value > 0 ? Math.log10(value) : first);
  const x = (value) => BOX.left + (place(value) - first) / (high - first) * (BOX.width - BOX.left - BOX.right);
  const powers = positive.length ? Array.from({ length: high - low + 1 }, (_, i) => low + i) : [];
  return { x, ticks: [...(zero ? [[0, "0"]] : []), ...powers.map((p) => [10 ** p, powerText(p)])] };
}
