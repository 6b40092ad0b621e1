# SPDX-License-Identifier: GPL-2.0
"""What works as in Linux: docs/PARITY.md, made of docs/parity.tsv, which names the guest tests
that show each row, and of what became of these tests on both modules."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import results

TOP, BUILD = Path(os.environ["TOP"]), Path(os.environ["BUILD"])
ROWS = TOP / "docs/parity.tsv"
PAGE = TOP / "docs/PARITY.md"
MODULES = ("rust_fuse", "fuse")
# What a row's note begins with when nothing is to be shown.
OUT_OF_SCOPE = ("out of scope", "later", "reserved", "defined, never acted on")

HEAD = """\
# Parity

What Linux's FUSE has, and which guest tests show that rust_fuse has it too. `make parity` makes this page
from [parity.tsv](parity.tsv) and from what becomes of the tests on rust_fuse and on C FUSE, on the same kernel.
`make test` fails when a row that is shown here no longer is, when a test that is named does not exist, and when
a row is shown that is not on this page yet.

- **ok**: its tests pass. **FAILED**: one does not. **differs**: C FUSE does not have it, or has it otherwise, and
  the tests say so.
- **open**: no test shows it yet. **out of scope**: for the reason that is given.
"""


@dataclass
class Row:
    kind: str
    item: str
    note: str
    tests: list

    @property
    def name(self):
        return f"{self.kind} {self.item}"

    @property
    def in_scope(self):
        return not self.note.startswith(OUT_OF_SCOPE)

    def verdict(self, states):
        """What the states of the tests say of this row, on one module."""
        if not self.in_scope:
            return "out of scope"
        if not self.tests:
            return "open"
        found = {states.get(test, "FAILED") for test in self.tests}
        if "FAILED" in found:
            return "FAILED"
        return "ok" if "ok" in found else "differs"


def rows():
    lines = ROWS.read_text().splitlines()[1:]
    fields = (line.split("\t") + [""] * 4 for line in lines)
    return [Row(kind, item, note, tests.split()) for kind, item, note, tests, *_ in fields]


def results_file(module, kernel):
    return BUILD / f"results/{module}-{kernel}.json"


def save(module, kernel, states):
    """Keeps the states of the guest tests on a module, for the page."""
    path = results_file(module, kernel)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(states, indent=0, sort_keys=True))


def load():
    """The states of the last run on each module; none on one that was not run."""
    found = {}
    for module in MODULES:
        try:
            found[module] = json.loads(results_file(module, "release").read_text())
        except (OSError, ValueError):
            found[module] = {}
    return found


def page(states):
    """The text of the page."""
    parts, sums = [], []
    all_rows = rows()
    for kind in dict.fromkeys(row.kind for row in all_rows):
        of_kind = [row for row in all_rows if row.kind == kind]
        verdicts = [[row.verdict(states[module]) for module in MODULES] for row in of_kind]
        in_scope = sum(row.in_scope for row in of_kind)
        shown = sum(verdict[0] == "ok" for verdict in verdicts)
        sums.append((kind, shown, in_scope, len(of_kind) - in_scope))
        parts += [f"\n## {kind}\n", "| item | rust_fuse | C FUSE | tests |", "| --- | --- | --- | --- |"]
        for row, (ours, theirs) in zip(of_kind, verdicts):
            remark = [f"`{test}`" for test in row.tests]
            if row.note:
                remark.append(f"({row.note})" if row.tests else row.note)
            parts.append(f"| `{row.item}` | {ours} | {theirs} | {' '.join(remark)} |")
    total = [sum(column) for column in zip(*(numbers for _, *numbers in sums))]
    table = ["\n| | shown | in scope | out of scope |", "| --- | --- | --- | --- |"]
    table += [f"| {kind} | {shown} | {scope} | {out} |" for kind, shown, scope, out in sums]
    table += ["| **all** | **{}** | **{}** | **{}** |".format(*total)]
    return "\n".join([HEAD.rstrip(), *table, *parts]) + "\n"


def shown_on(text):
    """The rows that a page says work on rust_fuse."""
    found, kind = set(), None
    for line in text.splitlines():
        if match := re.match(r"## (\S+)", line):
            kind = match[1]
        elif match := re.match(r"\| `(.+?)` \| ok \|", line):
            found.add(f"{kind} {match[1]}")
    return found


def named():
    return list(dict.fromkeys(test for row in rows() for test in row.tests))


def existing():
    """The names of the guest tests that there are."""
    program = BUILD / "userspace/bin/guest-tests"
    listed = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    return set(listed.stdout.split())


def check(report):
    """Calls `report(name, good, message)` for each thing that has to be so."""
    states, there = load(), existing()
    unknown = [test for test in named() if test not in there]
    report("parity: the tests that are named exist", not unknown, " ".join(unknown))
    for module in MODULES:
        failed = [row.name for row in rows() if row.verdict(states[module]) == "FAILED"]
        report(f"parity: no test of a row fails on {module}", not failed, ", ".join(failed))
    before = PAGE.read_text() if PAGE.exists() else ""
    now = {row.name for row in rows() if row.verdict(states["rust_fuse"]) == "ok"}
    lost = shown_on(before) - now
    report("parity: every row that was shown still is", not lost, ", ".join(sorted(lost)))
    new = now - shown_on(before)
    report("parity: docs/PARITY.md shows every row that is", not new, f"run `make parity`: {', '.join(sorted(new))}")


def main():
    """Runs the tests that are named, on both modules, and writes the page."""
    wrong = 0
    for module in MODULES:
        section = results.Section(module)
        command = [TOP / "qemu-scripts/guest", "--module", module, "--timeout", "900", "--"]
        results.run(section, [*command, "guest-tests", "--module", module, *named()], expected=named())
        save(module, "release", section.states)
        wrong += section.failed
    PAGE.write_text(page(load()))
    print(f"==> wrote {PAGE}", file=sys.stderr)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
