"""Charts as SVG that can be read without script: precision and recall by family, AP against cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from uadbench.report import cost, names
from uadbench.report.cautions import in_short
from uadbench.report.leaderboard import Row, Table
from uadbench.report.numbers import round_number
from uadbench.report.page.board import Axis, colour, marks
from uadbench.report.page.markup import Node, el, quiet

DASHES = ("", "7 4", "2 3", "10 3 2 3")
LETTER = 6.2  # pixels of width
COSTS = ("training_s", "scoring_s")
Point = tuple[float, float]
Box = tuple[float, float, float]  # left and right end, and the height of its middle
Curve = Sequence[tuple[float, float, float, float]]  # recall, precision, and the ends of its band


@dataclass(frozen=True)
class Frame:
    """A chart's size and margins in pixels, with its axes: a share across or a power of ten, a share up."""

    width: int
    height: int
    up: Axis
    left: int = 40
    right: int = 12
    top: int = 10
    bottom: int = 40

    def x(self, share: float) -> float:
        """The place of a share of the width."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """The place of a value."""
        return self.height - self.bottom - value / self.up.top * (self.height - self.top - self.bottom)

    def draw(self, label: str, across: Sequence[tuple[float, str]], titles: tuple[str, str]) -> Node:
        """Axes with ticks; `across` gives shares of the width with their texts."""
        middle = (self.top + self.height - self.bottom) / 2
        right, floor = self.width - self.right, self.height - self.bottom
        parts = [
            [
                el("path", {"class": "grid", "d": f"M{self.left} {self.y(tick):.1f}H{right}"}),
                text(self.left - 6, self.y(tick) + 4, round_number(tick), "end"),
            ]
            for tick in self.up.ticks
        ]
        parts += [[text(self.x(share), floor + 16, said, "middle")] for share, said in across]
        return el(
            "svg",
            {
                "class": "chart",
                "viewBox": f"0 0 {self.width} {self.height}",
                "role": "img",
                "aria-label": label,
            },
            parts,
            el("path", {"class": "axis", "d": f"M{self.left} {self.top}V{floor}H{right}"}),
            text((self.left + right) / 2, self.height - 6, titles[0], "middle"),
            el(
                "text",
                {"x": 11, "y": middle, "text-anchor": "middle", "transform": f"rotate(-90 11 {middle:.1f})"},
                titles[1],
            ),
        )


def text(x: float, y: float, said: str, anchor: str = "start", kind: str | None = None) -> Node:
    """A text in a chart."""
    return el("text", {"x": x, "y": y, "text-anchor": anchor, "class": kind}, said)


# ---- precision and recall ----------------------------------------------------------------------


def curves(shown: Table, found: Sequence[tuple[Row, Curve]]) -> list[Node]:
    """A panel for each family with the curves of its rows, each with the band of its resamples."""
    drawn = [(row, curve) for row, curve in found if curve]
    if not drawn:
        return []
    most = max(high for _, curve in drawn for recall, _, _, high in curve if recall > 0.02)
    frame = Frame(260, 210, Axis.reaching(min(max(most, shown.prevalence or 0, 0.05), 1)))
    by_family: dict[str, list[tuple[Row, Curve]]] = {}
    for row, curve in drawn:
        by_family.setdefault(names.family(row.method), []).append((row, curve))
    panels = [_panel(family, own, shown, frame) for family, own in by_family.items()]
    note = (
        f"Over all voxels of lesion-test after {shown.headline}, first seed of each row, about 100 points; "
        "bands: 95 % of resamples of the subjects, at each recall; dotted: random scores."
    )
    return [el("div", {"class": "panels"}, panels), quiet(note)]


def _panel(family: str, drawn: Sequence[tuple[Row, Curve]], shown: Table, frame: Frame) -> Node:
    rows = [row for row, _ in drawn]
    chart = frame.draw(
        f"Precision against recall of {', '.join(names.row_name(row, shown) for row in rows)}",
        [(share, round_number(share)) for share in (0, 0.5, 1)],
        ("recall (voxels)", "precision"),
    )
    if shown.prevalence is not None:
        level = frame.y(shown.prevalence)
        chart.append(el("path", {"class": "chance", "d": f"M{frame.left} {level:.1f}H{frame.x(1):.1f}"}))
    for place, (row, found) in enumerate(drawn):
        over = _line(frame, [(recall, high) for recall, _, _, high in found])
        back = _line(frame, [(recall, low) for recall, _, low, _ in reversed(found)])
        own = {**marks(row, shown), "class": "line"}
        dashes = DASHES[place % len(DASHES)] or None
        line = {"class": "curve", "d": f"M{_line(frame, [(r, p) for r, p, _, _ in found])}"}
        chart.append(
            el(
                "g",
                own,
                el("title", None, names.row_name(row, shown)),
                el("path", {"class": "band", "d": f"M{over}L{back}Z"}),
                el("path", {**line, "stroke-dasharray": dashes}),
            )
        )
    return el(
        "figure",
        {"class": colour(family)},
        el("figcaption", None, el("strong", None, family)),
        chart,
        _key(rows, shown),
    )


def _key(rows: Sequence[Row], shown: Table) -> Node:
    """Which line is which row."""
    samples = [
        el(
            "li",
            marks(row, shown),
            el(
                "svg",
                {"width": 26, "height": 8, "aria-hidden": "true"},
                el("path", {"class": "curve", "d": "M0 4H26", "stroke-dasharray": DASHES[place % 4] or None}),
            ),
            " ",
            names.row_name(row, shown),
        )
        for place, row in enumerate(rows)
    ]
    return el("ul", {"class": "key"}, samples)


def _line(frame: Frame, points: Sequence[Point]) -> str:
    return "L".join(f"{frame.x(x):.1f} {frame.y(min(y, frame.up.top)):.1f}" for x, y in points)


# ---- cost --------------------------------------------------------------------------------------


def cost_plots(shown: Table) -> list[Node]:
    """AP against what a row costs, every point with its name."""
    made = [plot for name in COSTS if (plot := _cost_plot(shown, name)) is not None]
    hardware = "; ".join(sorted({cost.name_hardware([one]) for row in shown.rows for one in row.records}))
    note = f"The line joins what no cheaper row exceeds. {cost.NOTE} Run on: {hardware}."
    return [el("div", {"class": "panels wide"}, made), quiet(note)] if made else []


def _cost_plot(shown: Table, name: str) -> Node | None:
    title, meaning = cost.COLUMNS[name]
    found = [
        (value, ap, row)
        for row in shown.rows
        if (value := cost.measure_cost(row.records)[name]) is not None
        and (ap := row.numbers["ap"]) is not None
    ]
    if not found:
        return None
    found.sort(key=lambda one: (one[0], -one[1]))
    first, last = _powers([value for value, _, _ in found])
    frame = Frame(560, 380, Axis.reaching(max(*(ap for _, ap, _ in found), 0.01)), right=24)

    def place(value: float) -> float:
        return frame.x((math.log10(value) - first) / (last - first) if value > 0 else 0)

    powers = range(first, last + 1)
    ticks = [((n - first) / (last - first), f"{10**n:,}" if n >= 0 else f"{10.0**n:g}") for n in powers]
    if found[0][0] == 0:
        ticks[0] = (0.0, "0")
    chart = frame.draw(
        f"AP against {meaning}; the same values are columns of the table",
        ticks,
        (f"{title} (logarithmic)", "AP"),
    )
    taken = [(place(value) - 5, place(value) + 5, frame.y(ap)) for value, ap, _ in found]
    front, top = "", -math.inf
    for value, ap, row in found:
        x, y = place(value), frame.y(ap)
        if ap > top:
            front += f"H{x:.1f}V{y:.1f}" if front else f"M{x:.1f} {y:.1f}"
            top = ap
        said = (
            f"{names.row_name(row, shown)}: AP {names.with_interval(row)}, {cost.show_digits(value)} {title}"
        )
        chart.append(
            el(
                "g",
                {**marks(row, shown), "class": f"point {colour(names.family(row.method))}"},
                el("title", None, said),
                el("circle", {"cx": x, "cy": y, "r": 4.5}),
                _beside(in_short(row, shown), x, y, frame, taken),
            )
        )
    chart.insert(0, el("path", {"class": "front", "d": f"{front}H{frame.x(1):.1f}"}))
    return el("figure", None, chart)


def _powers(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that hold all values; what costs nothing stands at the left end, one lower."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return low - (len(positive) < len(values)), max(high, low + 1)


def _beside(name: str, x: float, y: float, frame: Frame, taken: list[Box]) -> list[Node]:
    """A name beside its point, where it covers nothing: as near as may be, with a line to a far one."""
    width = LETTER * len(name) + 4
    for step in range(60):
        for height in (y + 4 * step, y - 4 * step):
            for start in (x + 10, x - 10 - width):
                end = start + width
                inside = frame.left < start and end < frame.width
                inside &= frame.top < height < frame.height - frame.bottom
                if inside and all(end < a or start > b or abs(height - h) > 11 for a, b, h in taken):
                    taken.append((start, end, height))
                    return _named(name, (x, y), start, height + 4, width)
    return _named(name, (x, y), x + 10, y + 4, width)


def _named(name: str, point: Point, start: float, height: float, width: float) -> list[Node]:
    """The text, and a line to its point where that is far."""
    left = start < point[0]
    near = start + width - 4 if left else start
    line = {"class": "leader", "x1": point[0], "y1": point[1], "x2": near, "y2": height - 4}
    far = [el("line", line)] if abs(height - 4 - point[1]) > 6 else []
    return [*far, text(near, height, name, "end" if left else "start")]
