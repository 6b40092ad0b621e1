// SPDX-License-Identifier: GPL-2.0

//! `INIT`: what kernel and daemon settle before anything else.

use crate::{
    abi::{self, init_flags},
    Buffer, Channel, Operation, Request,
};
use std::io;

/// What a daemon wants.
#[derive(Clone, Copy, Debug)]
pub struct InitConfig {
    /// The most to read ahead, in bytes.
    pub max_readahead: u32,
    /// The [`init_flags`] to take if they are offered.
    pub flags: u64,
    /// The most background requests at a time; 0 for the kernel's default.
    pub max_background: u16,
    /// From how many of them the file system counts as congested; 0 for the kernel's default.
    pub congestion_threshold: u16,
    /// The most data in one `WRITE`, in bytes.
    pub max_write: u32,
    /// The granularity of time stamps, in nanoseconds.
    pub time_gran: u32,
    /// The most pages in a request, if [`init_flags::MAX_PAGES`] is among the flags.
    pub max_pages: u16,
    /// Seconds after which a request counts as lost, if [`init_flags::REQUEST_TIMEOUT`] is among the
    /// flags.
    pub request_timeout: u16,
}

impl Default for InitConfig {
    fn default() -> Self {
        Self {
            max_readahead: 128 * 1024,
            flags: 0,
            max_background: 0,
            congestion_threshold: 0,
            max_write: 128 * 1024,
            time_gran: 1,
            max_pages: 0,
            request_timeout: 0,
        }
    }
}

/// What was settled.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// What the kernel offered.
    pub offer: abi::InitIn,
    /// What the daemon answered.
    pub answer: abi::InitOut,
    /// The [`init_flags`] that both sides have.
    pub flags: u64,
}

/// Waits for `INIT` and answers it.
///
/// # Errors
///
/// `Unsupported` when the kernel speaks an older major version. `InvalidData` when the first
/// request is not `INIT`. `NotConnected` when the file system went away.
pub fn handshake(
    channel: &Channel,
    buffer: &mut Buffer,
    config: &InitConfig,
) -> io::Result<Session> {
    loop {
        let request = channel
            .receive(buffer)?
            .ok_or(io::ErrorKind::NotConnected)?;
        if let Some(session) = answer_init(channel, &request, config)? {
            return Ok(session);
        }
    }
}

/// Answers the `INIT` in `request`. `None` when the kernel's major version is the newer one: it
/// then sends another `INIT`.
///
/// # Errors
///
/// Those of [`handshake`].
pub fn answer_init(
    channel: &Channel,
    request: &Request<'_>,
    config: &InitConfig,
) -> io::Result<Option<Session>> {
    let Ok(Operation::Init(offer)) = request.operation() else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let session = settle(offer, config)?;
    channel.reply(request.unique(), &session.answer)?;
    Ok((offer.major == abi::KERNEL_VERSION).then_some(session))
}

/// What is to be answered to an `INIT`: for one who sends it in a way of their own. Of a kernel whose
/// major version is the newer one nothing is settled yet.
///
/// # Errors
///
/// `Unsupported` when the kernel speaks an older major version.
pub fn settle(offer: &abi::InitIn, config: &InitConfig) -> io::Result<Session> {
    if offer.major < abi::KERNEL_VERSION {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut answer = abi::InitOut {
        major: abi::KERNEL_VERSION,
        minor: abi::KERNEL_MINOR_VERSION,
        ..Default::default()
    };
    let offer = *offer;
    if offer.major > abi::KERNEL_VERSION {
        let flags = 0;
        return Ok(Session {
            offer,
            answer,
            flags,
        });
    }
    let flags = config.flags & offer.all_flags();
    answer.max_readahead = config.max_readahead.min(offer.max_readahead);
    answer.max_background = config.max_background;
    answer.congestion_threshold = config.congestion_threshold;
    answer.max_write = config.max_write;
    answer.time_gran = config.time_gran;
    if flags & init_flags::MAX_PAGES != 0 {
        answer.max_pages = config.max_pages;
    }
    if flags & init_flags::REQUEST_TIMEOUT != 0 {
        answer.request_timeout = config.request_timeout;
    }
    // The upper half counts only with INIT_EXT, which is of use for nothing else.
    let flags = match flags >> 32 {
        0 => flags,
        _ => flags | init_flags::INIT_EXT,
    };
    answer.flags = flags as u32;
    answer.flags2 = (flags >> 32) as u32;
    Ok(Session {
        offer,
        answer,
        flags,
    })
}
