// SPDX-License-Identifier: GPL-2.0

//! What an administrator sets for all connections.

use crate::{
    sys::total_memory,
    vfs::{module_param::Parameter, sysctl::Setting},
};

/// The module parameter `max_user_bgreq`: how many background requests may be active, at most, on a
/// connection that somebody without privileges sets the limit of.
pub(crate) static MAX_USER_BGREQ: Parameter = Parameter::new(user_limit);

/// The module parameter `max_user_congthresh`: the same for the congestion threshold.
pub(crate) static MAX_USER_CONGTHRESH: Parameter = Parameter::new(user_limit);

/// The sysctl `max_pages_limit`: the most pages that can be agreed on for one request. Holds for the
/// connections made from now on.
pub(crate) static MAX_PAGES_LIMIT: Setting = Setting::new(256, 1, MAX);

/// The sysctl `default_request_timeout`: seconds that a daemon may take for a request, unless it says
/// otherwise; 0 for any time.
pub(crate) static DEFAULT_REQUEST_TIMEOUT: Setting = Setting::new(0, 0, MAX);

/// The sysctl `max_request_timeout`: the most seconds that a daemon may take; 0 for any time.
pub(crate) static MAX_REQUEST_TIMEOUT: Setting = Setting::new(0, 0, MAX);

/// What all of them are compared with is 16 bits wide in the reply to INIT.
const MAX: u32 = u16::MAX as u32;

/// 0 stands for as many requests as take up the 8192nd part of the memory, at the size that Linux
/// reckons with.
fn user_limit(written: u32) -> u32 {
    const SHARE: u64 = 1 << 13;
    const REQUEST: u64 = 392;
    match written {
        0 => u32::try_from(total_memory() / SHARE / REQUEST).map_or(MAX, |limit| limit.min(MAX)),
        limit => limit.min(MAX),
    }
}
