// SPDX-License-Identifier: GPL-2.0

//! Who looks after the one who plays: what hangs is aborted, and what hangs then is a find.

use crate::share::Share;
use std::{
    fs::{self, File},
    io::Write,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
    thread,
    time::Duration,
};

/// How often it looks.
const TICK: Duration = Duration::from_millis(50);
/// A daemon may wait for its own caller, by right: it is in a write, of a notification that needs what
/// the caller holds. So long, in ticks.
const UNTIL_ABORT: u64 = 8;
/// After an abort nothing may wait. The machine may be slow, though.
const UNTIL_FIND: u64 = 600;

/// What is shared with the thread that looks.
pub struct Watch {
    beats: AtomicU64,
    abort: Mutex<Option<File>>,
    share: Arc<Share>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No state here is left half-made.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Starts to look.
    pub fn start(share: &Arc<Share>) -> Arc<Self> {
        let watch = Arc::new(Self {
            beats: AtomicU64::new(0),
            abort: Mutex::new(None),
            share: share.clone(),
        });
        let looks = watch.clone();
        thread::spawn(move || looks.look());
        watch
    }

    /// The player lives.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// What aborts the connection, from here on.
    pub fn guard(&self, abort: Option<File>) {
        *lock(&self.abort) = abort;
    }

    /// Aborts the connection.
    pub fn abort(&self) {
        if let Some(file) = &mut *lock(&self.abort) {
            // One that is gone needs no abort.
            let _ = file.write_all(b"1");
        }
    }

    fn look(&self) {
        crate::helper::block_alarms();
        let (mut beats, mut ticks) = (0, 0);
        loop {
            thread::sleep(TICK);
            let now = self.beats.load(Ordering::Relaxed);
            ticks = if now == beats { ticks + 1 } else { 0 };
            beats = now;
            if ticks == UNTIL_ABORT {
                self.abort();
            }
            if ticks == UNTIL_FIND {
                self.share.find("hang", &stacks());
                println!("find: the daemon hangs");
                // This process could not end. The log is to have all that is stuck, and the guest is
                // to come to an end.
                let _ = fs::write("/proc/sysrq-trigger", "w");
                thread::sleep(Duration::from_secs(2));
                let _ = fs::write("/proc/sysrq-trigger", "c");
            }
        }
    }
}

/// Where the threads of this process and its children are in the kernel.
pub fn stacks() -> String {
    let mut text = String::new();
    let mut tell = |path: String| {
        let comm = fs::read_to_string(path.clone() + "/comm").unwrap_or_default();
        let stack = fs::read_to_string(path.clone() + "/stack").unwrap_or_default();
        text += &format!("{path} {comm}{stack}\n");
    };
    for task in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let task = task.path().display().to_string();
        let children = fs::read_to_string(task.clone() + "/children").unwrap_or_default();
        tell(task);
        for child in children.split_whitespace() {
            tell(format!("/proc/{child}"));
        }
    }
    text
}
