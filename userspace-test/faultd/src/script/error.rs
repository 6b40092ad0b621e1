// SPDX-License-Identifier: GPL-2.0

//! Where a script makes no sense, and why.

use std::{error::Error, fmt};

/// The first thing in a script that makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// Which line: 1 is the first.
    pub line: usize,
    /// Which character of it: 1 is the first.
    pub column: usize,
    /// What there should be.
    pub expected: String,
    /// What there is.
    pub found: String,
    /// The whole line.
    pub text: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            expected,
            found,
            text,
        } = self;
        writeln!(
            f,
            "line {line}, column {column}: expected {expected}, found {found}"
        )?;
        writeln!(f, "  {text}")?;
        // Tabs are as wide as they are in the line above.
        let before = text.chars().take(column - 1);
        let space: String = before
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, "  {space}^")
    }
}

impl Error for ScriptError {}
