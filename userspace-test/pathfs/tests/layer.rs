// SPDX-License-Identifier: GPL-2.0

//! The layer above a file system in memory: what moves, what is removed while it is open, what has
//! two names, and who waits for whom.

use memfs::MemFs;
use pathfs::{
    fuser::{Errno, RenameFlags},
    Caller, Changes, Config, Layer, NodeId, ROOT,
};
use std::{
    ffi::{OsStr, OsString},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 1,
};
const REPLACE: RenameFlags = RenameFlags::empty();

fn layer() -> Layer<MemFs> {
    Layer::new(MemFs::new(CALLER, 1 << 24), Config::default())
}

fn name(name: &str) -> &OsStr {
    OsStr::new(name)
}

fn mkdir(layer: &Layer<MemFs>, parent: NodeId, dir: &str) -> NodeId {
    let made = layer.mkdir(CALLER, (parent, name(dir)), 0o755);
    made.expect("mkdir").0
}

/// Makes a file with something in it; gives its node and the number that it is open by.
fn create(layer: &Layer<MemFs>, parent: NodeId, file: &str, data: &str) -> (NodeId, u64) {
    let place = (parent, name(file));
    let created = layer.create(CALLER, place, 0o644, libc::O_RDWR);
    let ((id, _), opened) = created.expect("create");
    let written = layer.write(id, opened.fh, 0, data.as_bytes());
    assert_eq!(written, Ok(data.len() as u32));
    (id, opened.fh)
}

fn read(layer: &Layer<MemFs>, (id, fh): (NodeId, u64)) -> String {
    let bytes = layer.read(id, fh, 0, 4096, |bytes| bytes.map(<[u8]>::to_vec));
    String::from_utf8(bytes.expect("read")).unwrap()
}

fn names(layer: &Layer<MemFs>, id: NodeId) -> Vec<String> {
    let dh = layer.opendir(CALLER, id).expect("opendir");
    let names = names_from(layer, id, dh, 0);
    layer.releasedir(id, dh).expect("releasedir");
    names
}

fn names_from(layer: &Layer<MemFs>, id: NodeId, dh: u64, offset: u64) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |_, _, entry: &pathfs::DirEntry| {
        names.push(entry.name.to_str().unwrap().to_string());
        false
    };
    layer.readdir(id, dh, offset, &mut add).expect("readdir");
    names
}

fn path(layer: &Layer<MemFs>, id: NodeId) -> String {
    let path = layer.with_table(|table| table.path(id)).expect("a path");
    path.to_str().unwrap().to_string()
}

#[test]
fn what_is_open_moves_with_its_directory() {
    let layer = layer();
    let dir = mkdir(&layer, ROOT, "dir");
    let inner = mkdir(&layer, dir, "inner");
    let file = create(&layer, inner, "file", "data");
    create(&layer, inner, "other", "");
    let dh = layer.opendir(CALLER, inner).unwrap();
    assert_eq!(
        names_from(&layer, inner, dh, 0),
        [".", "..", "file", "other"]
    );
    layer
        .rename((ROOT, name("dir")), (ROOT, name("moved")), REPLACE)
        .unwrap();
    assert_eq!(path(&layer, file.0), "/moved/inner/file");
    assert_eq!(read(&layer, file), "data");
    assert_eq!(layer.getattr(file.0, None).unwrap().size, 4);
    // Reading goes on where it was, and begins anew with what is there now.
    assert_eq!(names_from(&layer, inner, dh, 3), ["other"]);
    create(&layer, inner, "more", "");
    assert_eq!(names_from(&layer, inner, dh, 3), ["other"]);
    assert_eq!(
        names_from(&layer, inner, dh, 0)[2..],
        ["file", "more", "other"]
    );
    layer.releasedir(inner, dh).unwrap();
    assert_eq!(layer.releasedir(inner, dh), Err(Errno::EBADF));
}

#[test]
fn a_directory_does_not_move_into_itself() {
    let layer = layer();
    let dir = mkdir(&layer, ROOT, "dir");
    let inner = mkdir(&layer, dir, "inner");
    let from = (ROOT, name("dir"));
    let moved = layer.rename(from, (inner, name("x")), REPLACE);
    assert_eq!(moved, Err(Errno::EINVAL));
    let exchanged = layer.rename(from, (dir, name("inner")), RenameFlags::RENAME_EXCHANGE);
    assert_eq!(exchanged, Err(Errno::EINVAL));
    assert_eq!(path(&layer, inner), "/dir/inner");
}

#[test]
fn two_names_change_places() {
    let layer = layer();
    let dir = mkdir(&layer, ROOT, "dir");
    let (inner, _) = create(&layer, dir, "inner", "");
    let (file, _) = create(&layer, ROOT, "file", "");
    layer
        .rename(
            (ROOT, name("dir")),
            (ROOT, name("file")),
            RenameFlags::RENAME_EXCHANGE,
        )
        .unwrap();
    assert_eq!(path(&layer, inner), "/file/inner");
    assert_eq!(path(&layer, file), "/dir");
    assert!(layer.getattr(inner, None).is_ok());
}

#[test]
fn an_open_file_outlives_its_name() {
    let layer = layer();
    let dir = mkdir(&layer, ROOT, "dir");
    let file = create(&layer, dir, "file", "data");
    layer.unlink((dir, name("file"))).unwrap();
    let all = names(&layer, dir);
    assert!(all[2].starts_with(".fuse_hidden"), "{all:?}");
    assert_eq!(read(&layer, file), "data");
    // By its node alone, too, and where its directory goes.
    layer
        .rename((ROOT, name("dir")), (ROOT, name("moved")), REPLACE)
        .unwrap();
    assert_eq!(layer.getattr(file.0, None).unwrap().size, 4);
    let size = Changes {
        size: Some(2),
        ..Changes::default()
    };
    assert_eq!(layer.setattr(file.0, None, size).unwrap().size, 2);
    assert_eq!(read(&layer, file), "da");
    // The name is free, and another file's.
    let new = create(&layer, dir, "file", "new");
    assert_ne!(new.0, file.0);
    assert_eq!(read(&layer, file), "da");
    layer.release(file.0, file.1, 0).unwrap();
    assert_eq!(names(&layer, dir), [".", "..", "file"]);
    layer.forget(file.0, 1);
    assert_eq!(layer.getattr(file.0, None), Err(Errno::ESTALE));
}

#[test]
fn an_open_file_that_is_forgotten_first_is_removed_as_well() {
    let layer = layer();
    let file = create(&layer, ROOT, "file", "data");
    layer.unlink((ROOT, name("file"))).unwrap();
    layer.forget(file.0, 1);
    assert_eq!(read(&layer, file), "data");
    layer.release(file.0, file.1, 0).unwrap();
    assert_eq!(names(&layer, ROOT), [".", ".."]);
    assert_eq!(layer.with_table(|table| table.nodes()), 1);
}

/// RELEASE may come after FORGET, of the file and of the directory that it is hidden in.
#[test]
fn an_open_file_whose_directory_is_forgotten_first_is_removed_as_well() {
    let layer = layer();
    let dir = mkdir(&layer, ROOT, "dir");
    let file = create(&layer, dir, "file", "data");
    layer.unlink((dir, name("file"))).unwrap();
    layer.forget(file.0, 1);
    layer.forget(dir, 1);
    layer.release(file.0, file.1, 0).unwrap();
    assert_eq!(layer.with_table(|table| table.nodes()), 1);
    let (dir, _) = layer.lookup((ROOT, name("dir"))).unwrap();
    assert_eq!(names(&layer, dir), [".", ".."]);
}

#[test]
fn hard_remove_removes_at_once() {
    let config = Config {
        hard_remove: true,
        ..Config::default()
    };
    let layer = Layer::new(MemFs::new(CALLER, 1 << 24), config);
    let file = create(&layer, ROOT, "file", "data");
    layer.unlink((ROOT, name("file"))).unwrap();
    assert_eq!(names(&layer, ROOT), [".", ".."]);
    assert_eq!(read(&layer, file), "data");
    assert_eq!(layer.getattr(file.0, Some(file.1)).unwrap().nlink, 0);
    assert_eq!(layer.getattr(file.0, None), Err(Errno::ENOENT));
    layer.release(file.0, file.1, 0).unwrap();
}

#[test]
fn an_open_file_outlives_what_replaces_it() {
    let layer = layer();
    let old = create(&layer, ROOT, "old", "old");
    let new = create(&layer, ROOT, "new", "new");
    layer
        .rename((ROOT, name("new")), (ROOT, name("old")), REPLACE)
        .unwrap();
    assert_eq!(path(&layer, new.0), "/old");
    assert_eq!(
        (read(&layer, old), read(&layer, new)),
        ("old".into(), "new".into())
    );
    layer.release(old.0, old.1, 0).unwrap();
    assert_eq!(names(&layer, ROOT), [".", "..", "old"]);
}

#[test]
fn an_open_file_that_was_not_replaced_after_all_is_back() {
    let layer = layer();
    let file = create(&layer, ROOT, "file", "data");
    let done = layer.rename((ROOT, name("none")), (ROOT, name("file")), REPLACE);
    assert_eq!(done, Err(Errno::ENOENT));
    assert_eq!(path(&layer, file.0), "/file");
    layer.release(file.0, file.1, 0).unwrap();
    assert_eq!(names(&layer, ROOT), [".", "..", "file"]);
}

/// What the kernel never asks, and a file system has to be ready for.
#[test]
fn nothing_moves_into_a_file() {
    let layer = layer();
    let (id, _) = create(&layer, ROOT, "file", "data");
    let other = create(&layer, ROOT, "other", "other");
    let moved = layer.rename((ROOT, name("other")), (id, name("x")), REPLACE);
    assert_eq!(moved, Err(Errno::ENOTDIR));
    assert_eq!(names(&layer, ROOT), [".", "..", "file", "other"]);
    assert_eq!(read(&layer, other), "other");
}

#[test]
fn a_hidden_file_that_was_not_replaced_after_all_is_removed_as_well() {
    let layer = layer();
    let file = create(&layer, ROOT, "file", "data");
    layer.unlink((ROOT, name("file"))).unwrap();
    let hidden = names(&layer, ROOT).pop().unwrap();
    let done = layer.rename((ROOT, name("none")), (ROOT, name(&hidden)), REPLACE);
    assert_eq!(done, Err(Errno::ENOENT));
    assert_eq!(names(&layer, ROOT), [".", "..", &hidden]);
    layer.release(file.0, file.1, 0).unwrap();
    assert_eq!(names(&layer, ROOT), [".", ".."]);
}

#[test]
fn two_names_are_one_node() {
    let layer = layer();
    let dir = mkdir(&layer, ROOT, "dir");
    let file = create(&layer, ROOT, "file", "data");
    let (id, attr) = layer.link(file.0, (dir, name("link"))).unwrap();
    assert_eq!((id, attr.nlink), (file.0, 2));
    assert_eq!(layer.lookup((dir, name("link"))).unwrap().0, file.0);
    // It needs not be hidden while it has a name.
    layer.unlink((ROOT, name("file"))).unwrap();
    assert_eq!(names(&layer, ROOT), [".", "..", "dir"]);
    assert_eq!(path(&layer, file.0), "/dir/link");
    layer.unlink((dir, name("link"))).unwrap();
    assert!(names(&layer, dir)[2].starts_with(".fuse_hidden"));
    assert_eq!(read(&layer, file), "data");
    layer.release(file.0, file.1, 0).unwrap();
    assert_eq!(names(&layer, dir), [".", ".."]);
    layer.forget(file.0, 2);
    assert_eq!(layer.getattr(file.0, None), Err(Errno::ENOENT));
    layer.forget(file.0, 1);
    assert_eq!(layer.getattr(file.0, None), Err(Errno::ESTALE));
}

#[test]
fn entries_that_were_not_read_are_not_looked_up() {
    let layer = layer();
    for number in 0..10 {
        let (id, fh) = create(&layer, ROOT, &format!("file-{number}"), "");
        layer.release(id, fh, 0).unwrap();
        layer.forget(id, 1);
    }
    let dh = layer.opendir(CALLER, ROOT).unwrap();
    let mut seen = Vec::new();
    let mut add = |id, attr: Option<_>, _, entry: &pathfs::DirEntry| {
        if seen.len() == 5 {
            return true;
        }
        assert_eq!(
            attr.is_some(),
            !entry.name.to_str().unwrap().starts_with('.')
        );
        seen.push(id);
        false
    };
    layer.readdirplus(ROOT, dh, 0, &mut add).unwrap();
    assert_eq!(seen[..2], [ROOT, ROOT]);
    assert_eq!(layer.with_table(|table| table.nodes()), 1 + 3);
    for &id in &seen[2..] {
        layer.forget(id, 1);
    }
    assert_eq!(layer.with_table(|table| table.nodes()), 1);
}

/// A path must not change between being built and being used.
#[test]
fn paths_hold_while_directories_move() {
    const TIMES: usize = 3000;
    let layer = layer();
    let dir = mkdir(&layer, ROOT, "a");
    let inner = mkdir(&layer, dir, "inner");
    let (file, fh) = create(&layer, inner, "file", "data");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for _ in 0..TIMES {
                for (from, to) in [("a", "b"), ("b", "a")] {
                    let moved = layer.rename((ROOT, name(from)), (ROOT, name(to)), REPLACE);
                    assert_eq!(moved, Ok(()));
                }
            }
            done.store(true, Relaxed);
        });
        for thread in 0..3 {
            let (layer, done) = (&layer, &done);
            scope.spawn(move || {
                let mine = OsString::from(format!("mine-{thread}"));
                let other = OsString::from(format!("other-{thread}"));
                while !done.load(Relaxed) {
                    assert!(layer.getattr(file, None).is_ok());
                    let made = layer.create(CALLER, (inner, &mine), 0o644, libc::O_RDWR);
                    let ((id, _), opened) = made.expect("create");
                    let renamed = layer.rename((inner, &mine), (inner, &other), REPLACE);
                    assert_eq!(renamed, Ok(()));
                    assert_eq!(layer.unlink((inner, &other)), Ok(()));
                    assert_eq!(layer.write(id, opened.fh, 0, b"data"), Ok(4));
                    assert_eq!(layer.release(id, opened.fh, 0), Ok(()));
                    layer.forget(id, 1);
                }
            });
        }
        mover.join().expect("the mover");
    });
    assert_eq!(names(&layer, inner), [".", "..", "file"]);
    layer.release(file, fh, 0).unwrap();
    assert_eq!(layer.with_table(|table| table.nodes()), 4);
}
