// SPDX-License-Identifier: GPL-2.0

//! A daemon that does to the kernel what it should not: it answers wrongly, cut short, too late, twice
//! or what nobody asked for, tells the kernel nonsense, and pulls all the levers there are. What it does
//! is made up at random, and guided by the code of the module that it leads to (KCOV). A kernel that
//! complains is a find, and so is what hangs.
//!
//! It needs root, a debug kernel, and a machine that is nobody else's: run it in a guest, by
//! `qemu-scripts/fuzz`.

mod calls;
mod corpus;
mod daemon;
mod helper;
mod honest;
mod input;
mod kmsg;
mod message;
mod mutate;
mod names;
mod pieces;
mod play;
mod pool;
mod seeds;
mod server;
mod share;
mod sys;
mod watch;

#[cfg(test)]
mod tests;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Does to a FUSE kernel module what it should not
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    who: Who,
}

#[derive(Subcommand)]
enum Who {
    /// A daemon with bad manners
    Daemon(daemon::Options),
}

fn main() -> Result<()> {
    let Who::Daemon(options) = Cli::parse().who;
    daemon::run(&options)
}
