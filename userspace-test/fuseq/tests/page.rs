// SPDX-License-Identifier: GPL-2.0

//! The page that `fuseq report` writes, opened in headless Chromium, which a person would do with
//! theirs: by the file, without a network. And the trace for Perfetto.

use fuseq::{life::Story, report};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Debian's package chromium has it.
const BROWSER: &str = "chromium";

/// What is shown of a page: lanes, strips, and what a person sees beside.
struct Shown {
    /// The document when all was drawn and the script that was added is through.
    document: String,
    /// What the page wrote to the console.
    console: String,
}

/// The recording of so many requests by a few callers, with bursts of readahead; some do not end.
fn recording(count: u64) -> String {
    let mut lines = vec![
        String::from("# fuseq: start=100.000000"),
        String::from("# fuseq: connection=43 mount=/mnt/demo daemon=stackfs[80]"),
        String::from("# fuseq: path=/mnt/demo/linux.tar of=43 nodeid=7"),
    ];
    let mut trace = Vec::new();
    // Any sequence will do that looks like none.
    let mut seed = 12345_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for number in 1..=count {
        let background = number % 5 == 0;
        let (opcode, comm, pid) = match number % 5 {
            0 => (15, "tar", 91),
            1 | 2 => (3, "ls", 92 + random(3)),
            3 => (1, "find </script><b>", 99),
            _ => (16, "dd", 98),
        };
        let mut at = number / 20 * 20_000 + random(9_000) + 1;
        let mut from = "none";
        let mut go = |to: &'static str, at: u64| {
            trace.push((
                at,
                format!(
                    " {comm}-{pid} [000] ...1. {}.{:06}: rust_fuse_request: connection=43 unique={} \
                     opcode={opcode} nodeid={} pid={pid} from={from} to={to} depth=1",
                    100 + at / 1_000_000,
                    at % 1_000_000,
                    number * 2,
                    1 + number % 8,
                ),
            ));
            from = to;
        };
        if background {
            go("background", at);
            at += 400 + random(9_000);
        }
        go("pending", at);
        at += 20 + random(900);
        go("reading", at);
        at += 3 + random(9);
        go("processing", at);
        if number % 211 == 0 {
            continue;
        }
        at += 90 + (1 << random(13));
        go("writing", at);
        go("ended", at + 4 + random(5));
        go("none", at + 20);
    }
    trace.sort();
    lines.extend(trace.into_iter().map(|(_, line)| line));
    lines.join("\n") + "\n"
}

fn page(story: &Story) -> String {
    let mut page = Vec::new();
    report::page(story, "FUSE requests: a <test>", &mut page).unwrap();
    String::from_utf8(page).unwrap()
}

/// Opens a page whose name is `name`, and then runs `script` in it, which may say something by
/// `document.body.dataset.said`. A picture of it is left in the directory of this test's files.
#[track_caller]
fn open(page: &str, name: &str, script: &str, dark: bool) -> Shown {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("page.html");
    let script = format!(
        "<script>addEventListener('load', () => setTimeout(() => {{ {script} }}, 300));</script>"
    );
    // Frames come by the browser's clock, which runs ahead of them here.
    let frames = "<script>window.requestAnimationFrame = (draw) => setTimeout(draw, 16);</script>";
    let page = page.replace("<head>", &format!("<head>{frames}"));
    fs::write(&path, page.replace("</body>", &format!("{script}</body>"))).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(BROWSER)
            .args([
                "--headless",
                // Tests may run as root.
                "--no-sandbox",
                "--disable-gpu",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--enable-logging=stderr",
                "--window-size=1500,1500",
                "--virtual-time-budget=5000",
            ])
            .args(dark.then_some("--blink-settings=preferredColorScheme=0"))
            .arg(format!("--user-data-dir={}", dir.join("profile").display()))
            .args(arguments)
            .arg(format!("file://{}", path.display()))
            .output()
            .unwrap_or_else(|error| {
                panic!("{BROWSER}: {error} (Debian's package chromium has it)")
            });
        assert!(output.status.success(), "{output:?}");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (document, console) = run(&["--dump-dom"]);
    let picture: PathBuf = dir.join("page.png");
    run(&[&format!("--screenshot={}", picture.display())]);
    assert!(
        fs::metadata(&picture).unwrap().len() > 20_000,
        "an empty picture"
    );
    let console = console
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    Shown { document, console }
}

impl Shown {
    /// A value that the page's script has left at its body.
    #[track_caller]
    fn value(&self, name: &str) -> &str {
        let (_, rest) = self
            .document
            .split_once(&format!("data-{name}=\""))
            .unwrap_or_else(|| panic!("{name} is not there"));
        rest.split('"').next().unwrap_or_default()
    }
}

#[test]
fn thousands_of_requests_are_drawn() {
    let story = Story::read(recording(5000).as_bytes()).unwrap();
    assert_eq!(story.lives.len(), 5000);
    let shown = open(&page(&story), "many", "", false);
    assert_eq!(shown.console, "", "errors on the console");
    assert_eq!(shown.value("lanes"), "5000");
    // background, pending, reading, processing, writing, ended.
    assert_eq!(shown.value("depths"), "6");
    for text in [
        "<title>FUSE requests: a &lt;test&gt;</title>",
        "5,000 requests, by 6 callers, in ",
        "of them not ended",
        "LOOKUP",
        "GETATTR",
        "READ",
        "WRITE",
        // Names are text, whatever they hold.
        "find &lt;/script&gt;&lt;b&gt;[99]",
    ] {
        assert!(shown.document.contains(text), "{text}");
    }
    assert_eq!(shown.document.matches("class=\"opcode\"").count(), 4);
    assert_eq!(shown.document.matches("<svg").count(), 4);
}

#[test]
fn zooming_moving_and_pointing_work() {
    let script = r#"
        const canvas = document.getElementById("lanes");
        const box = canvas.getBoundingClientRect();
        const at = (x, y) => ({ clientX: box.left + x, clientY: box.top + y, bubbles: true, cancelable: true });
        const body = document.body.dataset;
        const later = (next) => setTimeout(next, 120);
        const said = [];
        for (let turn = 0; turn < 40; turn++) {
          canvas.dispatchEvent(new WheelEvent("wheel", { ...at(600, 200), deltaY: -120 }));
        }
        later(() => {
          said.push(body.to - body.from);
          const from = body.from;
          canvas.dispatchEvent(new PointerEvent("pointermove", at(600, 30)));
          later(() => {
            said.push(document.getElementById("tip").hidden, document.getElementById("tip").textContent);
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
            later(() => {
              said.push(Number(body.from) > Number(from));
              document.getElementById("fit").click();
              document.querySelector(".scroll tbody tr:last-child").click();
              later(() => {
                said.push(Number(body.lanes));
                document.getElementById("search").value = "dd[98]";
                document.getElementById("search").dispatchEvent(new Event("input"));
                document.getElementById("fit").click();
                later(() => {
                  said.push(Number(body.lanes));
                  body.said = JSON.stringify(said);
                });
              });
            });
          });
        });
    "#;
    let story = Story::read(recording(1000).as_bytes()).unwrap();
    let shown = open(&page(&story), "zoom", script, true);
    assert_eq!(shown.console, "", "errors on the console");
    let said = shown
        .value("said")
        .replace("&quot;", "\"")
        .replace("&lt;", "<");
    let said: Value = serde_json::from_str(&said).unwrap();
    // From a second to milliseconds.
    let size = said[0].as_f64().unwrap();
    assert!((20.0..10_000.0).contains(&size), "{said}");
    assert_eq!(said[1], Value::Bool(false), "{said}");
    let tip = said[2].as_str().unwrap();
    for part in [
        "by ",
        "node",
        "connection43 /mnt/demo",
        "unique",
        "began at",
        "pending",
    ] {
        assert!(tip.contains(part), "{part}: {tip}");
    }
    assert_eq!(said[3], Value::Bool(true), "{said}");
    assert!((1..1000).contains(&said[4].as_u64().unwrap()), "{said}");
    assert_eq!(said[5], 200, "{said}");
}

#[test]
fn nothing_is_a_page_too() {
    let shown = open(&page(&Story::default()), "nothing", "", false);
    assert_eq!(shown.console, "", "errors on the console");
    assert_eq!((shown.value("lanes"), shown.value("depths")), ("0", "0"));
}

#[test]
fn queues_without_requests_have_strips() {
    let samples = "# fuseq: sampled=forgets of=43 at=100.01 now=300\n\
        # fuseq: sampled=forgets of=43 at=100.03 now=0\n";
    let story = Story::read((recording(20) + samples).as_bytes()).unwrap();
    assert_eq!(story.samples.len(), 2);
    let shown = open(&page(&story), "sampled", "", false);
    assert_eq!(shown.console, "", "errors on the console");
    let without = Story::read(recording(20).as_bytes()).unwrap();
    let places = open(&page(&without), "not-sampled", "", false);
    let depths = |shown: &Shown| shown.value("depths").parse::<u32>().unwrap();
    assert_eq!(depths(&shown), depths(&places) + 1);
}

/// A request that was interrupted and failed, and forgets.
const TOLD: &str = "\
    \x20ls-71 [000] ..... 1.000010: rust_fuse_request: connection=43 unique=4 opcode=3 nodeid=1 pid=71 \
    from=none to=pending depth=1 len=0 error=0\n\
    \x20d-80 [000] ..... 1.000030: rust_fuse_request: connection=43 unique=4 opcode=3 nodeid=1 pid=71 \
    from=reading to=processing depth=1 len=56 error=0\n\
    \x20ls-71 [000] ..... 1.000040: rust_fuse_interrupt: connection=43 unique=4 opcode=3 nodeid=1 pid=71 \
    step=queued depth=1\n\
    \x20d-80 [000] ..... 1.000050: rust_fuse_interrupt: connection=43 unique=4 opcode=3 nodeid=1 pid=71 \
    step=read depth=0\n\
    \x20d-80 [000] ..... 1.000060: rust_fuse_forgets: connection=43 unique=6 count=9 len=192\n\
    \x20d-80 [000] ..... 1.000090: rust_fuse_request: connection=43 unique=4 opcode=3 nodeid=1 pid=71 \
    from=writing to=ended depth=1 len=56 error=-4\n\
    \x20ls-71 [000] ..... 1.000100: rust_fuse_request: connection=43 unique=4 opcode=3 nodeid=1 pid=71 \
    from=ended to=none depth=0 len=0 error=0\n";

#[test]
fn lengths_errors_interrupts_and_forgets_are_told() {
    let story = Story::read(TOLD.as_bytes()).unwrap();
    let script = r#"
        const tip = document.getElementById("tip");
        const point = (name, x, y) => {
          const canvas = document.getElementById(name), box = canvas.getBoundingClientRect();
          const at = { clientX: box.left + x * box.width, clientY: box.top + y, bubbles: true };
          canvas.dispatchEvent(new PointerEvent("pointermove", at));
          return tip.hidden ? "" : tip.textContent;
        };
        const said = [point("lanes", 0.6, 30)];
        // Wherever in the picture they are.
        for (let x = 0.1; x < 1; x += 0.002) {
          const text = point("depths", x, 20);
          if (text !== "") { said.push(text); break; }
        }
        document.body.dataset.said = JSON.stringify(said);
    "#;
    let shown = open(&page(&story), "told", script, false);
    assert_eq!(shown.console, "", "errors on the console");
    let said = shown.value("said").replace("&quot;", "\"");
    let said: Value = serde_json::from_str(&said).unwrap();
    let tip = said[0].as_str().unwrap();
    for part in [
        "length56 bytes",
        "resultEINTR",
        "interruptqueued at 30 µs",
        "interruptread at 40 µs",
    ] {
        assert!(tip.contains(part), "{part}: {tip}");
    }
    let tip = said[1].as_str().unwrap();
    assert!(
        tip.contains("read in 1 message") && tip.contains("9 forgets192 bytes"),
        "{tip}"
    );
    assert!(shown.document.contains("and 9 forgets in 1 message"));

    let mut trace = Vec::new();
    report::chrome(&story, &mut trace).unwrap();
    let trace: Value = serde_json::from_slice(&trace).unwrap();
    let mut events = trace["traceEvents"].as_array().unwrap().iter();
    let request = events.find(|event| event["name"] == "GETATTR").unwrap();
    let args = &request["args"];
    assert_eq!((&args["len"], &args["error"]), (&56.into(), &(-4).into()));
    assert_eq!(args["interrupts"][1]["step"], "read");
    let forgets = events.find(|event| event["name"] == "forgets").unwrap();
    assert_eq!(
        (&forgets["ph"], &forgets["args"]["count"]),
        (&"i".into(), &9.into())
    );
}

#[test]
fn c_fuse_says_what_is_missing() {
    let trace = " cat-71 [000] ..... 1.000010: fuse_request_send: connection 5 req 4 opcode 3 (FUSE_GETATTR) len 56\n\
        \x20d-80 [000] ..... 1.000020: fuse_request_sent: connection 5 req 4 opcode 3 (FUSE_GETATTR)\n\
        \x20d-80 [000] ..... 1.000050: fuse_request_end: connection 5 req 4 len 16 error -2\n\
        CPU:1 [LOST 7 EVENTS]\n";
    let story = Story::read(trace.as_bytes()).unwrap();
    let shown = open(&page(&story), "c-fuse", "", false);
    assert_eq!(shown.console, "", "errors on the console");
    assert_eq!((shown.value("lanes"), shown.value("depths")), ("1", "2"));
    assert!(shown.document.contains("Recorded on C fuse"));
    assert!(shown.document.contains("7 events or more are missing"));
}

#[test]
fn perfetto_is_served() {
    let story = Story::read(recording(100).as_bytes()).unwrap();
    let mut trace = Vec::new();
    report::chrome(&story, &mut trace).unwrap();
    let trace: Value = serde_json::from_slice(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let count = |kind: &str| events.iter().filter(|event| event["ph"] == kind).count();
    let stays: usize = story.lives.iter().map(|life| life.stays.len()).sum();
    assert_eq!((count("b"), count("e")), (100 + stays, 100 + stays));
    assert_eq!(count("C"), 2 * stays);
    // A name for the connection, and one for the caller, of each.
    assert_eq!(count("M"), 2 * 6);
    // All are gone in the end.
    let last = |place: &str| {
        let mut counters = events
            .iter()
            .filter(|event| event["ph"] == "C" && event["name"] == place);
        counters.next_back().unwrap()["args"]["requests"].clone()
    };
    assert_eq!(last("pending"), 0);
    let first = events
        .iter()
        .find(|event| event["name"] == "LOOKUP")
        .unwrap();
    assert_eq!(first["args"]["caller"], "find </script><b>[99]");
}
