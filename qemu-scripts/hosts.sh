# SPDX-License-Identifier: GPL-2.0
# Runs in a guest whose root is this machine's own: programs by others, unmodified, with a file
# system of theirs mounted on /mnt/fs. What each of them does goes to stdout, the same at each run:
# it must not depend on the module. The status is that of all together.
examples=/run/guest/libfuse
fs=/mnt/fs
src=/tmp/src
failed=0
mkdir $fs

# program NAME COMMAND...: runs COMMAND in the background until what it mounts on $fs is unmounted
# again; in between, stdin is run by a shell, and must end well. So must the command: with one of the
# statuses $ends.
ends=0
program() {
    name=$1
    shift
    echo "== $name"
    mkdir -p "$src"
    "$@" >/tmp/daemon.log 2>&1 &
    daemon=$!
    for _ in $(seq 300); do
        ! grep -q " $fs " /proc/mounts || break
        sleep 0.1
    done
    sh -e -c "fs=$fs src=$src examples=$examples; $(cat)" 2>&1
    status=$?
    kill -0 $daemon || status=1
    umount "$fs" || { status=1 && umount -f "$fs"; }
    wait $daemon
    case " $ends " in
    *" $? "*) ;;
    *) status=1 ;;
    esac
    rm -rf $src
    [ $status = 0 ] && return
    failed=1
    echo "== $name: status $status"
    cat /tmp/daemon.log
}

# What people do with files.
files='
cd $fs/$1
printf hello >a; cat a; echo
printf " there" >>a; cat a; echo
stat -c "%s %a %F" a
chmod 600 a; stat -c %a a
truncate -s 3 a; cat a; echo
mkdir d d/e; mv a d/e/b; ls -R .
ln d/e/b c; stat -c %h c; cmp c d/e/b
ln -s d/e/b l; readlink l; cat l; echo
rm c l; stat -c %h d/e/b
touch -d @1000000000 d/e/b; stat -c %Y d/e/b
dd if=/dev/zero of=z bs=1k count=300 conv=fsync status=none; stat -c %s z
dd if=d/e/b of=z bs=1 seek=100000 conv=notrunc status=none; md5sum <z
cp z y; cmp z y; mv -T y z; rm z
rmdir d 2>&1 || true
rm -r d; ls
mkdir many; (cd many; seq 200 | xargs touch; ls | wc -l; ls | md5sum)
rm -r many
'
# A tree, written and compared, also by who has nothing of it cached.
tree='
cd $fs/$1
from=/usr/share/doc/libfuse3-dev
tar -C $from -cf - . | tar -xf -
diff -r $from .
echo 3 >/proc/sys/vm/drop_caches
diff -r $from .
rm -r *
'
# What not every file system has.
special='
cd $fs/$1
mkfifo p; stat -c %F p; rm p
mknod m c 1 3; stat -c "%F %t %T" m; rm m
'
# Data that says itself whether it is right.
fio='
cd $fs/$1
fio --name=v --size=1m --bs=4k-64k --rw=randrw --verify=crc32c --verify_fatal=1 --ioengine=psync \
    --fallocate=none --randseed=7 --minimal --output=/dev/null
fio --name=m --size=256k --bs=4k --rw=randwrite --verify=crc32c --verify_fatal=1 --ioengine=mmap \
    --fallocate=none --randseed=7 --minimal --output=/dev/null
rm v.* m.*
'
# Locks, by two open files. Where the daemon has them, they go a moment after what was open is closed.
locks='
cd $fs/$1
touch k
flock -n k echo one
flock -w 10 k sh -c "flock -n k echo both || echo conflict"
flock k sh -c "touch held; (sleep 0.3; echo first) & wait" & until [ -e held ]; do sleep 0.01; done
flock k echo second; wait
rm k held
'

program hello "$examples/hello" -f $fs <<'END'
ls $fs; cat $fs/hello; stat -c %a-%s-%h $fs/hello; ! mkdir $fs/x; ! cat $fs/none
END

touch /tmp/null
fs=/tmp/null
program null "$examples/null" -f /tmp/null <<'END'
stat -c '%s %F' $fs
head -c 100000 $fs | tr '\0' 0 | md5sum
dd if=/dev/zero of=$fs bs=64k count=10 status=none
END
fs=/mnt/fs

program passthrough "$examples/passthrough" -f $fs <<END
set -- tmp/src; $files $special $tree
END

program passthrough_fh "$examples/passthrough_fh" -f $fs <<END
set -- tmp/src; $files $fio $locks
END

for cache in never auto always; do
    program "passthrough_ll $cache" "$examples/passthrough_ll" -f -o "source=$src,cache=$cache,flock,xattr" $fs <<END
    $files $special $locks
END
done

program "passthrough_ll writeback" "$examples/passthrough_ll" -f -o "source=$src,cache=always,writeback" $fs <<END
$files $tree $fio
END

program ioctl "$examples/ioctl" -f $fs <<'END'
$examples/ioctl_client $fs/fioc
$examples/ioctl_client $fs/fioc 12345
$examples/ioctl_client $fs/fioc
stat -c %s $fs/fioc
END

program poll "$examples/poll" -f $fs <<'END'
cd $fs; ls; $examples/poll_client | wc -l
END

program notify_inval_entry "$examples/notify_inval_entry" -f --update-interval=1 --timeout=100 $fs <<'END'
old=
for i in 1 2 3; do
    # It changes by itself, also between two looks at it.
    until old=$(ls $fs) && stat $fs/$old >/dev/null 2>&1; do :; done
    sleep 2
    ! stat $fs/$old >/dev/null 2>&1
done
END

program "notify_inval_entry --no-notify" "$examples/notify_inval_entry" -f --no-notify --update-interval=1 --timeout=100 $fs <<'END'
until old=$(ls $fs) && stat $fs/$old >/dev/null 2>&1; do :; done
sleep 2; stat $fs/$old >/dev/null
END

for what in inval_inode store_retrieve; do
    # SIGABRT, where it notifies of what umount has just made the kernel forget.
    ends="0 134"
    program "notify_$what" "$examples/notify_$what" -f --update-interval=1 $fs <<'END'
    for i in 1 2 3; do old=$(cat $fs/current_time); sleep 1.5; [ "$(cat $fs/current_time)" != "$old" ]; done
END
    ends=0
    program "notify_$what --no-notify" "$examples/notify_$what" -f --no-notify --update-interval=1 $fs <<'END'
    old=$(cat $fs/current_time); sleep 1.5; [ "$(cat $fs/current_time)" = "$old" ]
END
done

cat >/tmp/sftp <<'END'
#!/bin/sh
exec /usr/lib/openssh/sftp-server
END
chmod +x /tmp/sftp
program sshfs sshfs -f -o ssh_command=/tmp/sftp "nowhere:$src" $fs <<END
$files $tree $fio
END

program bindfs bindfs -f $src $fs <<END
$files $tree $fio $locks
END

program "bindfs as another" bindfs -f --force-user=1000 --perms=a=rX $src $fs <<'END'
echo data >$src/f; stat -c '%u %a' $fs/f; cat $fs/f
END

exit $failed
