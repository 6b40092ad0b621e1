// SPDX-License-Identifier: GPL-2.0

//! A rule: `on WHICH: WHAT, WHAT`.

use super::{
    line::{Line, Token},
    notification, Action, Count, Matcher, Moment, Pause, Rule, ScriptError, Step,
};
use nix::errno::Errno;
use rawfuse::abi::Opcode;
use std::{ops::RangeInclusive, time::Duration};

/// For how long the first of those that are kept to be reordered waits for the others.
const REORDER: Duration = Duration::from_secs(1);

const STEPS: &str =
    "what is to be done: answer, twice, error, garbage, bytes, short, delay, stall, \
    reorder, drop, crash or notify";

/// Understands a line; none if there is nothing in it.
pub fn parse(number: usize, text: &str) -> Result<Option<Rule>, ScriptError> {
    let mut line = Line::new(number, text)?;
    if *line.peek() == Token::End {
        return Ok(None);
    }
    word(&mut line, "`on`, which begins a rule", "on")?;
    let matcher = matcher(&mut line)?;
    let mut steps = vec![step(&mut line, &matcher)?];
    loop {
        let last = steps.last().map(|step| &step.action);
        let is_last = matches!(last, Some(Action::Drop | Action::Crash(_)));
        if line.take_if(&Token::End)? {
            break;
        }
        if is_last {
            return Err(line.error("the end of the line, as nothing can follow that"));
        }
        line.expect("`,` or the end of the line", |token| {
            (*token == Token::Mark(',')).then_some(())
        })?;
        steps.push(step(&mut line, &matcher)?);
    }
    Ok(Some(Rule {
        steps,
        matcher,
        seen: 0.into(),
    }))
}

/// Which requests it is for, with the colon behind.
fn matcher(line: &mut Line<'_>) -> Result<Matcher, ScriptError> {
    let mut matcher = Matcher::default();
    if !line.take_if(&Token::Word("any".into()))? {
        loop {
            let expected = "an operation in capitals as in fuse.h (LOOKUP, READ), or `any`";
            matcher.opcodes.push(line.expect(expected, opcode)?);
            if !line.take_if(&Token::Mark('|'))? {
                break;
            }
        }
    }
    loop {
        let mut words = Vec::new();
        words.extend(matcher.node.is_none().then_some("node"));
        words.extend(matcher.name.is_none().then_some("name"));
        if matcher.count == Count::All {
            words.extend(["nth", "first", "from", "every"]);
        }
        let mut expected: String = words.iter().map(|word| format!("`{word}`, ")).collect();
        expected += "or `:`";
        let token = line.expect(&expected, |token| {
            let known = match token {
                Token::Mark(mark) => *mark == ':',
                Token::Word(word) => words.contains(&&word[..]),
                _ => false,
            };
            known.then(|| token.clone())
        })?;
        let Token::Word(word) = token else {
            return Ok(matcher);
        };
        match &word[..] {
            "node" => {
                matcher.node = Some(number(line, "a node, a number", 0..=u64::MAX)?);
            }
            "name" => matcher.name = Some(text(line, "a name")?.into()),
            _ => {
                let which = number(line, "a number from 1 on", 1..=u64::MAX)?;
                matcher.count = match &word[..] {
                    "nth" => Count::Nth(which),
                    "first" => Count::First(which),
                    "from" => Count::From(which),
                    _ => Count::Every(which),
                };
            }
        }
    }
}

/// One thing to be done.
fn step(line: &mut Line<'_>, matcher: &Matcher) -> Result<Step, ScriptError> {
    let start = line.position();
    let answers = |word: &str| {
        let all = [
            "answer", "twice", "error", "garbage", "bytes", "short", "crash",
        ];
        all.contains(&word)
    };
    let silent = matcher
        .opcodes
        .iter()
        .copied()
        .find(|opcode| !opcode.has_reply());
    if let (Some(opcode), Token::Word(word)) = (silent, line.peek()) {
        if answers(word) && word != "crash" {
            let expected = format!("something else, as {} has no answer", opcode.name());
            return Err(line.error(&expected));
        }
    }
    let name = line.expect(STEPS, |token| match token {
        Token::Word(word) if answers(word) => Some(word.clone()),
        Token::Word(word) => ["delay", "stall", "reorder", "drop", "notify"]
            .contains(&&word[..])
            .then(|| word.clone()),
        _ => None,
    })?;
    let action = match &name[..] {
        "answer" => Action::Answer,
        "twice" => Action::Twice,
        "error" => Action::Error(error(line)?),
        "garbage" => Action::Garbage(match line.peek() {
            Token::Word(_) => Some(size(line, 0)?),
            _ => None,
        }),
        "bytes" => Action::Bytes(hex(line)?),
        "short" => Action::Short(size(line, 1)?),
        "delay" => Action::Delay(pause(line)?),
        "stall" => Action::Stall(pause(line)?),
        "reorder" => {
            let count = number(line, "how many to reorder, from 2 on", 2..=1000)?;
            let limit = match line.peek() {
                Token::Word(_) => pause(line)?,
                _ => Some(REORDER),
            };
            Action::Reorder(count as usize, limit)
        }
        "drop" => Action::Drop,
        "notify" => Action::Notify(notification::parse(line)?),
        _ => {
            let expected = "`before`, `in` or `after` the answer";
            let moment = line.expect(expected, |token| match token {
                Token::Word(word) if word == "before" => Some(Moment::Before),
                Token::Word(word) if word == "in" && silent.is_none() => Some(Moment::In),
                Token::Word(word) if word == "after" && silent.is_none() => Some(Moment::After),
                _ => None,
            })?;
            Action::Crash(moment)
        }
    };
    let text = line.since(start);
    Ok(Step { text, action })
}

fn word(line: &mut Line<'_>, expected: &str, word: &str) -> Result<(), ScriptError> {
    line.expect(expected, |token| {
        (*token == Token::Word(word.into())).then_some(())
    })
}

fn opcode(token: &Token) -> Option<Opcode> {
    let Token::Word(word) = token else {
        return None;
    };
    Opcode::ALL
        .iter()
        .find(|opcode| opcode.name() == word)
        .copied()
}

/// A number within `range`.
pub fn number(
    line: &mut Line<'_>,
    expected: &str,
    range: RangeInclusive<u64>,
) -> Result<u64, ScriptError> {
    line.expect(expected, |token| match token {
        Token::Word(word) => word.parse().ok().filter(|number| range.contains(number)),
        _ => None,
    })
}

/// How many bytes of an answer: no more than any answer has.
fn size(line: &mut Line<'_>, least: u64) -> Result<usize, ScriptError> {
    let expected = format!("how many bytes, from {least} to {}", 1 << 20);
    Ok(number(line, &expected, least..=1 << 20)? as usize)
}

/// A word or a text in quotes.
pub fn text(line: &mut Line<'_>, expected: &str) -> Result<String, ScriptError> {
    line.expect(&format!("{expected}, in quotes"), |token| match token {
        Token::Text(text) if !text.contains('\0') => Some(text.clone()),
        _ => None,
    })
}

/// Bytes, two hexadecimal digits for each.
pub fn hex(line: &mut Line<'_>) -> Result<Vec<u8>, ScriptError> {
    line.expect("bytes, as 00ff12", |token| {
        let Token::Word(word) = token else {
            return None;
        };
        let digits: Option<Vec<u8>> = word
            .chars()
            .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
        Some(
            digits
                .chunks(2)
                .map(|pair| pair[0] << 4 | pair[1])
                .collect(),
        )
    })
}

/// What the header of an answer says; that of an errno is below 0.
fn error(line: &mut Line<'_>) -> Result<i32, ScriptError> {
    line.expect("an errno, as EIO, or its number", |token| {
        let Token::Word(word) = token else {
            return None;
        };
        if let Ok(number) = word.parse::<i32>() {
            return number.checked_neg();
        }
        let mut all = (1..=133).map(Errno::from_raw);
        let errno = all.find(|errno| format!("{errno:?}") == *word)?;
        Some(-(errno as i32))
    })
}

/// A time, with its unit.
fn pause(line: &mut Line<'_>) -> Result<Pause, ScriptError> {
    line.expect("a time, as 20ms, 2s or `forever`", |token| {
        let Token::Word(word) = token else {
            return None;
        };
        if word == "forever" {
            return Some(None);
        }
        let digits = word.trim_end_matches(|end: char| !end.is_ascii_digit());
        let number: u64 = digits.parse().ok()?;
        let time = match &word[digits.len()..] {
            "us" => Duration::from_micros(number),
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            _ => return None,
        };
        Some(Some(time))
    })
}
