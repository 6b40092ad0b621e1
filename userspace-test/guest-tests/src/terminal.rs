// SPDX-License-Identifier: GPL-2.0

//! A terminal for programs that draw on one, and what a person would see on it.

#![allow(unsafe_code)]

mod page;

use crate::caller::eventually;
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::FromRawFd,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
};

/// A terminal with a program on it, which is killed when this value goes.
pub struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    program: Child,
}

impl Terminal {
    /// Starts a program on a terminal of so many lines and columns.
    #[track_caller]
    pub fn start(command: &mut Command, (lines, columns): (u16, u16)) -> Self {
        let size = libc::winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let (mut ours, mut theirs) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: There is room for both descriptors, and the size is not changed; no name is asked for,
        // and no attributes are given.
        let made = unsafe { libc::openpty(&mut ours, &mut theirs, none, none.cast(), &size) };
        assert_eq!(made, 0, "openpty: {}", std::io::Error::last_os_error());
        // SAFETY: Both descriptors have just been made, for us.
        let (ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
        let other = || theirs.try_clone().expect("the terminal");
        let program = command
            .env("TERM", "xterm-256color")
            .stdin(other())
            .stdout(other())
            .stderr(other())
            .spawn()
            .expect("it starts");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(lines, columns, 0)));
        let (mut output, drawn) = (ours.try_clone().expect("the terminal"), screen.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error when nobody has the terminal any more.
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                drawn.lock().expect("the screen").process(&bytes[..len]);
            }
        });
        Self {
            keyboard: ours,
            screen,
            program,
        }
    }

    /// What is on it.
    pub fn text(&self) -> String {
        self.screen.lock().expect("the screen").screen().contents()
    }

    /// What is on it as a page for a browser.
    pub fn page(&self, title: &str) -> String {
        page::of(self.screen.lock().expect("the screen").screen(), title)
    }

    /// Waits until there is a line with all of these. Fails the test when it does not come to that.
    #[track_caller]
    pub fn shows(&self, parts: &[&str]) {
        let all = |line: &str| parts.iter().all(|part| line.contains(part));
        eventually(&format!("a line with {parts:?}"), || {
            self.text().lines().any(all)
        });
    }

    /// Presses keys.
    #[track_caller]
    pub fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal");
    }

    /// How the program ended. Fails the test when it does not.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program ends", || {
            status = self.program.try_wait().expect("wait");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, most often.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
