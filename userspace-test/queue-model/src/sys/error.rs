// SPDX-License-Identifier: GPL-2.0

//! Errors.

/// An error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Error(i32);

impl Error {
    /// Its number, negative.
    pub(crate) fn to_errno(self) -> i32 {
        self.0
    }
}

/// What may go wrong.
pub(crate) type Result<T = (), E = Error> = core::result::Result<T, E>;

/// The errors that the queues give, by their names in `errno.h`.
pub(crate) mod errno {
    use super::Error;

    pub(crate) const ENOENT: Error = Error(-2);
    pub(crate) const EINTR: Error = Error(-4);
    pub(crate) const EIO: Error = Error(-5);
    pub(crate) const EAGAIN: Error = Error(-11);
    pub(crate) const ENOMEM: Error = Error(-12);
    pub(crate) const ENODEV: Error = Error(-19);
    pub(crate) const EINVAL: Error = Error(-22);
    pub(crate) const ECONNABORTED: Error = Error(-103);
    pub(crate) const ENOTCONN: Error = Error(-107);
    pub(crate) const ERESTARTSYS: Error = Error(-512);
}
