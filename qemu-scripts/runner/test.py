# SPDX-License-Identifier: GPL-2.0
"""`make test`: every section in turn, then the sums."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fuzz
import ktap
import labs
import parity
import results
import suites

TOP, BUILD = Path(os.environ["TOP"]), Path(os.environ["BUILD"])
SCRIPTS = TOP / "qemu-scripts"
CHECK = [sys.executable, "-B", SCRIPTS / "runner/check.py"]
GUEST_TESTS = "guest-tests"
RUST_TEST = re.compile(r"^test (?P<name>.+?) \.\.\. (?P<state>ok|FAILED|ignored)\b.*$")
# What the queue model says it has done, and how much of it there has to be.
SCHEDULES = re.compile(r"^queue model: (\d+) schedules$")
LEAST_SCHEDULES = 100_000
LONG_ITERATIONS = 100_000


def guest(*options, command):
    return [str(SCRIPTS / "guest"), *options, "--", *command]


def shell(*options, script):
    return guest(*options, command=["sh", "-c", script])


def show(command):
    """Runs a command, and shows what it prints while it does; gives that, and its exit status."""
    printed = []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    return "".join(printed), process.returncode


def broken_module(kernel):
    """The options that show a guest the module that is wrong on purpose."""
    return "--share", str(BUILD / f"broken-{kernel}")


def lint(section):
    results.run(section, [SCRIPTS / "lint"])


def host(section):
    """What needs no kernel of ours: the crates' own tests, the queue model among them."""
    # The wire format is compared with the kernel's own header.
    source = subprocess.run([SCRIPTS / "source"], stdout=subprocess.PIPE, text=True, check=True).stdout
    os.environ["LINUX_SOURCE"] = source.strip()
    schedules = [0]

    def read(line):
        if found := SCHEDULES.match(line):
            schedules.append(int(found[1]))
        return RUST_TEST.match(line)

    results.run(
        section,
        ["cargo", "test", "--workspace", "--no-fail-fast", "--target-dir", BUILD / "userspace/host"],
        cwd=TOP / "userspace-test",
        read=read,
    )
    enough = f"the queue model runs {LEAST_SCHEDULES} schedules"
    check(section, enough, max(schedules) >= LEAST_SCHEDULES, f"it says {max(schedules)}")


def kunit(section, kernel="release"):
    results.run(
        section, shell("--module", "none", "--kernel", kernel, script=ktap.SCRIPT), read=ktap.Reader()
    )


def guest_tests(section, module, kernel="release", skip=(), timeout=None):
    program = BUILD / "userspace/bin" / GUEST_TESTS
    listed = subprocess.run([program, "--list"], capture_output=True, text=True)
    if listed.returncode:
        section.wrong("(list)", f"{program} --list: {listed.stderr}")
        return
    results.run(
        section,
        guest(
            "--module",
            module,
            "--kernel",
            kernel,
            "--timeout",
            timeout or ("3000" if kernel == "debug" else "1800"),
            command=[GUEST_TESTS, "--module", module, *(f"--skip={name}" for name in skip)],
        ),
        expected=[name for name in listed.stdout.split() if not any(part in name for part in skip)],
    )
    parity.save(module, kernel, section.states)


def path_cost(section, count=100_000, timeout=1200):
    """No operation of the path layer takes many times what others take, and its memory comes back."""
    options = ("--icount", "--module", "none", "--mem", "3072", "--timeout", str(timeout))
    command = guest(*options, command=["path-cost", "--count", str(count)])
    text, status = show(command)
    good = status == 0 and "layer memory" in text
    check(section, f"path-cost: {count} files", good, f"status {status}")


def parity_page(section):
    """That what was shown to be as in Linux still is."""
    parity.check(lambda name, good, message: check(section, name, good, message))


def long(section):
    """What takes hours, and is not part of `make test`: a million requests and a thousand kills, on
    the kernel that watches, and the queue model's interleavings a hundred times over."""
    os.environ["QUEUE_MODEL_ITERATIONS"] = str(LONG_ITERATIONS)
    results.run(
        section,
        ["cargo", "test", "--release", "--package", "queue-model", "--target-dir", BUILD / "userspace/host"],
        cwd=TOP / "userspace-test",
        read=RUST_TEST.match,
    )
    longer = ("stress::", "survive::")
    guest_tests(section, "rust_fuse", "debug", timeout="36000", skip=HELD_BACK + longer)
    options = ("--kernel", "debug", "--timeout", "36000")
    command = [GUEST_TESTS, "--module", "rust_fuse"]
    results.run(section, guest(*options, command=[*command, "--long", *longer]))
    # Where instructions are counted, time in which nothing is done takes none.
    results.run(section, guest("--icount", *options, command=[*command, *HELD_BACK]))
    path_cost(section, count=1_000_000, timeout=18000)


# Each time that the module goes there the kernel holds it back for seconds (DEBUG_KOBJECT_RELEASE).
HELD_BACK = ("module::hundred_times", "module::loading_with_failing_allocations")

# What asks and is answered, thousands of times or after long waits, and has no locks or memory of its
# own to be watched; what others of these tests stand for; and what weighs memory, which is heavier
# there: on the debug kernel these are part of the long runs only.
PLAIN = ("mount::", "limits::", "cred::", "statx::", "acl::", "times::", "stress::")
PLAIN += ("reply::", "attr::", "idmap::", "extensions::", "blksize::", "versions::")
PLAIN += ("transcripts::", "daemons::", "quotafs::", "paths::", "fuseq::", "faultd::", "slabs::", "programs::")
PLAIN += ("inval_wq::", "daemon::dies_", "daemon::recovers_")
PLAIN += HELD_BACK


def debug(section):
    """The same on the kernel that watches locks, memory and leaks."""
    kunit(section, "debug")
    guest_tests(section, "rust_fuse", "debug", skip=PLAIN)
    fuzzing(section)
    hostile_calls(section)
    debug_reports(section)


# The least that half a minute of calls at random comes to, when others have the processors as well.
LEAST_CALLS = 200


def hostile_calls(section):
    """That calls at random, while the daemon misbehaves and is killed, find nothing in half a minute."""
    text, status = show(shell("--kernel", "debug", script="hostile-caller --seed 1 --minutes 0.5"))
    check(section, "hostile callers find nothing", status == 0, f"status {status}")
    calls = re.findall(r"^seconds=.* calls=(\d+)", text, re.MULTILINE)
    enough = calls and int(calls[-1]) >= LEAST_CALLS
    check(section, f"hostile callers make {LEAST_CALLS} calls", enough, "see above")


# How many inputs are played, of which most are honest sessions, and how many points of the module's
# code they come to at least.
INPUTS = 150
LEAST_POINTS = 4000


def fuzzing(section):
    """That the hostile daemon begins well, comes to much of the code, and plays an input again. `make fuzz` is
    an hour of it."""
    folder = fuzz.prepare("daemon", [])
    script = f"""hostile daemon --inputs {INPUTS} --seconds 600 --seed 1 --share {fuzz.SHARE} &&
        hostile daemon --share {fuzz.SHARE} --replay {fuzz.SHARE}/corpus/00000.jsonl"""
    text, status = show(shell("--kernel", "debug", "--share", folder, script=script))
    check(section, "fuzzing finds nothing", status == 0, f"status {status}; see {folder}")
    told = [dict(fuzz.FIGURE.findall(line)) for line in text.splitlines()]
    figures = max((found for found in told if "points" in found), key=lambda found: int(found["inputs"]), default={})
    for name, least in ("inputs", INPUTS), ("points", LEAST_POINTS):
        count = int(figures.get(name, 0))
        check(section, f"fuzzing comes to {least} {name}", count >= least, f"{count}")
    again = re.search(r"00000.jsonl: [1-9]\d* requests", text)
    check(section, "an input is played again", again, "see above")


# What broken.ko does wrong, and how the kernel says so. Lockdep's comes first: it stops
# watching once something else was reported.
REPORTS = {
    "order": "possible circular locking dependency",
    "atomic": "BUG: scheduling while atomic|sleeping function called from invalid context",
    "stale": "KASAN: slab-use-after-free",
    "leak": "unreferenced object",
}


def debug_reports(section):
    """That this kernel sees what it is there to see."""
    log = BUILD / "log/broken.log"
    script = f"""for what in {" ".join(REPORTS)}; do
        insmod /run/guest/share/broken.ko what=$what; rmmod broken
    done"""
    run = subprocess.run(
        shell("--kernel", "debug", "--module", "none", "--log", log, *broken_module("debug"), script=script),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    check(section, "a report makes the status 70", run.returncode == 70, f"status {run.returncode}")
    for what, report in REPORTS.items():
        seen = re.search(report, log.read_text(errors="replace"))
        check(section, f"the kernel reports: {what}", seen, f"{report} is not in {log}")


def hosts(section):
    """Programs by others, built here or Debian's, on this machine's own root: both modules alike."""
    outputs = {}
    for module in "rust_fuse", "fuse":
        run = subprocess.run(
            [SCRIPTS / "hosts", module], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        parts = re.split(r"^== (.*)$\n?", run.stdout, flags=re.MULTILINE)
        outputs[module] = dict(zip(parts[1::2], parts[2::2]))
        check(section, f"programs on {module}", run.returncode == 0, f"status {run.returncode}")
    for name, output in outputs["fuse"].items():
        ours = outputs["rust_fuse"].get(name)
        good = ours == output and f"{name}: status 1" not in outputs["fuse"]
        check(section, f"{name}: both modules alike", good, f"{ours!r}, where C fuse has {output!r}")


def other_suites(section):
    """Test suites by others, over stackfs: both modules pass, or fail alike."""
    suites.check(lambda name, good, message: check(section, name, good, message))


def demo(section):
    for module in "rust_fuse", "fuse":
        run = subprocess.run([SCRIPTS / "run", module], stdin=subprocess.DEVNULL)
        check(section, f"demo on {module}", run.returncode == 0, f"status {run.returncode}")


def experiments(section):
    """The labs show what they are to show; their pages open in a browser; the texts about them fit."""
    known = labs.names().values()
    results.run(section, labs.command("--small"), expected=known)
    for name in known:
        for what, mistakes in ("its page", labs.page_mistakes), ("its text", labs.text_mistakes):
            mistake = mistakes(name)
            check(section, f"{name}: {what}", not mistake, mistake)


def check(section, name, good, message):
    if good:
        section.add(name, "ok")
        print(f"  test {name} ... ok", flush=True)
    else:
        section.wrong(name, message)


def selfcheck(section):
    """That these tests can fail: what is broken on purpose must be found."""

    def broken(name, script, *options, expected=(), failing):
        """A guest whose run must count as a failure, of these names."""
        inner, shown = results.Section(name), io.StringIO()
        with contextlib.redirect_stdout(shown), tempfile.TemporaryFile("w+", errors="replace") as errors:
            command = shell("--module", "none", *options, script=script)
            results.run(inner, command, expected=expected, stderr=errors)
            good = not results.table([inner])
            errors.seek(0)
            said = errors.read()
        found = {test for test, state in inner.states.items() if state == "FAILED"}
        check(section, name, good and found == set(failing), shown.getvalue())
        return said

    passes = 'echo "test a ... ok [1 ms]"; echo "1 passed, 0 failed, 0 skipped"'
    broken(
        "a broken test fails",
        'echo "test a ... FAILED"; echo "0 passed, 1 failed, 0 skipped"; exit 1',
        failing=["a"],
    )
    broken(
        "a kernel warning fails",
        f"{passes}; insmod /run/guest/share/broken.ko what=warn",
        *broken_module("release"),
        failing=["(exit status)"],
    )
    broken(
        "a crash fails, and with it what did not run",
        'echo "test a ... ok"; sleep 0.5; echo c >/proc/sysrq-trigger; sleep 9',
        expected=["a", "b"],
        failing=["b", "(exit status)"],
    )
    said = broken("a time-out fails", f"{passes}; sleep 1000", "--timeout", "60", failing=["(exit status)"])
    tasks = re.search(r"task:sleep .*\n(.*\n)+.*nanosleep", said)
    check(section, "a time-out shows the tasks", tasks, said)
    broken("no tests at all fail", "true", failing=["(no tests)"])
    broken("wrong sums fail", f"{passes}; echo 2 passed, 0 failed", failing=["(sums)"])

    bytes_out = subprocess.run(
        shell("--module", "none", script=r"printf 'a\r\n\000\377' ; printf 'e\n\r' >&2; exit 3"),
        capture_output=True,
    )
    check(
        section,
        "a guest's output and status come as they are",
        (bytes_out.returncode, bytes_out.stdout, bytes_out.stderr) == (3, b"a\r\n\0\xff", b"e\n\r"),
        repr(bytes_out),
    )

    source_checks = [
        (
            "unsafe",
            "queue",
            "fn f() { unsafe { core::hint::unreachable_unchecked() } }",
            "`unsafe` is not for this room",
        ),
        ("unsafe", "queue", "#[allow(unsafe_code)]\nmod m {}", "allow(unsafe_code)"),
        ("floors", "queue", "use crate::{sys::x, fs::y};", "uses fs"),
        ("floors", "abi", "use kernel::prelude::*;", "uses kernel"),
        ("safety", "vfs", "fn f() { unsafe { core::hint::unreachable_unchecked() } }", "no `// SAFETY:`"),
    ]
    for which, room, line, message in source_checks:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(TOP / "rust", Path(folder) / "rust")
            before = subprocess.run([*CHECK, folder, which], capture_output=True, text=True).stdout
            with open(Path(folder) / "rust" / room / "mod.rs", "a") as file:
                file.write(f"\n{line}\n")
            after = subprocess.run([*CHECK, folder, which], capture_output=True, text=True)
        check(
            section,
            f"lint finds `{line.splitlines()[0]}` in {room}",
            after.returncode == 1 and message in after.stdout.replace(before, ""),
            after.stdout,
        )


SECTIONS = {
    "lint": lint,
    "host": host,
    "kunit": kunit,
    "guest": lambda section: guest_tests(section, "rust_fuse"),
    "cfuse": lambda section: guest_tests(section, "fuse"),
    "parity": parity_page,
    "cost": path_cost,
    "hosts": hosts,
    "demo": demo,
    "labs": experiments,
    "debug": debug,
    "self": selfcheck,
}
# Only when it is asked for.
EXTRA = {"long": long, "suites": other_suites}
TITLES = {
    "lint": "lint",
    "host": "host tests",
    "kunit": "KUnit in a guest",
    "guest": "guest tests on rust_fuse",
    "cfuse": "guest tests on C fuse",
    "parity": "docs/PARITY.md",
    "cost": "what names cost in the path layer",
    "hosts": "other people's programs",
    "suites": "other people's test suites",
    "demo": "make run",
    "labs": "labs",
    "debug": "rust_fuse on the debug kernel",
    "self": "the tests themselves",
    "long": "long runs",
}
# What must be built for which section; lint and host build for themselves.
MODULE = (("kernel", "release"), ("module", "release"), ("userspace",))
NEEDS = dict.fromkeys(("kunit", "guest", "cfuse", "cost", "hosts", "suites", "demo", "labs"), MODULE) | {
    "parity": (("userspace",),),
    "long": (("kernel", "debug"), ("module", "debug"), ("userspace",)),
    "self": (("kernel", "release"), ("module", "release", "broken")),
    "debug": (("kernel", "debug"), ("module", "debug"), ("module", "debug", "broken"), ("userspace",)),
}


def heading(text):
    print(f"\n=== {text}", flush=True)


def build(names):
    """Builds what the sections need; gives the steps that failed."""
    failed = []
    for step in dict.fromkeys(step for name in names for step in NEEDS.get(name, ())):
        heading(" ".join(["build:", *step]))
        if subprocess.run([SCRIPTS / step[0], *step[1:]], stdin=subprocess.DEVNULL).returncode:
            failed.append(step)
    return failed


class Alongside:
    """A section that runs in a process of its own, beside the others: it keeps one processor
    busy for as long as all of them together keep the other."""

    def __init__(self, name):
        self.folder = Path(tempfile.mkdtemp(prefix="rust_fuse-test-"))
        self.output = open(self.folder / "output", "w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-B", __file__, "--save", self.folder / "section", name],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
        )

    def join(self, section):
        """Shows what the section printed, while it lasts, and takes over its results."""
        with open(self.folder / "output", "rb") as shown:
            running = True
            while running:
                running = self.process.poll() is None
                print(shown.read().decode(errors="replace"), end="", flush=True)
                time.sleep(0.2 if running else 0)
        try:
            section.states = json.loads((self.folder / "section").read_text())
        except (OSError, ValueError):
            section.wrong("(alongside)", f"it ended with status {self.process.returncode}")
        shutil.rmtree(self.folder)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run_section(name):
    section = results.Section(TITLES[name])
    start = time.monotonic()
    (SECTIONS | EXTRA)[name](section)
    section.seconds = time.monotonic() - start
    return section


def run_all(names):
    """Runs these sections; gives their results, with those of the build in front."""
    building = results.Section("build")
    start = time.monotonic()
    unbuilt = build(names)
    building.seconds = time.monotonic() - start
    for step in unbuilt:
        building.wrong(" ".join(step), "it could not be built: see above")
    sections = [building]
    names = [name for name in names if not set(NEEDS.get(name, ())) & set(unbuilt)]
    aside = Alongside("debug") if "debug" in names and len(names) > 1 else None
    try:
        for name in names:
            if not (aside and name == "debug"):
                heading(TITLES[name])
                sections.append(run_section(name))
        if aside:
            heading(f"{TITLES['debug']} (it began with the first section)")
            section = results.Section(TITLES["debug"])
            start = time.monotonic()
            aside.join(section)
            section.seconds = time.monotonic() - start
            sections.append(section)
    finally:
        if aside:
            aside.stop()
    return sections


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = sys.argv[1:]
    if arguments[:1] == ["--save"]:
        # The other side of Alongside.
        Path(arguments[1]).write_text(json.dumps(run_section(arguments[2]).states))
        return
    for name in arguments:
        if name not in SECTIONS | EXTRA:
            sys.exit(f"error: there is no section {name}; there are {' '.join(SECTIONS | EXTRA)}")
    sys.exit(not results.table(run_all(arguments or list(SECTIONS))))


if __name__ == "__main__":
    main()
