// SPDX-License-Identifier: GPL-2.0

//! Tracing in an instance of its own: other tracing on the machine is left alone.

use anyhow::{bail, Context, Result};
use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Where tracefs is.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The groups of tracepoints: rust_fuse's, and C fuse's.
const GROUPS: [&str; 2] = ["rust_fuse", "fuse"];

/// A trace instance, which is gone with this value.
pub(crate) struct Instance {
    dir: PathBuf,
    groups: Vec<&'static str>,
}

impl Instance {
    /// Makes one, for one connection or all, with so much room for each processor.
    pub(crate) fn new(buffer_kib: u32, only: Option<u32>) -> Result<Self> {
        let tracefs = TRACEFS.iter().map(Path::new);
        let tracefs = tracefs
            .clone()
            .find(|dir| dir.join("instances").exists())
            .context(
                "there is no tracefs, or it is not ours to see: as root, mount -t tracefs none \
             /sys/kernel/tracing",
            )?;
        let exists = |group: &&str| tracefs.join("events").join(group).exists();
        let groups: Vec<_> = GROUPS.into_iter().filter(exists).collect();
        if groups.is_empty() {
            bail!("no tracepoints of rust_fuse, nor of C fuse: neither module is there");
        }
        let dir = tracefs
            .join("instances")
            .join(format!("fuseq-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| {
            format!(
                "{}: a trace instance cannot be made (root may)",
                dir.display()
            )
        })?;
        let instance = Self { dir, groups };
        instance.write("buffer_size_kb", &buffer_kib.to_string())?;
        // That of other files of the recording, and the same on all processors.
        instance.write("trace_clock", "mono")?;
        if let Some(number) = only {
            for group in &instance.groups {
                let filter = format!("connection == {number}");
                instance.write(&format!("events/{group}/filter"), &filter)?;
            }
        }
        Ok(instance)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.dir.join(file);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Turns tracing on or off.
    pub(crate) fn enable(&self, on: bool) -> Result<()> {
        let mut groups = self.groups.iter();
        groups.try_for_each(|group| {
            self.write(
                &format!("events/{group}/enable"),
                if on { "1" } else { "0" },
            )
        })
    }

    /// The file to read from, which does not wait.
    pub(crate) fn pipe(&self) -> Result<File> {
        let path = self.dir.join("trace_pipe");
        let mut options = File::options();
        let pipe = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        pipe.with_context(|| path.display().to_string())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The module may be gone, and its events with it; what cannot be removed is left.
        let _ = self.enable(false);
        let _ = fs::remove_dir(&self.dir);
    }
}
