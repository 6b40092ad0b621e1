// SPDX-License-Identifier: GPL-2.0

//! The tests, by what they are about.

use crate::runner::{Test, LIMIT};
use std::time::Duration;

mod abort;
mod acl;
mod aio;
mod attr;
mod blksize;
mod bmap;
mod clone;
mod control;
mod create;
mod cred;
mod daemon;
mod daemons;
mod debugfs;
mod device;
mod dir;
mod dircache;
mod direct;
mod epoch;
mod export;
mod extensions;
mod faultd;
mod fileattr;
mod flock;
mod folios;
mod forget;
mod fuseq;
mod harness;
mod idmap;
mod init;
mod interrupt;
mod inval_data;
mod inval_wq;
mod ioctl;
mod killpriv;
mod limits;
mod lookup;
mod make;
mod memory;
mod mmap;
mod module;
mod mount;
mod notify_data;
mod notify_entry;
mod notify_inode;
mod open;
mod outputs;
mod paths;
mod pipe;
mod poll;
mod posix_locks;
mod pressure;
mod programs;
mod queues;
mod quotafs;
mod range;
mod read;
mod readdirplus;
mod readiness;
mod recover;
mod registered;
mod rename;
mod reply;
mod setattr;
mod slabs;
mod splice;
mod statfs;
mod statx;
mod stress;
mod stuck;
mod stuck_copy;
mod submount;
mod successor;
mod survive;
mod suspend;
mod symlink;
mod sync_init;
mod syncfs;
mod times;
mod transcripts;
mod unlink;
mod versions;
mod write;
mod writeback;
mod xattr;

/// The tests of one file. Those that take long have their limit, in seconds, after `=>`.
macro_rules! tests {
    ($($name:ident $(=> $limit:literal)?),* $(,)?) => {
        /// The tests in this file.
        pub fn tests() -> Vec<crate::runner::Test> {
            let file = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$(crate::tests::test(file, stringify!($name), $name, None$(.or(Some($limit)))?)),*]
        }
    };
}
use tests;

fn test(file: &str, name: &str, run: fn(&crate::env::Env), limit: Option<u64>) -> Test {
    Test {
        name: format!("{file}::{name}"),
        run,
        limit: limit.map_or(LIMIT, Duration::from_secs) * crate::env::slowness(),
    }
}

/// The test of that name; tests that are broken on purpose have names, too.
pub fn named(name: &str) -> Option<Test> {
    let mut tests = all().into_iter().chain(harness::broken());
    tests.find(|test| test.name == name)
}

/// All tests.
pub fn all() -> Vec<Test> {
    [
        harness::tests(),
        init::tests(),
        mount::tests(),
        device::tests(),
        splice::tests(),
        clone::tests(),
        readiness::tests(),
        sync_init::tests(),
        registered::tests(),
        reply::tests(),
        lookup::tests(),
        attr::tests(),
        setattr::tests(),
        acl::tests(),
        killpriv::tests(),
        versions::tests(),
        times::tests(),
        statx::tests(),
        syncfs::tests(),
        blksize::tests(),
        bmap::tests(),
        xattr::tests(),
        cred::tests(),
        export::tests(),
        idmap::tests(),
        dir::tests(),
        readdirplus::tests(),
        dircache::tests(),
        open::tests(),
        read::tests(),
        inval_data::tests(),
        posix_locks::tests(),
        flock::tests(),
        ioctl::tests(),
        fileattr::tests(),
        poll::tests(),
        symlink::tests(),
        make::tests(),
        memory::tests(),
        create::tests(),
        extensions::tests(),
        unlink::tests(),
        rename::tests(),
        write::tests(),
        aio::tests(),
        direct::tests(),
        folios::tests(),
        pressure::tests(),
        writeback::tests(),
        mmap::tests(),
        range::tests(),
        statfs::tests(),
        forget::tests(),
        inval_wq::tests(),
        slabs::tests(),
        submount::tests(),
        notify_inode::tests(),
        notify_entry::tests(),
        notify_data::tests(),
        epoch::tests(),
        queues::tests(),
        interrupt::tests(),
        abort::tests(),
        stuck_copy::tests(),
        recover::tests(),
        daemon::tests(),
        daemons::tests(),
        stress::tests(),
        successor::tests(),
        survive::tests(),
        stuck::tests(),
        suspend::tests(),
        control::tests(),
        debugfs::tests(),
        outputs::tests(),
        fuseq::tests(),
        limits::tests(),
        programs::tests(),
        transcripts::tests(),
        quotafs::tests(),
        faultd::tests(),
        paths::tests(),
        module::tests(),
    ]
    .concat()
}
