# SPDX-License-Identifier: GPL-2.0
"""Runs a fuzzer in a guest, keeps what it finds, and makes docs/FUZZ.md."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import coverage
import mutation

TOP, BUILD = Path(os.environ["TOP"]), Path(os.environ["BUILD"])
PAGE = TOP / "docs/FUZZ.md"
HOSTILE = BUILD / "hostile"
# What became of planted bugs, by their names.
PLANTED = HOSTILE / "planted.json"
SHARE = "/run/guest/share"
MODULE = "module-debug/rust_fuse.ko"
# Seconds that a guest may take beside what the fuzzer is given.
BESIDES = 900
# What a line of progress says, in both fuzzers.
FIGURE = re.compile(r"(\w+)=([\d.]+)")

WHAT = {"daemon": "a hostile daemon", "caller": "hostile callers"}

HEAD = """\
# Fuzzing

What programs come to that mean harm: `hostile daemon` mounts, and answers with edited, cut, late, doubled and
invented replies and notifications; `hostile-caller` makes calls at random while its daemon misbehaves. Both run on
the debug kernel, which reports what is wrong with memory and locks. `make fuzz` runs each for an hour, and makes this page of
what they came to; [ARCHITECTURE.md](ARCHITECTURE.md) says how they work.

"""


def command(kind, options, seconds):
    """What runs in the guest."""
    seed = ["--seed", str(options.seed)] if options.seed is not None else []
    if kind == "caller":
        replay = ["--replay", *options.replay] if options.replay else []
        minutes = ["--minutes", f"{seconds / 60:.2f}", "--coverage", f"{SHARE}/reached"]
        return ["hostile-caller", *minutes, *seed, *replay]
    inputs = [f"{SHARE}/replay/{Path(file).name}" for file in options.replay]
    replay = ["--replay", *inputs] if inputs else []
    return ["hostile", "daemon", "--seconds", str(int(seconds)), "--share", SHARE, *seed, *replay]


def prepare(kind, replay, top=TOP):
    """The folder that the guest gets: nothing in it but what is to be replayed."""
    folder = top / "build/hostile" / kind
    kept = [Path(file).read_bytes() for file in replay if kind == "daemon"]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "replay").mkdir(parents=True)
    for file, content in zip(replay, kept):
        (folder / "replay" / Path(file).name).write_bytes(content)
    return folder


def run(kind, options, top=TOP):
    """Runs it; gives the folder, the exit status and the figures that it told last."""
    folder = prepare(kind, options.replay, top)
    seconds = options.minutes * 60
    guest = [top / "qemu-scripts/guest", "--kernel", "debug", "--share", folder, "--log", folder / "kernel.log"]
    guest += ["--timeout", str(int(seconds) + BESIDES), "--", *command(kind, options, seconds)]
    figures = {}
    process = subprocess.Popen(
        guest, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    for line in process.stdout:
        print(f"  {line}", end="", flush=True)
        if found := dict(FIGURE.findall(line)):
            figures = found
    return folder, process.wait(), figures


def keep_last(folder):
    """Where the guest fell over, what it played last is all there is."""
    inputs = sorted((folder / "last").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    finds = folder / "finds"
    if inputs and not any(finds.glob("*.jsonl")):
        # The last one first; it may be due to one before.
        for number, path in enumerate(reversed(inputs[-5:])):
            shutil.copy2(path, finds / f"last-{number}.jsonl")
    return sorted(finds.glob("*.jsonl"))


def reached(folder):
    """The points that were come to. What is in other sections than the code's is not counted."""
    file = folder / "reached"
    lines = file.read_text().splitlines() if file.exists() else []
    return {int(line.split()[-1], 16) for line in lines if line.startswith(".text ")}


def page():
    """Makes docs/FUZZ.md of the last run of each, and of what became of planted bugs."""
    runs = {}
    for kind in WHAT:
        file = HOSTILE / f"{kind}.json"
        if file.exists():
            runs[kind] = json.loads(file.read_text())
    text = HEAD
    for kind, found in runs.items():
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found["figures"].items())
        text += f"- **{WHAT[kind]}**: {found['minutes']:g} minutes: {figures}.\n"
    text += "\n## The code that was come to\n\nA point is where the code branches, the kernel's own checks and ours included, which nobody should come to; those of\nthe module's tests are not counted. Work that the kernel does later, in threads of its own, is not seen.\n\n"
    text += f"| file | points | {' | '.join(WHAT[kind] for kind in runs)} |\n| --- | --- |{' --- |' * len(runs)}\n"
    files = sorted({name for found in runs.values() for name in found["files"]})
    sums = {kind: [0, 0] for kind in runs}
    for name in files:
        row, count = "", 0
        for kind, found in runs.items():
            points, come_to = found["files"].get(name, (0, 0))
            count = max(count, points)
            sums[kind][0] += points
            sums[kind][1] += come_to
            row += f" {share(come_to, points)} |"
        text += f"| {name} | {count} |{row}\n"
    total = "".join(f" {share(come_to, points)} |" for points, come_to in sums.values())
    text += f"| all | {max(points for points, _ in sums.values()) if sums else 0} |{total}\n"
    PAGE.write_text(text + planted_table())
    print(f"==> wrote {PAGE}", file=sys.stderr)


def planted_results():
    return json.loads(PLANTED.read_text()) if PLANTED.exists() else {}


def planted_table():
    """What of the page is about planted bugs."""
    found = planted_results()
    if not found:
        return ""
    text = "\n## Planted bugs\n\nWhat `qemu-scripts/fuzz daemon --planted NAME` and `caller` came to, on a copy of the module with a bug of\n[planted.toml](../qemu-scripts/planted.toml). The seconds are the guest's, its boot and end among them.\n\n"
    text += "| bug | by | seconds | found |\n| --- | --- | --- | --- |\n"
    for name, result in sorted(found.items()):
        yes = "yes" if result["found"] else "no"
        text += f"| `{name}`: {result['bug']} | {WHAT[result['kind']]} | {result['seconds']} | {yes} |\n"
    return text


def share(part, whole):
    return f"{part} ({100 * part / whole:.0f} %)" if whole else "-"


def find_planted(kind, options):
    """Lets it look for a planted bug; the page tells how long it took."""
    bugs = [bug for bug in mutation.planted() if bug.name == options.planted]
    if not bugs:
        sys.exit(f"error: planted.toml has no {options.planted}; it has {' '.join(bug.name for bug in mutation.planted())}")
    mutation.copy()
    with bugs[0].in_copy("debug"):
        start = time.monotonic()
        folder, status, figures = run(kind, options, mutation.COPY)
    finds = keep_last(folder)
    seconds = round(time.monotonic() - start)
    # The kernel reported it, or the fuzzer.
    found = status == 70 or int(figures.get("finds", 0)) > 0
    state = "ok" if found else "FAILED"
    print(f"test {kind} finds: {bugs[0].bug} ... {state} [{seconds} s; {figures}]")
    print(*finds, sep="\n")
    result = {"kind": kind, "bug": bugs[0].bug, "seconds": seconds, "found": found}
    HOSTILE.mkdir(parents=True, exist_ok=True)
    PLANTED.write_text(json.dumps(planted_results() | {options.planted: result}))
    page()
    return found


def arguments():
    parser = argparse.ArgumentParser(prog="fuzz")
    add = parser.add_argument
    add("kind", nargs="?", choices=tuple(WHAT))
    add("--minutes", type=float, default=60, metavar="N", help="for how long (60)")
    add("--seed", type=int, metavar="N", help="where chance begins")
    add("--replay", nargs="+", default=[], metavar="FILE", help="play these only")
    add("--planted", metavar="NAME", help="on a copy of the module with a bug of planted.toml")
    add("--page", action="store_true", help="only make docs/FUZZ.md again")
    options = parser.parse_args()
    if not options.page and not options.kind:
        parser.error("daemon or caller?")
    return options


def main():
    options = arguments()
    if options.page:
        return page()
    if options.planted:
        sys.exit(not find_planted(options.kind, options))
    folder, status, figures = run(options.kind, options)
    finds = keep_last(folder) if status else []
    if not options.replay:
        found = {
            "minutes": options.minutes,
            "figures": figures,
            "files": coverage.by_file(BUILD / MODULE, TOP, reached(folder)),
        }
        (HOSTILE / f"{options.kind}.json").write_text(json.dumps(found))
        page()
    for find in finds:
        print(f"==> a find: {find}; again: qemu-scripts/fuzz {options.kind} --replay {find}")
    sys.exit(status)


if __name__ == "__main__":
    main()
