//! `tar.corpus`: archives by the byte, what is read of them and what is refused; and the same archives read by the
//! `tar` crate and by GNU tar.

use super::*;
use proptest::prelude::*;
use std::{
    io::{Cursor, Read as _, Write as _},
    process::{Command, Stdio},
};

/// One header block of the ustar format.
#[derive(Clone)]
pub(crate) struct Raw(pub(crate) [u8; BLOCK]);

impl Raw {
    pub(crate) fn new(kind: u8, path: &str, size: u64) -> Self {
        let mut raw = Self([0; BLOCK]);
        raw.0[156] = kind;
        raw.set(257, b"ustar\x0000");
        raw.set(0, path.as_bytes());
        raw.set(100, b"0000644\0");
        raw.set(108, b"0000000\0");
        raw.set(116, b"0000000\0");
        raw.set(124, format!("{size:011o}\0").as_bytes());
        raw.set(136, b"00000000000\0");
        raw
    }

    pub(crate) fn set(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn link(mut self, target: &str) -> Self {
        self.set(157, target.as_bytes());
        self
    }

    /// Header and data, filled up.
    pub(crate) fn with(mut self, data: &[u8]) -> Vec<u8> {
        self.set(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.set(148, format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = self.0.to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

pub(crate) fn file(path: &str, data: &[u8]) -> Vec<u8> {
    Raw::new(b'0', path, data.len() as u64).with(data)
}

pub(crate) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    extended(b'x', &records.iter().flat_map(|(key, value)| pax_record(key, value)).collect::<Vec<_>>())
}

fn extended(kind: u8, data: &[u8]) -> Vec<u8> {
    Raw::new(kind, "ext", data.len() as u64).with(data)
}

pub(crate) fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(Cursor::new(archive));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let data = reader.read_data(1 << 20)?;
        entries.push((entry, data));
    }
    Ok(entries)
}

fn refused(archive: &[u8], text: &str) {
    let error = read(archive).expect_err(text).to_string();
    assert!(error.contains(text), "{error:?} does not say {text:?}");
}

#[test]
fn formats_are_read() {
    let long = "d/".repeat(60) + "name";
    let mut prefixed = Raw::new(b'0', "name", 0);
    prefixed.set(345, b"some/prefix");
    let mut gnu = Raw::new(b'0', "gnu", 0);
    gnu.set(257, b"ustar  \0").set(345, b"00000000001\0").set(108, &[0x80, 0, 0, 0, 0, 1, 0, 0]);
    let mut old = Raw::new(0, "old/", 0);
    old.set(257, &[0; 8]);
    let mut past = Raw::new(b'0', "past", 0);
    past.set(136, &[0xff; 12]);
    let archive = [
        file("./a//b/./c", b"data"),
        prefixed.with(b""),
        gnu.with(b""),
        old.with(b""),
        past.with(b""),
        extended(b'L', format!("{long}\0").as_bytes()),
        file("short", b""),
        pax(&[
            ("path", "p\u{e4}th".as_bytes()),
            ("mtime", b"-1.25"),
            ("uid", b"100000"),
            ("SCHILY.xattr.user.a", b"\0=\n"),
            ("comment", b"x"),
            ("LIBARCHIVE.creationtime", b"1"),
        ]),
        file("short", b"x"),
        extended(b'g', &pax_record("comment", b"of git")),
        Raw::new(b'2', "link", 0).link("../anywhere").with(b""),
        Raw::new(b'1', "hard", 0).link("./a/b/c").with(b""),
        end(),
    ]
    .concat();
    let entries = read(&archive).unwrap();
    let paths: Vec<_> = entries.iter().map(|(entry, _)| String::from_utf8_lossy(&entry.path).into_owned()).collect();
    assert_eq!(paths, ["a/b/c", "some/prefix/name", "gnu", "old", "past", &long, "p\u{e4}th", "link", "hard"]);
    let entry = |at: usize| &entries[at].0;
    assert_eq!(entries[0].1, b"data");
    assert_eq!(entry(2).uid, 65536);
    assert_eq!(entry(3).kind, EntryKind::Directory);
    assert_eq!(entry(4).modified, (-1, 0));
    assert_eq!((entry(6).modified, entry(6).uid), ((-2, 750_000_000), 100_000));
    assert_eq!(entry(6).xattrs, [("user.a".to_owned(), b"\0=\n".to_vec())]);
    assert_eq!(entry(7).link, b"../anywhere");
    assert_eq!((entry(8).kind, entry(8).link.as_slice()), (EntryKind::HardLink, b"a/b/c".as_slice()));
}

#[test]
fn ambiguous_and_malformed_archives_are_refused() {
    let with = |parts: &[Vec<u8>]| [parts.concat(), end()].concat();
    let sized = |kind: u8| Raw::new(kind, "x", 3).link("y").with(b"abc");
    // Two sizes: each reader would find other entries behind the data (V10).
    refused(&with(&[pax(&[("size", b"1024")]), file("x", b"")]), "two sizes");
    refused(&with(&[pax(&[("size", b"0")]), file("x", b"abc")]), "two sizes");
    for kind in *b"123456" {
        refused(&with(&[sized(kind)]), "has data but is no file");
    }
    refused(&with(&[pax(&[("path", b"a"), ("path", b"b")]), file("x", b"")]), "stands twice");
    refused(&with(&[pax(&[("path", b"a")]), pax(&[("path", b"b")]), file("x", b"")]), "two extended headers");
    refused(&with(&[extended(b'L', b"a\0"), extended(b'L', b"b\0"), file("x", b"")]), "stands twice");
    refused(&with(&[extended(b'L', b"a\0"), pax(&[("path", b"b")]), file("x", b"")]), "stands twice");
    refused(&with(&[extended(b'L', b"a\0b\0"), file("x", b"")]), "zero byte");
    refused(&with(&[pax(&[("path", b"a")])]), "ends after an extended header");
    refused(&with(&[pax(&[("path", b"")]), file("x", b"")]), "empty name");
    refused(&with(&[pax(&[("path", b"a\0b")]), file("x", b"")]), "zero byte");
    refused(&with(&[pax(&[("uid", b"4294967295")]), file("x", b"")]), "out of range");
    refused(&with(&[pax(&[("uid", b"-1")]), file("x", b"")]), "number");
    refused(&with(&[pax(&[("mtime", b"1e3")]), file("x", b"")]), "time");
    refused(&with(&[pax(&[("hdrcharset", b"EBCDIC")]), file("x", b"")]), "character set");
    refused(&with(&[pax(&[("GNU.sparse.major", b"1")]), file("x", b"")]), "sparse");
    refused(&with(&[extended(b'g', &pax_record("path", b"all")), file("x", b"")]), "global header");
    for bad in ["", "5 a=b", "6 a=b\n7 b=", "0 a=b\n", "06 a=b\n", "4 a\n", "5 =b\n", "x a=b\n", "99 a=b\n"] {
        let archive = with(&[extended(b'x', bad.as_bytes()), file("x", b"")]);
        assert!(bad.is_empty() || read(&archive).is_err(), "{bad:?}");
    }
    refused(&with(&[extended(b'x', b"7 \xff\xfe=b\n"), file("x", b"")]), "UTF-8");
    for kind in *b"SVMDNAz" {
        assert!(read(&with(&[Raw::new(kind, "x", 0).with(b"")])).is_err(), "{}", char::from(kind));
    }
    // Headers that readers in Go, or the `tar` crate, take for something else.
    let magic = |kind: u8, magic: &[u8]| {
        let mut raw = Raw::new(kind, "x", 0);
        raw.set(257, magic);
        raw
    };
    let mut prefixed = magic(b'0', b"ustar  \0");
    refused(&with(&[prefixed.set(345, b"a/prefix").clone().with(b"")]), "a path where two times belong");
    let mut unversioned = magic(b'0', b"ustar\0\0\0");
    assert!(read(&with(&[unversioned.clone().with(b"")])).is_ok());
    refused(&with(&[unversioned.set(345, b"prefix").clone().with(b"")]), "unknown magic");
    refused(&with(&[magic(b'3', b"ustar\0\0\0").with(b"")]), "unknown magic");
    for kind in *b"xgLK" {
        refused(&with(&[magic(kind, b"ustar\0\0\0").with(b"")]), "unknown magic");
        refused(&with(&[magic(kind, &[0; 8]).with(b"")]), "of the old format");
    }
    let between = [pax(&[("path", b"a")]), extended(b'g', &pax_record("comment", b"c")), file("x", b"")];
    refused(&with(&between), "a global header between");
    for path in ["../x", "a/../x", "..", "a/.."] {
        refused(&with(&[file(path, b"")]), "leads outside");
        refused(&with(&[Raw::new(b'1', "x", 0).link(path).with(b"")]), "leads outside");
    }
    refused(&with(&[file("x/", b"abc")]), "has data but is no file");
    refused(&with(&[file(".", b"")]), "without a name");
    refused(&with(&[Raw::new(b'2', "x", 0).with(b"")]), "without a target");
    let mut star = Raw::new(b'0', "x", 0);
    star.set(508, b"tar\0");
    refused(&with(&[star.with(b"")]), "star format");
    let mut octal = Raw::new(b'0', "x", 0);
    octal.set(124, b"0000000008\0");
    refused(&with(&[octal.with(b"")]), "size is no number");
    let mut negative = Raw::new(b'0', "x", 0);
    negative.set(124, &[0xff; 12]);
    refused(&with(&[negative.with(b"")]), "size is no number");
    let mut broken = file("x", b"");
    broken[0] = b'y';
    refused(&with(&[broken]), "checksum");
    refused(&[file("x", b""), end(), file("y", b"")].concat(), "data after its end");
    refused(&[file("x", b""), vec![0; BLOCK], file("y", b"")].concat(), "data after its end");
    refused(&file("x", &[1; 600])[..700], "unexpected EOF");
    refused(&file("x", b"")[..300], "unexpected EOF");
}

#[test]
fn limits_hold_just_at_their_edge() {
    let path = |length: usize| "a".repeat(length);
    let archive = |value: &[u8]| [pax(&[("path", value)]), file("x", b""), end()].concat();
    assert!(read(&archive(path(PATH_MAX - 1).as_bytes())).is_ok());
    assert!(read(&archive(path(PATH_MAX).as_bytes())).is_err());
    let header = |size: u64| {
        let record = pax_record("comment", &vec![b'c'; size as usize - 17]);
        [extended(b'x', &record), file("x", b""), end()].concat()
    };
    let fits = header(EXTENDED_HEADER_MAX);
    assert!(read(&fits).is_ok(), "{:?}", read(&fits));
    assert!(read(&header(EXTENDED_HEADER_MAX + 1)).is_err());
}

#[test]
fn the_number_of_entries_is_limited() {
    let count = |entries: usize| {
        let mut reader = Reader::new(Cursor::new(file("x", b"").repeat(entries)));
        assert_eq!(reader.entries_max, 2_000_000);
        reader.entries_max = 1000;
        loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(reader.entries()),
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    assert_eq!(count(1000), Ok(1000));
    assert_eq!(count(1001).unwrap_err(), "the archive has more than 1000 entries");
}

#[test]
fn large_sizes_are_read_from_either_place() {
    let size = 9u64 << 30;
    let mut binary = Raw::new(b'0', "x", 0);
    binary.set(124, &[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat());
    let decimal = size.to_string();
    for archive in [binary.with(b""), [pax(&[("size", decimal.as_bytes())]), Raw::new(b'0', "x", 0).with(b"")].concat()]
    {
        let mut reader = Reader::new(Cursor::new(archive));
        assert_eq!(reader.next_entry().unwrap().unwrap().size, size);
    }
}

/// Entries as another reader sees them: path, size, link.
type Seen = Vec<(String, u64, String)>;

fn by_the_crate(archive: &[u8]) -> Option<Seen> {
    let mut archive = ::tar::Archive::new(archive);
    let mut seen = Vec::new();
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        if entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        let path = clean(&entry.path_bytes()).ok()?;
        let mut data = Vec::new();
        entry.read_to_end(&mut data).ok()?;
        let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        seen.push((lossy(&path), data.len() as u64, lossy(&link)));
    }
    Some(seen)
}

fn by_gnu_tar(archive: &[u8]) -> Option<Vec<String>> {
    let mut tar = Command::new("tar")
        .args(["--list", "--quoting-style=literal", "-f", "-"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut input = tar.stdin.take()?;
    let bytes = archive.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = tar.wait_with_output().ok()?;
    let _ = writer.join();
    if !output.status.success() {
        return None;
    }
    Some(lossy(&output.stdout).lines().map(|line| lossy(&clean(line.as_bytes()).unwrap_or_default())).collect())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ours(archive: &[u8]) -> Option<Seen> {
    let entries = read(archive).ok()?;
    Some(entries.iter().map(|(entry, data)| (lossy(&entry.path), data.len() as u64, lossy(&entry.link))).collect())
}

/// What stands in a made archive: valid parts in any order, and bytes changed at random.
fn parts() -> impl Strategy<Value = Vec<u8>> {
    let name = "[a-c]{1,3}(/[a-c]{1,3}){0,2}";
    prop_oneof![
        (name, proptest::collection::vec(any::<u8>(), 0..700)).prop_map(|(name, data)| file(&name, &data)),
        name.prop_map(|name| Raw::new(b'5', &format!("{name}/"), 0).with(b"")),
        (name, name).prop_map(|(name, link)| Raw::new(b'2', &name, 0).link(&link).with(b"")),
        (name, name).prop_map(|(name, link)| Raw::new(b'1', &name, 0).link(&link).with(b"")),
        (name, name)
            .prop_map(|(long, name)| [extended(b'L', format!("{long}\0").as_bytes()), file(&name, b"x")].concat()),
        (name, name).prop_map(|(long, name)| [pax(&[("path", long.as_bytes())]), file(&name, b"yy")].concat()),
        (name, 0u64..2000, 0u64..2000).prop_map(|(name, one, other)| {
            let data = vec![b'z'; one as usize];
            [pax(&[("size", other.to_string().as_bytes())]), file(&name, &data)].concat()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// What we accept, the `tar` crate reads as the same entries; and nothing makes us panic.
    #[test]
    fn no_two_readers_see_two_archives(
        parts in proptest::collection::vec(parts(), 0..6),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        damage in any::<bool>(),
    ) {
        let mut archive = [parts.concat(), end()].concat();
        if damage {
            for (at, byte) in changes {
                let at = at.index(archive.len());
                archive[at] = byte;
            }
        }
        if let Some(ours) = ours(&archive) {
            let theirs = by_the_crate(&archive);
            prop_assert_eq!(Some(ours), theirs);
        }
    }
}

#[test]
fn gnu_tar_sees_the_same_names() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut compared = 0;
    for _ in 0..60 {
        let tree = proptest::collection::vec(parts(), 1..6).new_tree(&mut runner).unwrap();
        let archive = [proptest::strategy::ValueTree::current(&tree).concat(), end()].concat();
        let (Some(ours), Some(theirs)) = (ours(&archive), by_gnu_tar(&archive)) else { continue };
        assert_eq!(ours.into_iter().map(|(path, _, _)| path).collect::<Vec<_>>(), theirs);
        compared += 1;
    }
    assert!(compared > 20, "only {compared} archives were compared");
}
