# SPDX-License-Identifier: GPL-2.0
"""Reads what KUnit prints."""

import re


class Reader:
    """Reads KTAP line by line; a test is a result one level below its suite."""

    def __init__(self):
        self.suite = "?"

    def __call__(self, line):
        if match := re.match(r"^ {4}# Subtest: (\S+)", line):
            self.suite = match[1]
        match = re.match(r"^ {4}(not )?ok \d+ (\S+)(?: # (SKIP))?", line)
        if not match:
            return None
        state = "FAILED" if match[1] else "skipped" if match[3] else "ok"
        return {"name": f"{self.suite}::{match[2]}", "state": state}


# In a guest: loads the module and shows the results of the suites that came with it.
SCRIPT = """
results=/sys/kernel/debug/kunit
before=" $(ls $results | tr '\\n' ' ')"
insmod /run/guest/modules/rust_fuse.ko || exit
for suite in $(ls $results); do
    case $before in *" $suite "*) ;; *) cat $results/$suite/results ;; esac
done
"""
