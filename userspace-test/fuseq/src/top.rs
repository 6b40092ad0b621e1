// SPDX-License-Identifier: GPL-2.0

//! The queues, live: as they fill and drain, with throughput and latency by opcode.

mod screen;

use crate::{
    live::{Change, Eye, Look},
    system::System,
};
use anyhow::{bail, Result};
use ratatui::{
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    DefaultTerminal,
};
use screen::Screen;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Rates and latencies are of so long.
const WINDOW: Duration = Duration::from_secs(2);

/// How many looks a history has.
const HISTORY: usize = 600;

/// Bounds of how often to look.
const FASTEST: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(10);

/// Runs until somebody wants it to end.
///
/// # Errors
///
/// There is nothing to look at, or no terminal.
pub fn run(system: &System, which: Option<&str>, period: Duration) -> Result<()> {
    let chosen = system.chosen(which)?;
    if chosen.is_empty() {
        let hints = system.hints().join("; ");
        bail!(
            "there are no connections{}{hints}",
            if hints.is_empty() { "" } else { ": " }
        );
    }
    let mut watched: Vec<_> = chosen
        .into_iter()
        .map(|connection| {
            Watched::new(
                connection.title(),
                connection.daemon(),
                Eye::new(connection),
            )
        })
        .collect();
    let mut terminal = ratatui::try_init()?;
    let done = main_loop(&mut terminal, &mut watched, period.clamp(FASTEST, SLOWEST));
    ratatui::restore();
    done
}

/// A connection that is looked at, and what was seen of it.
pub(crate) struct Watched {
    pub(crate) title: String,
    pub(crate) daemon: String,
    eye: Option<Eye>,
    /// Those of the last `WINDOW`, and the one before.
    looks: VecDeque<Look>,
    /// By queue: how many it held.
    pub(crate) history: HashMap<String, VecDeque<u64>>,
    /// Why it can no longer be looked at.
    pub(crate) trouble: Option<String>,
}

impl Watched {
    fn new(title: String, daemon: String, eye: Eye) -> Self {
        Self {
            eye: Some(eye),
            ..Self::blind(title, daemon)
        }
    }

    fn blind(title: String, daemon: String) -> Self {
        Self {
            title,
            daemon,
            eye: None,
            looks: VecDeque::new(),
            history: HashMap::new(),
            trouble: None,
        }
    }

    fn look(&mut self) {
        let Some(eye) = &mut self.eye else {
            return;
        };
        match eye.look() {
            Ok(look) => self.add(look),
            // Unmounted, most likely: what was seen stays.
            Err(error) => {
                self.trouble = Some(format!("{error:#}"));
                self.eye = None;
            }
        }
    }

    fn add(&mut self, look: Look) {
        for queue in &look.snapshot.queues {
            let history = self.history.entry(queue.name.clone()).or_default();
            history.push_back(queue.now);
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
        let at = look.at;
        self.looks.push_back(look);
        while self
            .looks
            .get(1)
            .is_some_and(|second| at.duration_since(second.at) >= WINDOW)
        {
            self.looks.pop_front();
        }
    }

    /// What was seen last, and what changed.
    pub(crate) fn now(&self) -> Option<(&Look, Change)> {
        let last = self.looks.back()?;
        Some((last, Change::between(self.looks.front()?, last)))
    }
}

fn main_loop(
    terminal: &mut DefaultTerminal,
    watched: &mut [Watched],
    mut period: Duration,
) -> Result<()> {
    let (mut chosen, mut paused) = (0, false);
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            if !paused {
                watched.iter_mut().for_each(Watched::look);
            }
            next = Instant::now() + period;
        }
        let screen = Screen {
            watched: &watched[chosen],
            chosen: (chosen + 1, watched.len()),
            period,
            paused,
        };
        terminal.draw(|frame| screen.draw(frame))?;
        if !event::poll(next.saturating_duration_since(Instant::now()))? {
            continue;
        }
        let key = match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => key,
            // Another size, most likely: it is drawn anew.
            _ => continue,
        };
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
            KeyCode::Char('p' | ' ') => paused = !paused,
            KeyCode::Char('+') => period = (period / 2).max(FASTEST),
            KeyCode::Char('-') => period = (period * 2).min(SLOWEST),
            KeyCode::Tab | KeyCode::Right | KeyCode::Down => chosen = (chosen + 1) % watched.len(),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Up => {
                chosen = (chosen + watched.len() - 1) % watched.len();
            }
            _ => {}
        }
    }
}
