//! Compressed forms in which parts can be found: to a reader from front to back they are archives like any other.

use super::*;
use crate::{
    store::{
        LayerKind, Unpack,
        tests::{digest, in_own_mounts, snapshots_of},
    },
    tar::tests::{end, file},
};
use std::{fs, path::Path};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// A frame that readers step over; sixteen magic numbers mean one.
fn skippable(variant: u8, bytes: &[u8]) -> Vec<u8> {
    [&[0x50 | variant, 0x2a, 0x4d, 0x18], &(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

/// The entries of a layer, each as a part of its archive.
fn entries() -> Vec<Vec<u8>> {
    vec![file("a", b"first"), file("b", &vec![7; 100_000]), file("c", b"last")]
}

/// eStargz: every entry a member of its own, then the table of contents as a file, then a member without data that says
/// where the table is. Gives the layer and its uncompressed archive.
fn estargz() -> (Vec<u8>, Vec<u8>) {
    let table = [file("stargz.index.json", br#"{"version":1,"entries":[]}"#), end()].concat();
    let parts = [vec![file(".no.prefetch.landmark", b"\x0f")], entries()].concat();
    let mut blob: Vec<u8> = parts.iter().flat_map(|part| gzip(part)).collect();
    let place = format!("SG\x16\0{:016x}STARGZ", blob.len());
    blob.extend(gzip(&table));
    let footer = flate2::GzBuilder::new().extra(place.into_bytes());
    blob.extend(footer.write(Vec::new(), flate2::Compression::none()).finish().unwrap());
    (blob, [parts.concat(), table].concat())
}

/// Seekable Zstandard: frames, then a skippable one with their lengths.
fn seekable() -> (Vec<u8>, Vec<u8>) {
    let archive = [entries().concat(), end()].concat();
    let (mut blob, mut table, mut frames) = (Vec::new(), Vec::new(), 0u32);
    for part in archive.chunks(30_000) {
        let frame = zstd(part);
        table.extend((frame.len() as u32).to_le_bytes());
        table.extend((part.len() as u32).to_le_bytes());
        blob.extend(frame);
        frames += 1;
    }
    table.extend(frames.to_le_bytes());
    table.push(0);
    table.extend(0x8f92_eab1_u32.to_le_bytes());
    blob.extend(skippable(0xe, &table));
    (blob, archive)
}

/// zstd:chunked: each file a frame, then skippable ones with the table of contents and with its place.
fn chunked() -> (Vec<u8>, Vec<u8>) {
    let parts = [entries(), vec![end()]].concat();
    let mut blob: Vec<u8> = parts.iter().flat_map(|part| zstd(part)).collect();
    blob.extend(skippable(0, &zstd(br#"{"version":1,"entries":[]}"#)));
    blob.extend(skippable(0, b"tar-split"));
    blob.extend(skippable(0, &[[0; 56].as_slice(), b"GNUlInUx"].concat()));
    (blob, parts.concat())
}

/// As pzstd writes: before each frame a skippable one with its length. The archive begins with what is no frame.
fn parallel() -> (Vec<u8>, Vec<u8>) {
    let archive = [entries().concat(), end()].concat();
    let frames = archive.chunks(40_000).map(zstd);
    let blob = frames.flat_map(|frame| [skippable(0, &(frame.len() as u32).to_le_bytes()), frame].concat());
    (blob.collect(), archive)
}

fn whole(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    decompressed(bytes).map_err(io::Error::other)?.0.read_to_end(&mut out)?;
    Ok(out)
}

fn listing(root: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let mut found: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
    found.sort();
    found
}

#[test]
fn archives_with_tables_of_contents_are_layers_like_any_other() {
    in_own_mounts(|| {
        for (what, (blob, archive)) in
            [("estargz", estargz()), ("seekable", seekable()), ("chunked", chunked()), ("parallel", parallel())]
        {
            assert!(whole(&blob).unwrap() == archive, "{what}");
            for kind in [LayerKind::Directory, LayerKind::Archive] {
                let root = tempfile::tempdir().unwrap();
                let data = root.path().join("data");
                fs::create_dir(&data).unwrap();
                let snapshots = snapshots_of(kind, &data);
                let chain = [digest(b"chain")];
                let layer = crate::store::tests::file(&blob);
                let unpack =
                    Unpack { archive: layer, diff_id: digest(&archive), verified: false, chain: &chain, below: None };
                snapshots.unpack(unpack, &mut |_| {}).unwrap().unwrap();
                let mut found = listing(&snapshots.layers_dir().join(chain[0].hex()).join("fs"));
                // Containers see the table and the mark of an eStargz layer, as they do with containerd.
                let own = found.len();
                found.retain(|(name, _)| !matches!(name.as_str(), "stargz.index.json" | ".no.prefetch.landmark"));
                assert_eq!(own - found.len(), if what == "estargz" { 2 } else { 0 });
                let wanted = [("a", b"first".to_vec()), ("b", vec![7; 100_000]), ("c", b"last".to_vec())];
                assert!(found == wanted.map(|(name, bytes)| (name.to_owned(), bytes)), "{what} {kind:?}");
            }
        }
    });
}

#[test]
fn a_table_that_is_cut_off_is_an_error() {
    for (what, (blob, _)) in
        [("estargz", estargz()), ("seekable", seekable()), ("chunked", chunked()), ("parallel", parallel())]
    {
        for missing in [1, 7, 20] {
            assert!(whole(&blob[..blob.len() - missing]).is_err(), "{what} without {missing} bytes");
        }
    }
}

/// A source that gives one byte at a time, as a connection may.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn compression_is_seen_however_the_bytes_arrive() {
    for (bytes, expected) in [
        (gzip(b"data"), Compression::Gzip),
        (zstd(b"data"), Compression::Zstd),
        ([skippable(0, b"x"), zstd(b"data")].concat(), Compression::Zstd),
        (b"data".to_vec(), Compression::None),
    ] {
        let (mut stream, compression) = decompressed(Slow(&bytes)).unwrap();
        assert_eq!(compression, expected);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"data");
    }
    assert_eq!(decompressed(Slow(b"")).unwrap().1, Compression::None);
}
