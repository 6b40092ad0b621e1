# SPDX-License-Identifier: GPL-2.0
"""Runs the program `bench` in three guests, and puts side by side what it counts."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP, BUILD, KERNEL = (Path(os.environ[name]) for name in ("TOP", "BUILD", "KERNEL"))
JSON = BUILD / "bench.json"
# What is measured, by the options of the guest and of the program in it.
ON = {
    "rust_fuse": ("--module", "rust_fuse"),
    "fuse": ("--module", "fuse"),
    "tmpfs": ("--module", "none"),
}
FLOOR = "pipe-ping-pong"
# A million inodes need room.
GUEST = ("--icount", "--mem", "3072", "--timeout", "1800")
# The most that a row may take of what C FUSE takes.
LIMIT = 1.05


def measure(where, prefixes):
    """What the program says: {name: (unit, value)}, in its order."""
    log = BUILD / f"log/bench-{where}.log"
    kind = "tmpfs" if where == "tmpfs" else "fuse"
    command = [TOP / "qemu-scripts/guest", *GUEST, *ON[where], "--log", log]
    command += ["--", "bench", "--on", kind, *prefixes]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        raise SystemExit(f"error: bench on {where} ended with status {run.returncode}; the log is {log}")
    rows = (dict(field.split("=", 1) for field in line.split()) for line in run.stdout.splitlines())
    return {row["name"]: (row["unit"], int(row["value"])) for row in rows}


def compare(found):
    """The rows of the file."""
    rows = []
    for name, (unit, ours) in found["rust_fuse"].items():
        _, theirs = found["fuse"][name]
        _, floor = found["tmpfs"].get(name, (unit, None))
        ratio = round(ours / theirs, 3) if theirs else None
        rows.append(
            {"name": name, "unit": unit, "rust_fuse": ours, "fuse": theirs, "ratio": ratio, "tmpfs": floor}
        )
    return rows


def show(rows, floor):
    print(f"{'':26}{'rust_fuse':>12}{'C FUSE':>12}{'ratio':>8}{'tmpfs':>12}")
    for row in rows:
        ratio, tmpfs = row["ratio"], row["tmpfs"]
        print(
            f"{row['name']:26}{row['rust_fuse']:12}{row['fuse']:12}"
            f"{'-' if ratio is None else f'{ratio:.3f}':>8}"
            f"{'-' if tmpfs is None else tmpfs:>12}"
            f"{'  bytes' if row['unit'] == 'bytes' else ''}"
            f"{'  above ' + str(LIMIT) if ratio and ratio > LIMIT else ''}"
        )
    if floor is not None:
        print(f"two processes that wake each other ({FLOOR}): {floor}")


def main():
    prefixes = sys.argv[1:]
    with ThreadPoolExecutor(min(int(os.environ["JOBS"]), len(ON))) as pool:
        found = dict(zip(ON, pool.map(lambda where: measure(where, prefixes), ON)))
    rows = compare(found)
    _, floor = found["tmpfs"].get(FLOOR, (None, None))
    show(rows, floor)
    if prefixes:
        return
    git = ["git", "-C", TOP, "describe", "--always", "--dirty"]
    commit = subprocess.run(git, stdout=subprocess.PIPE, text=True).stdout.strip() or None
    kernel = (KERNEL / "include/config/kernel.release").read_text().strip()
    head = {"format": 1, "commit": commit, "kernel": kernel, FLOOR: floor}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    table = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    JSON.write_text("{\n" + "\n".join(lines) + '\n  "rows": [\n' + table + "\n  ]\n}\n")
    print(f"{JSON.relative_to(TOP)} has this table.")


main()
