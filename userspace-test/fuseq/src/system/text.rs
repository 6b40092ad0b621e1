// SPDX-License-Identifier: GPL-2.0

//! Reading what the kernel writes.

use std::{ffi::OsString, fmt::Write, os::unix::ffi::OsStringExt, time::Duration};

/// The value of the field `name=value` in a line of such fields.
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(' ')
        .filter_map(|field| field.split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// What a word stands for in which bytes are written as a backslash and three octal digits.
pub fn unescape_bytes(word: &str) -> Vec<u8> {
    let bytes = word.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|_| byte == b'\\');
        let octal = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        at += if octal.is_some() { 4 } else { 1 };
        out.push(octal.unwrap_or(byte));
    }
    out
}

/// The same, for a path.
pub fn unescape(word: &str) -> OsString {
    OsString::from_vec(unescape_bytes(word))
}

/// The other way round: `text` as one word.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            byte if byte.is_ascii_graphic() && byte != b'\\' => out.push(byte.into()),
            // Writing to a string does not fail.
            byte => drop(write!(out, "\\{byte:03o}")),
        }
    }
    out
}

/// `text` for a terminal or a page: on one line, and without control characters.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// For how long, in three digits or so.
pub fn duration(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    let seconds = duration.as_secs();
    match seconds {
        _ if us < 1.0 => format!("{us:.1} µs"),
        _ if us < 1e3 => format!("{us:.0} µs"),
        _ if us < 1e4 => format!("{:.1} ms", us / 1e3),
        _ if us < 1e6 => format!("{:.0} ms", us / 1e3),
        0..100 => format!("{:.1} s", us / 1e6),
        100..7200 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for text in ["cat", "a b", "tab\tnewline\n", "back\\slash", "Grüße", ""] {
            assert_eq!(unescape_bytes(&escape(text)), text.as_bytes());
        }
        assert_eq!(unescape_bytes("\\04"), b"\\04");
        assert_eq!(unescape_bytes("\\999"), b"\\999");
    }

    #[test]
    fn fields_are_found() {
        assert_eq!(field("request unique=4 comm=", "comm"), Some(""));
        assert_eq!(field("request unique=4", "nodeid"), None);
    }

    #[test]
    fn durations_have_units() {
        for (us, text) in [
            (0, "0.0 µs"),
            (980, "980 µs"),
            (1_500, "1.5 ms"),
            (12_300, "12 ms"),
            (12_340_000, "12.3 s"),
            (125_000_000, "2 min 05 s"),
            (7_380_000_000, "2 h 03 min"),
        ] {
            assert_eq!(duration(Duration::from_micros(us)), text);
        }
    }
}
