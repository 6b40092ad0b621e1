// SPDX-License-Identifier: GPL-2.0

//! Who waits although the request is one that nobody waits for: a `READ` of readahead has no caller that
//! waits, but who wants to read the folio sleeps until it is filled.

use super::{shown, Scene};
use crate::{
    ls::{lines, plain_table},
    system::{
        caller::{self, OpenFiles},
        mounts::{mount_of, MountPoint},
        process::{self, Task},
        queues::Waiting,
        stack::{Sleep, Waiter},
        Connection,
    },
};
use std::path::PathBuf;

/// A task that sleeps, most likely because of a request that is not its own, or one in the background.
#[derive(Clone, Debug)]
pub(super) struct Sleeper {
    pub(super) task: Task,
    pub(super) until: Until,
    pub(super) file: String,
}

/// Until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// A folio is read, by a sleep that can be killed.
    Read,
    /// A folio is written.
    Written,
    /// Whoever has a folio is done with it.
    Unlocked,
    /// A request of its own goes on.
    Goes,
}

/// A file that a task sleeps for.
pub(super) struct Place {
    path: PathBuf,
    inode: Option<u64>,
    how: String,
    /// It has others mapped as well, and it may be one of those.
    or_another: bool,
}

impl Until {
    /// Where its sleep is on a folio.
    pub(super) fn of(sleep: Sleep) -> Option<Self> {
        match sleep {
            Sleep::Folio { written: true, .. } => Some(Until::Written),
            Sleep::Folio { read: true, .. } => Some(Until::Read),
            Sleep::Folio { .. } => Some(Until::Unlocked),
            Sleep::Module | Sleep::Answer(_) => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Until::Read => "until it is read",
            Until::Written => "until it is written",
            Until::Unlocked => "until it is unlocked",
            Until::Goes => "until it goes on",
        }
    }
}

impl Place {
    /// The file of a connection that a task sleeps for: that of its system call, or one that it has mapped.
    pub(super) fn of(connection: &Connection, waiter: &Waiter, files: &OpenFiles) -> Option<Self> {
        let pid = waiter.task.pid;
        let number = connection.number;
        let call = caller::call_of(pid);
        let named = call
            .as_ref()
            .and_then(|call| Some((call, call.file.clone()?)));
        let touched = matches!(waiter.sleep, Sleep::Folio { touched: true, .. });
        if let Some((call, path)) = named.filter(|_| !touched) {
            let mounts = MountPoint::of_process(&pid.to_string());
            let is_here = mount_of(&mounts, &path)
                .is_some_and(|mount| mount.is_fuse() && mount.device == number);
            return is_here.then(|| Self {
                inode: files.inode(number, &path),
                path,
                how: format!("in {}", call.name),
                or_another: false,
            });
        }
        let mut mapped = process::mapped_files(pid);
        mapped.retain(|mapped| mapped.device == number);
        let or_another = mapped.len() > 1;
        mapped.into_iter().next().map(|mapped| Self {
            path: mapped.path,
            inode: Some(mapped.inode),
            how: String::from("mapped"),
            or_another,
        })
    }

    /// In words; the inode where it is a node that is `wanted`.
    pub(super) fn text(&self, wanted: impl Fn(u64) -> bool, more: &str) -> String {
        let node = self.inode.filter(|inode| wanted(*inode));
        let node = node.map_or(String::new(), |node| format!("node {node}, "));
        let others = if self.or_another {
            ", as are others"
        } else {
            ""
        };
        format!("{} ({node}{}{others}{more})", shown(&self.path), self.how)
    }
}

/// All of those whose requests may be among these of rust_fuse.
pub(super) fn of_rust(
    connection: &Connection,
    requests: &[&Waiting],
    waiters: &[Waiter],
    files: &OpenFiles,
) -> Vec<Sleeper> {
    let data = |request: &&&Waiting| ["READ", "WRITE"].contains(&&request.opcode[..]);
    let data: Vec<_> = requests.iter().filter(data).collect();
    let until = |waiter: &Waiter| {
        let asked = |request: &&&&Waiting| request.pid == waiter.task.pid;
        match Until::of(waiter.sleep) {
            Some(until) => (!data.is_empty()).then_some(until),
            // It waits for one of its own, if all of these are in the background.
            None => {
                let mut own = data.iter().filter(asked).peekable();
                own.peek()?;
                own.all(|request| request.background).then_some(Until::Goes)
            }
        }
    };
    let sleeper = |waiter: &Waiter| {
        let until = until(waiter)?;
        let asked = |inode| data.iter().any(|request| request.nodeid == inode);
        let own = || {
            let mut own = data.iter().filter(|it| it.pid == waiter.task.pid);
            let nodeid = own.next().filter(|_| until == Until::Goes)?.nodeid;
            let path = files.find(connection.number, nodeid).map(shown);
            Some(format!("{} (node {nodeid})", path.unwrap_or("?".into())))
        };
        let place = Place::of(connection, waiter, files);
        let file = place.map(|place| place.text(asked, "")).or_else(own)?;
        Some(Sleeper {
            task: waiter.task.clone(),
            until,
            file,
        })
    };
    waiters.iter().filter_map(sleeper).collect()
}

impl Scene<'_> {
    /// Who sleeps, with what is known of it and what is not.
    pub(super) fn sleepers(&self, most: usize) -> String {
        if self.sleepers.is_empty() {
            return String::new();
        }
        let mut table = plain_table();
        table.set_header(["WHO", "SLEEPS", "FILE"]);
        for sleeper in self.sleepers.iter().take(most) {
            table.add_row([
                sleeper.task.label(),
                sleeper.until.text().into(),
                sleeper.file.clone(),
            ]);
        }
        let mut out =
            String::from("\n  Who sleeps, for requests in the background or of others:\n\n");
        out += &lines(&table, "  ");
        if let Some(more @ 1..) = self.sleepers.len().checked_sub(most) {
            out += &format!("  and {more} more (--most)\n");
        }
        out + "\n  Known, by /proc/PID/stack and /proc/PID/syscall: that they sleep, on a folio of the page cache or in\n  \
            rust_fuse, and in which call or mapping. That one of the requests above is to wake them is a\n  \
            guess, by the file or by who made it.\n"
    }
}
