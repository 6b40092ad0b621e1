// SPDX-License-Identifier: GPL-2.0

//! Bugs that are planted into a copy of the queues, to see that the model finds them.
//!
//! Each makes cargo build and run the model once more, which takes some minutes in all:
//!
//!     cargo test -p queue-model --test planted -- --ignored
//!
//! `PLANTED=word,word` runs only those with one of these words in their names.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A bug: what stands in a file of `rust/queue`, and what stands there instead.
struct Bug {
    name: &'static str,
    /// The rule that it breaks, as docs/ARCHITECTURE.md counts them.
    rule: u32,
    /// The test that is to find it.
    by: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const BUGS: &[Bug] = &[
    Bug {
        name: "forgets that a killed daemon was reading are lost",
        rule: 3,
        by: "a_daemon_killed_in_a_copy_leaves_its_request_to_another",
        file: "resend.rs",
        right: "lock.forgets.prepend(forgets);",
        wrong: "drop(forgets);",
    },
    Bug {
        name: "an interrupt that a killed daemon was reading is lost",
        rule: 6,
        by: "an_interrupt_cut_short_by_a_kill_comes_again",
        file: "resend.rs",
        right: "if let Some(index) = lock.find(of) {
            lock.interrupt(index);",
        wrong: "if let Some(index) = lock.find(of) {
            lock.slots.at(index);",
    },
    Bug {
        name: "a request that was aborted while it was read goes on to processing",
        rule: 7,
        by: "an_abort_ends_everything",
        file: "reader.rs",
        right: "if slot.doomed {",
        wrong: "if false {",
    },
    Bug {
        name: "a reply is accepted though all was aborted while it was copied",
        rule: 7,
        by: "rule7_an_abort_ends_all_that_waits",
        file: "answer.rs",
        right: "if lock.slots.at(self.index).doomed {",
        wrong: "if false {",
    },
    Bug {
        name: "what a daemon has read may take for ever",
        rule: 7,
        by: "rule7_what_takes_too_long_aborts_everything",
        file: "lifecycle.rs",
        right: "Place::None | Place::Gate | Place::Aborting | Place::Ended",
        wrong: "Place::None | Place::Gate | Place::Aborting | Place::Ended | Place::Processing",
    },
    Bug {
        name: "a time-out stops what comes later, and leaves what there is",
        rule: 7,
        by: "rule7_what_takes_too_long_aborts_everything",
        file: "lifecycle.rs",
        right: "self.abort_locked(lock, errno::ENODEV);
                false",
        wrong: "lock.connected = false;
                false",
    },
    Bug {
        name: "a reader is handed a request and not woken",
        rule: 3,
        by: "calls_are_answered",
        file: "state.rs",
        right: "seat.given = Given::Request(index);
                let thread = seat.thread.take();
                self.wake(thread);",
        wrong: "seat.given = Given::Request(index);
                seat.thread.take();",
    },
    Bug {
        name: "a caller is not woken when its request has ended",
        rule: 6,
        by: "calls_are_answered",
        file: "state.rs",
        right: "slot.outcome = outcome;
            self.wake(caller);",
        wrong: "slot.outcome = outcome;
            drop(caller);",
    },
    Bug {
        name: "of two that are to be woken at once, one is not",
        rule: 7,
        by: "an_abort_ends_everything",
        file: "state.rs",
        right: "(Some(_), Some(thread)) => thread.unpark(),",
        wrong: "(Some(_), Some(_)) => {}",
    },
    Bug {
        name: "who polls is not told of a pending request",
        rule: 3,
        by: "daemons_that_poll_miss_nothing",
        file: "state.rs",
        right: "self.move_to(index, Place::Pending);
                self.ring();",
        wrong: "self.move_to(index, Place::Pending);",
    },
    Bug {
        name: "a request that ends stays in the interrupts queue",
        rule: 6,
        by: "signals_interrupt_once",
        file: "state.rs",
        right: "        self.uninterrupt(index, InterruptStep::Dropped);
        self.record(index, outcome);",
        wrong: "        self.record(index, outcome);",
    },
    Bug {
        name: "any generation will do",
        rule: 2,
        by: "rule2_a_slot_used_again_has_another_unique",
        file: "state.rs",
        right: "(slot.unique(index) == unique && slot.place != Place::None)",
        wrong: "(slot.place != Place::None)",
    },
    Bug {
        name: "another device may answer",
        rule: 5,
        by: "rule5_a_reply_is_for_one_request_of_one_device",
        file: "answer.rs",
        right: " && slot.device == device.index()",
        wrong: " && device.index() < u32::MAX",
    },
    Bug {
        name: "one more background request is active than may be",
        rule: 1,
        by: "no_more_background_requests_are_active_than_may_be",
        file: "background.rs",
        right: "while self.background.active < self.background.max {",
        wrong: "while self.background.active <= self.background.max {",
    },
    Bug {
        name: "one more background request passes the gate than may",
        rule: 1,
        by: "operations_do_what_the_rules_say",
        file: "background.rs",
        right: "if force || (lock.started && lock.background.count < lock.background.max) {",
        wrong: "if force || (lock.started && lock.background.count <= lock.background.max) {",
    },
    Bug {
        name: "another background request becomes active before one has ended",
        rule: 1,
        by: "no_more_background_requests_are_active_than_may_be",
        file: "state.rs",
        right: "        self.move_and_tell(index, Place::Ended, Some(&request), outcome);
        // Not before, for another may become active in its place.
        self.discount(index);",
        wrong: "        self.discount(index);
        self.move_and_tell(index, Place::Ended, Some(&request), outcome);",
    },
    Bug {
        name: "nobody is let through the gate when there is room again",
        rule: 1,
        by: "no_more_background_requests_are_active_than_may_be",
        file: "background.rs",
        right: "        self.promote();
        self.admit();",
        wrong: "        self.promote();",
    },
    Bug {
        name: "a reader keeps the number of a request that was taken back",
        rule: 6,
        by: "killed_callers_leave",
        file: "state.rs",
        right: "if slot.place == Place::Handed {",
        wrong: "if false {",
    },
    Bug {
        name: "what a closed device was processing ends well",
        rule: 7,
        by: "rule7_a_closed_device_aborts_what_it_was_processing",
        file: "lifecycle.rs",
        right: "            lock.condemn(index, errno::ECONNABORTED);
        }
        lock.lists",
        wrong: "            lock.move_to(index, Place::Aborting);
        }
        lock.lists",
    },
    Bug {
        name: "readers sleep on after an abort",
        rule: 7,
        by: "an_abort_ends_everything",
        file: "lifecycle.rs",
        right: "        lock.dismiss_readers();
",
        wrong: "",
    },
    Bug {
        name: "who polls sleeps on after an abort",
        rule: 7,
        by: "daemons_that_poll_miss_nothing",
        file: "lifecycle.rs",
        right: "        lock.ring();
",
        wrong: "",
    },
    Bug {
        name: "all has ended before all ends were told",
        rule: 7,
        by: "drained_means_that_all_ends_were_told",
        file: "state.rs",
        right: "            C::ended(request, queue, outcome, abandoned);
            // Only now, so that who waits until all has ended finds it so.
            queue.lock().vacate(index);",
        wrong: "            queue.lock().vacate(index);
            C::ended(request, queue, outcome, abandoned);",
    },
    Bug {
        name: "who waits until all has ended is not woken",
        rule: 7,
        by: "killed_callers_leave",
        file: "state.rs",
        right: "let drain = self.drain.take();",
        wrong: "let drain = None;",
    },
    Bug {
        name: "a killed caller frees its request under the lock",
        rule: 8,
        by: "a_killed_caller_takes_back_what_nobody_has_read",
        file: "caller.rs",
        right: "        drop(lock);
        drop(withdrawn);",
        wrong: "        drop(withdrawn);
        drop(lock);",
    },
    Bug {
        name: "a killed caller leaves its name behind",
        rule: 6,
        by: "a_killed_caller_does_not_wait_for_the_daemon",
        file: "caller.rs",
        right: "        slot.abandoned = true;",
        wrong: "        slot.abandoned = false;",
    },
    Bug {
        name: "a killed caller takes back what the daemon has",
        rule: 6,
        by: "a_killed_caller_does_not_wait_for_the_daemon",
        file: "state.rs",
        right: "Place::Gate | Place::Pending | Place::Handed => {}",
        wrong: "Place::Gate | Place::Pending | Place::Handed | Place::Processing => {}",
    },
    Bug {
        name: "what ended while its caller was killed is left behind",
        rule: 6,
        by: "killed_callers_leave",
        file: "caller.rs",
        right: "        if let Some(ended) = lock.collect(index) {
            drop(lock);
            return ended.into();
        }",
        wrong: "",
    },
    Bug {
        name: "a call passes the gate before the start",
        rule: 1,
        by: "nothing_passes_the_gate_before_init",
        file: "caller.rs",
        right: "if lock.started || force {",
        wrong: "if true || force {",
    },
    Bug {
        name: "a signal while the request is read is forgotten",
        rule: 6,
        by: "a_signal_interrupts_what_was_sent",
        file: "reader.rs",
        right: "        if interrupted {
            lock.interrupt(self.index);
        }",
        wrong: "        let _ = interrupted;",
    },
    Bug {
        name: "an interrupt waits behind requests",
        rule: 3,
        by: "operations_do_what_the_rules_say",
        file: "reader.rs",
        right: "if let Some(index) = self.interrupts.front() {",
        wrong: "if let Some(index) = self.interrupts.front().filter(|_| self.lists.pending.is_empty()) {",
    },
    Bug {
        name: "a reader with a signal drops what it was handed",
        rule: 6,
        by: "readers_with_signals_lose_nothing",
        file: "reader.rs",
        right: "        let mut lock = self.lock();
        if let Some(taken) = lock.take_given(seat, device, max_forgets) {
            drop(lock);
            return self.work(taken?);
        }
        // Nothing",
        wrong: "        let mut lock = self.lock();
        if lock.seats.at(seat).given != Given::Nothing {
            lock.stand_up(seat);
            return Err(errno::ERESTARTSYS);
        }
        // Nothing",
    },
    Bug {
        name: "a reader that got memory does not look again",
        rule: 8,
        by: "calls_are_answered",
        file: "reader.rs",
        right: "            // Something may have come while the lock was not held.
            if let Some(taken) = lock.take_next(device, max_forgets) {
                drop(lock);
                return self.work(taken?);
            }",
        wrong: "",
    },
    Bug {
        name: "who has looked does not send the next one when there is more",
        rule: 3,
        by: "forgets_are_read_once",
        file: "reader.rs",
        right: "if !self.interrupts.is_empty() || !self.forgets.is_empty() {",
        wrong: "if false {",
    },
    Bug {
        name: "the reader that sleeps longest is handed the request",
        rule: 3,
        by: "operations_do_what_the_rules_say",
        file: "reader.rs",
        right: "idle.push_front(seats, seat);",
        wrong: "idle.push_back(seats, seat);",
    },
    Bug {
        name: "fifteen forgets in a row",
        rule: 3,
        by: "rule3_forgets_and_requests_take_turns",
        file: "reader.rs",
        right: "const FORGETS: i32 = 16;",
        wrong: "const FORGETS: i32 = 15;",
    },
    Bug {
        name: "requests starve forgets",
        rule: 3,
        by: "rule3_forgets_and_requests_take_turns",
        file: "reader.rs",
        right: "self.lists.pending.is_empty() || self.forget_turn.next_is_forget()",
        wrong: "self.lists.pending.is_empty() && self.forget_turn.next_is_forget()",
    },
    Bug {
        name: "the last request to come is the first to be read",
        rule: 3,
        by: "rule3_requests_are_read_in_their_order",
        file: "state.rs",
        right: "list.push_back(slots, index);",
        wrong: "list.push_front(slots, index);",
    },
    Bug {
        name: "what is sent again comes behind what is pending",
        rule: 3,
        by: "operations_do_what_the_rules_say",
        file: "resend.rs",
        right: "lists.pending.insert(slots, index, behind);",
        wrong: "lists.pending.push_back(slots, index);",
    },
    Bug {
        name: "what is sent again is not in the order in which it was read",
        rule: 3,
        by: "operations_do_what_the_rules_say",
        file: "resend.rs",
        right: "(1..taken).contains(",
        wrong: "(1..u64::MAX).contains(",
    },
    Bug {
        name: "what is put back comes before what was read earlier",
        rule: 3,
        by: "what_was_in_a_copy_is_put_back_in_its_order",
        file: "resend.rs",
        right: "(1..taken).contains(",
        wrong: "(taken..taken).contains(",
    },
    Bug {
        name: "what is read again has its place by when that was",
        rule: 3,
        by: "operations_do_what_the_rules_say",
        file: "reader.rs",
        right: "if slot.taken == 0 {",
        wrong: "if true {",
    },
    Bug {
        name: "what a killed daemon had half read ends",
        rule: 6,
        by: "a_daemon_killed_in_a_copy_leaves_its_request_to_another",
        file: "reader.rs",
        right: "Some(request) if sys::is_dying() =>",
        wrong: "Some(request) if false =>",
    },
    Bug {
        name: "what a killed daemon had read to the end counts as sent",
        rule: 6,
        by: "what_was_in_a_copy_is_put_back_in_its_order",
        file: "reader.rs",
        right: "        if sys::is_dying() {
            lock.unread(self.index, request);",
        wrong: "        if false {
            lock.unread(self.index, request);",
    },
    Bug {
        name: "a reader that is being killed takes a request",
        rule: 6,
        by: "a_daemon_killed_in_a_copy_leaves_its_request_to_another",
        file: "reader.rs",
        right: "        if sys::is_dying() {
            self.call_for_another();",
        wrong: "        if false {
            self.call_for_another();",
    },
    Bug {
        name: "what is put back unread is marked as sent again",
        rule: 2,
        by: "what_was_in_a_copy_is_put_back_in_its_order",
        file: "resend.rs",
        right: "        slot.request = Some(request);
        self.pend_again(index);",
        wrong: "        slot.request = Some(request);
        slot.resent = true;
        self.pend_again(index);",
    },
    Bug {
        name: "readers sleep while something is put back unread",
        rule: 3,
        by: "operations_do_what_the_rules_say",
        file: "resend.rs",
        right: "        self.pend_again(index);
        self.offer_again();",
        wrong: "        self.pend_again(index);",
    },
    Bug {
        name: "a killed daemon's half reply answers",
        rule: 5,
        by: "a_reply_cut_short_by_a_kill_does_not_answer",
        file: "answer.rs",
        right: "Some(request) if sys::is_dying() =>",
        wrong: "Some(request) if false =>",
    },
    Bug {
        name: "a signal while a reply was cut short is forgotten",
        rule: 6,
        by: "a_reply_cut_short_by_a_kill_does_not_answer",
        file: "resend.rs",
        right: "        if interrupted {
            self.interrupt(index);
        }",
        wrong: "        let _ = interrupted;",
    },
    Bug {
        name: "an abort waits for a copy that waits for memory",
        rule: 7,
        by: "an_abort_breaks_a_copy_that_waits_for_memory",
        file: "lifecycle.rs",
        right: "Place::Reading | Place::Writing if slot.request.is_some() => {",
        wrong: "Place::Reading | Place::Writing if false => {",
    },
    Bug {
        name: "what is being copied to a killed daemon outlives an abort",
        rule: 7,
        by: "operations_do_what_the_rules_say",
        file: "resend.rs",
        right: "        if slot.doomed {
            return self.end(index, request, Err(errno::ECONNABORTED));
        }
        slot.request = Some(request);
        self.pend_again(index);",
        wrong: "        slot.request = Some(request);
        self.pend_again(index);",
    },
    Bug {
        name: "what cannot be sent ends well",
        rule: 4,
        by: "rule4_what_cannot_be_sent_ends_and_the_next_one_is_read",
        file: "reader.rs",
        right: "lock.end(self.index, request, Err(error));",
        wrong: "let _ = error;
            lock.end(self.index, request, Ok(()));",
    },
    Bug {
        name: "a request is counted where it comes from",
        rule: 1,
        by: "rule1_counters_add_up",
        file: "state.rs",
        right: "self.traffic[to as usize].come();",
        wrong: "self.traffic[from as usize].come();",
    },
    Bug {
        name: "a request takes part in two lists",
        rule: 1,
        by: "rule1_one_place_at_a_time",
        file: "state.rs",
        right: "list.remove(slots, index);",
        wrong: "let _ = list;",
    },
    Bug {
        name: "what is sent again is not marked",
        rule: 2,
        by: "what_is_sent_again_is_answered_once",
        file: "resend.rs",
        right: "self.slots.at(index).resent = true;",
        wrong: "",
    },
    Bug {
        name: "readers sleep while something is sent again",
        rule: 3,
        by: "a_successor_answers_what_a_dead_daemon_had",
        file: "resend.rs",
        right: "while let (false, Some(index)) = (self.idle.is_empty(), self.lists.pending.front()) {",
        wrong: "while let (true, true, Some(index)) = (false, self.idle.is_empty(), self.lists.pending.front()) {",
    },
    Bug {
        name: "an interrupt outlives the daemon that was to get it",
        rule: 6,
        by: "operations_do_what_the_rules_say",
        file: "resend.rs",
        right: "            self.uninterrupt(index, InterruptStep::Dropped);
",
        wrong: "",
    },
    Bug {
        name: "a table that grows forgets its slots",
        rule: 2,
        by: "rule2_uniques",
        file: "table.rs",
        right: "let first = chunks.len() * CHUNK;",
        wrong: "let first = 0;",
    },
    Bug {
        name: "a slot is removed from the middle of a list and the next one not told",
        rule: 1,
        by: "operations_do_what_the_rules_say",
        file: "table.rs",
        right: "            Self::links(slots, next).prev = prev;",
        wrong: "            let _ = next;",
    },
];

/// How many schedules or sequences the test that is to find a bug may run.
const ITERATIONS: &str = "1000";

/// How long a test may take, before it counts as hanging. Building takes what it takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A copy of what the model is made of, with a workspace of its own.
struct Copy {
    root: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = crate_root.parent().expect("the crate is in a workspace");
        let top = workspace.parent().expect("the workspace is in a checkout");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        copy(&top.join("rust/queue"), &root.join("rust/queue"));
        copy(&top.join("rust/sys"), &root.join("rust/sys"));
        let model = root.join("userspace-test/queue-model");
        copy(&crate_root.join("src"), &model.join("src"));
        fs::copy(crate_root.join("Cargo.toml"), model.join("Cargo.toml")).unwrap();
        let text = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
        let members = text.find("members = [").expect("the workspace has members");
        let end = members + text[members..].find(']').expect("the list has an end") + 1;
        let text = format!(
            "{}members = [\"queue-model\"]{}",
            &text[..members],
            &text[end..]
        );
        fs::write(root.join("userspace-test/Cargo.toml"), text).unwrap();
        let lock = root.join("userspace-test/Cargo.lock");
        fs::copy(workspace.join("Cargo.lock"), lock).unwrap();
        Copy { root }
    }

    /// Runs the model, or only builds it; whether it went well, and what it said.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.root.join("output");
        let file = fs::File::create(&output).unwrap();
        let mut child = Command::new(env!("CARGO"))
            .current_dir(self.root.join("userspace-test"))
            .args(["test", "--offline", "--quiet", "-p", "queue-model", "--lib"])
            .args(arguments)
            .env(
                "CARGO_TARGET_DIR",
                self.root.parent().unwrap().join("target"),
            )
            .env("QUEUE_MODEL_ITERATIONS", ITERATIONS)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let start = Instant::now();
        let success = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.success();
            }
            if start.elapsed() > PATIENCE && arguments != ["--no-run"] {
                child.kill().unwrap();
                child.wait().unwrap();
                break false;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let said = fs::read(&output).unwrap();
        (success, String::from_utf8_lossy(&said).into_owned())
    }

    /// Plants a bug, runs the test that is to find it, and takes the bug out again. Whether it was
    /// found.
    fn try_bug(&self, bug: &Bug) -> bool {
        let path = self.root.join("rust/queue").join(bug.file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(bug.right, bug.wrong)).unwrap();
        let (builds, said) = self.run(&["--no-run"]);
        assert!(builds, "{}: does not compile:\n{said}", bug.name);
        let (success, said) = self.run(&[bug.by]);
        fs::write(&path, text).unwrap();
        assert!(
            !said.contains("running 0 tests"),
            "there is no test {}",
            bug.by
        );
        !success
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn every_bug_has_one_place_and_every_rule_a_bug() {
    let queue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rust/queue");
    for bug in BUGS {
        let text = fs::read_to_string(queue.join(bug.file)).unwrap();
        let count = text.matches(bug.right).count();
        assert_eq!(count, 1, "{}: places in {}", bug.name, bug.file);
    }
    for rule in 1..=8 {
        let is_broken = BUGS.iter().any(|bug| bug.rule == rule);
        assert!(is_broken, "no bug breaks rule {rule}");
    }
}

#[test]
#[ignore = "takes minutes; runs cargo"]
fn planted_bugs_are_found() {
    let copy = Copy::new();
    let (builds, said) = copy.run(&["--no-run"]);
    assert!(builds, "the copy does not compile:\n{said}");
    let (success, said) = copy.run(&["queue_tests"]);
    assert!(success, "the model fails without a bug:\n{said}");
    let wanted = std::env::var("PLANTED").unwrap_or_default();
    let mut missed = Vec::new();
    let is_wanted = |bug: &&Bug| wanted.split(',').any(|word| bug.name.contains(word));
    for bug in BUGS.iter().filter(is_wanted) {
        let start = Instant::now();
        let found = copy.try_bug(bug);
        let (by, seconds) = (bug.by, start.elapsed().as_secs());
        let how = if found { "found" } else { "NOT FOUND" };
        println!(
            "rule {}: {}: {how} by {by} ({seconds} s)",
            bug.rule, bug.name
        );
        if !found {
            missed.push(bug.name);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:#?}");
}
