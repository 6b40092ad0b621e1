// SPDX-License-Identifier: GPL-2.0

//! Plays inputs for as long as it is told to, and keeps those that come to new code.

use crate::{
    corpus::{Corpus, Entry},
    input::Input,
    kmsg::Log,
    mutate::Mutator,
    play::{Played, Stage},
    seeds,
    share::Share,
    watch::Watch,
};
use anyhow::{bail, Context, Result};
use clap::Args;
use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often progress is told.
const EVERY: Duration = Duration::from_secs(10);
/// The longest honest answer that is used elsewhere.
const SHORT: usize = 512;

/// What to play.
#[derive(Args)]
pub struct Options {
    /// For how long
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,

    /// How many inputs at most
    #[arg(long, value_name = "N")]
    inputs: Option<usize>,

    /// Where chance begins
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// The folder for finds, and what else is to outlive the guest
    #[arg(long, value_name = "DIR", default_value = "/run/guest/share")]
    share: PathBuf,

    /// Play these inputs only, one after the other
    #[arg(long, value_name = "FILE", num_args = 1..)]
    replay: Vec<PathBuf>,

    /// How often each of these is played
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: usize,

    /// Do not look at what code is come to: for kernels that cannot tell
    #[arg(long)]
    blind: bool,

    /// The module
    #[arg(long, value_name = "NAME", default_value = "rust_fuse")]
    module: String,
}

/// The one who plays.
struct Fuzzer {
    stage: Stage,
    share: Arc<Share>,
    log: Log,
    corpus: Corpus,
    started: Instant,
    told: Instant,
    inputs: usize,
    /// How many could be mounted, and in how many a killed caller waited for an abort.
    mounted: usize,
    held: usize,
}

impl Fuzzer {
    fn new(options: &Options) -> Result<Self> {
        let share = Arc::new(Share::new(&options.share).context("the folder for finds")?);
        let sections = kcov::sections(&options.module).context("the module's sections")?;
        let text = sections.iter().find(|section| section.name == ".text");
        let text = text.context("the module has no code")?;
        let stage = Stage::new(Watch::start(&share), options.blind);
        Ok(Self {
            stage: stage.context("KCOV, which the debug kernel has")?,
            share,
            log: Log::open().context("the kernel's log")?,
            corpus: Corpus::new(text.start),
            started: Instant::now(),
            told: Instant::now(),
            inputs: 0,
            mounted: 0,
            held: 0,
        })
    }

    /// Plays one. How many new points of the code it came to.
    fn play(&mut self, input: &Input, record: bool) -> Result<(Played, usize)> {
        self.share.playing(input.text())?;
        let played = self.stage.play(input, record)?;
        self.inputs += 1;
        self.mounted += usize::from(played.mounted);
        self.held += usize::from(played.held);
        let new = self.corpus.note(self.stage.addresses());
        if let Some(about) = &played.wrong {
            self.find("stuck", about)?;
        }
        if let Some(line) = self.log.complaint() {
            self.find("splat", &line)?;
        }
        if self.told.elapsed() >= EVERY {
            self.tell()?;
        }
        Ok((played, new))
    }

    /// After a find, nothing that follows would count.
    fn find(&mut self, what: &str, about: &str) -> Result<()> {
        let name = self.share.find(what, about);
        self.tell()?;
        let first = about.lines().next().unwrap_or_default();
        bail!("find: {name} after {:.1?}: {first}", self.started.elapsed());
    }

    fn tell(&mut self) -> Result<()> {
        self.told = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        println!(
            "{seconds:.0} s: inputs={} per_second={:.1} mounted={} held={} corpus={} points={} finds={}",
            self.inputs,
            self.inputs as f64 / seconds,
            self.mounted,
            self.held,
            self.corpus.len(),
            self.corpus.points(),
            self.share.finds(),
        );
        Ok(self.share.keep("reached", &self.corpus.reached())?)
    }

    fn keep(&mut self, input: Input, played: Played) -> Result<()> {
        let name = format!("corpus/{:05}.jsonl", self.corpus.len());
        self.share.keep(&name, &input.text())?;
        self.corpus.add(Entry {
            input,
            opcodes: played.opcodes,
        });
        Ok(())
    }
}

/// Plays.
///
/// # Errors
///
/// A find, and what keeps it from playing.
pub fn run(options: &Options) -> Result<()> {
    let mut fuzzer = Fuzzer::new(options)?;
    if !options.replay.is_empty() {
        for path in &options.replay {
            let name = path.display();
            let text = fs::read_to_string(path).with_context(|| name.to_string())?;
            let input = Input::parse(&text).with_context(|| name.to_string())?;
            for _ in 0..options.times {
                let start = Instant::now();
                let (played, new) = fuzzer.play(&input, false)?;
                let (count, took) = (played.opcodes.len(), start.elapsed().as_millis());
                println!("{name}: {count} requests, {new} new points, {took} ms");
            }
        }
        return fuzzer.tell();
    }
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut mutator = Mutator {
        rng: fastrand::Rng::with_seed(seed),
        answers: Vec::new(),
    };
    let end = fuzzer.started + Duration::from_secs(options.seconds);
    let enough = options.inputs.unwrap_or(usize::MAX);
    for input in seeds::all() {
        let (mut played, _) = fuzzer.play(&input, true)?;
        for answer in played.answers.drain(..) {
            if answer.1.len() <= SHORT && !mutator.answers.contains(&answer) {
                mutator.answers.push(answer);
            }
        }
        fuzzer.keep(input, played)?;
    }
    println!("{} seeds", fuzzer.corpus.len());
    fuzzer.tell()?;
    while Instant::now() < end && fuzzer.inputs < enough {
        let parent = fuzzer.corpus.choose(&mut mutator.rng);
        let other = fuzzer.corpus.choose(&mut mutator.rng);
        let input = mutator.mutate(&parent.input, &parent.opcodes, &other.input);
        let (played, new) = fuzzer.play(&input, false)?;
        // Who does not see what is new has to take what comes.
        let keep = new > 0 || options.blind && fuzzer.corpus.len() < 500;
        if keep {
            fuzzer.keep(input, played)?;
        }
    }
    fuzzer.tell()?;
    println!("nothing was found");
    Ok(())
}
