# SPDX-License-Identifier: GPL-2.0
"""Checks of the source that no compiler makes: where `unsafe` may be, who may use whom.

    check.py TREE unsafe|safety|floors|files|rules

Prints what is wrong, a line each, and exits with 1 when something is.
"""

import re
import subprocess
import sys
from pathlib import Path

# The rooms of the module and the floor each stands on: one may use what is on a lower
# floor, nothing else.
FLOORS = {
    "rust_fuse": 6,
    "ctl": 5,
    "fs": 4,
    "dev": 4,
    "message": 3,
    "queue": 2,
    "trace": 1,
    "abi": 1,
    "vfs": 1,
    "sys": 1,
    "bindings": 0,
}
# What these two may use from outside the crate: abi is plain data, and queue is compiled
# on the host as well. Their tests may use more.
CRATES = {"abi": {"core", "zerocopy", "zerocopy_derive"}, "queue": {"core", "alloc"}}
KNOWN_CRATES = {"core", "alloc", "std", "kernel", "macros", "pin_init", "zerocopy", "zerocopy_derive", "ffi"}

# Where `unsafe` may be: whole rooms, and single files that must.
UNSAFE_ROOMS = {"bindings", "vfs", "sys"}
UNSAFE_FILES = {"trace/mod.rs"}
# The rooms whose root file must carry the lint that keeps it out.
SAFE_ROOMS = ("abi", "queue", "message", "dev", "fs", "ctl")

# The longest that a file may be: one sitting.
MAX_LINES = 900

TOKEN = re.compile(
    r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
  | (?P<string> b?c?r(?P<hashes>\#*)".*?"(?P=hashes) | [bc]?"(?:\\.|[^"\\])*" )
  | (?P<char> b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\\n])' )
    """,
    re.VERBOSE | re.DOTALL,
)


def code(text):
    """The text with comments, strings and characters blanked out, lines kept."""
    return TOKEN.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


class Source:
    def __init__(self, root, path):
        self.name = path.relative_to(root).as_posix()
        self.room = self.name.split("/")[0].removesuffix(".rs")
        self.text = path.read_text()
        self.code = code(self.text)

    def is_test(self):
        return bool(re.search(r"(^|/)\w*tests?(\.rs|/)", self.name))


def sources(tree):
    root = tree / "rust"
    return [Source(root, path) for path in sorted(root.rglob("*.rs"))]


def check_unsafe(tree):
    found = sources(tree)
    for source in found:
        if source.room in UNSAFE_ROOMS:
            continue
        if source.name not in UNSAFE_FILES:
            for match in re.finditer(r"\bunsafe\b", source.code):
                yield f"rust/{source.name}:{line_of(source.code, match.start())}: `unsafe` is not for this room"
        for match in re.finditer(r"\b(allow|expect|warn)\s*\(([^)]*)\bunsafe_code\b", source.code):
            if source.room in SAFE_ROOMS:
                yield f"rust/{source.name}:{line_of(source.code, match.start())}: {match[1]}(unsafe_code)"
    roots = {source.name: source.code for source in found}
    for room in SAFE_ROOMS:
        if "#![deny(unsafe_code)]" not in roots.get(f"{room}/mod.rs", ""):
            yield f"rust/{room}/mod.rs: there is no #![deny(unsafe_code)]"


def check_safety(tree):
    for source in sources(tree):
        text, blank = source.text.splitlines(), source.code.splitlines()
        for number, line in enumerate(blank):
            if re.search(r"\bunsafe\s*(\{|impl\b)", line) and not argued(text, blank, number):
                yield f"rust/{source.name}:{number + 1}: no `// SAFETY:` comment"


def argued(text, blank, number):
    """Whether a SAFETY comment stands before the statement that line `number` is in."""
    if "SAFETY:" in text[number]:
        return True
    for above in range(number - 1, -1, -1):
        if "SAFETY:" in text[above]:
            return True
        statement = blank[above].rstrip()
        if statement.endswith((";", "}", "{")) or not text[above].strip():
            return False
    return False


def names_after_crate(text):
    """(position, first name) of each path that starts at `crate::`."""
    for match in re.finditer(r"\bcrate\s*::\s*", text):
        rest = text[match.end() :]
        if not rest.startswith("{"):
            yield match.start(), re.match(r"\w*!?", rest).group()
            continue
        depth, start = 0, True
        for position, character in enumerate(rest):
            if character == "{":
                depth += 1
            elif character == "}":
                depth -= 1
                if depth == 0:
                    break
            if depth == 1 and start and (word := re.match(r"\w+", rest[position:])):
                yield match.end() + position, word.group()
                start = False
            if character in "{," and depth == 1:
                start = True


def check_floors(tree):
    for source in sources(tree):
        if source.room not in FLOORS:
            yield f"rust/{source.name}: the room {source.room} has no floor"
            continue
        where = f"rust/{source.name}"
        for position, name in names_after_crate(source.code):
            # A macro of the crate is named at the root, wherever it is.
            if name == source.room or name.endswith("!"):
                continue
            line = line_of(source.code, position)
            if name not in FLOORS:
                yield f"{where}:{line}: crate::{name} is in no room"
            elif FLOORS[name] >= FLOORS[source.room]:
                yield (
                    f"{where}:{line}: {source.room} (floor {FLOORS[source.room]}) uses {name} "
                    f"(floor {FLOORS[name]})"
                )
        allowed = CRATES.get(source.room)
        if allowed is None or source.is_test():
            continue
        for match in re.finditer(r"(?<![\w:])(?:::)?(\w+)\s*::", source.code):
            if match[1] in KNOWN_CRATES - allowed:
                yield f"{where}:{line_of(source.code, match.start())}: {source.room} uses {match[1]}"


def check_files(tree):
    names = subprocess.run(["git", "-C", tree, "ls-files"], capture_output=True, text=True, check=True)
    for name in names.stdout.splitlines():
        path = tree / name
        if not path.is_file() or name == "LICENSE" or name.endswith((".md", ".lock", ".tsv", ".config")):
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        if "SPDX-License-Identifier" not in "".join(lines[:3]):
            yield f"{name}: no SPDX line at the top"
        # What is taken over from the kernel as it is, is as long as it is; nobody reads how a picture is drawn.
        if len(lines) > MAX_LINES and "/linux-" not in name and not name.endswith(".svg"):
            yield f"{name}: {len(lines)} lines; {MAX_LINES} are the most"
        for number, line in enumerate(lines, 1):
            if re.search(r"\b(TO" "DO|FIX" "ME|XX" r"X)\b", line):
                yield f"{name}:{number}: unfinished: {line.strip()}"


# The page with the tables of the queues' rules, the heading above them, and how many rules there are.
RULES_PAGE = "docs/ARCHITECTURE.md"
RULES_HEADING = "## The rules, and where they are shown\n"
RULES = 8
GUEST_TESTS = "userspace-test/guest-tests/src/tests"


def functions(tree, *folders):
    """The names of all functions in the Rust files of these folders."""
    paths = (path for folder in folders for path in sorted((tree / folder).rglob("*.rs")))
    return {name for path in paths for name in re.findall(r"\bfn (\w+)", code(path.read_text()))}


def guest_tests(tree):
    """The guest tests that there are, by their files: those that are listed, not all functions."""
    tests = {}
    for path in sorted((tree / GUEST_TESTS).glob("*.rs")):
        listed = re.search(r"^tests!\[(.*?)\];", code(path.read_text()), re.MULTILINE | re.DOTALL)
        if listed:
            tests[path.stem] = set(re.findall(r"(\w+)(?: => \d+)?(?:,|$)", listed[1].strip()))
    return tests


def cells(line):
    """What is in the row of a table. A bar in a cell has a backslash."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def check_rules(tree):
    """Each rule of the queues has tests; and all tests that the page names exist."""
    page = (tree / RULES_PAGE).read_text()
    section = page.partition(RULES_HEADING)[2].partition("\n## ")[0]
    guest = guest_tests(tree)
    queue = functions(tree, "rust/queue", "userspace-test/queue-model/src")
    shown = {}
    for line in section.splitlines():
        row = cells(line) if line.startswith("| ") else []
        # A rule has its number in front of what it is.
        what = row[0] if row else ""
        tests = re.findall(r"`([^`]+)`", " ".join(row[2 if what.isdecimal() else 1 :]))
        tests = [test for test in tests if re.fullmatch(r"\w+(::\w+)?", test) and "_" in test]
        shown[what] = tests
        for test in tests:
            if "::" not in test and test.islower() and test not in queue:
                yield f"{RULES_PAGE}: {what}: {test} is no test in rust/queue or queue-model/src"
    for rule in range(1, RULES + 1):
        if not shown.get(str(rule)):
            yield f"{RULES_PAGE}: rule {rule} of the queues has no test in the table of rules"
    for file, name in re.findall(r"`(\w+)::(\w+)`", page):
        if file in guest and name not in guest[file]:
            yield f"{RULES_PAGE}: there is no test {file}::{name} in {GUEST_TESTS}/{file}.rs"


CHECKS = {"unsafe": check_unsafe, "safety": check_safety, "floors": check_floors, "files": check_files, "rules": check_rules}


def main():
    tree, check = Path(sys.argv[1]), CHECKS[sys.argv[2]]
    wrong = list(check(tree))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
