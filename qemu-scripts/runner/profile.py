# SPDX-License-Identifier: GPL-2.0
"""Counts the instructions that a guest executes, by function."""

import argparse
import bisect
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import guest as runner

BUILD = Path(os.environ["BUILD"])
# Where the kernel's half of the addresses begins.
KERNEL = 1 << 63
# What QEMU says of a block of code, here of one instruction: host address [cs/pc/flags/...].
TRACE = re.compile(rb"^Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")


# A function in /proc/kallsyms: address, name, module.
SYMBOL = re.compile(r"([0-9a-f]+) [tTwW] (.*?)(?:\t\[(\w+)\])?$")


class Symbols:
    """What is at which address, as /proc/kallsyms of the guest has it."""

    def __init__(self, text):
        found = {}
        # Rust's names are mangled.
        text = subprocess.run(["c++filt"], input=text, stdout=subprocess.PIPE, text=True, check=True).stdout
        for line in text.splitlines():
            if match := SYMBOL.match(line):
                found[int(match[1], 16)] = (match[2], match[3] or "")
        self.starts = sorted(found)
        self.names = [found[start] for start in self.starts]

    def at(self, address):
        """Name and module of the function, and how far in it the address is."""
        if address < KERNEL:
            return "(user space)", "", 0
        index = bisect.bisect_right(self.starts, address) - 1
        name, module = self.names[index]
        return name, module, address - self.starts[index]

    def address(self, name):
        for start, (symbol, _) in zip(self.starts, self.names):
            if symbol == name:
                return start
        raise SystemExit(f"error: there is no function {name} in the guest")


class Watched(runner.Guest):
    """A guest whose output is kept, and that QEMU can be told things about."""

    def __init__(self, options, kernel, log):
        self.text = b""
        super().__init__(options, kernel, "tcg", log, quiet=True)
        self.out.receive = self.hear
        # The handlers were given to the selector by then.
        for key in list(self.selector.get_map().values()):
            if key.fileobj is self.channels["out"]:
                self.selector.modify(key.fileobj, key.events, self.hear)

    def hear(self, data):
        self.text += data

    def order(self, *lines):
        """Gives QEMU's monitor lines, one after another."""
        monitor = self.channels["monitor"]
        for line in lines:
            request = {"execute": "human-monitor-command", "arguments": {"command-line": line}}
            monitor.sendall(json.dumps(request).encode() + b"\n")

    def pump_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.pump(0.1):
                raise SystemExit("error: the guest has stopped: " + "\n".join(self.lines()[-20:]))


def count(guest, instructions):
    """How often each address is executed."""
    counts, ended = Counter(), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        fifo = f"{folder}/trace"
        os.mkfifo(fifo)

        def read():
            with open(fifo, "rb", buffering=1 << 20) as trace:
                left = instructions
                for line in trace:
                    if match := TRACE.match(line):
                        counts[match[1]] += 1
                        left -= 1
                        if not left:
                            break
                ended.set()
                # QEMU is stopped while it writes; it is not to wait for ever.
                guest.process.kill()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        guest.channels["monitor"].sendall(b'{"execute": "qmp_capabilities"}\n')
        guest.order("stop", "singlestep on", f"logfile {fifo}", "log exec,nochain", "cont")
        while not ended.is_set():
            guest.pump(0.2)
        reader.join()
    return {int(address, 16): number for address, number in counts.items()}


def main():
    parser = argparse.ArgumentParser(prog="profile", usage="see the head of qemu-scripts/profile")
    parser.add_argument("--module", choices=("rust_fuse", "fuse"), default="rust_fuse")
    parser.add_argument("--count", type=int, default=2_000_000)
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("--per")
    parser.add_argument("row")
    options = parser.parse_args()
    script = 'cat /proc/kallsyms; echo symbols; exec bench --forever "$0"'
    guest_options = argparse.Namespace(
        module=options.module,
        kernel="release",
        root="initramfs",
        cpus=1,
        mem=2048,
        icount=True,
        timeout=600.0,
        log=None,
        share=None,
        tty=False,
        command=["sh", "-c", script, options.row],
    )
    kernel = runner.Kernel("release")
    kernel.check(options.module)
    guest = Watched(guest_options, kernel, BUILD / "log/profile.log")
    try:
        while b"\nsymbols\n" not in guest.text:
            guest.pump_for(0.2)
        # It warms up.
        before = len(guest.text)
        while b"name=" not in guest.text[before:]:
            guest.pump_for(0.2)
        symbols = Symbols(guest.text.partition(b"\nsymbols\n")[0].decode())
        counts = count(guest, options.count)
    finally:
        guest.stop()
    total = sum(counts.values())
    unit = counts.get(symbols.address(options.per), 0) if options.per else total / 1000
    if not unit:
        raise SystemExit(f"error: {options.per} was not called")
    table = Counter()
    for address, number in counts.items():
        name, module, offset = symbols.at(address)
        table[(name, module, offset if options.lines else None)] += number
    print(f"{total} instructions" + (f", {unit} calls of {options.per}" if options.per else ""))
    for (name, module, offset), number in table.most_common(120):
        place = f"+{offset:#x}" if offset is not None else ""
        print(f"{number / unit:12.1f}  {name}{place}  {module}")


main()
