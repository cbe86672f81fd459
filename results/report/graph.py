"""The stage graph as a picture: inputs on the left, what they lead to on the right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, EDGE = 168, 74, 46, 14, 4


@dataclass(frozen=True)
class Node:
    """A stage, or several that differ in their checkpoint alone."""

    name: str
    method: str
    lines: Sequence[str]
    """What stands below its name."""
    shared: float
    """Share in [0, 1] of its uses that were hits: the filled part of its bar."""


def draw(nodes: Mapping[str, Node], links: Sequence[tuple[str, str]]) -> Markup:
    """Boxes in columns by the longest way that leads to them, links as curves."""
    columns = _columns(list(nodes), links)
    rows = max(map(len, columns))
    places = {
        name: (EDGE + column * (BOX_WIDTH + GAP_X), EDGE + (row + (rows - len(names)) / 2) * (BOX_HEIGHT + GAP_Y))
        for column, names in enumerate(columns)
        for row, name in enumerate(names)
    }
    width = EDGE * 2 + len(columns) * (BOX_WIDTH + GAP_X) - GAP_X
    height = EDGE * 2 + rows * (BOX_HEIGHT + GAP_Y) - GAP_Y
    drawn = [_link(places[source], places[target]) for source, target in links]
    drawn += [_box(node, *places[name]) for name, node in nodes.items()]
    return Markup(
        '<svg class="graph" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="the graph of stages">'
        "{}</svg>"
    ).format(Markup().join(drawn), w=width, h=height)


def _columns(names: Sequence[str], links: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Names by depth; a cycle, which no experiment has, would leave its members in the first columns."""
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for source, target in links:
            depth[target] = min(len(names) - 1, max(depth[target], depth[source] + 1))
    used = sorted(set(depth.values()))
    return [[name for name in names if depth[name] == column] for column in used]


def _link(source: tuple[float, float], target: tuple[float, float]) -> Markup:
    x1, y1 = source[0] + BOX_WIDTH, source[1] + BOX_HEIGHT / 2
    x2, y2 = target[0], target[1] + BOX_HEIGHT / 2
    bend = GAP_X * 0.6
    return Markup('<path class="link" d="M{} {} C{} {} {} {} {} {}"/>').format(
        x1, y1, x1 + bend, y1, x2 - bend, y2, x2, y2
    )


def _box(node: Node, x: float, y: float) -> Markup:
    texts = Markup().join(
        Markup('<text class="tick" x="{}" y="{}">{}</text>').format(x + 10, y + 36 + 15 * index, line)
        for index, line in enumerate(node.lines)
    )
    return Markup(
        '<g><title>{name} ({method})</title><rect class="box" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>'
        '<text class="strong" x="{tx}" y="{ty}">{short}</text>{texts}'
        '<rect class="track" x="{tx}" y="{by}" width="{bw}" height="5" rx="2"/>'
        '<rect class="bar" x="{tx}" y="{by}" width="{share}" height="5" rx="2"/></g>'
    ).format(
        name=node.name, method=node.method, x=x, y=y, w=BOX_WIDTH, h=BOX_HEIGHT, tx=x + 10, ty=y + 18,
        short=node.name if len(node.name) <= 21 else node.name[:20] + "…", texts=texts, by=y + BOX_HEIGHT - 12,
        bw=BOX_WIDTH - 20, share=round(node.shared * (BOX_WIDTH - 20), 1),
    )  # fmt: skip
