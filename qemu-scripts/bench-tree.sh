# SPDX-License-Identifier: GPL-2.0
# Runs in a guest whose root is this machine's own: how long it takes to unpack and to compile a tree of
# sources on stackfs, which is stacked on a tmpfs.
#
#   bench-tree TAR
#
# Prints lines as the program bench does: name=unpack unit=milliseconds value=1234
set -e
below=/mnt/below fs=/mnt/fs
mkdir $below $fs
mount -t tmpfs -o mode=755 below $below

timed() { # NAME COMMAND...
    start=$(date +%s%3N) name=$1
    shift
    "$@" >/tmp/output 2>&1 || { cat /tmp/output && exit 1; }
    echo "name=$name unit=milliseconds value=$(($(date +%s%3N) - start))"
}

compile() {
    for part in subcmd api symbol; do
        make -C $fs/tools/lib/$part || return
    done
}

for options in '' --optimised; do
    suffix=${options:+-optimised}
    stackfs $options $below $fs >/tmp/daemon.log 2>&1 &
    until grep -q " $fs " /proc/mounts; do
        kill -0 $! 2>/dev/null || { cat /tmp/daemon.log && exit 1; }
        sleep 0.1
    done
    timed unpack$suffix tar -C $fs -xf "$1"
    timed compile$suffix compile
    umount $fs
    wait $!
    rm -r $below/*
done
