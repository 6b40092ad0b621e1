// SPDX-License-Identifier: GPL-2.0

//! A terminal's screen as a page, of which a browser takes the picture.

use std::fmt::Write;
use vt100::{Cell, Color, Screen};

/// The sixteen colours that terminals have names for: as on fuseq's pages, where they are queues'.
const NAMED: [&str; 16] = [
    "#16191d", "#e5605c", "#7cc36e", "#e3b341", "#79b0f2", "#c792d6", "#56c2b6", "#d8dbe0",
    "#8a9099", "#e5605c", "#7cc36e", "#f5d36c", "#79b0f2", "#c792d6", "#56c2b6", "#ffffff",
];
const PAPER: &str = "#14181c";
const INK: &str = "#d8dbe0";

/// The page, which needs nothing else.
pub fn of(screen: &Screen, title: &str) -> String {
    let (lines, columns) = screen.size();
    let mut page = format!(
        "<!DOCTYPE html>\n<meta charset=\"utf-8\"><title>{title}</title>\n<style>\n\
         body {{ margin: 8px; background: {PAPER}; color: {INK}; }}\n\
         pre {{ margin: 0; font: 15px/18px \"DejaVu Sans Mono\", monospace; }}\n</style>\n<pre>"
    );
    for line in 0..lines {
        for column in 0..columns {
            if let Some(cell) = screen.cell(line, column) {
                // To a string there is no error.
                let _ = write!(
                    page,
                    "<span style=\"{}\">{}</span>",
                    style(cell),
                    text(cell)
                );
            }
        }
        page.push('\n');
    }
    page + "</pre>\n"
}

fn style(cell: &Cell) -> String {
    let (mut ink, mut paper) = (
        colour(cell.fgcolor()).unwrap_or(INK.into()),
        colour(cell.bgcolor()).unwrap_or(PAPER.into()),
    );
    if cell.inverse() {
        std::mem::swap(&mut ink, &mut paper);
    }
    let weight = if cell.bold() { ";font-weight:bold" } else { "" };
    let faint = if cell.dim() { ";opacity:.6" } else { "" };
    format!("color:{ink};background:{paper}{weight}{faint}")
}

fn colour(colour: Color) -> Option<String> {
    match colour {
        Color::Default => None,
        Color::Idx(index) => NAMED.get(usize::from(index)).map(|name| (*name).into()),
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
    }
}

fn text(cell: &Cell) -> String {
    match cell.contents() {
        "" => String::from(" "),
        text => text.replace('&', "&amp;").replace('<', "&lt;"),
    }
}
