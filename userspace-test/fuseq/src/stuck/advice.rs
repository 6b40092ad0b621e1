// SPDX-License-Identifier: GPL-2.0

//! What a person can do about requests that are stuck.

use super::{Scene, Stuck, Until};
use crate::system::process::Task;

impl Scene<'_> {
    /// The likeliest cause first.
    pub(super) fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        advice.extend(self.about_itself());
        advice.extend(self.about_the_daemon());
        if !self.is_c {
            advice.extend(self.about_the_queues());
        }
        advice.extend(self.about_the_callers());
        advice.push(self.actions());
        advice
    }

    fn in_queue(&self, queues: &[&str]) -> usize {
        let all = self.stuck.iter();
        all.filter(|stuck| queues.contains(&&stuck.queue[..]))
            .count()
    }

    /// A daemon that uses its own file system.
    fn about_itself(&self) -> Option<String> {
        let daemons = &self.connection.daemons;
        let own = |stuck: &&Stuck| {
            let process = stuck.task.as_ref().map(|task| task.process);
            // Who was forked from it has its device open, too, and is another process.
            daemons.len() == 1 && daemons.iter().any(|daemon| Some(daemon.process) == process)
        };
        let stuck = self.stuck.iter().find(own)?;
        Some(format!(
            "{} is a thread of the daemon itself: it waits for its own file system, which may well be a\n\
             deadlock. A daemon must not use the files that it serves.",
            stuck.who
        ))
    }

    fn about_the_daemon(&self) -> Option<String> {
        let daemons = &self.connection.daemons;
        let named = |state: &str| {
            let found: Vec<_> = daemons
                .iter()
                .filter(|task| state.contains(task.state))
                .collect();
            let labels: Vec<_> = found.iter().map(|task| task.label()).collect();
            (!found.is_empty() && found.len() == daemons.len())
                .then(|| (labels.join(", "), found[0].pid, found[0].doing()))
        };
        if daemons.is_empty() {
            return Some(String::from(
                "No process that we can see has its device open. With the mount option recover, start a\n\
                 successor: it attaches, and nothing is lost. Else abort.",
            ));
        }
        if let Some((label, pid, _)) = named("Tt") {
            return Some(format!(
                "The daemon {label} is stopped. Let it go on: kill -CONT {pid}"
            ));
        }
        named("D").map(|(label, pid, doing)| {
            format!(
                "The daemon {label} is {doing}: look what it waits for in /proc/{pid}/stack.\n\
                 Its own disk or network may hang."
            )
        })
    }

    fn about_the_queues(&self) -> Vec<String> {
        let mut advice = Vec::new();
        let daemon = match &self.connection.daemons[..] {
            [] => String::from("A daemon"),
            [first, ..] => first.label(),
        };
        let with_daemon = self.in_queue(&["processing"]);
        if with_daemon > 0 {
            let pid = self.connection.daemons.first().map_or(0, |task| task.pid);
            advice.push(format!(
                "{daemon} has read {with_daemon} of them and not answered: the cause is in the daemon. Look at its\n\
                 log, at its threads (gdb -p {pid}, /proc/{pid}/task/*/stack), and at what it waits for itself."
            ));
        }
        let pending = self.in_queue(&["pending", "handed"]);
        if pending > 0 {
            advice.push(format!(
                "Nobody has read {pending} of them: all threads of the daemon are busy, or have ended. It may need\n\
                 more of them."
            ));
        }
        let background = self.in_queue(&["background", "gate"]);
        if background > 0 {
            let limit = match self.connection.max_background() {
                Some(limit) => format!("{limit} as of now"),
                None => String::from("a file of the control file system"),
            };
            advice.push(format!(
                "{background} of them are held back: no more than max_background requests without a caller ({limit})\n\
                 are with the daemon at once, and none before it has answered INIT."
            ));
        }
        let copying = self.in_queue(&["reading", "writing"]);
        if copying > 0 {
            advice.push(format!(
                "{copying} of them are being copied, and wait for memory of the daemon's that does not come\n\
                 (userfaultfd, or a mapping of its own file system). An abort ends that."
            ));
        }
        advice
    }

    fn about_the_callers(&self) -> Vec<String> {
        let waits = |stuck: &&Stuck| !stuck.abandoned && !stuck.background;
        let callers = self.stuck.iter().filter(waits);
        if callers.clone().count() + self.sleepers.len() == 0 {
            // C fuse shows none of these.
            let advice = "No process that we can see waits for them: they do no harm until something else needs their\n\
                files.";
            return (!self.stuck.is_empty())
                .then(|| advice.into())
                .into_iter()
                .collect();
        }
        let asleep = self.sleepers.iter().map(|it| (&it.task, Some(it.until)));
        let callers = callers.filter_map(|it| Some((it.task.as_ref()?, it.until)));
        let all: Vec<(&Task, Option<Until>)> = callers.chain(asleep).collect();
        let pids = |wanted: fn(Option<Until>) -> bool| {
            let wanted = all.iter().filter(|(_, until)| wanted(*until));
            let mut pids: Vec<_> = wanted.map(|(task, _)| task.process).collect();
            pids.sort_unstable();
            pids.dedup();
            let pids: Vec<_> = pids.iter().take(5).map(u32::to_string).collect();
            pids.join(" ")
        };
        let mut advice = Vec::new();
        let callers = pids(|until| matches!(until, None | Some(Until::Goes)));
        let readers = pids(|until| until == Some(Until::Read));
        let writers = pids(|until| until == Some(Until::Written));
        match (&callers[..], self.is_c) {
            ("", _) => {}
            (pids, false) => advice.push(format!(
                "Who waits can be killed, and is gone at once: kill -9 {pids}"
            )),
            (pids, true) => advice.push(format!(
                "Who waits cannot be killed on C fuse once the daemon has read the request (kill -9 {pids}\n\
                 helps where it has not)."
            )),
        }
        if !readers.is_empty() {
            advice.push(format!(
                "Who sleeps until a folio is read can be killed: kill -9 {readers}"
            ));
        }
        if !writers.is_empty() {
            advice.push(format!(
                "Who sleeps until a folio is written ({writers}) cannot be killed: that ends when the WRITE does."
            ));
        }
        let others = pids(|until| until == Some(Until::Unlocked));
        if !others.is_empty() {
            advice.push(format!(
                "Who sleeps until a folio is unlocked ({others}) may be deaf to signals until that is so."
            ));
        }
        advice
    }

    fn actions(&self) -> String {
        let number = self.connection.number;
        match self.is_c {
            true => format!(
                "To end all of it:\n\
                 fuseq stuck --abort {number}    every request fails, and the file system is dead until it is mounted anew"
            ),
            false => format!(
                "To end it, from the mildest to the last resort:\n\
                 fuseq stuck --resend {number}   what the daemon has read is sent again: for one that was restarted\n\
                 fuseq stuck --flush {number}    what the daemon has read fails with EIO; the rest goes on\n\
                 fuseq stuck --abort {number}    every request fails, and the file system is dead until it is mounted anew"
            ),
        }
    }
}
