# SPDX-License-Identifier: GPL-2.0
"""The labs of docs/labs: runs them in a guest, and opens their pages in a browser."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP, BUILD = Path(os.environ["TOP"]), Path(os.environ["BUILD"])
PAGES = BUILD / "labs"
DOCS = TOP / "docs/labs"
PROGRAM = BUILD / "userspace/bin/labs"

# As tall as a page is.
WINDOW = 1400, 1250
# An empty page's picture is smaller.
EMPTY = 20_000
BROWSER = [
    "chromium",
    "--headless",
    # Tests may run as root.
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    f"--window-size={WINDOW[0]},{WINDOW[1]}",
    "--virtual-time-budget=5000",
]


def names():
    """The labs there are, as their files are called, by number."""
    listed = subprocess.run([PROGRAM, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    return {int(line.split()[0]): "-".join(line.split()) for line in listed.stdout.splitlines()}


def command(*arguments):
    """What runs labs in a guest."""
    PAGES.mkdir(parents=True, exist_ok=True)
    # A million inodes take memory, and time.
    options = "--mem", "3072", "--timeout", "900", "--share", PAGES
    return [TOP / "qemu-scripts/guest", *options, "--", "labs", "--output", "/run/guest/share", *arguments]


def browse(page, picture):
    """Opens a page as a person would, and takes a picture of it; gives what is wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        profile = f"--user-data-dir={folder}"

        def run(*options):
            return subprocess.run(
                [*BROWSER, profile, *options, page.as_uri()], capture_output=True, text=True, errors="replace"
            )

        shown, taken = run("--dump-dom"), run(f"--screenshot={picture}")
    if shown.returncode or taken.returncode:
        return f"the browser failed: {shown.stderr}{taken.stderr}"
    if said := [line for line in shown.stderr.splitlines() if "CONSOLE" in line]:
        return "errors on the console:\n" + "\n".join(said)
    for name in "lanes", "depths":
        drawn = re.search(rf'data-{name}="(\d+)"', shown.stdout)
        if not drawn or int(drawn[1]) == 0:
            return f"no {name} were drawn"
    if not picture.exists() or picture.stat().st_size < EMPTY:
        return "its picture is empty"
    return None


def picture_top():
    """Makes the picture of `fuseq top`, by the test that drives it in a terminal."""
    page, picture = PAGES / "fuseq-top.html", DOCS.parent / "fuseq-top.png"
    page.unlink(missing_ok=True)
    PAGES.mkdir(parents=True, exist_ok=True)
    options = "--timeout", "600", "--share", PAGES, "--module", "rust_fuse"
    tests = "guest-tests", "--module", "rust_fuse", "fuseq::top_is_pictured"
    subprocess.run([TOP / "qemu-scripts/guest", *options, "--", *tests], stdin=subprocess.DEVNULL, check=True)
    with tempfile.TemporaryDirectory() as folder:
        browser = [*BROWSER, f"--user-data-dir={folder}", "--window-size=1110,710", f"--screenshot={picture}"]
        subprocess.run([*browser, page.as_uri()], capture_output=True, check=True)
    print(f"==> {picture}")


def page_mistakes(name):
    """What is wrong with the page that a lab has written."""
    page = PAGES / f"{name}.html"
    return browse(page, PAGES / f"{name}.png") if page.exists() else "there is no page"


def text_mistakes(name):
    """What is wrong with the text about a lab."""
    text = DOCS / f"{name}.md"
    if not text.exists():
        return f"there is no {text}"
    content = text.read_text()
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", content):
        if "://" not in link and not (DOCS / link).exists():
            return f"{text}: there is no {link}"
    number = name.split("-")[0]
    for wanted in f"make lab-{number}\n", f"]({name}.png)", "rust/queue/":
        if wanted not in content:
            return f"{text}: {wanted.strip()} is not in it"
    return None


def main():
    arguments = sys.argv[1:]
    pictures = "--pictures" in arguments
    numbers = [word for word in arguments if word != "--pictures"]
    if pictures and numbers == ["top"]:
        return picture_top()
    known = names()
    if wrong := [word for word in numbers if not word.isdigit() or int(word) not in known]:
        sys.exit(f"error: there is no lab {wrong[0]}; there are {' '.join(map(str, known))}")
    status = subprocess.run(command(*numbers), stdin=subprocess.DEVNULL).returncode
    if status:
        sys.exit(status)
    print()
    for name in (known[int(number)] for number in numbers or known):
        if pictures:
            if mistake := page_mistakes(name):
                sys.exit(f"error: {name}: {mistake}")
            DOCS.mkdir(parents=True, exist_ok=True)
            shutil.copy(PAGES / f"{name}.png", DOCS)
        print(f"==> {PAGES / name}.html: open it in a browser; docs/labs/{name}.md says what there is to see")


if __name__ == "__main__":
    main()
