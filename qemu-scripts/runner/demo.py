# SPDX-License-Identifier: GPL-2.0
"""Shows libfuse's hello and our own on rust_fuse, and checks what they show."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(os.environ["TOP"]) / "qemu-scripts"

# What is typed, and what must come.
HELLO = [
    ("hello /mnt/", r""),
    ("ls -l /mnt", r"(total 0\n)?-r--r--r-- +1 root +root +13 Jan +1 +1970 hello\n"),
    ("cat /mnt/hello", r"Hello World!\n"),
    ("touch /mnt/a", r"touch: .*Function not implemented\n"),
    ("echo 0 > /mnt/hello", r".*Permission denied\n"),
    ("mkdir /mnt/x", r"mkdir: .*Function not implemented\n"),
]
QUEUES = [("cat /sys/fs/fuse/connections/*/queues", r"(.*\n)*.*\b[1-9]\d*\b(.*\n)+"), ("umount /mnt", r"")]
DEMOS = [
    ("libfuse's hello", "/run/guest/libfuse", HELLO + QUEUES),
    ("our own hello", "/run/guest/bin", HELLO + QUEUES),
]


def script(demos):
    """The guest's part: each command is shown and run, errors among the output."""
    text = ["plain=$PATH"]
    for title, folder, steps in demos:
        text += [f"echo; echo {shlex.quote(f'==> {title}')}", f"PATH={folder}:$plain"]
        for command, _ in steps:
            text += [f"echo {shlex.quote(f'# {command}')}", f"eval {shlex.quote(command)} 2>&1"]
    return "\n".join(text + ["exit 0"])


def mistakes(output, demos):
    """Where the output is not what it must be."""
    wrong = []
    for title, _, steps in demos:
        shown = output.partition(f"==> {title}\n")[2]
        for number, (command, must) in enumerate(steps):
            shown = shown.partition(f"# {command}\n")[2]
            following = f"# {steps[number + 1][0]}\n" if number + 1 < len(steps) else "\n==> "
            came = shown.partition(following)[0]
            if not re.fullmatch(must, came):
                wrong.append(f"{title}: `{command}` gave {came!r}, which is not /{must}/")
    return wrong


def main():
    module = sys.argv[1] if len(sys.argv) > 1 else "rust_fuse"
    # C FUSE has no `queues` to show.
    demos = (
        DEMOS
        if module == "rust_fuse"
        else [(title, folder, HELLO + [QUEUES[1]]) for title, folder, _ in DEMOS]
    )
    print(f"==> {module} in a guest", flush=True)
    process = subprocess.Popen(
        [SCRIPTS / "guest", "--module", module, "--timeout", "120", "--", "sh", "-c", script(demos)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    output = ""
    for line in process.stdout:
        output += line
        print(line, end="", flush=True)
    status = process.wait()
    wrong = mistakes(output, demos)
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    if status == 0 and not wrong:
        print("\n==> all of it is as it should be")
    sys.exit(status or bool(wrong))


if __name__ == "__main__":
    main()
