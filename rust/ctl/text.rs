// SPDX-License-Identifier: GPL-2.0

//! What the files of the control file system, and those in debugfs, say.

use crate::{
    abi::Opcode,
    message::Connection,
    queue::{Place, Snapshot},
};
use core::fmt::Write;
use kernel::{fmt, prelude::*};

/// Text that grows. Adding to it fails when there is no memory.
struct Text(KVVec<u8>);

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0
            .extend_from_slice(s.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}

/// Text from what `write` writes. ENOMEM.
fn text(write: impl FnOnce(&mut Text) -> fmt::Result) -> Result<KVVec<u8>> {
    let mut text = Text(KVVec::new());
    write(&mut text).map_err(|_| ENOMEM)?;
    Ok(text.0)
}

/// A name as one word: what would end the word or the line, and what is not ASCII, is written as a
/// backslash and three octal digits, as in `/proc/mounts`. The name ends at a zero byte.
struct Word<'a>(&'a [u8]);

impl fmt::Display for Word<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.iter().take_while(|byte| **byte != 0) {
            match byte {
                b'\\' => out.write_str("\\134")?,
                byte if byte.is_ascii_graphic() => out.write_char(byte.into())?,
                byte => out.write_fmt(fmt!("\\{byte:03o}"))?,
            }
        }
        Ok(())
    }
}

/// A number on a line of its own.
pub(super) fn number(number: impl fmt::Display) -> Result<KVVec<u8>> {
    text(|out| out.write_fmt(fmt!("{number}\n")))
}

/// All queues of a connection, in one consistent look.
///
/// First a line a queue: its name, how many it holds now, how many have come to it since the mount.
/// Then a line a request. All fields are `name=value`, separated by spaces; fields may be added at
/// the end of a line.
pub(super) fn queues(connection: &Connection) -> Result<KVVec<u8>> {
    let Snapshot { counts, entries } = connection.queue().snapshot()?;
    text(|out| {
        let mut line = |args: fmt::Arguments<'_>| out.write_fmt(args);
        for place in Place::ALL {
            if place != Place::None {
                let traffic = counts.traffic[place as usize];
                line(fmt!(
                    "queue={} now={} passed={}\n",
                    place.name(),
                    traffic.now(),
                    traffic.came
                ))?;
            }
        }
        for (name, (passed, now)) in [
            ("interrupts", counts.interrupts),
            ("forgets", counts.forgets),
        ] {
            line(fmt!("queue={name} now={now} passed={passed}\n"))?;
        }
        for entry in &entries {
            let opcode = Opcode::from_u32(entry.facts.opcode).map_or("?", Opcode::name);
            line(fmt!(
                "request unique={} queue={} opcode={} nodeid={} pid={} age_us={} background={} interrupted={} abandoned={} force={} resent={} comm={}\n",
                entry.unique,
                entry.place.name(),
                opcode,
                entry.facts.nodeid,
                entry.facts.pid,
                entry.age / 1000,
                u8::from(entry.background),
                u8::from(entry.interrupted),
                u8::from(entry.abandoned),
                u8::from(entry.force),
                u8::from(entry.resent),
                Word(&entry.comm),
            ))?;
        }
        Ok(())
    })
}

/// How long requests took, a line an opcode that was ever asked for.
///
/// `requests` have ended, `errors` of them with an error; all of them took `total_us` microseconds.
/// `log2_us` has the number of those that took less than 1, 2, 4, 8, ... microseconds but not less
/// than half of it; zeroes at the end are left out.
pub(super) fn latency(connection: &Connection) -> Result<KVVec<u8>> {
    let latencies = connection.queue().latencies()?;
    text(|out| {
        for (opcode, latency) in (0..).zip(&latencies) {
            if latency.requests == 0 {
                continue;
            }
            let name = Opcode::from_u32(opcode).map_or("?", Opcode::name);
            out.write_fmt(fmt!(
                "opcode={} requests={} errors={} total_us={} log2_us=",
                name,
                latency.requests,
                latency.errors,
                latency.total / 1000,
            ))?;
            let last = latency.buckets.iter().rposition(|count| *count > 0);
            for (at, count) in latency.buckets[..=last.unwrap_or(0)].iter().enumerate() {
                let separator = if at == 0 { "" } else { "," };
                out.write_fmt(fmt!("{separator}{count}"))?;
            }
            out.write_str("\n")?;
        }
        Ok(())
    })
}
