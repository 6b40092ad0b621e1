# SPDX-License-Identifier: GPL-2.0
"""Runs the program `bench` in guests, puts side by side what it counts and times, and makes the page."""

import json
import os
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import costs

TOP, BUILD, KERNEL, TREE = (Path(os.environ[name]) for name in ("TOP", "BUILD", "KERNEL", "TREE"))
JSON = BUILD / "bench.json"
SCRIPT = TOP / "qemu-scripts/bench-tree.sh"
# What is counted, by the options of the guest and of the program in it.
ON = {
    "rust_fuse": ("--module", "rust_fuse"),
    "fuse": ("--module", "fuse"),
    "tmpfs": ("--module", "none"),
}
MODULES = ("rust_fuse", "fuse")
FLOOR = "pipe-ping-pong"
# A million inodes need room.
COUNTING = ("--icount", "--mem", "3072", "--timeout", "3600")
# The most that a row may take of what C FUSE takes.
LIMIT = 1.05
# How often each module has its turn where time is taken, and on how many processors.
TURNS = 3
CPUS = (1, 2, 4)
LINE = re.compile(r"name=(\S+) unit=(\S+) value=(\d+)")


def run(log, *arguments):
    """What is said in a guest: {name: (unit, value)}, in its order."""
    command = [TOP / "qemu-scripts/guest", "--log", log, *arguments]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        raise SystemExit(f"{process.stdout}error: status {process.returncode}; the log is {log}")
    return {name: (unit, int(value)) for name, unit, value in LINE.findall(process.stdout)}


def count(where, prefixes):
    kind = "tmpfs" if where == "tmpfs" else "fuse"
    program = "--", "bench", "--on", kind, *prefixes
    return run(BUILD / f"log/bench-{where}.log", *COUNTING, *ON[where], *program)


def counted(prefixes):
    """The rows that are instructions or bytes, and the floor."""
    with ThreadPoolExecutor(min(int(os.environ["JOBS"]), len(ON))) as pool:
        found = dict(zip(ON, pool.map(lambda where: count(where, prefixes), ON)))
    rows = []
    for name, (unit, ours) in found["rust_fuse"].items():
        _, theirs = found["fuse"][name]
        _, floor = found["tmpfs"].get(name, (unit, None))
        rows.append(row(name, unit, ours, theirs, floor))
    _, floor = found["tmpfs"].get(FLOOR, (None, None))
    return rows, floor


def row(name, unit, ours, theirs, floor=None):
    ratio = round(ours / theirs, 3) if theirs else None
    return {"name": name, "unit": unit, "rust_fuse": ours, "fuse": theirs, "ratio": ratio, "tmpfs": floor}


def take_time(module):
    """One turn: what is timed on a module."""
    found = {}
    for cpus in CPUS:
        options = "--module", module, "--cpus", str(cpus), "--timeout", "600"
        said = run(BUILD / f"log/bench-{module}.log", *options, "--", "bench", "--timed")
        found |= {f"{name}-{cpus}-cpus": value for name, value in said.items()}
    options = "--root", "host", "--module", module, "--mem", "2048", "--timeout", "1800"
    shell = "--", "/bin/sh", "-c", SCRIPT.read_text(), "bench-tree", TREE
    return found | run(BUILD / f"log/bench-{module}.log", *options, *shell)


def timed():
    """The rows that are times: the modules have their turns alternately, and the median counts."""
    turns = {module: [] for module in MODULES}
    for turn in range(TURNS):
        for module in MODULES:
            print(f"    turn {turn + 1} of {TURNS}: {module}", file=sys.stderr)
            turns[module].append(take_time(module))
    rows = []
    for name, (unit, _) in turns["rust_fuse"][0].items():
        ours, theirs = ([turn[name][1] for turn in turns[module]] for module in MODULES)
        ratios = [one / other for one, other in zip(ours, theirs)]
        middle = row(name, unit, round(statistics.median(ours)), round(statistics.median(theirs)))
        rows.append(middle | {"ratio": round(statistics.median(ratios), 3), "ratios": [round(min(ratios), 3), round(max(ratios), 3)]})
    return rows


def show(rows, floor):
    print(f"{'':30}{'rust_fuse':>12}{'C FUSE':>12}{'ratio':>8}{'tmpfs':>12}")
    for row in rows:
        ratio, tmpfs = row["ratio"], row["tmpfs"]
        print(
            f"{row['name']:30}{row['rust_fuse']:12}{row['fuse']:12}"
            f"{'-' if ratio is None else f'{ratio:.3f}':>8}"
            f"{'-' if tmpfs is None else tmpfs:>12}"
            f"{'' if row['unit'] == 'instructions' else '  ' + row['unit']}"
            f"{'  above ' + str(LIMIT) if ratio and ratio > LIMIT else ''}"
        )
    if floor is not None:
        print(f"two processes that wake each other ({FLOOR}): {floor}")


def keep(rows, floor):
    """Writes build/bench.json, and the page."""
    git = ["git", "-C", TOP, "describe", "--always", "--dirty"]
    commit = subprocess.run(git, stdout=subprocess.PIPE, text=True).stdout.strip() or None
    kernel = (KERNEL / "include/config/kernel.release").read_text().strip()
    head = {"format": 1, "commit": commit, "kernel": kernel, FLOOR: floor}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    table = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    JSON.write_text("{\n" + "\n".join(lines) + '\n  "rows": [\n' + table + "\n  ]\n}\n")
    costs.write(json.loads(JSON.read_text()))


def main():
    prefixes = sys.argv[1:]
    print("==> counting instructions in three guests (5 minutes)", file=sys.stderr)
    rows, floor = counted(prefixes)
    if prefixes:
        return show(rows, floor)
    # Who has had enough may stop here.
    keep(rows, floor)
    print("==> taking times, on one module and the other in turn (20 minutes)", file=sys.stderr)
    rows += timed()
    keep(rows, floor)
    show(rows, floor)
    print(f"{JSON.relative_to(TOP)} has this table, {costs.PAGE.relative_to(TOP)} too.")


main()
