//! Against files that a small writer makes here, whole and damaged.

use super::*;
use std::io::Write;

const PAGE: usize = 4096;

/// The two meta pages, the second of a later transaction, and the pages behind them.
fn file(root: u64, pages: &[Vec<u8>]) -> Vec<u8> {
    let end = 2 + (pages.iter().map(Vec::len).sum::<usize>() / PAGE) as u64;
    let mut bytes = [meta(0, 99, 99, 6), meta(1, root, end, 7)].concat();
    pages.iter().for_each(|page| bytes.extend(page));
    bytes
}

fn meta(number: u64, root: u64, end: u64, transaction: u64) -> Vec<u8> {
    let mut meta = Vec::new();
    [MAGIC, VERSION, PAGE as u32, 0].iter().for_each(|word| meta.extend(word.to_le_bytes()));
    [root, 0, 2, end, transaction].iter().for_each(|word| meta.extend(word.to_le_bytes()));
    meta.extend(fnv(&meta).to_le_bytes());
    padded(number, 0x04, 0, &meta)
}

/// A page with its header, filled up to whole pages.
fn padded(number: u64, flags: u16, count: usize, body: &[u8]) -> Vec<u8> {
    let pages = (HEADER_BYTES + body.len()).div_ceil(PAGE);
    let mut page = [&number.to_le_bytes()[..], &flags.to_le_bytes(), &(count as u16).to_le_bytes()].concat();
    page.extend((pages as u32 - 1).to_le_bytes());
    page.extend(body);
    page.resize(pages * PAGE, 0);
    page
}

/// Elements of a leaf: flags, key, value.
fn leaf(elements: &[(u32, &str, &[u8])]) -> Vec<u8> {
    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (index, (flags, key, value)) in elements.iter().enumerate() {
        let offset = (elements.len() - index) * ELEMENT_BYTES + data.len();
        [*flags, offset as u32, key.len() as u32, value.len() as u32]
            .iter()
            .for_each(|word| table.extend(word.to_le_bytes()));
        data.extend([key.as_bytes(), value].concat());
    }
    [table, data].concat()
}

fn branch(children: &[u64]) -> Vec<u8> {
    children.iter().flat_map(|child| [&[0; 8][..], &child.to_le_bytes()].concat()).collect()
}

fn bucket_at(page: u64) -> Vec<u8> {
    [page.to_le_bytes(), [0; 8]].concat()
}

fn open(bytes: &[u8]) -> Result<Bolt> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Bolt::open(file)
}

fn keys(bolt: &Bolt, path: &[&str]) -> Result<String> {
    let bucket = bolt.find(path)?.ok_or_else(|| Error::not_found("no bucket"))?;
    let keys = bolt.entries(&bucket)?.into_iter().map(|(key, entry)| {
        let key = String::from_utf8_lossy(&key).into_owned();
        match entry {
            Entry::Value(value) => format!("{key}={}", String::from_utf8_lossy(&value)),
            Entry::Bucket(_) => format!("{key}/"),
        }
    });
    Ok(keys.collect::<Vec<_>>().join(" "))
}

/// A bucket in a tree of pages, and one in line.
fn sample() -> Vec<u8> {
    let body = leaf(&[(0, "in", b"line")]);
    let inline = [&[0; 16][..], &padded(0, LEAF, 1, &body)[..HEADER_BYTES + body.len()]].concat();
    file(
        3,
        &[
            padded(2, BRANCH, 2, &branch(&[4, 5])),
            padded(3, LEAF, 2, &leaf(&[(IS_BUCKET, "inline", &inline), (IS_BUCKET, "tree", &bucket_at(2))])),
            padded(4, LEAF, 2, &leaf(&[(0, "a", b"1"), (0, "b", b"2")])),
            padded(5, LEAF, 1, &leaf(&[(0, "c", b"3")])),
        ],
    )
}

#[test]
fn buckets_are_read_through_branches_and_in_line() {
    let bolt = open(&sample()).unwrap();
    assert_eq!(keys(&bolt, &[]).unwrap(), "inline/ tree/");
    assert_eq!(keys(&bolt, &["inline"]).unwrap(), "in=line");
    assert_eq!(keys(&bolt, &["tree"]).unwrap(), "a=1 b=2 c=3");
    assert!(bolt.find(&["none", "x"]).unwrap().is_none());
}

#[test]
fn a_value_may_take_several_pages() {
    let bytes = file(
        2,
        &[
            padded(2, BRANCH, 2, &branch(&[3, 4])),
            padded(3, LEAF, 2, &leaf(&[(0, "a", b"1"), (0, "b", b"2")])),
            padded(4, LEAF, 1, &leaf(&[(0, "c", &[b'x'; 9000])])),
        ],
    );
    let bolt = open(&bytes).unwrap();
    assert_eq!(keys(&bolt, &[]).unwrap(), format!("a=1 b=2 c={}", "x".repeat(9000)));
    assert_eq!(bolt.value(&bolt.root(), "b").unwrap().unwrap(), b"2");
}

#[test]
fn the_later_whole_meta_page_counts() {
    let mut bytes = file(2, &[padded(2, LEAF, 1, &leaf(&[(0, "k", b"v")]))]);
    assert_eq!(keys(&open(&bytes).unwrap(), &[]).unwrap(), "k=v");
    bytes[0..PAGE].fill(0);
    assert_eq!(keys(&open(&bytes).unwrap(), &[]).unwrap(), "k=v", "the first is torn");
    bytes[PAGE + HEADER_BYTES + 20] ^= 1;
    assert!(open(&bytes).is_err(), "both are torn");
}

#[test]
fn damage_is_an_error() {
    let whole = padded(2, LEAF, 1, &leaf(&[(0, "k", b"v")]));
    let with = |at: usize, bytes: &[u8]| {
        let mut page = whole.to_vec();
        page[at..at + bytes.len()].copy_from_slice(bytes);
        file(2, &[page])
    };
    for (what, bytes) in [
        ("a cycle", file(2, &[padded(2, BRANCH, 1, &branch(&[2]))])),
        ("one page twice", file(2, &[padded(2, BRANCH, 2, &branch(&[3, 3])), padded(3, LEAF, 0, &[])])),
        ("a child that is a meta page", file(2, &[padded(2, BRANCH, 1, &branch(&[1]))])),
        ("a child outside", file(2, &[padded(2, BRANCH, 1, &branch(&[u64::MAX]))])),
        ("another's number", with(0, &[3])),
        ("an unknown kind", with(8, &[0x80])),
        ("a count beyond the page", with(10, &[0xff, 0xff])),
        ("an overflow beyond the limit", with(12, &[0xff; 4])),
        ("an overflow beyond the file", with(12, &[9])),
        ("an offset outside", with(20, &[0xff; 4])),
        ("a length outside", with(28, &[0xff; 4])),
        ("a bucket without a root", with(16, &[1])),
    ] {
        let outcome = open(&bytes).and_then(|bolt| keys(&bolt, &[]));
        assert!(outcome.is_err(), "{what}: {outcome:?}");
    }
    let bytes = file(2, &[whole]);
    for length in (0..bytes.len()).step_by(61) {
        let outcome = open(&bytes[..length]).and_then(|bolt| keys(&bolt, &[]));
        assert!(outcome.is_err(), "cut at {length}");
    }
}

#[test]
fn values_that_overlap_do_not_multiply() {
    // Each of many elements claims the whole page.
    let count = 60_000;
    let mut body = Vec::new();
    for index in 0..count {
        let offset = (count - index) * ELEMENT_BYTES;
        [0u32, offset as u32, 0, 1 << 20].iter().for_each(|word| body.extend(word.to_le_bytes()));
    }
    body.resize(body.len() + (1 << 20), 0);
    let bolt = open(&file(2, &[padded(2, LEAF, count, &body)])).unwrap();
    assert!(bolt.entries(&bolt.root()).unwrap_err().to_string().contains("too large"));
}
