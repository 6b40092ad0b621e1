// SPDX-License-Identifier: GPL-2.0

//! A line of a script, word by word.

use super::ScriptError;
use std::{fmt, iter::Peekable, str::Chars};

/// What a line is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word or a number: letters, digits, `_`, `-`, `.` and `/`.
    Word(String),
    /// What was in quotes.
    Text(String),
    /// `:`, `,` or `|`.
    Mark(char),
    /// Nothing: a comment, or the end.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(word) => write!(f, "`{word}`"),
            Token::Text(text) => write!(f, "{text:?}"),
            Token::Mark(mark) => write!(f, "`{mark}`"),
            Token::End => f.write_str("the end of the line"),
        }
    }
}

/// A line that is being read.
pub struct Line<'a> {
    text: &'a str,
    number: usize,
    rest: Peekable<Chars<'a>>,
    /// How many characters were taken.
    taken: usize,
    /// What comes next, and where it begins and ends.
    next: (Token, usize, usize),
    /// Where the last one that was taken ended.
    end: usize,
}

impl<'a> Line<'a> {
    /// Begins with a line.
    pub fn new(number: usize, text: &'a str) -> Result<Self, ScriptError> {
        let mut line = Self {
            text,
            number,
            rest: text.chars().peekable(),
            taken: 0,
            next: (Token::End, 0, 0),
            end: 0,
        };
        line.advance()?;
        Ok(line)
    }

    /// What comes next.
    pub fn peek(&self) -> &Token {
        &self.next.0
    }

    /// Where that begins: 0 is the start of the line.
    pub fn position(&self) -> usize {
        self.next.1
    }

    /// The line from there to what was taken last.
    pub fn since(&self, start: usize) -> String {
        self.text
            .chars()
            .skip(start)
            .take(self.end - start)
            .collect()
    }

    /// What comes next, which is taken.
    pub fn take(&mut self) -> Result<Token, ScriptError> {
        let token = self.next.0.clone();
        self.end = self.next.2;
        self.advance()?;
        Ok(token)
    }

    /// Takes what comes next, if it is `token`.
    pub fn take_if(&mut self, token: &Token) -> Result<bool, ScriptError> {
        let same = self.peek() == token;
        if same {
            self.take()?;
        }
        Ok(same)
    }

    /// Takes what comes next, if `understand` makes something of it; else that was `expected`.
    pub fn expect<T>(
        &mut self,
        expected: &str,
        understand: impl FnOnce(&Token) -> Option<T>,
    ) -> Result<T, ScriptError> {
        match understand(self.peek()) {
            Some(value) => {
                self.take()?;
                Ok(value)
            }
            None => Err(self.error(expected)),
        }
    }

    /// That something else was expected of what comes next.
    pub fn error(&self, expected: &str) -> ScriptError {
        self.error_at(self.position(), expected, self.peek().to_string())
    }

    fn error_at(&self, position: usize, expected: &str, found: String) -> ScriptError {
        ScriptError {
            line: self.number,
            column: position + 1,
            expected: expected.into(),
            found,
            text: self.text.into(),
        }
    }

    fn character(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.taken += usize::from(next.is_some());
        next
    }

    fn advance(&mut self) -> Result<(), ScriptError> {
        while self.rest.peek().is_some_and(|next| next.is_whitespace()) {
            self.character();
        }
        let start = self.taken;
        let token = match self.character() {
            None => Token::End,
            Some('#') => {
                self.rest = "".chars().peekable();
                Token::End
            }
            Some(mark @ (':' | ',' | '|')) => Token::Mark(mark),
            Some('"') => Token::Text(self.quoted(start)?),
            Some(first) if is_of_word(first) => {
                let mut word = String::from(first);
                while let Some(next) = self.rest.peek().copied().filter(|next| is_of_word(*next)) {
                    word.push(next);
                    self.character();
                }
                Token::Word(word)
            }
            Some(other) => {
                let found = format!("`{other}`");
                return Err(self.error_at(start, "a word, a number or a text in quotes", found));
            }
        };
        self.next = (token, start, self.taken);
        Ok(())
    }

    /// The text up to the closing quote.
    fn quoted(&mut self, start: usize) -> Result<String, ScriptError> {
        let mut text = String::new();
        loop {
            let at = self.taken;
            match self.character() {
                Some('"') => return Ok(text),
                Some('\\') => match self.character() {
                    Some('n') => text.push('\n'),
                    Some(same @ ('"' | '\\')) => text.push(same),
                    other => {
                        let found =
                            other.map_or(Token::End.to_string(), |other| format!("`\\{other}`"));
                        return Err(self.error_at(at, "`\\n`, `\\\"` or `\\\\`", found));
                    }
                },
                Some(other) => text.push(other),
                None => {
                    let found = Token::End.to_string();
                    return Err(self.error_at(start, "a quote that is closed", found));
                }
            }
        }
    }
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || "_-./".contains(character)
}
