// SPDX-License-Identifier: GPL-2.0

//! Plays one input: mounts, lets callers call, serves them, and cleans up. What cannot be cleaned up
//! is a find.

use crate::{
    helper::Helper,
    honest::Honest,
    input::{Input, Setup, CALLERS},
    pool::Process,
    server::{dont_block, Server, TICK},
    sys,
    watch::{stacks, Watch},
};
use faultd::Tree;
use kcov::Coverage;
use nix::{
    errno::Errno,
    mount::{umount2, MntFlags},
    sys::{signal::Signal, stat::umask, stat::Mode},
};
use rawfuse::{abi, Buffer, Channel, Kind, MountOptions};
use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Where it is mounted.
const DIR: &str = "/tmp/hostile/mnt";
/// How many addresses are noted of one thread.
const NOTED: usize = 1 << 16;
/// How long calls are served at most.
const LONGEST: Duration = Duration::from_millis(1500);
/// How long a killed caller may wait for its daemon; it may have to, as in Linux, where what it waits
/// for is a folio. Then everything is aborted.
const LEAVE: Duration = Duration::from_millis(250);
/// How long anything may take after that.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of an input.
#[derive(Debug, Default)]
pub struct Played {
    /// What was asked for, in turn.
    pub opcodes: Vec<u32>,
    /// The honest answers.
    pub answers: Vec<(u32, Vec<u8>)>,
    /// It could be mounted.
    pub mounted: bool,
    /// A killed caller waited until all was aborted.
    pub held: bool,
    /// What must not be.
    pub wrong: Option<String>,
}

/// What inputs are played on.
pub struct Stage {
    watch: Arc<Watch>,
    helper: Helper,
    /// Of the daemon, the helper, and the callers; none for the blind.
    coverages: Vec<Arc<Coverage>>,
    tree: Tree,
    buffer: RefCell<Buffer>,
    callers: RefCell<Vec<Process>>,
    dir: PathBuf,
    /// The block device.
    device: Option<String>,
}

impl Stage {
    /// Sets it up. What the calling thread does from here on is noted, unless `blind`.
    pub fn new(watch: Arc<Watch>, blind: bool) -> io::Result<Self> {
        sys::let_alarms_interrupt()?;
        umask(Mode::empty());
        fs::create_dir_all(DIR)?;
        let coverage = |_| Ok(Arc::new(Coverage::new(NOTED)?));
        let count = if blind { 0 } else { 2 + CALLERS };
        let coverages: Vec<_> = (0..count).map(coverage).collect::<io::Result<_>>()?;
        if let Some(mine) = coverages.first() {
            mine.start()?;
        }
        // What waits for all processors to come by need not be slow: mounts come and go all the time.
        let _ = fs::write("/sys/kernel/rcu_expedited", "1");
        let dir = Path::new(DIR);
        let caller = |number| Process::new(dir, coverages.get(2 + number));
        let callers = (0..CALLERS).map(caller).collect::<io::Result<_>>()?;
        Ok(Self {
            watch,
            callers: RefCell::new(callers),
            helper: Helper::start(coverages.get(1).cloned())?,
            coverages,
            tree: Tree::new(0),
            buffer: RefCell::new(Buffer::for_max_write(1 << 20)),
            dir: dir.into(),
            device: loop_device(),
        })
    }

    /// The addresses in the module that were come to in the last input.
    pub fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        self.coverages.iter().flat_map(|each| each.addresses())
    }

    /// Plays an input. Says what is honestly answered, if that is wanted.
    pub fn play(&self, input: &Input, record: bool) -> io::Result<Played> {
        self.fill_pool()?;
        for coverage in &self.coverages {
            coverage.clear();
        }
        let mut played = Played::default();
        let setup = &input.setup;
        let channel = Channel::open(&Kind::FUSE)?;
        if !setup.sleeps {
            dont_block(&channel)?;
        }
        if setup.sync_init {
            let _ = sys::ioctl(&channel, abi::DEV_IOC_SYNC_INIT);
        }
        let options = self.options(setup);
        let (data, target) = (options.data(&channel), self.dir.clone());
        let tree = self.tree.clone().valid_for(setup.valid);
        let honest = Honest::new(tree, setup);
        let mut buffer = self.buffer.borrow_mut();
        let mut callers = self.callers.borrow_mut();
        let mut server = Server::new(
            input,
            &self.watch,
            &mut buffer,
            channel,
            honest,
            &self.dir,
            &mut callers,
        );
        server.record = record.then(Vec::new);
        // Who waits for INIT sleeps whatever the flags of the device say, and if mount(2) fails, for ever.
        if setup.sleeps || setup.sync_init {
            sys::alarm(Duration::from_millis(TICK.into()))?;
        }
        let mounted = if setup.sync_init {
            self.helper.begin(move || mount(&options, &data, &target));
            let mut result = None;
            server.serve(LONGEST, |_| {
                result = self.helper.result();
                result.is_some()
            });
            result
        } else {
            Some(mount(&options, &data, &target))
        };
        if let Some(Ok(())) = mounted {
            played.mounted = true;
            let control = server.mounted();
            for (number, caller) in server.callers.iter_mut().enumerate() {
                caller.begin(input, number)?;
            }
            server.serve(LONGEST, all_done);
            server.send_all();
            self.end_callers(&mut server, &mut played);
            if played.wrong.is_none() {
                self.unmount(&mut server, control.as_deref(), setup, &mut played);
            }
        }
        sys::alarm(Duration::ZERO)?;
        played.opcodes = std::mem::take(&mut server.opcodes);
        played.answers = server.record.take().unwrap_or_default();
        server.close();
        if mounted.is_none() {
            // With its last device closed nothing waits for INIT.
            let until = Instant::now() + PATIENCE;
            while self.helper.result().is_none() {
                self.watch.beat();
                if Instant::now() > until {
                    played.wrong = Some(format!("mount(2) waits\n{}", stacks()));
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
            let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
        }
        Ok(played)
    }

    fn options(&self, setup: &Setup) -> MountOptions {
        let mut options = MountOptions::new(Kind::FUSE);
        options.rootmode = setup.rootmode;
        if !setup.options.is_empty() {
            options = options.option(&setup.options);
        }
        if let (true, Some(device)) = (setup.block, &self.device) {
            options.kind.fs_type = "fuseblk";
            options.source = device.clone();
        }
        options
    }

    /// Forks new callers for those that are gone.
    fn fill_pool(&self) -> io::Result<()> {
        for (number, caller) in self.callers.borrow_mut().iter_mut().enumerate() {
            if caller.has_ended() {
                *caller = Process::new(&self.dir, self.coverages.get(2 + number))?;
            }
        }
        Ok(())
    }

    /// Kills who is still there. Nobody serves them any more.
    fn end_callers(&self, server: &mut Server<'_>, played: &mut Played) {
        if all_done(server) {
            return;
        }
        for caller in server.callers.iter_mut() {
            if !caller.is_done() {
                caller.signal(Signal::SIGKILL);
            }
        }
        if self.all_gone(server, LEAVE) {
            return;
        }
        played.held = true;
        self.watch.abort();
        if !self.all_gone(server, PATIENCE) {
            played.wrong = Some(format!("killed callers stay\n{}", stacks()));
        }
    }

    fn all_gone(&self, server: &mut Server<'_>, within: Duration) -> bool {
        let end = Instant::now() + within;
        loop {
            self.watch.beat();
            if all_done(server) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Unmounts while the daemon serves, until the connection is gone.
    fn unmount(
        &self,
        server: &mut Server<'_>,
        control: Option<&Path>,
        setup: &Setup,
        played: &mut Played,
    ) {
        if setup.aborted {
            self.watch.abort();
        }
        let dir = self.dir.clone();
        self.helper.begin(move || unmount(&dir));
        let start = Instant::now();
        let mut result = None;
        loop {
            server.serve(LEAVE, |_| {
                result = result.take().or_else(|| self.helper.result());
                result.is_some()
            });
            let gone = control.is_none_or(|dir| !dir.exists());
            if result.is_some() && gone {
                return;
            }
            result = result.or_else(|| self.helper.result());
            let took = start.elapsed();
            if took > LEAVE {
                self.watch.abort();
            }
            if took > PATIENCE {
                played.wrong = Some(format!("it stays: {result:?}\n{}", stacks()));
                return;
            }
            if result.is_some() || server.gone {
                self.watch.beat();
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Whether nobody makes calls any more.
fn all_done(server: &mut Server<'_>) -> bool {
    let done = server.callers.iter_mut().map(Process::is_done);
    done.fold(true, |all, done| all & done)
}

/// Mounts with a device whose number is in `data`.
fn mount(options: &MountOptions, data: &str, target: &Path) -> io::Result<()> {
    let (source, kind) = (options.source.as_str(), options.kind.fs_type);
    Ok(nix::mount::mount(
        Some(source),
        target,
        Some(kind),
        options.flags,
        Some(data),
    )?)
}

/// Unmounts; what is mounted on it, too.
fn unmount(dir: &Path) -> io::Result<()> {
    let nothing = MntFlags::empty();
    for _ in 0..4 {
        match umount2(dir, nothing) {
            Err(Errno::EBUSY) => thread::sleep(Duration::from_millis(2)),
            // It may have been unmounted before.
            Ok(()) | Err(Errno::EINVAL) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(umount2(dir, MntFlags::MNT_DETACH)?)
}

/// A block device of 1 MiB; none where there is no loop device.
fn loop_device() -> Option<String> {
    let (device, image) = ("/dev/loop0", "/tmp/hostile/image");
    fs::File::create(image)
        .and_then(|file| file.set_len(1 << 20))
        .ok()?;
    // It may be one of a program that has ended.
    let _ = Command::new("/bin/busybox")
        .args(["losetup", "-d", device])
        .stderr(Stdio::null())
        .status();
    let made = Command::new("/bin/busybox")
        .args(["losetup", device, image])
        .status();
    made.is_ok_and(|status| status.success())
        .then(|| device.into())
}
