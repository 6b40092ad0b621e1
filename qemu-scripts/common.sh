# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the scripts in this folder share: where things are, and how they speak.
# Sourced, not run.

set -euo pipefail

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(dirname "$SCRIPTS")
BUILD=$TOP/build
# A checkout is thrown away more often than the machine: what is costly to make
# lives outside it.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/rust_fuse
JOBS=${JOBS:-$(nproc)}
HOST_TOOLCHAIN=${HOST_TOOLCHAIN:-}

say() { printf '%s\n' "==> $*" >&2; }
die() {
    printf '%s\n' "error: $*" >&2
    exit 1
}

[[ $TOP$CACHE != *[[:space:],]* ]] ||
    die "kbuild and QEMU cannot do with a space or a comma in a path: move the checkout ($TOP) or set XDG_CACHE_HOME (the cache is $CACHE)"
mkdir -p "$BUILD" "$CACHE"
# What our own make was given is not meant for the kernel's.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

# alone PATH: waits until no other script makes PATH, and keeps others off until this
# one ends.
alone() {
    exec 9>"$1.lock"
    flock --nonblock 9 || { say "waiting for another one that makes $1" && flock 9; }
}

# quietly LABEL LOG COMMAND...: runs a long command with its output in LOG,
# shows that it lives, and prints the log's end when it fails.
quietly() {
    local label=$1 log=$2 start=$SECONDS status=0 pid
    shift 2
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ -t 2 ]; then
            printf '\r    %s: %dm%02ds, %d lines in the log ' "$label" \
                $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60)) "$(wc -l <"$log")" >&2
        elif (((SECONDS - start) % 60 == 59)); then
            printf '    %s: %d min, %d lines in the log\n' "$label" \
                $(((SECONDS - start + 1) / 60)) "$(wc -l <"$log")" >&2
        fi
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
    wait "$pid" || status=$?
    if ((status != 0)); then
        tail -n 40 "$log" >&2
        die "$label failed (status $status); the whole log is $log"
    fi
    say "$label: done in $((SECONDS - start)) s"
}

# lacking PROGRAM=PACKAGE...: the packages of the programs that are missing.
lacking() {
    local pair
    for pair in "$@"; do
        [ -e "${pair%%=*}" ] || command -v "${pair%%=*}" >/dev/null || printf '%s\n' "${pair#*=}"
    done
}

# need PROGRAM=PACKAGE...: installs the Debian packages of the programs that are
# missing. Asks first where a person is there to answer.
need() {
    local missing as_root=()
    mapfile -t missing < <(lacking "$@")
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "these Debian packages (or what they are called here) are needed, and there is no apt-get to install them: ${missing[*]}"
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    if [ -t 0 ] && [ -z "${CI:-}" ]; then
        local answer
        read -r -p "These packages are needed: ${missing[*]}. Install them with apt-get? [Y/n] " answer
        case $answer in [nN]*) die "not installed; run 'apt-get install ${missing[*]}' yourself, then try again" ;; esac
    fi
    (
        # Guests that start side by side need the same ones.
        alone "$CACHE/packages"
        mapfile -t missing < <(lacking "$@")
        ((${#missing[@]})) || exit 0
        quietly "apt-get install ${missing[*]} (about a minute)" "$BUILD/log/apt.log" \
            "${as_root[@]}" sh -c 'apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "$@"' sh "${missing[@]}"
    )
}

# pack LINUX NAME FILE...: an archive of some of Linux's sources, build/suites/NAME.tar.
pack() {
    local linux=$1 archive=$BUILD/suites/$2.tar
    [ ! -e "$archive" ] || return 0
    mkdir -p "$BUILD/suites"
    tar -C "$linux" -cf "$archive.new" "${@:3}"
    mv "$archive.new" "$archive"
}

# pack_tools LINUX: build/suites/tools.tar, in which tools/lib/{subcmd,api,symbol} can be compiled.
pack_tools() {
    pack "$1" tools tools/{build,scripts,include,lib} tools/arch/x86/include
}

# The mirror this machine takes Debian from.
debian_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' 2>/dev/null |
        grep -v -e security -e '^$' | sort -u | head -n 1)
    [ -n "$uri" ] || uri=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep '/debian/$' | sort -u | head -n 1)
    [ -n "$uri" ] || die "no Debian mirror found in apt's configuration: on another distribution, give a toolchain and a kernel of your own (HOST_TOOLCHAIN=1 and LINUX=tree-or-tarball, or KDIR=built kernel)"
    printf '%s\n' "$uri"
}
