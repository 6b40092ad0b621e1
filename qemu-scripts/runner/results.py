# SPDX-License-Identifier: GPL-2.0
"""Runs test programs, reads what they print, and adds it up."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass, field

# A line of a test program: `test NAME ... ok|FAILED|skipped (reason) [MS ms]`. Rust's own
# test harness prints the same.
TEST = re.compile(r"^test (?P<name>.+?) \.\.\. (?P<state>ok|FAILED|skipped|ignored)\b.*$")
SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")


@dataclass
class Section:
    """What one part of the tests came to."""

    title: str
    states: dict = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, name, state):
        # A name that comes twice stands for the worse of the two.
        if self.states.get(name) != "FAILED":
            self.states[name] = state

    def wrong(self, name, message):
        """Something other than a test of the program's own went wrong."""
        self.add(name, "FAILED")
        print(f"  test {name} ... FAILED\n    {message}", flush=True)

    def count(self, *states):
        return sum(state in states for state in self.states.values())

    def counts(self):
        return self.passed, self.failed, self.skipped

    @property
    def passed(self):
        return self.count("ok")

    @property
    def failed(self):
        return self.count("FAILED")

    @property
    def skipped(self):
        return self.count("skipped", "ignored")


def run(section, command, *, expected=(), read=TEST.match, **options):
    """Runs a test program and adds its tests to the section, showing its output as it
    comes. `expected` names tests that must be among them."""
    start = time.monotonic()
    sums, before = None, section.counts()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", **options
    )
    for line in process.stdout:
        line = line.rstrip("\n")
        print(f"  {line}", flush=True)
        if found := read(line):
            section.add(found["name"], found["state"])
        elif found := SUMMARY.match(line):
            sums = tuple(int(number or 0) for number in found.groups())
    status = process.wait()
    sys.stdout.flush()
    seen = tuple(now - then for now, then in zip(section.counts(), before))
    finish(section, status, sums, seen, expected)
    section.seconds += time.monotonic() - start
    return status


def finish(section, status, sums, seen, expected):
    """Holds the tests that were seen against what the program said and should have run."""
    if sums is not None and sums != seen:
        section.wrong("(sums)", f"the program says {sums} passed, failed, skipped; seen were {seen}")
    for name in expected:
        if name not in section.states:
            section.wrong(name, "it did not run")
    if status and (status in (70, 124, 125) or not seen[1]):
        meaning = {
            70: ": the kernel complained",
            124: ": its time was up",
            125: ": the guest did not get to it",
        }
        section.wrong("(exit status)", f"status {status}{meaning.get(status, '')}")
    if not any(seen):
        section.wrong("(no tests)", "not one test ran")


def table(sections):
    """The sums by section, and whether all is well."""
    width = max(len(section.title) for section in sections)
    print(f"\n{'section':{width}}  passed  failed  skipped  seconds")
    for section in sections:
        print(
            f"{section.title:{width}}  {section.passed:6}  {section.failed:6}  {section.skipped:7}  {section.seconds:7.0f}"
        )
    for section in sections:
        for name, state in section.states.items():
            if state == "FAILED":
                print(f"FAILED: {section.title}: {name}")
    passed, failed, skipped = (
        sum(getattr(section, kind) for section in sections) for kind in ("passed", "failed", "skipped")
    )
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return failed == 0 and passed > 0
