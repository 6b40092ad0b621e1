// SPDX-License-Identifier: GPL-2.0

//! A table of the connections.

use crate::system::{queues::Snapshot, text, Connection, System};
use anyhow::Result;
use comfy_table::{presets, CellAlignment, ContentArrangement, Table};

/// The queues that have a column.
const QUEUES: [&str; 6] = [
    "gate",
    "background",
    "pending",
    "processing",
    "interrupts",
    "forgets",
];

/// The connections as a table, with a note below it where something is missing.
///
/// # Errors
///
/// There is none of the name `which`.
pub fn table(system: &System, which: Option<&str>) -> Result<String> {
    let connections = system.chosen(which)?;
    if connections.is_empty() {
        return Ok(notes(String::from("No connections.\n"), &system.hints()));
    }
    let mut table = plain_table();
    let mut header = vec!["MOUNT POINT", "FILE SYSTEM", "CONN", "DAEMON", "WAITING"];
    header.extend([
        "GATE", "BACKGR", "PENDING", "COPYING", "PROCESS", "INTR", "FORGETS", "OLDEST",
    ]);
    table.set_header(header);
    let mut hints = system.hints();
    let mut is_c = false;
    for connection in connections {
        let snapshot = connection.snapshot().unwrap_or_else(|error| {
            hints.push(format!("{}: queues: {error}", connection.title()));
            None
        });
        // Who cannot read its directory is told by the hint.
        is_c |= snapshot.is_none() && connection.waiting().is_ok();
        table.add_row(row(connection, snapshot.as_ref()));
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if is_c {
        hints.push(String::from(
            "C fuse tells how many requests wait, and not where (-); rust_fuse does",
        ));
    }
    Ok(notes(lines(&table, ""), &hints))
}

/// A table without lines, as wide as it has to be.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The lines of a table behind a margin.
pub(crate) fn lines(table: &Table, margin: &str) -> String {
    let lines = table.lines();
    lines
        .map(|line| format!("{margin}{}\n", line.trim_end()))
        .collect()
}

fn row(connection: &Connection, snapshot: Option<&Snapshot>) -> Vec<String> {
    let waiting = match (connection.waiting(), snapshot) {
        (Ok(waiting), _) => waiting.to_string(),
        (Err(_), Some(snapshot)) => snapshot.requests.len().to_string(),
        (Err(_), None) => String::from("?"),
    };
    let mut row = vec![
        connection.place(),
        connection.file_system(),
        connection.number.to_string(),
        connection.daemon(),
        waiting,
    ];
    let count = |of: &dyn Fn(&Snapshot) -> u64| {
        snapshot.map_or(String::from("-"), |snapshot| of(snapshot).to_string())
    };
    for queue in QUEUES {
        if queue == "processing" {
            row.push(count(&Snapshot::copying));
        }
        row.push(count(&|snapshot| snapshot.now(queue)));
    }
    let ages = snapshot.map(|snapshot| snapshot.requests.iter().map(|request| request.age));
    let oldest = ages.and_then(Iterator::max);
    row.push(oldest.map_or(String::from("-"), text::duration));
    row
}

/// `text`, and what else there is to say.
pub(crate) fn notes(mut text: String, hints: &[String]) -> String {
    for hint in hints {
        text += &format!("\nNote: {hint}");
    }
    if !hints.is_empty() {
        text.push('\n');
    }
    text
}
