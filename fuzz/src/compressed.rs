//! gzip and zstd around an archive: what the engine decompresses, beside members and frames found by hand.

use flate2::{Decompress, FlushDecompress, Status};
use rorqual_snapshot::{Compression, decompressed};
use std::io::{self, BufReader, Read, Write};
use zstd::zstd_safe;

/// What is looked at of the uncompressed bytes; an input of a few KiB can be a thousand times that.
const BYTES_MAX: u64 = 8 << 20;

pub(crate) fn gzip(input: &[u8]) {
    if Compression::detect(input) == Compression::Gzip {
        compare(input, Compression::Gzip, members(input));
    } else {
        check_plain(input);
        let (one, two) = input.split_at(input.len() / 3);
        let member = |bytes: &[u8]| {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(bytes).and_then(|()| writer.finish()).expect("compress into memory")
        };
        check_round_trip(&[member(one), member(two)].concat(), input);
    }
}

pub(crate) fn zstd(input: &[u8]) {
    if Compression::detect(input) == Compression::Zstd {
        compare(input, Compression::Zstd, frames(input));
    } else {
        check_plain(input);
        let (one, two) = input.split_at(input.len() / 3);
        let frame = |bytes: &[u8]| ::zstd::bulk::compress(bytes, 1).expect("compress into memory");
        // A frame to be skipped, as seekable and lazily pulled layers have.
        let skipped = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
        check_round_trip(&[skipped.clone(), frame(one), skipped, frame(two)].concat(), input);
    }
}

/// What was read, and how it ended.
struct Outcome {
    bytes: Vec<u8>,
    compression: Compression,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// At the end of the input.
    Whole,
    /// At [`BYTES_MAX`].
    Cut,
    Refused,
    /// The window is larger than we give to anyone.
    Window,
}

fn read(source: impl Read + Send) -> Outcome {
    let mut bytes = Vec::new();
    let (stream, compression) = decompressed(source).expect("reading memory does not fail");
    let end = match stream.take(BYTES_MAX).read_to_end(&mut bytes) {
        Ok(length) if length as u64 == BYTES_MAX => End::Cut,
        Ok(_) => End::Whole,
        Err(error) if error.to_string().contains("requires too much memory") => End::Window,
        Err(_) => End::Refused,
    };
    Outcome { bytes, compression, end }
}

/// A source that gives one byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

/// Both ways of reading, which must not differ.
fn read_both(input: &[u8]) -> Outcome {
    let (whole, slow) = (read(input), read(Slow(input)));
    assert_eq!(whole.compression, Compression::detect(input));
    assert_eq!(slow.compression, whole.compression, "the pieces it comes in matter");
    // libzstd checks one thing more of a frame that it has all of: that an empty last block hides no missing bytes. It
    // looks at the blocks of such a frame before it looks at the window.
    if whole.compression != Compression::Zstd || slow.end != End::Whole || whole.end != End::Refused {
        let refusal = |end| if end == End::Window { End::Refused } else { end };
        assert_eq!(refusal(slow.end), refusal(whole.end), "the pieces it comes in matter");
    }
    if whole.end == End::Whole {
        assert!(slow.bytes == whole.bytes, "the pieces it comes in matter");
    }
    slow
}

/// `expected` is what an independent walk finds; `None` where the bytes are not whole and right.
fn compare(input: &[u8], compression: Compression, expected: Option<Vec<u8>>) {
    let ours = read_both(input);
    assert_eq!(ours.compression, compression);
    match (ours.end, expected) {
        (End::Whole, Some(expected)) => assert!(ours.bytes == expected, "two readers see two archives"),
        (End::Cut, Some(expected)) => assert!(ours.bytes == expected[..ours.bytes.len()], "two readers"),
        (End::Whole, None) => panic!("bytes that are not whole are taken"),
        (End::Refused, Some(_)) => panic!("good bytes are refused"),
        (End::Refused | End::Cut, None) | (End::Window, _) => {}
    }
}

fn check_plain(input: &[u8]) {
    if Compression::detect(input) == Compression::None {
        let ours = read_both(input);
        assert!(ours.end == End::Whole && ours.bytes == input, "plain bytes are as they came");
    }
}

fn check_round_trip(compressed: &[u8], bytes: &[u8]) {
    let ours = read_both(compressed);
    assert!(ours.end == End::Whole && ours.bytes == bytes, "what was compressed is not what comes out");
}

/// All members of a gzip file, by RFC 1952.
fn members(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while !rest.is_empty() {
        rest = rest.get(header_length(rest)?..)?;
        let start = out.len();
        rest = rest.get(inflate(rest, &mut out)?..)?;
        let (trailer, after) = rest.split_first_chunk::<8>()?;
        let mut check = flate2::Crc::new();
        check.update(&out[start..]);
        let length = (out.len() - start) as u32;
        if trailer[..4] != check.sum().to_le_bytes() || trailer[4..] != length.to_le_bytes() {
            return None;
        }
        rest = after;
    }
    Some(out)
}

fn header_length(bytes: &[u8]) -> Option<usize> {
    const CHECK: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const RESERVED: u8 = 0xe0;
    let [0x1f, 0x8b, 8, flags, ..] = *bytes else { return None };
    if flags & RESERVED != 0 {
        return None;
    }
    let mut at = 10;
    if flags & EXTRA != 0 {
        at += 2 + usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            at += 1 + bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
        }
    }
    if flags & CHECK != 0 {
        let mut check = flate2::Crc::new();
        check.update(bytes.get(..at)?);
        if bytes.get(at..at + 2)? != &check.sum().to_le_bytes()[..2] {
            return None;
        }
        at += 2;
    }
    Some(at)
}

/// Inflates to the end of the stream; returns how long it was. More than [`BYTES_MAX`] is looked at no further.
fn inflate(bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut stream = Decompress::new(false);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let rest = bytes.get(stream.total_in() as usize..)?;
        let (taken, given) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(rest, &mut buffer, FlushDecompress::None).ok()?;
        let made = (stream.total_out() - given) as usize;
        out.extend_from_slice(&buffer[..made]);
        if status == Status::StreamEnd {
            return Some(stream.total_in() as usize);
        }
        if made == 0 && stream.total_in() == taken {
            return None;
        }
    }
}

/// All frames of a zstd file, each measured and then decompressed by itself (RFC 8878).
fn frames(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while !rest.is_empty() {
        if let [low, 0x2a, 0x4d, 0x18, a, b, c, d, after @ ..] = rest
            && low & 0xf0 == 0x50
        {
            rest = after.get(u32::from_le_bytes([*a, *b, *c, *d]) as usize..)?;
            continue;
        }
        let length = zstd_safe::find_frame_compressed_size(rest).ok()?;
        let (frame, after) = rest.split_at_checked(length)?;
        let decoder = ::zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(1, Slow(frame))).ok()?;
        decoder.single_frame().take(BYTES_MAX).read_to_end(&mut out).ok()?;
        if out.len() as u64 >= BYTES_MAX {
            break;
        }
        rest = after;
    }
    Some(out)
}
