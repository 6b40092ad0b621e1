# SPDX-License-Identifier: GPL-2.0
# Runs in a guest whose root is this machine's own: test suites by others, over stackfs, which is
# stacked on a tmpfs.
#
#   suites DIRECTORY-OF-THE-SUITES FSX-OPERATIONS FIO-SIZE TREE STRESS-SECONDS WORDS
suites=$1 operations=$2 size=$3 tree=$4 seconds=$5 words=$6
below=/mnt/below fs=/mnt/fs
failed=0
export suites operations size tree below fs
mkdir $below $fs /tmp/bin
mount -t tmpfs -o mode=755 below $below

# mounts OPTION...: mounts stackfs, in the background.
mounts() {
    stackfs "$@" $below $fs >/tmp/daemon.log 2>&1 &
    daemon=$!
    until grep -q " $fs " /proc/mounts; do
        kill -0 $daemon 2>/dev/null || return
        sleep 0.1
    done
}

# unmounts: that has to work, and the daemon has to end well.
unmounts() {
    umount $fs && wait $daemon && return
    umount -f $fs 2>/dev/null
    kill $daemon 2>/dev/null
    return 1
}

# wanted NAME: whether it has one of the words, if there are any.
wanted() {
    [ -n "$words" ] || return 0
    for word in $words; do
        case $1 in *"$word"*) return 0 ;; esac
    done
    return 1
}

# check NAME OPTION...: runs stdin in a shell while stackfs is mounted with these options.
check() {
    name=$1
    shift
    wanted "$name" || return 0
    start=$(date +%s%3N)
    status=1
    if mounts "$@"; then
        (cd $fs && sh -e) </dev/stdin >/tmp/output 2>&1
        status=$?
        unmounts || status=1
    fi
    if [ $status = 0 ]; then
        result=ok
    else
        result=FAILED failed=1
    fi
    echo "test $name ... $result [$(($(date +%s%3N) - start)) ms]"
    [ $status = 0 ] || { tail -n 60 /tmp/output && cat /tmp/daemon.log; }
    rm -rf ${below:?}/*
}

through='--large-writes --threads 4 --valid 10'
back='--optimised --keep-cache --valid 10'
direct='--direct-io --large-writes --threads 4 --valid 10'

# fsx: what is read is what was written, by whatever call.
weights() {
    cat <<END
flen = 65536
[opsize]
min = 1
max = 16384
[weights]
read = $1
write = $1
mapread = $2
mapwrite = $2
truncate = 5
close_open = 1
invalidate = 1
fsync = 1
fdatasync = 1
posix_fallocate = 2
punch_hole = 2
sendfile = 2
posix_fadvise = 1
copy_file_range = 2
END
}
weights 10 5 >/tmp/calls.toml
weights 2 20 >/tmp/maps.toml
# It never unmaps what it has read: some thousand operations at a time, with a seed for each time.
fsx() {
    check "fsx: $1" $3 <<END
for seed in \$(seq 1 $((operations / 1000))); do
    $suites/fsx -N 1000 -S \$seed -P /tmp -f /tmp/$2.toml $fs/file
done
END
}
fsx write-through calls "$through"
fsx writeback calls "$back"
fsx 'direct I/O' calls "$direct"
fsx mmap maps "$back"

# fio: data that says itself whether it is right, also when nothing of it is cached any more.
fio() {
    check "fio: $1" $2 <<END
fio --name=file --size=$size --bsrange=4k-64k --rw=randrw --verify=crc32c --verify_fatal=1 --fallocate=none \
    --randseed=7 $3 --end_fsync=1
echo 3 >/proc/sys/vm/drop_caches
fio --name=file --size=$size --bsrange=4k-64k --rw=randwrite --verify=crc32c --verify_fatal=1 --fallocate=none \
    --randseed=7 $3 --end_fsync=1 --numjobs=3 --group_reporting
END
}
fio write-through "$through" --ioengine=psync
fio writeback "$back" --ioengine=psync
fio O_DIRECT "$through" '--ioengine=libaio --direct=1 --iodepth=8'
fio 'direct I/O' "$direct" --ioengine=psync
fio mmap "$back" --ioengine=mmap

# A tree of sources, unpacked and compared.
mkdir /tmp/tree
tar -C /tmp/tree -xf "$suites/$tree.tar"
unpack() {
    check "tar: $1" $2 <<'END'
tar -xf $suites/$tree.tar
diff -r /tmp/tree .
diff -r /tmp/tree $below
echo 3 >/proc/sys/vm/drop_caches
diff -r /tmp/tree .
tar -cf - $tree | tar -C /tmp/tree -df -
rm -r $tree

END
}
unpack base ''
unpack write-through "$through"
unpack writeback "$back"

# The same, and what is compared has been through an umount.
wanted tar && mounts $back && tar -C $fs -xf "$suites/$tree.tar" && unmounts
check 'tar: writeback, with an umount in between' $back <<'END'
diff -r /tmp/tree $below
diff -r /tmp/tree .
END

# A compile.
compile() {
    check "compile: $1" $2 <<'END'
tar -xf $suites/tools.tar
for part in subcmd api symbol; do
    make -C tools/lib/$part
done
END
}
compile base ''
compile writeback "$back"

# stress-ng: a call or two over and over, by two processes, and what they see is verified.
stress() { # STRESSOR...
    for stressor; do
        check "stress-ng: $stressor" $through <<END
stress-ng --temp-path $fs --verify --timeout ${seconds}s --$stressor 2 \\
    --hdd-bytes 32m --iomix-bytes 32m
END
    done
}
stress access chdir chmod chown copy-file dentry dir dirdeep dirmany dnotify dup fallocate fcntl file-ioctl filename \
    flock fpunch fsize fstat getdent handle hdd inotify io iomix lease link locka lockf lockofd mknod open rename \
    seek sendfile symlink sync-file touch utime xattr

# What the kernel has itself (tools/testing/selftests/filesystems/fuse). It says `ok 1 name # SKIP why`.
selftest() {
    wanted "selftests: $1" || return 0
    (cd "$suites" && "./$1" 2>&1) | tee /tmp/output | sed -nE "
        s/^ok [0-9]+ (\S+)( #.*SKIP.*)$/test selftests: \1 ... skipped/p; t
        s/^ok [0-9]+ (\S+).*/test selftests: \1 ... ok/p
        s/^not ok [0-9]+ (\S+).*/test selftests: \1 ... FAILED/p"
    grep -q '^# Totals: pass:[1-9][0-9]* fail:0' /tmp/output || { cat /tmp/output && failed=1; }
}
selftest fusectl_test
selftest write_extend_eof_test
selftest fuse_acl_cache_test

# pjdfstest: what POSIX says of names, attributes and who may. Some of its tests leave files open behind,
# so that those that remount come by themselves.
posix() { # whether it may remount, and which tests
    wanted pjdfstest || return 0
    cat >/tmp/pjdfstest.toml <<END
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
secondary_fs = "/tmp"
[settings]
naptime = 0.02
allow_remount = $1
[dummy_auth]
entries = [["nobody", "nogroup"], ["user", "user"]]
END
    shift
    mounts -o default_permissions,allow_other &&
        PATH=/tmp/bin:$PATH "$suites/pjdfstest" -c /tmp/pjdfstest.toml -p $fs "$@" 2>&1 |
        sed -E 's/^([a-z0-9_:]+) +(ok|FAILED|skipped)$/test pjdfstest: \1 ... \2/'
    unmounts || { echo 'test pjdfstest: (umount) ... FAILED' && failed=1; }
}
# It remounts by mount(8), which would ask libfuse's helper.
printf '#!/bin/sh\nexec %s -i "$@"\n' "$(command -v mount)" >/tmp/bin/mount
chmod +x /tmp/bin/mount
posix false
posix true erofs

exit $failed
