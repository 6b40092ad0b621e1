// SPDX-License-Identifier: GPL-2.0

//! Messages to the kernel, as they are to be and as they are not.

use crate::input::{Answer, Edit, Notify};
use rawfuse::{abi::OutHeader, Errno};
use zerocopy::IntoBytes;

/// The most that an edit makes of a message.
const LONGEST: usize = 2 << 20;

const HEADER: usize = size_of::<OutHeader>();

/// A message: its header, and what follows.
pub fn message(unique: u64, error: i32, body: &[u8]) -> Vec<u8> {
    let header = OutHeader {
        len: (HEADER + body.len()) as u32,
        error,
        unique,
    };
    [header.as_bytes(), body].concat()
}

/// What answers a request, whose honest answer is known; `None` when nothing does.
pub fn answer(
    unique: u64,
    answer: &Answer,
    honest: Result<Vec<u8>, Errno>,
    edits: &[Edit],
) -> Option<Vec<u8>> {
    let mut whole = match (answer, honest) {
        (Answer::Never, _) => return None,
        (Answer::Error(error), _) => message(unique, *error, &[]),
        (Answer::Bytes(bytes), _) => message(unique, 0, &bytes.0),
        (Answer::Honest, Ok(bytes)) => message(unique, 0, &bytes),
        (Answer::Honest, Err(error)) => message(unique, -(error as i32), &[]),
    };
    edit(&mut whole, edits);
    Some(whole)
}

/// A notification.
pub fn notification(notify: &Notify) -> Vec<u8> {
    let mut body = notify.body.0.clone();
    body.resize(body.len() + (notify.fill as usize).min(LONGEST), b'*');
    let mut whole = message(0, notify.code.0, &body);
    edit(&mut whole, &notify.edits);
    whole
}

fn edit(message: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits {
        match *edit {
            Edit::Set { at, width, value } => {
                let at = at as usize;
                let value = value.to_le_bytes();
                let width = usize::from(width).min(value.len());
                if let Some(place) = message.get_mut(at..at.saturating_add(width)) {
                    place.copy_from_slice(&value[..width]);
                }
            }
            Edit::Cut(to) => {
                message.truncate(to as usize);
                fix_length(message);
            }
            Edit::Grow(by) => {
                let len = message.len().saturating_add(by as usize).min(LONGEST);
                message.resize(len, 0xa5);
                fix_length(message);
            }
        }
    }
}

fn fix_length(message: &mut [u8]) {
    let len = message.len() as u32;
    if let Some(place) = message.get_mut(..4) {
        place.copy_from_slice(&len.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_follows_the_length_until_it_is_set() {
        let set = Edit::Set {
            at: 0,
            width: 4,
            value: 7,
        };
        let sent = |edits: &[Edit]| answer(2, &Answer::Honest, Ok(vec![1; 8]), edits).unwrap();
        assert_eq!(sent(&[Edit::Cut(20)])[..4], 20_u32.to_ne_bytes());
        assert_eq!(sent(&[Edit::Grow(3)])[..4], 27_u32.to_ne_bytes());
        assert_eq!(
            sent(&[Edit::Grow(3), set.clone()])[..4],
            7_u32.to_ne_bytes()
        );
        assert_eq!(sent(&[set, Edit::Cut(2)]).len(), 2);
    }

    #[test]
    fn what_lies_outside_is_not_set() {
        let set = Edit::Set {
            at: 15,
            width: 4,
            value: u64::MAX,
        };
        let never = answer(2, &Answer::Error(-5), Ok(vec![]), &[set]).unwrap();
        assert_eq!(never, message(2, -5, &[]));
        assert_eq!(answer(2, &Answer::Never, Ok(vec![]), &[]), None);
    }
}
