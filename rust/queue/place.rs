// SPDX-License-Identifier: GPL-2.0

//! The places of a request's life. Programs that read traces are built from this file too.

#![allow(unreachable_pub)]

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Place {
    /// Nowhere: not made yet, or gone.
    None,
    /// Held back until the connection has started, or (background requests) until there are fewer
    /// of them.
    Gate,
    /// Background, and not yet offered to the daemon.
    Background,
    /// Waiting for the daemon to read it.
    Pending,
    /// Given to a reader that wakes.
    Handed,
    /// Being copied to the daemon.
    Reading,
    /// Read, and not yet answered.
    Processing,
    /// Its reply is being copied.
    Writing,
    /// Aborted, and about to end.
    Aborting,
    /// Ended; its caller has not yet come for it, or whoever is to be told of its end is being told.
    Ended,
}

impl Place {
    /// How many there are.
    pub const COUNT: usize = Place::Ended as usize + 1;

    /// All of them, in the order of a request's life.
    pub const ALL: [Place; Place::COUNT] = [
        Place::None,
        Place::Gate,
        Place::Background,
        Place::Pending,
        Place::Handed,
        Place::Reading,
        Place::Processing,
        Place::Writing,
        Place::Aborting,
        Place::Ended,
    ];

    /// The name as it stands in traces and in `queues`.
    pub fn name(self) -> &'static str {
        match self {
            Place::None => "none",
            Place::Gate => "gate",
            Place::Background => "background",
            Place::Pending => "pending",
            Place::Handed => "handed",
            Place::Reading => "reading",
            Place::Processing => "processing",
            Place::Writing => "writing",
            Place::Aborting => "aborting",
            Place::Ended => "ended",
        }
    }
}
