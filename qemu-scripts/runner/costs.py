# SPDX-License-Identifier: GPL-2.0
"""docs/COSTS.md with its picture, and what README.md has of it, of build/bench.json."""

import json
import os
import subprocess
from pathlib import Path

TOP, BUILD = Path(os.environ["TOP"]), Path(os.environ["BUILD"])
PAGE, PICTURE = TOP / "docs/COSTS.md", TOP / "docs/costs.svg"
README = TOP / "README.md"
# What stands between these in README.md is made here.
MARKS = "<!-- made by make bench -->\n", "<!-- until here -->\n"
DATA = BUILD / "costs.dat"
LICENCE = "<!-- SPDX-License-Identifier: GPL-2.0 -->"
KINDS = {
    "instructions": "Instructions for one operation",
    "bytes": "Bytes of slab",
    "nanoseconds": "Nanoseconds for one operation",
    "milliseconds": "Milliseconds for all of it",
}

HEAD = """\
# Costs

What `make bench` has measured, on Linux {kernel}. [BENCH.md](BENCH.md) says what the rows are, and how far they can be trusted.
The ratio is rust_fuse by C FUSE: below 1 is in our favour. Two processes that wake each other over pipes, which is the least that a
request and its reply can cost, take {floor:,} instructions.

![The ratio of each row](costs.svg)
"""
# A bar for each row, from 1 to its ratio.
PLOT = """\
set terminal svg size 900,{height} font 'sans,11' background '#ffffff' noenhanced
set output '{picture}'
set yrange [-1:{last}]
set xrange [{low}:{high}]
set x2range [{low}:{high}]
set xtics 0.1
set x2tics 0.1
set grid xtics lc '#dddddd'
set border 0
set tics scale 0
set lmargin 30
set arrow from 1,graph 0 to 1,graph 1 nohead lc '#444444' lw 1.5
set title 'rust_fuse by C FUSE: less is better' offset 0,1
set style fill solid
plot '{data}' using 2:0:(1):2:($0-0.35):($0+0.35):($2>1 ? 0xc0504d : 0x4f81bd):ytic(1) with boxxyerror lc rgb variable notitle, \\
     '' using ($2>1 ? $2 : 1):0:(sprintf('%.2f', $2)) with labels offset 3,0 font 'sans,9' notitle
"""


def number(value):
    return "-" if value is None else f"{value:,}"


def ratio(row):
    if row["ratio"] is None:
        return "-"
    spread = row.get("ratios")
    return f"{row['ratio']:.3f}" + (f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else "")


def table(rows):
    yield "| row | rust_fuse | C FUSE | ratio | tmpfs |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for row in rows:
        yield (
            f"| `{row['name']}` | {number(row['rust_fuse'])} | {number(row['fuse'])} | {ratio(row)} "
            f"| {number(row['tmpfs'])} |"
        )


def tables(heading, rows):
    """One for each kind that there is, with its title in the heading."""
    for unit, title in KINDS.items():
        if chosen := [row for row in rows if row["unit"] == unit]:
            yield heading.format(title) + "\n"
            yield from table(chosen)
            yield ""


def draw(rows):
    rows = [row for row in rows if row["ratio"] is not None]
    DATA.write_text("".join(f"{row['name']} {row['ratio']}\n" for row in reversed(rows)))
    ratios = [row["ratio"] for row in rows]
    plot = PLOT.format(
        height=90 + 17 * len(rows),
        picture=PICTURE,
        data=DATA,
        last=len(rows),
        low=min(0.6, min(ratios) - 0.1),
        high=max(1.2, max(ratios) + 0.1),
    )
    subprocess.run(["gnuplot"], input=plot, text=True, check=True)
    # Where nothing but the declaration may come before.
    declaration, _, rest = PICTURE.read_text().partition("\n")
    PICTURE.write_text(f"{declaration}\n{LICENCE}\n{rest}")


def summary(rows):
    """What README.md says."""
    measured = [row for row in rows if row["ratio"] is not None]
    above = [row for row in measured if row["ratio"] > 1]
    yield f"Of {len(measured)} rows {len(measured) - len(above)} are at or below what C FUSE takes."
    if above:
        yield "Above it: " + ", ".join(f"`{row['name']}` {row['ratio']:.3f}" for row in above) + "."
    yield "\n<details><summary>All figures</summary>\n"
    yield from tables("{}:", rows)
    yield "</details>"


def write_readme(rows):
    first, last = MARKS
    before, _, rest = README.read_text().partition(first)
    _, _, after = rest.partition(last)
    README.write_text(before + first + "\n".join(summary(rows)) + "\n" + last + after)


def write(found):
    """Writes the page and draws the picture."""
    rows = found["rows"]
    parts = [HEAD.format(kernel=found["kernel"], floor=found["pipe-ping-pong"]), *tables("## {}", rows)]
    PAGE.write_text("\n".join(parts))
    draw(rows)
    write_readme(rows)


if __name__ == "__main__":
    write(json.loads((BUILD / "bench.json").read_text()))
