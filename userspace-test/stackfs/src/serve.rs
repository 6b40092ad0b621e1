// SPDX-License-Identifier: GPL-2.0

//! Serving: threads that take requests and answer them.

use crate::{data::written, fs::Stack};
use rawfuse::{
    abi, in_threads, is_large, Buffer, Channel, Errno, Operation, Pipes, Request, Taken,
};
use std::io;
use zerocopy::IntoBytes;

/// Who serves, once `INIT` is answered.
pub struct Server<'a> {
    /// The device.
    pub channel: &'a Channel,
    /// The file system.
    pub stack: &'a Stack,
    /// How many threads serve.
    pub threads: usize,
    /// Whether data is moved by `splice(2)`.
    pub splice: bool,
    /// The most data in one request or reply, in bytes.
    pub max_data: usize,
}

impl Server<'_> {
    /// Serves until the file system is gone.
    pub fn run(&self) -> io::Result<()> {
        in_threads(self.threads, || self.thread())
    }

    fn thread(&self) -> io::Result<()> {
        let mut buffer = Buffer::for_max_write(self.max_data);
        let mut reply = Vec::new();
        let mut pipes = match self.splice {
            true => Some(Pipes::new(self.max_data)?),
            false => None,
        };
        loop {
            let taken = match &pipes {
                Some(pipes) => pipes.receive(self.channel, &mut buffer)?,
                None => self.channel.receive(&mut buffer)?.map(Taken::Whole),
            };
            let sent = match (taken, &mut pipes) {
                (None, _) => return Ok(()),
                (Some(Taken::Whole(request)), Some(pipes)) if self.moves(&request) => {
                    self.read(&request, pipes)
                }
                (Some(Taken::Whole(request)), _) => self.answer(&request, &mut reply),
                (Some(Taken::Write(header, arg)), Some(pipes)) => self.write(&header, &arg, pipes),
                (Some(Taken::Write(..)), None) => unreachable!("only pipes hold data back"),
            };
            match sent {
                // The caller was killed in the meantime.
                Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => return Ok(()),
                other => other?,
            }
        }
    }

    fn answer(&self, request: &Request<'_>, reply: &mut Vec<u8>) -> io::Result<()> {
        reply.clear();
        let done = self.stack.answer(request, reply);
        if !request.has_reply() {
            return Ok(());
        }
        match done {
            Ok(()) => self.channel.reply_bytes(request.unique(), &[reply]),
            Err(error) => self.refuse(request.unique(), error),
        }
    }

    fn refuse(&self, unique: u64, error: rustix::io::Errno) -> io::Result<()> {
        let error = Errno::from_raw(error.raw_os_error());
        self.channel.reply_error(unique, error)
    }

    /// Whether the request is a `READ` that is better moved than copied.
    fn moves(&self, request: &Request<'_>) -> bool {
        matches!(request.operation(), Ok(Operation::Read(arg)) if is_large(arg))
    }

    fn read(&self, request: &Request<'_>, pipes: &mut Pipes) -> io::Result<()> {
        let Ok(Operation::Read(arg)) = request.operation() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let unique = request.unique();
        let moved = self
            .stack
            .files
            .get(arg.fh)
            .and_then(|file| pipes.read(arg, &*file));
        let sent = match moved {
            Ok(len) => pipes.reply(self.channel, unique, len).map_err(Into::into),
            Err(error) => self.refuse(unique, error),
        };
        if moved.is_err() || sent.is_err() {
            pipes.clear()?;
        }
        sent
    }

    fn write(
        &self,
        header: &abi::InHeader,
        arg: &abi::WriteIn,
        pipes: &mut Pipes,
    ) -> io::Result<()> {
        let moved = self
            .stack
            .files
            .get(arg.fh)
            .and_then(|file| pipes.write(arg, &*file));
        if moved != Ok(arg.size as usize) {
            pipes.clear()?;
        }
        match moved {
            Ok(len) => {
                let out = written(len);
                self.channel.reply_bytes(header.unique, &[out.as_bytes()])
            }
            Err(error) => self.refuse(header.unique, error),
        }
    }
}
