# SPDX-License-Identifier: GPL-2.0
"""Whether tests would notice: docs/MUTATION.md, made by taking behaviours out of a copy of the module."""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import parity
import results

TOP, BUILD = Path(os.environ["TOP"]), Path(os.environ["BUILD"])
MUTANTS = TOP / "qemu-scripts/mutants.toml"
PLANTED = TOP / "qemu-scripts/planted.toml"
PAGE = TOP / "docs/MUTATION.md"
# A checkout of its own, with what it takes to build the module and to run a guest.
COPY = BUILD / "mutation"

HEAD = """\
# Mutation

Would a test notice if what it tests were not there? For rows of [PARITY.md](PARITY.md) of every kind,
`make mutation` takes the behaviour out of a copy of the module ([mutants.toml](../qemu-scripts/mutants.toml) says
how), builds that, and runs a test that is to show the row. It passes on the module as it is, and has to fail on the
copy. Then the command makes this page; `make lint` checks that each of the changes still can be made.

| row | what is taken out | the test that fails |
| --- | --- | --- |
"""


@dataclass
class Bug:
    # What is wrong.
    bug: str
    # In which file of rust/, what stands there, and what stands there instead.
    file: str
    right: str
    wrong: str

    def misfit(self):
        """Why it cannot be put into the file, if so."""
        path = TOP / "rust" / self.file
        count = path.read_text().count(self.right) if path.is_file() else 0
        return None if count == 1 else f"what is to be changed is {count} times in rust/{self.file}"

    @contextmanager
    def in_copy(self, flavour):
        """Meanwhile the copy has it, and is built."""
        # Not of the checkout, which may be worked on meanwhile.
        path = COPY / "rust" / self.file
        text = path.read_text()
        path.write_text(text.replace(self.right, self.wrong))
        try:
            build(flavour)
            yield
        finally:
            path.write_text(text)


@dataclass
class Mutant(Bug):
    # The row of docs/parity.tsv: its kind, and the item.
    row: str
    # The test that is to find it, one of the row's.
    test: str

    def complaints(self, rows):
        """What keeps it from being of use."""
        if misfit := self.misfit():
            yield f"{self.row}: {misfit}"
        if self.row not in rows:
            yield f"{self.row}: docs/parity.tsv has no such row"
        elif self.test not in rows[self.row].tests:
            yield f"{self.row}: docs/parity.tsv does not name {self.test} there"


def mutants():
    return [Mutant(**fields) for fields in tomllib.loads(MUTANTS.read_text())["mutant"]]


@dataclass
class Planted(Bug):
    """A bug for the fuzzers to find."""

    name: str


def planted():
    return [Planted(**fields) for fields in tomllib.loads(PLANTED.read_text())["bug"]]


def check(found):
    rows = {row.name: row for row in parity.rows()}
    wrong = [f"mutants.toml: {complaint}" for mutant in found for complaint in mutant.complaints(rows)]
    wrong += [f"planted.toml: {bug.name}: {misfit}" for bug in planted() if (misfit := bug.misfit())]
    for complaint in wrong:
        print(f"qemu-scripts/{complaint}")
    return not wrong


def copy():
    """Makes the copy, or brings it up to date; what was built there stays."""
    for folder in ("rust", "qemu-scripts"):
        shutil.rmtree(COPY / folder, ignore_errors=True)
        shutil.copytree(TOP / folder, COPY / folder)
    shutil.copy2(TOP / "Kbuild", COPY)
    # What was built last had a bug.
    (COPY / "rust/rust_fuse.rs").touch()
    (COPY / "build").mkdir(exist_ok=True)
    userspace = COPY / "build/userspace"
    if not userspace.is_symlink():
        userspace.symlink_to(BUILD / "userspace")


def build(flavour):
    command = [COPY / "qemu-scripts/module", flavour]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        sys.exit(f"{run.stdout}\nerror: the copy cannot be built")


def run_tests(tests):
    """Runs tests on the copy; what became of each, and the guest's exit status."""
    command = [COPY / "qemu-scripts/guest", "--module", "rust_fuse", "--", "guest-tests", "--module", "rust_fuse"]
    run = subprocess.run([*command, *tests], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    matches = filter(None, map(results.TEST.match, run.stdout.splitlines()))
    return {match["name"]: match["state"] for match in matches}, run.returncode


def find(mutant):
    """Whether the test finds the bug."""
    with mutant.in_copy("release"):
        states, status = run_tests([mutant.test])
    # A kernel that complains, or hangs, has found it too.
    return states.get(mutant.test) == "FAILED" or status in (70, 124)


def main():
    words = sys.argv[1:]
    all_mutants = mutants()
    if not check(all_mutants):
        sys.exit(1)
    if words == ["--check"]:
        return
    chosen = [m for m in all_mutants if not words or any(word in m.row for word in words)]
    if not chosen:
        sys.exit(f"error: there is no row with one of these words: {' '.join(words)}")
    copy()
    build("release")
    tests = list(dict.fromkeys(mutant.test for mutant in chosen))
    states, _ = run_tests(tests)
    broken = [test for test in tests if states.get(test) != "ok"]
    if broken:
        sys.exit(f"error: these do not pass on the module as it is: {' '.join(broken)}")
    missed = 0
    for mutant in chosen:
        start = time.monotonic()
        found = find(mutant)
        missed += not found
        state = "ok" if found else "FAILED"
        print(f"test {mutant.row}: {mutant.bug} ... {state} [{(time.monotonic() - start) * 1000:.0f} ms]", flush=True)
    print(f"{len(chosen) - missed} passed, {missed} failed")
    if missed:
        sys.exit(1)
    if not words:
        lines = [f"| {m.row.replace(' ', ' `', 1)}` | {m.bug} | `{m.test}` |" for m in chosen]
        PAGE.write_text(HEAD + "\n".join(lines) + "\n")
        print(f"==> wrote {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
