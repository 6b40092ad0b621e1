# SPDX-License-Identifier: GPL-2.0
"""Finds the kernel's own complaints in its log."""

import re

# Any of these makes a guest's run a failure, whatever the command said.
SPLAT = re.compile(
    r"""
    ^(?:\[\s*\d+\.\d+\]\s*)?(?:\[\s*[TC]\d+\]\s*)?      # when, and who
    (?:
        WARNING: | BUG[: ] | Oops | Kernel\ panic | kernel\ BUG\ at | Internal\ error
      | INFO:\ (?:task|rcu|possible|trying|suspicious|lockdep) | rcu:\ INFO:
      | watchdog:\ BUG | general\ protection\ fault | invalid\ opcode: | stack\ segment:
      | UBSAN: | KASAN | KFENCE | ODEBUG: | DEBUG_LOCKS_WARN_ON
      | (?:\S+:\ )?(?:rust_kernel|rust_fuse).*panicked\ at
      | unreferenced\ object\ 0x
      | kmemleak:\ (?:\d+\ new|Cannot|Kernel\ memory\ leak\ detector\ disabled)
      | kmem_cache_destroy\b.*objects | .*[Oo]bjects\ remaining
      | guest:\ \S+\ could\ not\ be\ unloaded
      | \S+:\ inconsistent\ lock\ state
      | (?:list_(?:add|del)|refcount_t).*(?:corruption|underflow|saturated|use-after-free)
    )
    """,
    re.VERBOSE,
)


def complaints(lines):
    """The lines of a kernel log that begin a report of something wrong."""
    return [line for line in lines if SPLAT.search(line)]


def without_kernel_threads(lines):
    """A dump of all tasks (sysrq-t) less the threads of the kernel itself."""
    keep = True
    kept = []
    for line in lines:
        # Behind the tasks comes the scheduler's state, which nobody asked for.
        if "Sched Debug Version" in line:
            break
        task = re.search(r"task:.* pid:(\d+).* ppid:(\d+)", line)
        if task:
            keep = "2" not in task.groups()
        if keep:
            kept.append(line)
    return kept


def excerpt(lines, found):
    """What to show of a log with complaints: the first in full, the others by name."""
    start = lines.index(found[0])
    shown = lines[start : start + 60]
    others = [line for line in found[1:] if line not in shown]
    return shown + (["... and:"] + others[:20] if others else [])
