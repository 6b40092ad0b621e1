# SPDX-License-Identifier: GPL-2.0
"""The guest's own small root: a cpio archive of busybox, the modules and our programs."""

import hashlib
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n"
GROUP = "root:x:0:\nuser:x:1000:\n"
DIRECTORIES = """dev etc mnt proc root run run/guest run/guest/bin sys tmp usr usr/bin usr/sbin
    usr/lib usr/lib64 var var/tmp""".split()
SYMLINKS = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "etc/mtab": "/proc/mounts",
}
BUSYBOX = Path("/bin/busybox")


class Archive:
    """A cpio archive in the "newc" form, which the kernel unpacks."""

    def __init__(self, out):
        self.out = out
        self.number = 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        """Adds a file named `name`, owned by root; `mode` is as stat(2) has it."""
        self.number += 1
        path = name.encode() + b"\0"
        fields = (self.number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        self.aligned(b"070701" + b"".join(b"%08x" % field for field in fields) + path)
        self.aligned(data)

    def aligned(self, data):
        self.out.write(data + b"\0" * (-len(data) % 4))

    def finish(self):
        self.add("TRAILER!!!", 0)


def libraries(program):
    """The shared libraries that a program loads, by their paths on this machine."""
    run = subprocess.run(["ldd", program], capture_output=True, text=True)
    found = [Path(path) for path in re.findall(r"(/\S+) \(0x", run.stdout)]
    # The C library opens this one by itself, for pthread_cancel().
    late = [path.with_name("libgcc_s.so.1") for path in found if path.name == "libc.so.6"]
    return found + [path for path in late if path.exists()]


def merged(path):
    """Where a file of this machine lies in the guest, whose /bin, /lib... are under /usr."""
    path = str(path).lstrip("/")
    return path if path.startswith("usr/") else "usr/" + path


def contents(top, build, modules):
    """What goes into the archive: {name there: file here}."""
    files = {"init": top / "qemu-scripts/guest-init", "usr/bin/busybox": BUSYBOX}
    dynamic = [path for path in (Path("/usr/bin/fusermount3"), Path("/sbin/mount.fuse3")) if path.exists()]
    files |= {merged(path): path for path in dynamic}
    files |= {f"run/guest/modules/{path.name}": path for path in modules}
    for folder in "bin", "libfuse":
        programs = sorted(path for path in (build / "userspace" / folder).glob("*") if path.is_file())
        files |= {f"run/guest/{folder}/{path.name}": path for path in programs}
        dynamic += programs
    for program in dynamic:
        files |= {merged(path): path for path in libraries(program)}
    return files


def write(out, files):
    archive = Archive(out)
    parents = [str(folder) for name in files for folder in reversed(Path(name).parents) if folder.name]
    for name in dict.fromkeys(DIRECTORIES + parents):
        archive.add(name, stat.S_IFDIR | (0o1777 if name.endswith("tmp") else 0o755))
    for name, target in SYMLINKS.items():
        archive.add(name, stat.S_IFLNK | 0o777, target.encode())
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for name, text in ("passwd", PASSWD), ("group", GROUP), ("fuse.conf", "user_allow_other\n"):
        archive.add(f"etc/{name}", stat.S_IFREG | 0o644, text.encode())
    for name, path in files.items():
        archive.add(name, stat.S_IFREG | stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox" and f"usr/bin/{applet}" not in files:
            archive.add(f"usr/bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    archive.finish()


def make(top, build, flavour, modules):
    """Makes the archive unless one of the same content is there; gives its path."""
    files = contents(top, build, modules)
    key = hashlib.sha256(Path(__file__).read_bytes())
    for name, path in files.items():
        status = path.stat()
        key.update(f"{name} {path} {status.st_mode} {status.st_size} {status.st_mtime_ns}\n".encode())
    folder = build / "initramfs"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{flavour}-{key.hexdigest()[:12]}.cpio"
    if made.exists():
        return made
    # An older one is of use to nobody but a guest that has it open.
    for old in folder.glob(f"{flavour}-*.cpio"):
        old.unlink(missing_ok=True)
    new = made.with_suffix(f".new{os.getpid()}")
    with open(new, "wb") as out:
        write(out, files)
    new.rename(made)
    print(f"==> made the initramfs: {made.stat().st_size >> 10} KiB, {len(files)} files", file=sys.stderr)
    return made
