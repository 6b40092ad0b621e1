// SPDX-License-Identifier: GPL-2.0

//! Compares the wire format with Linux's own header, in the kernel's source tree that `LINUX_SOURCE`
//! names (`make test` does; `qemu-scripts/source` prints it). Without it there is nothing to compare
//! with, and the tests say so.
//!
//! The Rust sources are read for what there is: structures with their fields, constants, the
//! numbers of enumerations. All of that is written down as assertions in C, which the C compiler
//! then checks against the header. What the header has and Rust lacks is looked for the other way
//! round.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    process::Command,
};
use syn::{BinOp, Expr, Fields, Item, Lit, Type};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rust/abi");

/// What the names of a module's constants start with in C.
const PREFIXES: &[(&str, &str)] = &[
    ("", "FUSE_"),
    ("attr_flags", "FUSE_ATTR_"),
    ("cuse_init_flags", "CUSE_"),
    ("ext_type", "FUSE_"),
    ("fattr", "FATTR_"),
    ("fsync_flags", "FUSE_FSYNC_"),
    ("getattr_flags", "FUSE_GETATTR_"),
    ("init_flags", "FUSE_"),
    ("ioctl_flags", "FUSE_IOCTL_"),
    ("lk_flags", "FUSE_LK_"),
    ("notify_inval_entry_flags", "FUSE_"),
    ("open_flags", "FOPEN_"),
    ("open_in_flags", "FUSE_OPEN_"),
    ("poll_flags", "FUSE_POLL_"),
    ("read_flags", "FUSE_READ_"),
    ("release_flags", "FUSE_RELEASE_"),
    ("setupmapping_flags", "FUSE_SETUPMAPPING_FLAG_"),
    ("setxattr_flags", "FUSE_SETXATTR_"),
    ("uring_cmd", "FUSE_IO_URING_CMD_"),
    ("uring_ent_flags", "FUSE_URING_ENT_"),
    ("uring_queue_flags", "FUSE_URING_"),
    ("write_flags", "FUSE_WRITE_"),
];

/// Constants whose values only the compiler works out, by their names in C.
const COMPUTED: &[(&str, u64)] = &[
    (
        "FUSE_COMPAT_ATTR_OUT_SIZE",
        fuse_abi::AttrOut::COMPAT_SIZE as u64,
    ),
    (
        "FUSE_COMPAT_ENTRY_OUT_SIZE",
        fuse_abi::EntryOut::COMPAT_SIZE as u64,
    ),
    (
        "FUSE_COMPAT_INIT_OUT_SIZE",
        fuse_abi::InitOut::COMPAT_SIZE as u64,
    ),
    (
        "FUSE_COMPAT_22_INIT_OUT_SIZE",
        fuse_abi::InitOut::COMPAT_22_SIZE as u64,
    ),
    (
        "FUSE_COMPAT_MKNOD_IN_SIZE",
        fuse_abi::MknodIn::COMPAT_SIZE as u64,
    ),
    (
        "FUSE_COMPAT_SETXATTR_IN_SIZE",
        fuse_abi::SetxattrIn::COMPAT_SIZE as u64,
    ),
    (
        "FUSE_COMPAT_STATFS_SIZE",
        fuse_abi::StatfsOut::COMPAT_SIZE as u64,
    ),
    (
        "FUSE_COMPAT_WRITE_IN_SIZE",
        fuse_abi::WriteIn::COMPAT_SIZE as u64,
    ),
    (
        "FUSE_DEV_IOC_BACKING_CLOSE",
        fuse_abi::DEV_IOC_BACKING_CLOSE as u64,
    ),
    (
        "FUSE_DEV_IOC_BACKING_OPEN",
        fuse_abi::DEV_IOC_BACKING_OPEN as u64,
    ),
    ("FUSE_DEV_IOC_CLONE", fuse_abi::DEV_IOC_CLONE as u64),
    ("FUSE_DEV_IOC_SYNC_INIT", fuse_abi::DEV_IOC_SYNC_INIT as u64),
];

/// What the header has that is not for the wire: its guard, and sums that are functions in Rust.
const NOT_OURS: &[&str] = &[
    "_LINUX_FUSE_H",
    "FUSE_NAME_OFFSET",
    "FUSE_NAME_OFFSET_DIRENTPLUS",
];

/// Structures of Rust that have no name in C.
const NAMELESS: &[&str] = &["UringBufpool"];

#[derive(Default)]
struct Found {
    /// The name in C of each constant, and its value.
    constants: BTreeMap<String, u64>,
    /// The fields of each structure, in order.
    structures: BTreeMap<String, Vec<(String, Type)>>,
}

impl Found {
    fn read() -> Self {
        let mut found = Found::default();
        for (name, value) in COMPUTED {
            found.constants.insert((*name).into(), *value);
        }
        for entry in fs::read_dir(SOURCES).expect("the sources") {
            let source = fs::read_to_string(entry.unwrap().path()).unwrap();
            let file = syn::parse_file(&source).expect("Rust");
            found.items("", &file.items);
        }
        for opcode in fuse_abi::Opcode::ALL {
            let name = match opcode.name() {
                "CUSE_INIT" => "CUSE_INIT".into(),
                name => format!("FUSE_{name}"),
            };
            found.constants.insert(name, u32::from(*opcode).into());
        }
        for code in fuse_abi::NotifyCode::ALL {
            let name = format!("FUSE_NOTIFY_{}", code.name());
            found.constants.insert(name, u32::from(*code).into());
        }
        found
    }

    fn items(&mut self, module: &str, items: &[Item]) {
        for item in items {
            match item {
                Item::Struct(item) => {
                    let Fields::Named(fields) = &item.fields else {
                        panic!("fields without names");
                    };
                    let fields = fields.named.iter().map(|field| {
                        let name = field.ident.as_ref().unwrap().to_string();
                        (name.trim_start_matches("r#").into(), field.ty.clone())
                    });
                    self.structures
                        .insert(item.ident.to_string(), fields.collect());
                }
                Item::Mod(item) => {
                    if let Some((_, items)) = &item.content {
                        self.items(&item.ident.to_string(), items);
                    }
                }
                Item::Const(item) if matches!(item.vis, syn::Visibility::Public(_)) => {
                    let name = item.ident.to_string();
                    let value = self.value(module, &item.expr);
                    if let (Some(value), Some(name)) = (value, c_constant(module, &name)) {
                        self.constants.insert(name, value);
                    }
                }
                _ => {}
            }
        }
    }

    /// The value of a constant that is a number, a shifted one, or another one's name.
    fn value(&self, module: &str, expr: &Expr) -> Option<u64> {
        match expr {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Int(int) => int.base10_parse().ok(),
                _ => None,
            },
            Expr::Binary(binary) => match binary.op {
                BinOp::Shl(_) => {
                    Some(self.value(module, &binary.left)? << self.value(module, &binary.right)?)
                }
                _ => None,
            },
            Expr::Path(path) => match path.path.get_ident() {
                Some(name) => {
                    let name = c_constant(module, &name.to_string())?;
                    self.constants.get(&name).copied()
                }
                // The only one with a path is u32::MAX.
                None => Some(u32::MAX.into()),
            },
            _ => None,
        }
    }

    /// Size and alignment of a type, by the rules of `repr(C)`.
    fn layout(&self, ty: &Type) -> (u64, u64) {
        match ty {
            Type::Array(array) => {
                let (size, align) = self.layout(&array.elem);
                let len = self.value("", &array.len).expect("a length");
                (size * len, align)
            }
            Type::Path(path) => {
                let name = path.path.get_ident().expect("a plain name").to_string();
                match name.as_str() {
                    "u8" => (1, 1),
                    "u16" => (2, 2),
                    "u32" | "i32" => (4, 4),
                    "u64" | "i64" => (8, 8),
                    _ => {
                        let (offsets, end) = self.offsets(&self.structures[&name]);
                        let align = offsets.iter().map(|(_, _, align)| *align).max();
                        let align = align.unwrap_or(1);
                        (end.next_multiple_of(align), align)
                    }
                }
            }
            _ => panic!("a type that has no place here"),
        }
    }

    /// Offset, size and alignment of each field, and where the last one ends.
    fn offsets(&self, fields: &[(String, Type)]) -> (Vec<(u64, u64, u64)>, u64) {
        let mut end: u64 = 0;
        let mut offsets = Vec::new();
        for (_, ty) in fields {
            let (size, align) = self.layout(ty);
            let offset = end.next_multiple_of(align);
            assert_eq!(offset, end, "a hidden gap");
            offsets.push((offset, size, align));
            end = offset + size;
        }
        (offsets, end)
    }
}

/// The name that a constant has in C; none for those that C has no name for.
fn c_constant(module: &str, name: &str) -> Option<String> {
    let prefix = PREFIXES.iter().find(|(known, _)| *known == module);
    let (_, prefix) = prefix.unwrap_or_else(|| panic!("module {module} is new to this test"));
    match (module, name) {
        ("", "UNIQUE_INTERRUPT") | (_, "NAMES") => None,
        ("", name) if name.starts_with("CUSE_") => Some(name.into()),
        ("ioctl_flags", "IS_32BIT") => Some("FUSE_IOCTL_32BIT".into()),
        _ => Some(format!("{prefix}{name}")),
    }
}

/// `NotifyPollOut` as C has it: `fuse_notify_poll_out`.
fn c_structure(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    match snake.starts_with("cuse_") {
        true => snake,
        false => format!("fuse_{snake}"),
    }
}

/// Linux's header.
fn header() -> Option<String> {
    let source = std::env::var("LINUX_SOURCE").ok();
    if source.is_none() {
        eprintln!("LINUX_SOURCE is not set: not compared with Linux's header");
    }
    source.map(|source| format!("{source}/include/uapi/linux/fuse.h"))
}

#[test]
fn all_of_it_is_in_the_header() {
    let Some(header) = header() else { return };
    let found = Found::read();
    let mut c = format!("#include <stddef.h>\n#include <sys/ioctl.h>\n#include \"{header}\"\n");
    for (name, value) in &found.constants {
        // Flags in bit 31 are negative in C, and of 32 bits.
        let cast = if *value >> 32 == 0 {
            "(uint32_t)"
        } else {
            "(uint64_t)"
        };
        writeln!(
            c,
            "_Static_assert({cast}({name}) == {value}ULL, \"{name}\");"
        )
        .unwrap();
    }
    for (name, fields) in &found.structures {
        if NAMELESS.contains(&name.as_str()) {
            continue;
        }
        let structure = c_structure(name);
        let (offsets, end) = found.offsets(fields);
        writeln!(
            c,
            "_Static_assert(sizeof(struct {structure}) == {end}, \"{structure}\");"
        )
        .unwrap();
        for ((field, _), (offset, size, _)) in fields.iter().zip(offsets) {
            writeln!(
                c,
                "_Static_assert(offsetof(struct {structure}, {field}) == {offset} && \
                 sizeof(((struct {structure} *)0)->{field}) == {size}, \"{structure}.{field}\");"
            )
            .unwrap();
        }
    }
    assert!(found.constants.len() > 150, "{}", found.constants.len());
    assert!(found.structures.len() > 70, "{}", found.structures.len());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_header.c");
    fs::write(&file, c).unwrap();
    let output = Command::new("cc")
        .args(["-std=gnu11", "-fsyntax-only"])
        .arg(&file)
        .output()
        .expect("a C compiler");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn all_of_the_header_is_in_it() {
    let Some(header) = header() else { return };
    let found = Found::read();
    let header = fs::read_to_string(header).unwrap();
    let mut missing = BTreeSet::new();
    for line in header.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("#define"), Some(name), _)
                if !name.contains('(')
                    && !found.constants.contains_key(name)
                    && !NOT_OURS.contains(&name) =>
            {
                missing.insert(name.to_owned());
            }
            (Some(name), Some("="), _)
                if (name.starts_with("FUSE_") || name.starts_with("CUSE_"))
                    && !found.constants.contains_key(name) =>
            {
                missing.insert(name.to_owned());
            }
            (Some("struct"), Some(name), Some("{")) => {
                let known = found
                    .structures
                    .keys()
                    .any(|known| c_structure(known) == name);
                if !known {
                    missing.insert(format!("struct {name}"));
                }
            }
            _ => {}
        }
    }
    // A sum over a page, and nothing on the wire.
    missing.remove("FUSE_REMOVEMAPPING_MAX_ENTRY");
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn every_init_flag_has_its_name() {
    let found = Found::read();
    let named: BTreeMap<_, _> = fuse_abi::init_flags::NAMES
        .iter()
        .map(|&(name, bit)| (format!("FUSE_{name}"), bit))
        .collect();
    assert_eq!(named.len(), 44);
    for (bit, (name, value)) in fuse_abi::init_flags::NAMES.iter().enumerate() {
        assert_eq!(*value, 1 << bit, "{name}");
        assert_eq!(found.constants[&format!("FUSE_{name}")], *value, "{name}");
    }
}
