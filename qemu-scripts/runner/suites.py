# SPDX-License-Identifier: GPL-2.0
"""Other people's test suites over stackfs, on both modules: what `make test` holds against them in
their short form, and docs/CONFORMANCE.md, which `make conformance` makes of their full one."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import results

TOP, BUILD = Path(os.environ["TOP"]), Path(os.environ["BUILD"])
SUITES = TOP / "qemu-scripts/suites"
PAGE = TOP / "docs/CONFORMANCE.md"
MODULES = ("rust_fuse", "fuse")
# The suite whose failures on C FUSE are not ours to mend.
POSIX = "pjdfstest: "

HEAD = """\
# Conformance

Test suites by others, run over `stackfs` on rust_fuse and on C FUSE, on the same kernel. `make conformance` makes this
page; `make test SECTIONS=suites` runs a shorter form. `stackfs` is stacked on a tmpfs, with the options that
[suites.sh](../qemu-scripts/suites.sh) says for each line.

- **fsx** ({operations} operations each, with another seed for each thousand): reads, writes, maps, cuts, allocates and copies at random, and knows what has
  to be there.
- **fio**: {size} of random writes and reads per job, verified by their checksums.
- **tar**: `{tree}` of Linux's sources, unpacked and compared: above, below, with nothing cached, and after an umount.
- **compile**: libraries of Linux's `tools/lib`, unpacked and compiled.
- **stress-ng**: its stressors of file systems, two processes each for {seconds} s, with `--verify`.
- **selftests**: the kernel's own, `tools/testing/selftests/filesystems/fuse`.
- **pjdfstest**: what POSIX says of names, attributes and permissions; with `default_permissions`. What fails on C FUSE as
  well is Linux's behaviour, or that of the file system below.
"""


@dataclass
class Run:
    """What became of the suites on one module."""

    states: dict
    status: int

    def own(self):
        """The tests that have to pass: {name: state}."""
        return {name: state for name, state in self.states.items() if not name.startswith(POSIX)}

    def posix(self, state):
        """The names of pjdfstest's tests that came to `state`."""
        return {
            name.removeprefix(POSIX)
            for name, found in self.states.items()
            if name.startswith(POSIX) and found == state
        }

    def posix_counts(self):
        counts = Counter(state for name, state in self.states.items() if name.startswith(POSIX))
        return f"{counts['ok']} ok, {counts['FAILED']} failed, {counts['skipped']} skipped"


def results_file(module):
    return BUILD / f"results/suites-{module}.json"


def run(module, length, words=()):
    """Runs the suites on a module, or those that have one of the words, showing what goes on."""
    states = {}
    process = subprocess.Popen(
        [SUITES, module, length, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    for line in process.stdout:
        found = results.TEST.match(line)
        if found:
            # One that was skipped may come again.
            states[found["name"]] = found["state"]
        if not found or found["state"] != "ok" or not found["name"].startswith(POSIX):
            print(f"  {module}: {line}", end="", flush=True)
    return Run(states, process.wait())


def compare(report, runs):
    """Calls `report(name, good, message)` for each thing that has to be so."""
    ours, theirs = (runs[module] for module in MODULES)
    for module, run in runs.items():
        report(f"suites on {module}", run.status == 0, f"status {run.status}")
        for name, state in run.own().items():
            report(f"{name} on {module}", state == "ok", "see above")
        report(f"pjdfstest ran on {module}", run.posix("ok"), "not one of its tests passed")
    missing = theirs.states.keys() ^ ours.states.keys()
    report("suites: the same tests ran on both modules", not missing, ", ".join(sorted(missing)))
    worse = ours.posix("FAILED") - theirs.posix("FAILED")
    report("pjdfstest: what fails on rust_fuse fails on C FUSE", not worse, ", ".join(sorted(worse)))
    skipped = ours.posix("skipped") - theirs.posix("skipped")
    report("pjdfstest: what is skipped on rust_fuse is skipped on C FUSE", not skipped, ", ".join(sorted(skipped)))


def check(report):
    """The short form, for `make test`."""
    compare(report, {module: run(module, "short") for module in MODULES})


def full_numbers():
    """Operations, data and tree of the full form, as the script has them."""
    return re.search(r"full\) numbers=\((\S+) (\S+) (\S+) (\S+)\)", SUITES.read_text()).groups()


def page(runs):
    """The text of the page."""
    ours, theirs = (runs[module] for module in MODULES)
    operations, size, tree, seconds = full_numbers()
    parts = [HEAD.format(operations=f"{int(operations):,}", size=size.upper(), tree=tree, seconds=seconds)]
    parts += ["| suite | rust_fuse | C FUSE |", "| --- | --- | --- |"]
    names = dict.fromkeys([*ours.own(), *theirs.own()])
    parts += [f"| {name} | {ours.states.get(name, '-')} | {theirs.states.get(name, '-')} |" for name in names]
    parts += [f"| pjdfstest | {ours.posix_counts()} | {theirs.posix_counts()} |"]
    parts += ["\n## Differences\n"]
    differ = sorted(name for name in {*ours.states, *theirs.states} if ours.states.get(name) != theirs.states.get(name))
    parts += [
        f"- `{name}`: {ours.states.get(name, 'not run')} on rust_fuse, {theirs.states.get(name, 'not run')} on C FUSE"
        for name in differ
    ] or ["None."]
    parts += ["\n## What of pjdfstest fails on both\n"]
    parts += [f"- `{name}`" for name in sorted(ours.posix("FAILED") & theirs.posix("FAILED"))] or ["Nothing."]
    return "\n".join(parts) + "\n"


def load(module):
    """What was kept of a module's runs; nothing, if nothing was."""
    file = results_file(module)
    return Run(**json.loads(file.read_text())) if file.exists() else None


def keep(module, done, partly):
    """Keeps a run; one of a part of the suites in place of what was kept of that part."""
    if partly and (before := load(module)):
        # That tests failed, which is status 1, is what their states say, when they have run again.
        status = done.status or (0 if before.status == 1 else before.status)
        done = Run(before.states | done.states, status)
    file = results_file(module)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(done), indent=0))


def main():
    """Runs the full form, or a part, on the modules that are named, or both, and writes the page."""
    words = [word for word in sys.argv[1:] if word not in MODULES]
    for module in [word for word in sys.argv[1:] if word in MODULES] or MODULES:
        keep(module, run(module, "full", words), partly=words)
    runs = {module: load(module) for module in MODULES}
    if missing := [module for module, run in runs.items() if not run]:
        sys.exit(f"==> no page yet: there are no results on {' '.join(missing)}")
    section = results.Section("suites")

    def report(name, good, message):
        section.add(name, "ok") if good else section.wrong(name, message)

    compare(report, runs)
    PAGE.write_text(page(runs))
    print(f"==> wrote {PAGE}", file=sys.stderr)
    sys.exit(not results.table([section]))


if __name__ == "__main__":
    main()
