// SPDX-License-Identifier: GPL-2.0

//! Shows a directory, and lets what is in it become no larger than a quota.
//!
//! Two files more are at the top: `total_size`, the quota, and `used_size`, the sum of the sizes of
//! all files; nobody can change them. What would go beyond the quota fails with EDQUOT, and what was
//! there stays as it was. What changes in the directory by any other way is not noticed.
//!
//! Extended attributes are not shown.

mod fs;
mod usage;

use anyhow::{bail, Context, Result};
use clap::Parser;
use fs::QuotaFs;
use pathfs::{serve, Config, Mounting};
use std::path::{Path, PathBuf};

const OPTIONS: &str = "
quota_size is in bytes, or has K, M or G (1024 times that) behind it.

OPTIONS:
    -o OPTION,...    mount options; with allow_other, permissions are checked by the kernel
    -f               stay in the foreground
    --threads N      how many threads serve (4)
    -h, --help       the usage; usage and options
";

/// Mounts a directory with a quota
#[derive(Parser)]
#[command(
    override_usage = "quotafs --src source_directory --size quota_size mount_point [OPTIONS]",
    help_template = "{usage-heading} {usage}{after-help}",
    after_long_help = OPTIONS,
)]
struct Cli {
    #[arg(long)]
    src: PathBuf,

    #[arg(long, value_parser = bytes)]
    size: u64,

    mount_point: PathBuf,

    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,

    #[arg(short)]
    foreground: bool,

    #[arg(long, default_value_t = 4)]
    threads: usize,
}

fn bytes(size: &str) -> Result<u64, String> {
    let digits = size.trim_end_matches(['K', 'M', 'G']);
    let shift = match &size[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err("one of K, M and G at most".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes")?;
    let bytes = number.checked_mul(1 << shift);
    bytes.ok_or_else(|| "too large".into())
}

/// That the file system is not to be mounted on something that it shows: it would wait for itself.
fn check_apart(source: &Path, target: &Path) -> Result<()> {
    let canonical = |path: &Path| {
        path.canonicalize()
            .with_context(|| path.display().to_string())
    };
    if canonical(target)?.starts_with(canonical(source)?) {
        bail!("{} is in {}", target.display(), source.display());
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut cli = Cli::parse();
    check_apart(&cli.src, &cli.mount_point)?;
    let fs = QuotaFs::new(&cli.src, cli.size).with_context(|| cli.src.display().to_string())?;
    let mut all = cli.options.iter().flat_map(|list| list.split(','));
    if all.any(|option| option == "allow_other") {
        cli.options.push("default_permissions".into());
    }
    let mounting = Mounting {
        name: "quotafs".into(),
        mountpoint: cli.mount_point,
        options: cli.options,
        foreground: cli.foreground,
        threads: cli.threads,
    };
    serve(fs, Config::default(), &mounting)
}
