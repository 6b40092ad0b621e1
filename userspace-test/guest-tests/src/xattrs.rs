// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: the system calls, one each, and a daemon's part that keeps them.

#![allow(unsafe_code)]

use crate::{
    fs::Req,
    model::{answer, Answer, Model},
};
use rawfuse::{
    abi::{self, Opcode, SetxattrIn},
    Errno, Operation,
};
use std::{
    collections::BTreeMap,
    ffi::CString,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
    sync::{Arc, Mutex, MutexGuard},
};

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    Ok(CString::new(bytes)?)
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `lgetxattr(2)` with room for `size` bytes.
pub fn get(path: &Path, name: &str, size: usize) -> io::Result<Vec<u8>> {
    let (path, name) = (
        c_string(path.as_os_str().as_bytes())?,
        c_string(name.as_bytes())?,
    );
    let mut value = vec![0u8; size];
    // SAFETY: Path and name are C strings, and there is room for that many bytes.
    let len = check(unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            size,
        )
    })?;
    value.truncate(len);
    Ok(value)
}

/// `lgetxattr(2)` that asks for the size only.
pub fn size(path: &Path, name: &str) -> io::Result<usize> {
    let (path, name) = (
        c_string(path.as_os_str().as_bytes())?,
        c_string(name.as_bytes())?,
    );
    // SAFETY: Path and name are C strings, and there is room for nothing.
    check(unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), ptr::null_mut(), 0) })
}

/// `lsetxattr(2)`.
pub fn set(path: &Path, name: &str, value: &[u8], flags: i32) -> io::Result<()> {
    let (path, name) = (
        c_string(path.as_os_str().as_bytes())?,
        c_string(name.as_bytes())?,
    );
    let (bytes, len) = (value.as_ptr().cast(), value.len());
    // SAFETY: Path and name are C strings, and the value has that many bytes.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), bytes, len, flags) };
    check(result as isize).map(drop)
}

/// `lremovexattr(2)`.
pub fn remove(path: &Path, name: &str) -> io::Result<()> {
    let (path, name) = (
        c_string(path.as_os_str().as_bytes())?,
        c_string(name.as_bytes())?,
    );
    // SAFETY: Path and name are C strings.
    check(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) } as isize).map(drop)
}

/// `llistxattr(2)` with room for `size` bytes.
pub fn list(path: &Path, size: usize) -> io::Result<Vec<u8>> {
    let path = c_string(path.as_os_str().as_bytes())?;
    let mut names = vec![0u8; size];
    // SAFETY: The path is a C string, and there is room for that many bytes.
    let len = check(unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), size) })?;
    names.truncate(len);
    Ok(names)
}

/// `llistxattr(2)` that asks for the size only.
pub fn list_size(path: &Path) -> io::Result<usize> {
    let path = c_string(path.as_os_str().as_bytes())?;
    // SAFETY: The path is a C string, and there is room for nothing.
    check(unsafe { libc::llistxattr(path.as_ptr(), ptr::null_mut(), 0) })
}

/// A SETXATTR, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
    /// The flags of the system call.
    pub flags: u32,
    /// Those of the long form.
    pub more: u32,
}

impl Set {
    /// It, in its long form or its short one.
    #[track_caller]
    pub fn new(body: &[u8], is_long: bool) -> Self {
        let number = |at: usize| u32::from_ne_bytes(body[at..at + 4].try_into().unwrap());
        let size = number(0) as usize;
        let (head, more) = match is_long {
            true => (size_of::<SetxattrIn>(), number(8)),
            false => (SetxattrIn::COMPAT_SIZE, 0),
        };
        let (name, value) = body[head..].split_at(body.len() - head - size);
        let name = name.strip_suffix(&[0]).expect("a name with its end");
        Self {
            name: String::from_utf8(name.to_vec()).expect("a name"),
            value: value.to_vec(),
            flags: number(4),
            more,
        }
    }
}

/// Values by inode and name.
type Values = BTreeMap<(u64, String), Vec<u8>>;

/// The extended attributes of a model's inodes.
#[derive(Clone, Default)]
pub struct Store {
    values: Arc<Mutex<Values>>,
    is_long: bool,
}

impl Store {
    /// One for daemons with which the long form of SETXATTR was agreed on.
    pub fn long() -> Self {
        Self {
            is_long: true,
            ..Default::default()
        }
    }

    /// Those of `model`, from now on.
    pub fn serve(self, model: &mut Model) -> Self {
        let store = self.clone();
        model.hook = Some(Box::new(move |_, req| store.answer(req)));
        self
    }

    /// All of them, by inode and name.
    pub fn values(&self) -> MutexGuard<'_, BTreeMap<(u64, String), Vec<u8>>> {
        self.values.lock().unwrap()
    }

    /// Answers what is about extended attributes.
    pub fn answer(&self, req: &Req) -> Option<Answer> {
        let nodeid = req.nodeid();
        let mut values = self.values();
        let sized = |size: u32, bytes: &[u8]| match size as usize {
            0 => answer(&abi::GetxattrOut {
                size: bytes.len() as u32,
                ..Default::default()
            }),
            size if size < bytes.len() => Answer::Error(Errno::ERANGE),
            _ => Answer::Bytes(bytes.to_vec()),
        };
        let done = |there: bool| match there {
            true => Answer::Bytes(Vec::new()),
            false => Answer::Error(Errno::ENODATA),
        };
        if req.opcode() == Opcode::Setxattr {
            let set = Set::new(req.request().body(), self.is_long);
            values.insert((nodeid, set.name), set.value);
            return Some(Answer::Bytes(Vec::new()));
        }
        Some(match req.operation() {
            Operation::Getxattr { arg, name } => {
                match values.get(&(nodeid, name.to_string_lossy().into_owned())) {
                    Some(value) => sized(arg.size, value),
                    None => Answer::Error(Errno::ENODATA),
                }
            }
            Operation::Listxattr(arg) => {
                let names = values.keys().filter(|(of, _)| *of == nodeid);
                let mut list = Vec::new();
                for (_, name) in names {
                    list.extend_from_slice(name.as_bytes());
                    list.push(0);
                }
                sized(arg.size, &list)
            }
            Operation::Removexattr { name } => {
                let name = name.to_string_lossy().into_owned();
                done(values.remove(&(nodeid, name)).is_some())
            }
            _ => return None,
        })
    }
}
