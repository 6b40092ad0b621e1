// SPDX-License-Identifier: GPL-2.0

//! What `fuseq top` shows.

use super::Watched;
use crate::{
    live::{Change, Look},
    system::{
        queues::{Latency, Waiting},
        text,
    },
};
use ratatui::{
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Paragraph, Row, Sparkline, Table, Wrap},
    Frame,
};
use std::time::Duration;

/// The eighths of a character's height.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How wide a queue's name and figures are.
const NAME: u16 = 12;
const NOW: u16 = 7;
const RATE: u16 = 11;
const BAR: u16 = 24;

/// A queue's colour: those of the report's page, as near as terminals have them.
fn colour(queue: &str) -> Color {
    match queue {
        "background" => Color::Magenta,
        "pending" => Color::Yellow,
        "handed" => Color::LightYellow,
        "reading" => Color::Cyan,
        "processing" => Color::LightBlue,
        "writing" => Color::Green,
        "aborting" | "interrupts" => Color::Red,
        _ => Color::Gray,
    }
}

/// One picture.
pub(super) struct Screen<'a> {
    pub(super) watched: &'a Watched,
    /// Which one it is, of how many.
    pub(super) chosen: (usize, usize),
    pub(super) period: Duration,
    pub(super) paused: bool,
}

impl Screen<'_> {
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let now = self.watched.now();
        let queues = now
            .as_ref()
            .map_or(0, |(look, _)| look.snapshot.queues.len()) as u16;
        let notes = self.notes(now.as_ref().map(|(look, _)| *look));
        let [head, note, top, middle, bottom, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(2 * notes.len() as u16),
            Constraint::Length(queues + 3),
            Constraint::Fill(3),
            Constraint::Fill(2),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.head(now.as_ref()), head);
        let notes = Paragraph::new(notes.join("\n")).wrap(Wrap { trim: true });
        frame.render_widget(notes.yellow(), note);
        if let Some((look, change)) = &now {
            self.draw_queues(frame, top, look, change);
            draw_opcodes(frame, middle, look, change);
            draw_waiting(frame, bottom, look);
        }
        frame.render_widget(self.foot(), foot);
    }

    fn head(&self, now: Option<&(&Look, Change)>) -> Line<'_> {
        let mut spans = vec![" fuseq top ".reversed().bold(), Span::from(" ")];
        spans.push(self.watched.title.as_str().bold());
        spans.push(Span::from(format!(", served by {}", self.watched.daemon)));
        if let Some((look, change)) = now {
            let ended: u64 = change
                .latencies
                .values()
                .map(|latency| latency.requests)
                .sum();
            spans.push(Span::from(format!(
                " · {} waiting · {} requests/s",
                look.waiting,
                rate(change, ended)
            )));
        }
        Line::from(spans)
    }

    fn foot(&self) -> Line<'_> {
        let (number, all) = self.chosen;
        let mut text = String::from(" q quit  p pause  + - faster, slower");
        if all > 1 {
            text += &format!("  Tab next connection ({number} of {all})");
        }
        text += &format!("  │ every {}", text::duration(self.period));
        let mut spans = vec![Span::from(text).dim()];
        if self.paused {
            spans.push("  PAUSED".yellow().bold());
        }
        Line::from(spans)
    }

    fn notes(&self, look: Option<&Look>) -> Vec<String> {
        let mut notes = Vec::new();
        let trouble = self.watched.trouble.as_ref();
        notes.extend(trouble.map(|trouble| format!("No longer to be seen: {trouble}")));
        notes.extend(look.and_then(|look| look.missing.clone()));
        notes
    }

    fn draw_queues(&self, frame: &mut Frame<'_>, area: Rect, look: &Look, change: &Change) {
        let block = Block::bordered().title(" Queues ".bold());
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let [head, rows] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
        let columns = Layout::horizontal([
            Constraint::Length(NAME),
            Constraint::Length(NOW),
            Constraint::Length(RATE),
            Constraint::Length(BAR),
            Constraint::Fill(1),
        ])
        .spacing(1);
        let [name, now, new, bar, history] = columns.areas(head);
        for (text, area) in [
            (Line::from("QUEUE"), name),
            (Line::from("NOW").right_aligned(), now),
            (Line::from("IN/s").right_aligned(), new),
            (Line::from("NOW, OF THE MOST SEEN"), bar),
            (Line::from("HISTORY"), history),
        ] {
            frame.render_widget(text.dim(), area);
        }
        for (queue, area) in look.snapshot.queues.iter().zip(rows.rows()) {
            let [name, now, new, bar, history] = columns.areas(area);
            let colour = colour(&queue.name);
            let seen = self.watched.history.get(&queue.name);
            let seen: Vec<u64> = seen.into_iter().flatten().copied().collect();
            let most = seen.iter().copied().max().unwrap_or(0);
            let came = change.passed.get(&queue.name).copied().unwrap_or(0);
            let quiet = queue.now == 0 && came == 0;
            let style = if quiet {
                Style::new().dim()
            } else {
                Style::new()
            };
            frame.render_widget(Span::from(&queue.name[..]).fg(colour), name);
            let figure = |text: String| Line::from(text).right_aligned().style(style);
            frame.render_widget(figure(queue.now.to_string()), now);
            frame.render_widget(figure(rate(change, came)), new);
            let (full, empty) = gauge(queue.now, most, bar.width.into());
            let gauge = Line::from(vec![full.fg(colour), empty.dark_gray()]);
            frame.render_widget(gauge, bar);
            let from = seen.len().saturating_sub(history.width.into());
            let line = Sparkline::default().data(&seen[from..]).max(most.max(1));
            frame.render_widget(line.fg(colour), history);
        }
    }
}

/// A bar as long as `now` is of `most`, and what is left of its room.
fn gauge(now: u64, most: u64, width: usize) -> (Span<'static>, Span<'static>) {
    let full = match most {
        0 => 0,
        most => (now as usize * width).div_ceil(most as usize).min(width),
    };
    (
        Span::from("█".repeat(full)),
        Span::from("·".repeat(width - full)),
    )
}

fn rate(change: &Change, count: u64) -> String {
    match change.rate(count) {
        rate if rate >= 100.0 || count == 0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

fn draw_opcodes(frame: &mut Frame<'_>, area: Rect, look: &Look, change: &Change) {
    let mut all: Vec<_> = look.latencies.iter().collect();
    let new = |latency: &Latency| {
        change
            .latencies
            .get(&latency.opcode)
            .map_or(0, |new| new.requests)
    };
    all.sort_by_key(|latency| std::cmp::Reverse((new(latency), latency.requests)));
    let from = all
        .iter()
        .filter_map(|it| it.log2_us.iter().position(|count| *count > 0))
        .min();
    let end = all.iter().map(|it| it.log2_us.len()).max().unwrap_or(0);
    let from = from.unwrap_or(0);
    let duration = |time: Option<Duration>| time.map_or(String::from("-"), text::duration);
    let rows = all.iter().map(|latency| {
        let recent = change
            .latencies
            .get(&latency.opcode)
            .filter(|recent| recent.requests > 0);
        // Who is quiet now is shown as it was all the time.
        let shown = recent.unwrap_or(latency);
        let per_second = |of: fn(&Latency) -> u64| rate(change, recent.map_or(0, of));
        let row = Row::new([
            Line::from(latency.opcode.clone()),
            Line::from(per_second(|it| it.requests)).right_aligned(),
            Line::from(per_second(|it| it.errors)).right_aligned(),
            Line::from(latency.requests.to_string()).right_aligned(),
            Line::from(duration(shown.mean())).right_aligned(),
            Line::from(duration(shown.quantile(0.5))).right_aligned(),
            Line::from(duration(shown.quantile(0.99))).right_aligned(),
            Line::from(histogram(shown, from, end)).fg(Color::LightBlue),
        ]);
        if recent.is_some() {
            row
        } else {
            row.dim()
        }
    });
    let figures = [10, 9, 9, 9, 9, 9].map(Constraint::Length);
    let widths = [
        &[Constraint::Length(16)],
        &figures[..],
        &[Constraint::Fill(1)],
    ]
    .concat();
    let least = |bucket: usize| {
        if bucket == 0 {
            0
        } else {
            1 << (bucket - 1).min(62)
        }
    };
    let scale = format!(
        "{} TO {}",
        text::duration(Duration::from_micros(least(from))),
        text::duration(Duration::from_micros(least(end))),
    );
    let head = [
        "REQUESTS/s",
        "ERRORS/s",
        "TOTAL",
        "MEAN",
        "50 % <",
        "99 % <",
    ];
    let head = head.map(|name| Line::from(name).right_aligned());
    let mut cells = vec![Line::from("OPCODE")];
    cells.extend(head);
    cells.push(Line::from(scale));
    let block =
        Block::bordered().title(" Operations: the last 2 s, or all where there were none ".bold());
    let table = Table::new(rows, widths)
        .header(Row::new(cells).dim())
        .block(block);
    frame.render_widget(table, area);
}

/// How many took how long: a character for each power of two from `from` on.
fn histogram(latency: &Latency, from: usize, end: usize) -> String {
    let most = latency.log2_us.iter().copied().max().unwrap_or(0).max(1);
    let counts = (from..end).map(|bucket| latency.log2_us.get(bucket).copied().unwrap_or(0));
    counts
        .map(|count| LEVELS[(count * 8).div_ceil(most) as usize])
        .collect()
}

fn draw_waiting(frame: &mut Frame<'_>, area: Rect, look: &Look) {
    let mut all: Vec<&Waiting> = look.snapshot.requests.iter().collect();
    all.sort_by_key(|request| std::cmp::Reverse(request.age));
    let rows = all.iter().map(|request| {
        let who = match request.pid {
            0 => String::from("the kernel"),
            pid => format!("{}[{pid}]", request.comm),
        };
        let node = match request.nodeid {
            0 => String::from("-"),
            node => node.to_string(),
        };
        let age = Line::from(text::duration(request.age)).right_aligned();
        let age = if request.age >= Duration::from_secs(1) {
            age.red()
        } else {
            age
        };
        Row::new([
            age,
            Line::from(request.opcode.clone()),
            Line::from(request.queue.clone()).fg(colour(&request.queue)),
            Line::from(node).right_aligned(),
            Line::from(who),
        ])
    });
    let widths = [
        Constraint::Length(13),
        Constraint::Length(16),
        Constraint::Length(12),
        Constraint::Length(14),
        Constraint::Fill(1),
    ];
    let age = Line::from("AGE").right_aligned();
    let node = Line::from("NODE").right_aligned();
    let head = [
        age,
        Line::from("OPCODE"),
        Line::from("QUEUE"),
        node,
        Line::from("WHO"),
    ];
    let block =
        Block::bordered().title(" Waiting, the longest first (fuseq stuck says more) ".bold());
    let table = Table::new(rows, widths)
        .header(Row::new(head).dim())
        .block(block);
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests;
