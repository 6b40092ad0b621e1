// SPDX-License-Identifier: GPL-2.0

//! A request as it was read, and taking it apart.

use crate::{abi, Operation};
use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// One request, where it was read to.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    header: &'a abi::InHeader,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Takes `bytes` as one request. Their start must be aligned to 8 bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) =
            abi::InHeader::ref_from_prefix(bytes).map_err(|_| Malformed("no header"))?;
        if header.len as usize != bytes.len() {
            return Err(Malformed("its length is not what was read"));
        }
        if usize::from(header.total_extlen) * 8 > body.len() {
            return Err(Malformed("its extensions are longer than it is"));
        }
        Ok(Self { header, body })
    }

    /// The header.
    pub fn header(&self) -> &'a abi::InHeader {
        self.header
    }

    /// What names this request in the reply.
    pub fn unique(&self) -> u64 {
        self.header.unique
    }

    /// The inode that it is on.
    pub fn nodeid(&self) -> u64 {
        self.header.nodeid
    }

    /// What it asks for; `None` when that is newer than [`abi`].
    pub fn opcode(&self) -> Option<abi::Opcode> {
        abi::Opcode::from_u32(self.header.opcode)
    }

    /// Whether the kernel waits for a reply.
    pub fn has_reply(&self) -> bool {
        self.opcode().is_none_or(abi::Opcode::has_reply)
    }

    /// What follows the header, extensions included.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// What follows the header, less the extensions.
    pub fn args(&self) -> Args<'a> {
        let extensions = usize::from(self.header.total_extlen) * 8;
        Args(&self.body[..self.body.len() - extensions])
    }

    /// The structure of type `T` that the arguments start with.
    pub fn arg<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<&'a T, Malformed> {
        self.args().structure()
    }

    /// The only argument, a structure of type `T`, with nothing after it.
    pub fn only_arg<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<&'a T, Malformed> {
        let mut args = self.args();
        let value = args.structure()?;
        args.end()?;
        Ok(value)
    }

    /// The request taken apart, as protocol 7.46 has it.
    pub fn operation(&self) -> Result<Operation<'a>, Malformed> {
        Operation::parse(self)
    }
}

/// As `strace` would show it: `unique 4, LOOKUP, node 1, 6 bytes`.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unique {}, ", self.header.unique)?;
        match self.opcode() {
            Some(opcode) => write!(f, "{}", opcode.name())?,
            None => write!(f, "opcode {}", self.header.opcode)?,
        }
        write!(
            f,
            ", node {}, {} bytes, pid {}",
            self.header.nodeid,
            self.body.len(),
            self.header.pid
        )
    }
}

/// The arguments of a request, taken one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a>(&'a [u8]);

impl<'a> Args<'a> {
    /// The next argument, a structure of type `T`.
    pub fn structure<T: FromBytes + KnownLayout + Immutable>(
        &mut self,
    ) -> Result<&'a T, Malformed> {
        let (value, rest) = T::ref_from_prefix(self.0)
            .map_err(|_| Malformed("an argument is shorter than its structure"))?;
        self.0 = rest;
        Ok(value)
    }

    /// The next `count` arguments, structures of type `T`.
    pub fn structures<T: FromBytes + KnownLayout + Immutable>(
        &mut self,
        count: usize,
    ) -> Result<&'a [T], Malformed> {
        let (values, rest) = <[T]>::ref_from_prefix_with_elems(self.0, count)
            .map_err(|_| Malformed("there are fewer structures than their count says"))?;
        self.0 = rest;
        Ok(values)
    }

    /// The next argument, a name that ends in a zero byte.
    pub fn name(&mut self) -> Result<&'a OsStr, Malformed> {
        let end = self.0.iter().position(|&byte| byte == 0);
        let end = end.ok_or(Malformed("a name does not end"))?;
        let name = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Ok(OsStr::from_bytes(name))
    }

    /// The next `len` bytes.
    pub fn data(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (data, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Malformed("there is less data than its length says"))?;
        self.0 = rest;
        Ok(data)
    }

    /// That there is nothing left.
    pub fn end(&self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed("there is more than the operation's arguments")),
        }
    }
}

/// A request that does not hold together, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed request: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;
    use zerocopy::IntoBytes;

    fn request(buffer: &mut Buffer, header: abi::InHeader, body: &[u8]) -> usize {
        let len = size_of::<abi::InHeader>() + body.len();
        let bytes = buffer.bytes_mut();
        bytes[..size_of::<abi::InHeader>()].copy_from_slice(header.as_bytes());
        bytes[size_of::<abi::InHeader>()..len].copy_from_slice(body);
        len
    }

    fn header(opcode: abi::Opcode, body: usize) -> abi::InHeader {
        abi::InHeader {
            len: (size_of::<abi::InHeader>() + body) as u32,
            opcode: opcode as u32,
            unique: 2,
            nodeid: 1,
            ..Default::default()
        }
    }

    #[test]
    fn names_and_structures_come_out_in_order() {
        let mut body = abi::RenameIn { newdir: 7 }.as_bytes().to_vec();
        body.extend(b"from\0to\0");
        let mut buffer = Buffer::new(256);
        let len = request(&mut buffer, header(abi::Opcode::Rename, body.len()), &body);
        let request = Request::new(&buffer.bytes()[..len]).unwrap();
        match request.operation().unwrap() {
            Operation::Rename { arg, name, newname } => {
                assert_eq!(arg.newdir, 7);
                assert_eq!(name, "from");
                assert_eq!(newname, "to");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        let body = b"name\0";
        let mut buffer = Buffer::new(256);
        for wrong in [0, 4, 6] {
            let len = request(&mut buffer, header(abi::Opcode::Lookup, wrong), body);
            assert!(Request::new(&buffer.bytes()[..len]).is_err());
        }
        let len = request(&mut buffer, header(abi::Opcode::Lookup, 4), &body[..4]);
        let request_without_end = Request::new(&buffer.bytes()[..len]).unwrap();
        assert!(request_without_end.operation().is_err());
        let len = request(&mut buffer, header(abi::Opcode::Lookup, 6), b"name\0x");
        let request_with_more = Request::new(&buffer.bytes()[..len]).unwrap();
        assert!(request_with_more.operation().is_err());
        let len = request(&mut buffer, header(abi::Opcode::Getattr, 5), body);
        let short_structure = Request::new(&buffer.bytes()[..len]).unwrap();
        assert!(short_structure.operation().is_err());
    }

    #[test]
    fn extensions_are_not_arguments() {
        let mut header = header(abi::Opcode::Lookup, 5 + 3 + 8);
        header.total_extlen = 1;
        let mut buffer = Buffer::new(256);
        let len = request(&mut buffer, header, b"n\0\0\0\0\0\0\0extended");
        let with = Request::new(&buffer.bytes()[..len]).unwrap();
        assert_eq!(with.args().name().unwrap(), "n");
        assert_eq!(with.body().len(), 16);
        header.total_extlen = 3;
        let len = request(&mut buffer, header, b"n\0\0\0\0\0\0\0extended");
        assert!(Request::new(&buffer.bytes()[..len]).is_err());
    }

    #[test]
    fn more_forgets_than_there_are_is_refused() {
        let mut body = abi::BatchForgetIn { count: 2, dummy: 0 }
            .as_bytes()
            .to_vec();
        body.extend(
            abi::ForgetOne {
                nodeid: 2,
                nlookup: 1,
            }
            .as_bytes(),
        );
        let mut buffer = Buffer::new(256);
        let len = request(
            &mut buffer,
            header(abi::Opcode::BatchForget, body.len()),
            &body,
        );
        let request = Request::new(&buffer.bytes()[..len]).unwrap();
        assert!(request.operation().is_err());
        assert!(!request.has_reply());
    }
}
