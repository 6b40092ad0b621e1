// SPDX-License-Identifier: GPL-2.0

//! What a script has the kernel told.

use super::{
    line::{Line, Token},
    rule::{hex, number, text},
    ScriptError,
};
use rawfuse::abi::{self, notify_inval_entry_flags::EXPIRE_ONLY, NotifyCode};
use zerocopy::IntoBytes;

/// A notification as it goes over the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Notification {
    /// What it is about: a [`NotifyCode`], or what there is none of.
    pub code: i32,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// The word `notify` has been read.
pub fn parse(line: &mut Line<'_>) -> Result<Notification, ScriptError> {
    if line.take_if(&Token::Word("raw".into()))? {
        let code = line.expect("the code of a notification, a number", |token| {
            let Token::Word(word) = token else {
                return None;
            };
            word.parse().ok()
        })?;
        let body = match line.peek() {
            Token::Word(_) => hex(line)?,
            _ => Vec::new(),
        };
        return Ok(Notification { code, body });
    }
    let names: Vec<_> = NotifyCode::ALL.iter().map(|code| code.name()).collect();
    let expected = format!("a notification ({}, or raw)", names.join(", "));
    let code = line.expect(&expected, |token| {
        let is_it = |code: &&NotifyCode| *token == Token::Word(code.name().into());
        NotifyCode::ALL.iter().find(is_it).copied()
    })?;
    Ok(Notification {
        code: code as i32,
        body: body(code, line)?,
    })
}

fn body(code: NotifyCode, line: &mut Line<'_>) -> Result<Vec<u8>, ScriptError> {
    let node = |line: &mut Line<'_>| number(line, "a node, a number", 0..=u64::MAX);
    Ok(match code {
        NotifyCode::Poll => {
            let kh = number(line, "the handle of a POLL, a number", 0..=u64::MAX)?;
            abi::NotifyPollWakeupOut { kh }.as_bytes().to_vec()
        }
        NotifyCode::InvalInode => {
            let mut out = abi::NotifyInvalInodeOut {
                ino: node(line)?,
                ..Default::default()
            };
            if matches!(line.peek(), Token::Word(_)) {
                let signed = |token: &Token| match token {
                    Token::Word(word) => word.parse().ok(),
                    _ => None,
                };
                out.off = line.expect("an offset, a number", signed)?;
                out.len = line.expect("a length, a number", signed)?;
            }
            out.as_bytes().to_vec()
        }
        NotifyCode::InvalEntry => {
            let parent = node(line)?;
            let name = text(line, "a name")?;
            let expire = line.take_if(&Token::Word("expire".into()))?;
            let out = abi::NotifyInvalEntryOut {
                parent,
                namelen: name.len() as u32,
                flags: if expire { EXPIRE_ONLY } else { 0 },
            };
            named(out.as_bytes(), &name)
        }
        NotifyCode::Delete => {
            let (parent, child) = (node(line)?, node(line)?);
            let name = text(line, "a name")?;
            let out = abi::NotifyDeleteOut {
                parent,
                child,
                namelen: name.len() as u32,
                padding: 0,
            };
            named(out.as_bytes(), &name)
        }
        NotifyCode::Store => {
            let nodeid = node(line)?;
            let offset = number(line, "an offset, a number", 0..=u64::MAX)?;
            let data = text(line, "a text to store")?;
            let out = abi::NotifyStoreOut {
                nodeid,
                offset,
                size: data.len() as u32,
                padding: 0,
            };
            [out.as_bytes(), data.as_bytes()].concat()
        }
        NotifyCode::Retrieve => {
            let out = abi::NotifyRetrieveOut {
                notify_unique: 1,
                nodeid: node(line)?,
                offset: number(line, "an offset, a number", 0..=u64::MAX)?,
                size: number(line, "a size, a number", 0..=u64::from(u32::MAX))? as u32,
                padding: 0,
            };
            out.as_bytes().to_vec()
        }
        NotifyCode::Resend | NotifyCode::IncEpoch => Vec::new(),
        NotifyCode::Prune => {
            let mut nodes = vec![node(line)?];
            while matches!(line.peek(), Token::Word(_)) {
                nodes.push(node(line)?);
            }
            let out = abi::NotifyPruneOut {
                count: nodes.len() as u32,
                ..Default::default()
            };
            [out.as_bytes(), nodes.as_bytes()].concat()
        }
    })
}

/// A structure, and a name with the zero byte behind it.
fn named(out: &[u8], name: &str) -> Vec<u8> {
    [out, name.as_bytes(), &[0]].concat()
}
