# SPDX-License-Identifier: GPL-2.0
"""Boots a guest and runs a command in it."""

import argparse
import base64
import ctypes
import hashlib
import json
import os
import platform
import secrets
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import initramfs
import report

TOP, BUILD, CACHE = (Path(os.environ[name]) for name in ("TOP", "BUILD", "CACHE"))
SCRIPTS = TOP / "qemu-scripts"

TIMED_OUT = 124
SPLAT = 70
NOT_RUN = 125
# Then the kernel's log is kept under a name of its own.
TROUBLE = (SPLAT, TIMED_OUT, NOT_RUN)
# Seconds that the last checks may take (unloading the module, looking for leaks).
CLEAN_UP = 300

EPILOG = """\
exit status: the command's own; 124 when the time was up; 70 when the kernel printed a
BUG, WARNING, lockdep, KASAN, leak, hung task or stall report, or the module could not be
unloaded after the command, whatever the command said; 125 when the guest did not get as
far as the command.

In the guest, with both kinds of root:
  /run/guest/modules    rust_fuse.ko and C FUSE's fuse.ko of this kernel
  /run/guest/bin        what build/userspace/bin holds; first in PATH
  /run/guest/libfuse    libfuse's example programs, for instance `hello`
  /run/guest/share      the folder given with --share
and proc, sysfs, devtmpfs, devpts, cgroup2, debugfs, tracefs and fusectl in their usual
places, tmpfs on /tmp, /mnt and /dev/shm, `lo` up, /dev/fuse open to all, and an ordinary
user `user` (uid 1000). With --root host the command starts in the current directory.
FUSE file systems that are still mounted when the command ends are unmounted by force.

environment: ACCEL=tcg or ACCEL=kvm instead of the probe's choice; KDIR, LINUX and
HOST_TOOLCHAIN as for the other scripts.
"""


def fail(message, status=NOT_RUN):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def arguments():
    parser = argparse.ArgumentParser(
        prog="guest",
        usage="guest [OPTION...] -- COMMAND ARG...",
        description="Boots a guest, runs a command in it as root, and exits with its status.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--module",
        choices=("rust_fuse", "fuse", "none"),
        default="rust_fuse",
        help="what to load (rust_fuse)",
    )
    add("--kernel", choices=("release", "debug"), default="release", help="which kernel (release)")
    add(
        "--root",
        choices=("initramfs", "host"),
        default="initramfs",
        help="its root: our small one, or this machine's files, read-only (initramfs)",
    )
    add("--cpus", type=int, help="how many (2; with --icount always 1)")
    add("--mem", type=int, metavar="MIB", help="memory in MiB (1024, debug kernel 2048)")
    add("--icount", action="store_true", help="one guest nanosecond is one instruction")
    add("--timeout", type=float, metavar="S", help="seconds of all in all (300, debug kernel 900)")
    add("--log", type=Path, metavar="FILE", help="where the kernel's log goes (build/log/guest.log)")
    add("--share", type=Path, metavar="DIR", help="a folder of this machine, writable in the guest")
    add("--tty", action="store_true", help="the command gets this terminal (ctrl-a x stops the guest)")
    add("command", nargs="*", metavar="COMMAND", help="and its arguments, after --")
    options = parser.parse_args()
    if not options.command:
        if not options.tty:
            parser.error("no COMMAND given")
        options.command = ["sh", "-l"]
    debug = options.kernel == "debug"
    options.cpus = 1 if options.icount else options.cpus or 2
    options.mem = options.mem or (2048 if debug else 1024)
    if options.timeout is None:
        options.timeout = float("inf") if options.tty else 900 if debug else 300
    if options.share and not options.share.is_dir():
        parser.error(f"--share {options.share}: no such folder")
    return options


class Kernel:
    """A built kernel and the modules that belong to it."""

    def __init__(self, flavour):
        run = subprocess.run([SCRIPTS / "kernel", flavour], stdout=subprocess.PIPE, text=True)
        if run.returncode:
            fail(f"there is no {flavour} kernel to boot")
        self.flavour = flavour
        self.path = Path(run.stdout.strip())
        self.image = self.path / "arch/x86/boot/bzImage"
        self.modules = [BUILD / f"module-{flavour}/rust_fuse.ko"]
        self.modules += sorted(self.path.glob("installed/lib/modules/*/kernel/fs/fuse/fuse.ko"))
        self.modules = [path for path in self.modules if path.exists()]

    def check(self, module):
        """Says what to do when `module` is missing or older than its source."""
        found = [path for path in self.modules if path.stem == module]
        if not found:
            fail(
                f"there is no {module}.ko for the {self.flavour} kernel: run "
                f"`qemu-scripts/{'module' if module == 'rust_fuse' else 'kernel'} {self.flavour}`"
            )
        if module == "rust_fuse":
            source = [TOP / "Kbuild", *(path for path in (TOP / "rust").rglob("*") if path.is_file())]
            if max(path.stat().st_mtime for path in source) > found[0].stat().st_mtime:
                print(
                    f"warning: {found[0]} is older than its source: run `qemu-scripts/module "
                    f"{self.flavour}`",
                    file=sys.stderr,
                )


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def virtfs(path, tag):
    """QEMU's words for a folder that the guest sees as the 9p file system `tag`."""
    return f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap"


class Guest:
    """A running guest, and the channels to it."""

    def __init__(self, options, kernel, accel, log, quiet=False):
        self.options = options
        self.quiet = quiet
        self.nonce = b"\0" + secrets.token_hex(12).encode()
        self.log_file = open(log, "wb")
        self.log = b""
        self.out = Stream(self.nonce, None if quiet else 1)
        self.err = Stream(self.nonce, None if quiet else 2)
        self.status = None
        self.failure = None
        self.heard = b""
        self.selector = selectors.DefaultSelector()
        self.ends = []
        self.ready = self.said_bye = False
        self.channels = {}
        command = self.command_line(kernel, accel)
        self.process = subprocess.Popen(
            command,
            stdin=None if options.tty else subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            stdout=None if options.tty else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[end.fileno() for end in self.ends],
        )
        for end in self.ends:
            end.close()

    def channel(self, name, handler):
        """A socket to a character device of QEMU; gives QEMU's words for it."""
        ours, theirs = socket.socketpair()
        self.channels[name] = ours
        self.ends.append(theirs)
        self.selector.register(ours, selectors.EVENT_READ, handler)
        return f"socket,id={name},fd={theirs.fileno()}"

    def command_line(self, kernel, accel):
        """What starts QEMU. No path in it has a space (common.sh sees to that)."""
        options = self.options
        self.modules = kernel.modules
        # Five-level paging off: while a kernel with KASAN looks at its first CPU, an interrupt
        # would find that feature forgotten for a moment, and KASAN all memory to be wild.
        cpu = "host" if accel == "kvm" else "max,-la57,-erms,-fsrm" if options.icount else "max,-la57"
        thread = "" if accel == "kvm" else ",thread=single" if options.icount else ",thread=multi"
        # Where others have the processor the timer comes late, and the kernel would not boot for that.
        append = "console=ttyS0 ignore_loglevel oops=panic panic=-1 sysrq_always_enabled no_timer_check"
        line = f"""qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -machine q35
            -accel {accel}{thread} -cpu {cpu} -smp {options.cpus} -m {options.mem} -kernel {kernel.image}
            -chardev {self.channel("console", self.on_console)} -serial chardev:console
            -chardev {self.channel("monitor", self.on_monitor)} -mon chardev=monitor,mode=control
            -device virtio-serial-pci
            -chardev {self.channel("out", self.out.receive)} -device virtserialport,nr=1,chardev=out
            -chardev {self.channel("err", self.err.receive)} -device virtserialport,nr=2,chardev=err
            -chardev {self.channel("control", self.on_control)} -device virtserialport,nr=3,chardev=control"""
        if options.icount:
            line += " -icount shift=0,sleep=off"
        if options.tty:
            line += " -chardev stdio,id=tty,mux=on,signal=off -device virtconsole,nr=0,chardev=tty"
        if options.root == "host":
            line += f" -virtfs {virtfs('/', 'hostroot')},readonly=on"
            append += (
                " root=hostroot rootfstype=9p rootflags=trans=virtio,version=9p2000.L,cache=loose,"
                f"msize=512000 ro init={SCRIPTS}/guest-init"
            )
        else:
            line += f" -initrd {initramfs.make(TOP, BUILD, kernel.flavour, kernel.modules)}"
        if options.share:
            line += f" -virtfs {virtfs(options.share.resolve(), 'share')}"
        return [*line.split(), "-append", append]

    def job(self):
        """What guest-init is told to do."""
        options = self.options
        size = shutil.get_terminal_size()
        words = {
            "module": options.module,
            "nonce": "\\0000" + self.nonce[1:].decode(),
            "root": options.root,
            "tty": f"rows {size.lines} cols {size.columns}" if options.tty else "",
            "top": str(TOP),
            "modules": " ".join(map(str, self.modules)),
            "cwd": os.getcwd() if options.root == "host" else "/",
            "share": "yes" if options.share else "",
        }
        script = "".join(f"{name}={shlex.quote(word)}\n" for name, word in words.items())
        script += "set -- " + " ".join(map(shlex.quote, options.command)) + "\n"
        return base64.b64encode(script.encode(errors="surrogateescape")) + b"\n"

    def on_console(self, data):
        self.log += data
        self.log_file.write(data)
        self.log_file.flush()

    def on_monitor(self, data):
        pass

    def on_control(self, data):
        self.heard += data
        while b"\n" in self.heard:
            line, _, self.heard = self.heard.partition(b"\n")
            word, _, rest = line.decode(errors="replace").partition(" ")
            if word == "ready":
                self.ready = True
                self.channels["control"].sendall(self.job())
            elif word == "exit":
                self.status = int(rest)
            elif word == "fail":
                self.failure = rest

    def pump(self, seconds):
        """Passes on what comes in `seconds`; False when the guest is gone."""
        for key, _ in self.selector.select(seconds):
            try:
                data = key.fileobj.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if data:
                key.data(data)
            else:
                self.selector.unregister(key.fileobj)
        return bool(self.selector.get_map())

    def run(self):
        """Runs the command; gives the exit status."""
        end = time.monotonic() + self.options.timeout
        alive = True
        while alive and time.monotonic() < end:
            alive = self.pump(min(1.0, max(0.0, end - time.monotonic())))
            told = self.options.tty or (self.out.ended and self.err.ended)
            if self.status is not None and told and not self.said_bye:
                self.said_bye = True
                self.channels["control"].sendall(b"bye\n")
                # The time is the command's; the checks behind it have their own.
                end = time.monotonic() + CLEAN_UP
        return self.verdict(timed_out=alive)

    def lines(self):
        return self.log.decode(errors="replace").replace("\r", "").splitlines()

    def verdict(self, timed_out):
        lines = self.lines()
        found = report.complaints(lines)
        if self.options.tty and self.status is None and not timed_out and not found:
            # The person ended it.
            return 0
        if not self.quiet:
            if found:
                say("the kernel complained:", *report.excerpt(lines, found))
            if timed_out:
                what = (
                    "cleaning up after the command"
                    if self.said_bye
                    else "the command" if self.ready else "booting"
                )
                say(f"the guest did not finish {what} in time; the end of the kernel's log:", *lines[-40:])
                self.dump_tasks()
            elif self.failure is not None:
                say(self.failure, *lines[-20:])
            elif self.status is None and not found:
                errors = self.process.stderr.read().decode(errors="replace").strip()
                say("the guest stopped before the command ended", *errors.splitlines(), *lines[-40:])
        if found:
            return SPLAT
        if timed_out:
            return TIMED_OUT
        return NOT_RUN if self.status is None else self.status

    def dump_tasks(self):
        """Has the kernel print its blocked tasks, then all of them."""
        for key, title in (b"w", "blocked tasks"), (b"t", "all tasks but the kernel's own"):
            before = len(self.lines())
            monitor = self.channels["monitor"]
            for request in (
                {"execute": "qmp_capabilities"},
                {"execute": "chardev-send-break", "arguments": {"id": "console"}},
            ):
                monitor.sendall(json.dumps(request).encode() + b"\n")
            time.sleep(0.3)
            self.channels["console"].sendall(key)
            end, size = time.monotonic() + 20, -1
            while time.monotonic() < end and len(self.log) != size:
                size, pause = len(self.log), time.monotonic() + 1.5
                while time.monotonic() < pause:
                    self.pump(0.1)
            say(f"{title}:", *report.without_kernel_threads(self.lines()[before:]))

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log_file.close()


class Stream:
    """One of the command's output streams, up to the mark behind its last byte."""

    def __init__(self, mark, target):
        self.mark, self.target = mark, target
        self.held = b""
        self.ended = False

    def receive(self, data):
        if self.ended:
            return
        data = self.held + data
        where = data.find(self.mark)
        if where >= 0:
            self.ended = True
            data, self.held = data[:where], b""
        else:
            # The end may be the beginning of the mark.
            keep = next(
                (n for n in range(min(len(self.mark) - 1, len(data)), 0, -1) if data.endswith(self.mark[:n])),
                0,
            )
            data, self.held = data[: len(data) - keep], data[len(data) - keep :]
        while data and self.target is not None:
            data = data[os.write(self.target, data) :]


def say(headline, *lines):
    print(f"==> guest: {headline}", *(f"    {line}" for line in lines), sep="\n", file=sys.stderr, flush=True)


def accelerator(options, kernel):
    """KVM where a guest really boots with it, else TCG. The probe's answer is kept."""
    choice = os.environ.get("ACCEL")
    if choice not in (None, "", "tcg", "kvm"):
        fail(f"ACCEL={choice}: it is tcg or kvm")
    if choice or options.icount:
        return "tcg" if options.icount else choice
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout
    key = hashlib.sha256(f"{platform.uname()} {version}".encode()).hexdigest()[:12]
    known = CACHE / f"accelerator-{key}"
    if not known.exists():
        print("==> trying whether KVM works here (at most 30 s, once)", file=sys.stderr)
        probe = argparse.Namespace(
            **vars(options)
            | {
                "module": "none",
                "root": "initramfs",
                "tty": False,
                "share": None,
                "timeout": 30,
                "command": ["true"],
            }
        )
        guest = Guest(probe, kernel, "kvm", os.devnull, quiet=True)
        try:
            works = guest.run() == 0
        finally:
            guest.stop()
        known.write_text("kvm" if works else "tcg")
        print(
            f"==> KVM {'works' if works else 'does not work here: the guests run on TCG, in software'}",
            file=sys.stderr,
        )
    return known.read_text()


def main():
    options = arguments()
    if any(character.isspace() or character == "," for character in f"{TOP}{CACHE}{options.share or ''}"):
        fail(f"a path with a space or a comma in it cannot be used: {TOP}, {CACHE}, {options.share or ''}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    terminal = termios.tcgetattr(0) if options.tty and os.isatty(0) else None
    kernel = Kernel(options.kernel)
    if options.module != "none":
        kernel.check(options.module)
    accel = accelerator(options, kernel)
    log = options.log or BUILD / f"log/guest-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    guest = Guest(options, kernel, accel, log)
    status = NOT_RUN
    try:
        status = guest.run()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # Nobody reads the command's output any more.
        status = 141
    finally:
        guest.stop()
        if terminal:
            termios.tcsetattr(0, termios.TCSANOW, terminal)
        if not options.log and status not in TROUBLE:
            log.replace(BUILD / "log/guest.log")
    if status in TROUBLE:
        print(f"==> guest: exit status {status}; the kernel's whole log is {log}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
