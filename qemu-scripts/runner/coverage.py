# SPDX-License-Identifier: GPL-2.0
"""Which of the module's code a run has come to, file by file."""

import bisect
import re
import subprocess
from collections import defaultdict

# What the compiler calls at each point of the code.
TRACE = "__sanitizer_cov_trace_pc"
# A call is an opcode and an offset of 4 bytes; what is noted is where it comes back to.
OFFSET = 4


# In the names of functions that are tests (KUnit), or are there for a type of theirs; and of their files.
TESTS = "5tests"
TEST_FILE = re.compile(r"(^|/)(tests?|kunit)(/|\.rs$)")


def output(*command, asked=None):
    return subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout


def points(module):
    """The points of a module's code, by their distance from where it begins; not those of its tests."""
    symbols = re.findall(r"^([0-9a-f]+) [tT] (\S+)$", output("nm", "-n", module), re.MULTILINE)
    starts = [int(offset, 16) for offset, _ in symbols]
    relocations = output("objdump", "-r", "-j", ".text", module)
    found = re.findall(rf"^([0-9a-f]+) \S+ +{TRACE}\b", relocations, re.MULTILINE)
    offsets = [int(offset, 16) for offset in found]
    return [
        offset + OFFSET for offset in offsets if TESTS not in symbols[bisect.bisect(starts, offset) - 1][1]
    ]


def lines(module, offsets, tree):
    """For each of these points (its file below rust/, the line): of the innermost function that is ours,
    where others were put into it; or of none."""
    # The point's own instruction is the one before.
    asked = "".join(f"{offset - 1:#x}\n" for offset in offsets)
    told = output("addr2line", "-a", "-i", "-j", ".text", "-e", module, asked=asked)
    answers = re.split(r"^0x[0-9a-f]+\n", told, flags=re.MULTILINE)[1:]
    known = {}

    def ours(path):
        if path not in known:
            name = path.rpartition("/rust/")[2] if "/rust/" in path else path.removeprefix("rust/")
            known[path] = name if (tree / "rust" / name).is_file() else None
        return known[path]

    for answer in answers:
        frames = (frame.partition(" ")[0].rpartition(":") for frame in answer.splitlines())
        mine = ((ours(path), line) for path, _, line in frames)
        yield next(((name, line) for name, line in mine if name), (None, ""))


def by_file(module, tree, reached):
    """{file: (points, those reached)}, of `reached`, which are the addresses that were come to."""
    everything = points(module)
    table = defaultdict(lambda: [0, 0])
    for offset, (name, _) in zip(everything, lines(module, everything, tree)):
        if TEST_FILE.search(name or ""):
            continue
        row = table[name or "(the kernel's own, put into ours)"]
        row[0] += 1
        row[1] += offset in reached
    return {name: tuple(row) for name, row in sorted(table.items())}
