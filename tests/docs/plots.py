"""Draws the benchmark in docs/performance.md: docs/pictures/benchmark-ack.svg and benchmark-scale.svg.

The numbers are those of the output of `make bench` in that page. Run it with `make pictures`; `make docs` fails if a
picture differs from the page. With --check it writes nothing, and exits with 1 then.
"""

import re
import sys
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"

# The pictures have a background of their own, because a picture cannot know the theme of the page.
STYLE = """
    .back { fill: #ffffff; stroke: #d0d7de } text { font: 14px system-ui, sans-serif; fill: #1f2328 }
    .title { font-weight: 600 } .note { font-size: 12px; fill: #59636e }
    .ours { fill: #0969da } .other { fill: #bc4c00 } .small { fill: #54aeff } .goal { stroke: #cf222e; stroke-width: 2 }
    @media (prefers-color-scheme: dark) {
      .back { fill: #161b22; stroke: #30363d } text { fill: #e6edf3 } .note { fill: #9198a1 }
      .ours { fill: #388bfd } .other { fill: #db6d28 } .small { fill: #79c0ff } .goal { stroke: #f85149 }
    }"""
WIDTH, LEFT, BARS, BAR = 760, 20, 600, 18


def read():
    """The rows of the table: the figure, and its columns measured, goal and ACK as numbers or None."""
    page = (DOCS / "performance.md").read_text()
    heading, *lines = page[page.index("figure   ") :].splitlines()
    columns = [heading.index(name) + len(name) for name in ("measured", "goal", "ACK")]
    rows = {}
    for line in lines:
        if not re.match(r"\w.*, |\w.*: ", line):
            break
        name, *_ = re.split(r"\s{2,}", line)
        row = rows[name] = [None, None, None]
        # Each number ends near the end of the heading of its column.
        for cell in re.finditer(r"[\d.]+(?=\s|$)", line[len(name) :]):
            end = len(name) + cell.end()
            row[min(range(3), key=lambda column: abs(columns[column] - end))] = float(cell[0])
    return rows


def number(value):
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def draw(title, legend, groups):
    """A group is a label and its bars: the class of each, its value, its text, and its goal if it has one."""
    parts, y = [], 66
    x = LEFT
    for style, label in legend:
        parts.append(
            f'<line class="goal" x1="{x + 6}" y1="40" x2="{x + 6}" y2="54"/>'
            if style == "goal"
            else f'<rect class="{style}" x="{x}" y="41" width="12" height="12"/>'
        )
        parts.append(f'<text class="note" x="{x + 18}" y="52">{escape(label)}</text>')
        x += 40 + 7 * len(label)
    for label, bars in groups:
        y += 22
        parts.append(f'<text x="{LEFT}" y="{y}">{escape(label)}</text>')
        y += 6
        top = max(max(value, goal or 0) for _, value, goal in bars)
        for style, value, goal in bars:
            width = max(BARS * value / top, 2)
            parts.append(f'<rect class="{style}" x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR - 3}"/>')
            end = width
            if goal is not None:
                at = LEFT + BARS * goal / top
                parts.append(f'<line class="goal" x1="{at:.0f}" y1="{y - 2}" x2="{at:.0f}" y2="{y + BAR - 1}"/>')
                # The number must not cover the mark of the goal.
                if width - 4 < at - LEFT < width + 60:
                    end = at - LEFT
            parts.append(f'<text class="note" x="{LEFT + end + 8:.0f}" y="{y + 12}">{number(value)}</text>')
            y += BAR
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 20}" width="{WIDTH}" height="{y + 20}"'
            f' role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}\n</style>",
            f'<rect class="back" x="0.5" y="0.5" width="{WIDTH - 1}" height="{y + 19}" rx="6"/>',
            f'<text class="title" x="{LEFT}" y="28">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def pictures():
    rows = read()
    beside = [
        "first resource: apply → Ready, without EC2's delay, s",
        "apply → all active, s",
        "EC2 calls per resource until active",
        "CPU time until all active, s",
        "memory when all active, MiB",
    ]
    yield "benchmark-ack.svg", draw(
        "1,000 peerings, 2 cores: lower is better",
        [("ours", "vpc-peering-operator"), ("other", "ACK ec2-controller 1.20")],
        [
            (name, [("ours", rows[f"1000: {name}"][0], None), ("other", rows[f"1000: {name}"][2], None)])
            for name in beside
        ],
    )
    growth = [
        "EC2 calls per resource until active",
        "memory when all active, MiB",
        "idle: CPU polling every minute, % of a core",
        "restart → all resources reconciled, s",
        "one more resource: apply → Ready, without EC2's delay, s",
    ]
    yield "benchmark-scale.svg", draw(
        "From 1,000 to 10,000 peerings",
        [("small", "1,000 peerings"), ("ours", "10,000 peerings"), ("goal", "goal")],
        [
            (name, [(style, *rows[f"{count}: {name}"][:2]) for style, count in (("small", 1000), ("ours", 10000))])
            for name in growth
        ],
    )


def main():
    for name, picture in pictures():
        path = DOCS / "pictures" / name
        if sys.argv[1:] != ["--check"]:
            path.write_text(picture)
        elif not path.exists() or path.read_text() != picture:
            sys.exit(f"docs/pictures/{name} differs from docs/performance.md; run `make pictures`")


main()
