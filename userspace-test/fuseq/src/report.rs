// SPDX-License-Identifier: GPL-2.0

//! A recording to look at: as one page that needs nothing but a browser, and as a trace that
//! Perfetto and `chrome://tracing` open.

use crate::{
    life::{Life, Story},
    recording::SAMPLED,
    trace::Place,
};
use serde_json::{json, Value};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
};

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/page.css");
const SCRIPTS: [&str; 3] = [
    include_str!("report/data.js"),
    include_str!("report/draw.js"),
    include_str!("report/page.js"),
];

/// What the page says is missing on C fuse.
const MISSING_ON_C: &str = "Recorded on C fuse, whose tracepoints show when a request is offered to the \
    daemon, read, and ended. What they do not show: the wait in background and at the gate, which node a \
    request is about, the copies, interrupts and forgets. rust_fuse shows all of it.";

/// Writes the page.
///
/// # Errors
///
/// Those of `out`.
pub fn page(story: &Story, title: &str, out: &mut impl Write) -> io::Result<()> {
    // What would end the script is a string's, and may be written otherwise.
    let data = data(story, title).to_string().replace("</", "<\\/");
    let mut page = PAGE.replace("{{title}}", &html(title));
    // The data last: it may hold anything.
    page = page.replace("{{style}}", STYLE);
    page = page.replace("{{script}}", &SCRIPTS.concat());
    let (before, after) = page.split_once("{{data}}").unwrap_or((&page, ""));
    for part in [before, &data, after] {
        out.write_all(part.as_bytes())?;
    }
    Ok(())
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Strings that are named by numbers.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, usize>,
    all: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.numbers.insert(name.into(), self.all.len());
        self.all.push(name.into());
        self.all.len() - 1
    }
}

/// Who made a request.
fn who(life: &Life) -> String {
    match (life.pid, &life.comm[..]) {
        (0, _) => String::from("kernel"),
        (pid, "") => format!("[{pid}]"),
        (pid, comm) => format!("{comm}[{pid}]"),
    }
}

/// What the page's script works with: times in microseconds since the beginning.
fn data(story: &Story, title: &str) -> Value {
    let (mut opcodes, mut tasks) = (Names::default(), Names::default());
    let since = |at: u64| at.saturating_sub(story.from);
    let requests: Vec<Value> = story
        .lives
        .iter()
        .map(|life| {
            let stays: Vec<u64> = life
                .stays
                .iter()
                .flat_map(|stay| [stay.place as u64, since(stay.from)])
                .collect();
            json!([
                life.connection,
                // Too large for a number of JavaScript's.
                life.unique.to_string(),
                opcodes.number(&life.opcode),
                tasks.number(&who(life)),
                life.nodeid.map(|nodeid| nodeid.to_string()),
                life.error,
                life.end.map(since),
                u8::from(life.began_before),
                stays,
                life.len,
                life.interrupts
                    .iter()
                    .map(|(at, step)| json!([since(*at), step.name()]))
                    .collect::<Vec<_>>(),
            ])
        })
        .collect();
    let mut connections: BTreeMap<u32, Value> = BTreeMap::new();
    for number in story.lives.iter().map(|life| life.connection) {
        connections.entry(number).or_insert_with(|| {
            let (mount, daemon) = story.connections.get(&number).cloned().unwrap_or_default();
            json!({ "number": number, "mount": mount, "daemon": daemon })
        });
    }
    let paths = story.paths.iter().map(|((connection, nodeid), path)| {
        (format!("{connection}:{nodeid}"), Value::from(path.as_str()))
    });
    let sampled = SAMPLED.map(|queue| {
        let samples = story.samples.iter();
        let points: Vec<Value> = samples
            .filter(|sample| sample.queue == queue)
            .map(|sample| json!([sample.connection, since(sample.at), sample.now]))
            .collect();
        json!({ "name": queue, "points": points })
    });
    let forgets = story.forgets.iter();
    let forgets = forgets.map(|it| json!([it.connection, since(it.at), it.count, it.len]));
    json!({
        "title": title,
        "length": since(story.to),
        "from": story.from,
        "lost": story.lost,
        "note": if story.has_c && !story.has_rust { MISSING_ON_C } else { "" },
        "places": Place::ALL.map(Place::name),
        "opcodes": opcodes.all,
        "tasks": tasks.all,
        "connections": connections.into_values().collect::<Vec<_>>(),
        "paths": paths.collect::<serde_json::Map<_, _>>(),
        "requests": requests,
        "sampled": sampled,
        "forgets": forgets.collect::<Vec<_>>(),
    })
}

/// Writes the trace for Perfetto: a track for each caller, a slice for each request with its stays
/// inside, and a counter for each queue.
///
/// # Errors
///
/// Those of `out`.
pub fn chrome(story: &Story, out: &mut impl Write) -> io::Result<()> {
    let mut first = true;
    write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    let mut event = |value: Value| {
        let separator = if std::mem::take(&mut first) {
            "\n"
        } else {
            ",\n"
        };
        write!(out, "{separator}{value}")
    };
    let mut depths: Vec<(u64, u32, Place, i64)> = Vec::new();
    let mut named: BTreeMap<(u32, u32), String> = BTreeMap::new();
    for life in &story.lives {
        let (process, thread) = (life.connection, life.pid);
        named.entry((process, thread)).or_insert_with(|| who(life));
        // Those of one caller may overlap: as asynchronous slices, each has an identity.
        let id = format!("{}:{}", life.connection, life.unique);
        let slice = |kind: &str, name: &str, at: u64, args: Value| {
            json!({
                "ph": kind, "cat": "request", "id": id, "name": name,
                "pid": process, "tid": thread, "ts": at, "args": args,
            })
        };
        let nodeid = life.nodeid.map(|nodeid| nodeid.to_string());
        let path = life
            .nodeid
            .and_then(|node| story.paths.get(&(life.connection, node)));
        let args = json!({
            "unique": life.unique.to_string(), "nodeid": nodeid, "path": path,
            "caller": who(life), "error": life.error, "len": life.len,
            "interrupts": life.interrupts.iter()
                .map(|(at, step)| json!({ "ts": at, "step": step.name() }))
                .collect::<Vec<_>>(),
        });
        let end = life.end.unwrap_or(story.to);
        event(slice("b", &life.opcode, life.began(), args))?;
        for (place, from, to) in life.spans(story.to) {
            event(slice("b", place.name(), from, json!({})))?;
            event(slice("e", place.name(), to, json!({})))?;
            depths.push((from, process, place, 1));
            depths.push((to, process, place, -1));
        }
        event(slice("e", &life.opcode, end, json!({})))?;
    }
    for batch in &story.forgets {
        event(json!({
            "ph": "i", "s": "p", "cat": "forgets", "name": "forgets", "pid": batch.connection,
            "ts": batch.at, "args": { "count": batch.count, "len": batch.len },
        }))?;
    }
    depths.sort_by_key(|(at, ..)| *at);
    let mut now: HashMap<(u32, Place), i64> = HashMap::new();
    for (at, process, place, change) in depths {
        let count = now.entry((process, place)).or_default();
        *count += change;
        event(json!({
            "ph": "C", "name": place.name(), "pid": process, "ts": at,
            "args": { "requests": *count },
        }))?;
    }
    for ((process, thread), name) in named {
        let (mount, _) = story.connections.get(&process).cloned().unwrap_or_default();
        event(json!({
            "ph": "M", "name": "process_name", "pid": process,
            "args": { "name": format!("connection {process} {mount}") },
        }))?;
        event(json!({
            "ph": "M", "name": "thread_name", "pid": process, "tid": thread,
            "args": { "name": name },
        }))?;
    }
    writeln!(out, "\n]}}")
}
