"""Charts as inline SVG: no script, no network; colors come from the page's style sheet, in its light and dark theme.

Every text passes through ``Markup.format``, which escapes it. A chart is drawn for a column of about 440 pixels, so
that it reads the same on a phone, where one fills the screen, and on a desktop, where two stand side by side.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 46

CIVIDIS = ((0, 34, 78), (58, 72, 107), (124, 123, 120), (186, 174, 109), (254, 232, 56))
"""Stops of a sequential scale whose order everybody sees. Source: Nuñez et al., PLOS ONE 2018 (stops rounded)."""


@dataclass(frozen=True)
class Line:
    """One line of a line chart."""

    points: Sequence[tuple[float, float]]
    css: str
    title: str


@dataclass(frozen=True)
class Point:
    """One mark of a scatter plot, with an interval where ``low`` and ``high`` are known."""

    x: float | str
    y: float
    css: str
    title: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scale:
    """Values → pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of ``value``; a scale without extent puts everything into its middle."""
        low, high, value = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values inside the scale, about five."""
        if self.low == self.high:
            return [self.low]
        if self.log and self.high / self.low >= 10:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [factor * 10.0**power for power in powers for factor in (1, 3)]
            return [value for value in values if self.low <= value <= self.high]
        rough = (self.high - self.low) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        step = min((factor * unit for factor in (1, 2, 2.5, 5, 10)), key=lambda one: abs(one - rough))
        first = math.ceil(self.low / step - 1e-9)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale(values: Iterable[float], start: float, end: float, *, log: bool = False) -> Scale:
    """A scale over ``values`` with a little air at both ends."""
    values = list(values)
    low, high = min(values), max(values)
    if log and low > 0:
        return Scale(low / 1.1, high * 1.1, start, end, log=True)
    air = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return Scale(low - air, high + air, start, end)


def number(value: float) -> str:
    """Four significant digits, without the noise of binary fractions."""
    return f"{value:.4g}"


def line_chart(lines: Sequence[Line], *, x: str, y: str) -> Markup:
    """Lines over a common axis; what comes last lies on top."""
    points = [point for line in lines for point in line.points]
    horizontal = scale((one for one, _ in points), LEFT, WIDTH - RIGHT)
    vertical = scale((two for _, two in points), HEIGHT - BOTTOM, TOP)
    drawn = []
    for line in lines:
        path = " ".join(f"{horizontal(one)},{vertical(two)}" for one, two in line.points)
        drawn.append(
            Markup('<polyline class="line {}" points="{}"><title>{}</title></polyline>').format(
                line.css, path, line.title
            )
        )
    return _svg(_axes(horizontal, vertical, x, y), Markup().join(drawn), label=f"{y} over {x}")


def scatter(
    points: Sequence[Point], *, x: str, y: str, log_x: bool = False, front: Sequence[tuple[float, float]] = ()
) -> Markup:
    """Marks with intervals; ``x`` may be categories; ``front`` is drawn as stairs."""
    vertical = scale(
        [value for point in points for value in (point.y, point.low, point.high) if value is not None],
        HEIGHT - BOTTOM,
        TOP,
    )
    categories = sorted({point.x for point in points if isinstance(point.x, str)})
    if categories:
        horizontal = Scale(-0.5, len(categories) - 0.5, LEFT, WIDTH - RIGHT)
    else:
        horizontal = scale([float(point.x) for point in points], LEFT, WIDTH - RIGHT, log=log_x)
    drawn = [_stairs(front, horizontal, vertical)] if front else []
    for point in points:
        at = horizontal(categories.index(point.x) if isinstance(point.x, str) else float(point.x))
        if point.low is not None and point.high is not None:
            drawn.append(
                Markup('<line class="whisker {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                    point.css, at, at, vertical(point.low), vertical(point.high)
                )
            )
        drawn.append(
            Markup('<circle class="mark {}" cx="{}" cy="{}" r="5"><title>{}</title></circle>').format(
                point.css, at, vertical(point.y), point.title
            )
        )
    axes = _axes(horizontal, vertical, x, y, categories=categories)
    return _svg(axes, Markup().join(drawn), label=f"{y} against {x}")


def _stairs(front: Sequence[tuple[float, float]], horizontal: Scale, vertical: Scale) -> Markup:
    """The best value that is reached at each cost."""
    corners: list[str] = []
    for one, two in front:
        if corners:
            corners.append(f"{horizontal(one)},{corners[-1].split(',')[1]}")
        corners.append(f"{horizontal(one)},{vertical(two)}")
    return Markup('<polyline class="front" points="{}"/>').format(" ".join(corners))


def bars(items: Sequence[tuple[str, float, float]]) -> Markup:
    """Horizontal bars of (name, share in [0, 1], its standard deviation)."""
    row, left, right = 34, 10, 70
    across = Scale(0, max([1.0, *(value + sd for _, value, sd in items)]), left, WIDTH - right)
    drawn = []
    for index, (name, value, sd) in enumerate(items):
        y = index * row
        drawn.append(
            Markup(
                '<text x="{l}" y="{ty}">{name}</text><rect class="bar" x="{l}" y="{y}" width="{w}" height="10"/>'
                '<line class="whisker s0" x1="{a}" x2="{b}" y1="{m}" y2="{m}"/>'
                '<text class="strong" x="{vx}" y="{vy}">{value} %</text>'
            ).format(
                l=left, ty=y + 13, name=name, y=y + 18, w=round(across(value) - left, 1), m=y + 23,
                a=across(max(0.0, value - sd)), b=across(value + sd), vx=WIDTH - right + 12, vy=y + 28,
                value=f"{100 * value:.0f}",
            )
        )  # fmt: skip
    return _svg(Markup().join(drawn), label="importance of each field", height=max(row, row * len(items)))


def parallel(axes: Sequence[str], lines: Sequence[tuple[Sequence[float | str], str, str]]) -> Markup:
    """Parallel coordinates: each line has a value per axis, a style and a title; what comes last lies on top."""
    positions = [Scale(0, len(axes) - 1, LEFT + 10, 2 * WIDTH - 60)(index) for index in range(len(axes))]
    top, bottom = 34, HEIGHT - 24
    drawn: list[Markup] = []
    columns: list[list[float]] = []
    for index, name in enumerate(axes):
        values = [values[index] for values, _, _ in lines]
        texts = sorted({value for value in values if isinstance(value, str)})
        numbers = [float(texts.index(value) if isinstance(value, str) else value) for value in values]
        vertical = Scale(min(numbers), max(numbers), bottom, top)
        columns.append([vertical(value) for value in numbers])
        marks = list(enumerate(texts)) if texts else [(tick, number(tick)) for tick in vertical.ticks()]
        drawn.append(
            Markup(
                '<line class="axis" x1="{x}" x2="{x}" y1="{t}" y2="{b}"/>'
                '<text class="strong {c}" x="{x}" y="18">{n}</text>'
            ).format(
                x=positions[index], t=top, b=bottom, n=name,
                c="start" if index == 0 else "end" if index == len(axes) - 1 else "middle",
            )
        )  # fmt: skip
        drawn += [
            Markup('<text class="tick" x="{}" y="{}">{}</text>').format(positions[index] + 6, vertical(at) + 4, text)
            for at, text in marks
        ]
    paths = [
        Markup('<polyline class="line {}" points="{}"><title>{}</title></polyline>').format(
            css, " ".join(f"{x},{column[index]}" for x, column in zip(positions, columns, strict=True)), title
        )
        for index, (_, css, title) in enumerate(lines)
    ]
    drawn = paths + drawn
    return _svg(Markup().join(drawn), label="parallel coordinates", width=2 * WIDTH)


def whisker(mean: float, low: float | None, high: float | None, domain: tuple[float, float], css: str) -> Markup:
    """A dot with its interval, for a table's cell; what leaves the domain is cut."""
    across = Scale(*domain, 6, 134)
    drawn = Markup()
    if low is not None and high is not None:
        drawn = Markup('<line class="whisker {}" x1="{}" x2="{}" y1="9" y2="9"/>').format(
            css, across(max(low, domain[0])), across(min(high, domain[1]))
        )
    dot = Markup('<circle class="mark {}" cx="{}" cy="9" r="4.5"/>').format(css, across(mean))
    return Markup('<svg class="cell" viewBox="0 0 140 18" aria-hidden="true">{}{}</svg>').format(drawn, dot)


def color(share: float) -> str:
    """The color of a share in [0, 1] on ``CIVIDIS``, as ``rgb(…)``."""
    position = min(1.0, max(0.0, share)) * (len(CIVIDIS) - 1)
    index = min(int(position), len(CIVIDIS) - 2)
    rest = position - index
    mixed = (round(a + rest * (b - a)) for a, b in zip(CIVIDIS[index], CIVIDIS[index + 1], strict=True))
    return "rgb({},{},{})".format(*mixed)


def _axes(horizontal: Scale, vertical: Scale, x: str, y: str, *, categories: Sequence[str] = ()) -> Markup:
    marks: list[tuple[float, str]] = [(index, name) for index, name in enumerate(categories)]
    marks = marks or [(tick, number(tick)) for tick in horizontal.ticks()]
    drawn = [
        Markup('<text class="tick middle" x="{}" y="{}">{}</text>').format(horizontal(at), HEIGHT - BOTTOM + 18, text)
        for at, text in marks
    ]
    for tick in vertical.ticks():
        drawn.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text class="tick end" x="{}" y="{}">{}</text>'
            ).format(LEFT, WIDTH - RIGHT, LEFT - 7, vertical(tick) + 4, number(tick), y=vertical(tick))
        )
    drawn.append(
        Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, WIDTH - RIGHT, y=HEIGHT - BOTTOM)
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    drawn.append(
        Markup(
            '<text class="middle" x="{}" y="{}">{}</text>'
            '<text class="middle" transform="translate(13 {}) rotate(-90)">{}</text>'
        ).format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x, middle, y)
    )
    return Markup().join(drawn)


def _svg(*parts: Markup, label: str, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        round(width), round(height), label, Markup().join(parts)
    )
