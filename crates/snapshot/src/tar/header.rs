//! One 512-byte header block.

use super::{BLOCK, malformed};
use rorqual_error::{Error, Result};

/// Which of the formats a header says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Before POSIX: no magic.
    Old,
    /// POSIX ustar and pax.
    Posix,
    /// GNU tar's own.
    Gnu,
}

/// A header's fields, decoded.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) format: Format,
    pub(super) kind: u8,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) modified: i64,
    pub(super) device: (u32, u32),
}

impl Header {
    /// Whether it says something about the entry that follows.
    pub(super) fn is_extension(&self) -> bool {
        is_extension(self.kind)
    }

    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self> {
        check_sum(block)?;
        let format = match &block[257..265] {
            b"ustar\x0000" => Format::Posix,
            b"ustar  \0" => Format::Gnu,
            // Some writers leave the version empty. Not every reader takes such a header for POSIX's.
            b"ustar\0\0\0" if is_plain(block) => Format::Posix,
            other if other.iter().all(|byte| *byte == 0) => Format::Old,
            _ => return Err(malformed("an unknown magic")),
        };
        if format == Format::Posix && &block[508..512] == b"tar\0" {
            return Err(Error::invalid("archives of the star format are not supported"));
        }
        if format == Format::Gnu && block[345..369].chunks(12).any(|time| time[0] != 0 && !is_number(time)) {
            // Writers in Go put the start of a long path here, and readers in Go find it.
            return Err(malformed("a GNU header with a path where two times belong"));
        }
        let kind = block[156];
        let mut path = text(&block[..100]);
        if format == Format::Posix {
            let prefix = text(&block[345..500]);
            if !prefix.is_empty() {
                path = [prefix.as_slice(), b"/", &path].concat();
            }
        }
        if format == Format::Old && is_extension(kind) {
            return Err(malformed("an extended header of the old format, which has none"));
        }
        let device = match (format, kind) {
            (Format::Posix | Format::Gnu, b'3' | b'4') => {
                (number(&block[329..337], "device")?, number(&block[337..345], "device")?)
            }
            _ => (0, 0),
        };
        Ok(Self {
            format,
            kind,
            path,
            link: text(&block[157..257]),
            mode: number(&block[100..108], "mode")?,
            uid: number(&block[108..116], "user id")?,
            gid: number(&block[116..124], "group id")?,
            size: number(&block[124..136], "size")?,
            modified: number(&block[136..148], "time")?,
            device,
        })
    }
}

fn is_extension(kind: u8) -> bool {
    matches!(kind, b'x' | b'g' | b'L' | b'K')
}

/// Whether a header means the same in all formats.
fn is_plain(block: &[u8; BLOCK]) -> bool {
    !is_extension(block[156]) && !matches!(block[156], b'3' | b'4') && block[345] == 0
}

/// The sum of all bytes, the field itself counted as spaces. Old writers summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let written: i64 = number(&block[148..156], "checksum")?;
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if written == unsigned || written == signed { Ok(()) } else { Err(malformed("a wrong header checksum")) }
}

/// The bytes before the first zero.
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

fn is_number(field: &[u8]) -> bool {
    number::<i64>(field, "").is_ok()
}

/// An octal number with spaces around, or a binary one (GNU) marked by its first bit.
fn number<T: TryFrom<i128>>(field: &[u8], what: &str) -> Result<T> {
    let value = if field.first().is_some_and(|byte| byte & 0x80 != 0) { binary(field) } else { octal(field) };
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| malformed(format!("a header's {what} is no number in range")))
}

fn octal(field: &[u8]) -> Option<i128> {
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let rest = field.get(start..)?;
    let length = rest.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(rest.len());
    let (digits, tail) = rest.split_at_checked(length)?;
    if tail.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    digits.iter().try_fold(0i128, |value, digit| match digit {
        b'0'..=b'7' => Some(value << 3 | i128::from(digit - b'0')),
        _ => None,
    })
}

fn binary(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    // The second bit is the sign of a two's complement number.
    let start = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(first | 0x80) - 256 };
    let value = rest.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte));
    (i128::from(i64::MIN)..=i128::from(i64::MAX)).contains(&value).then_some(value)
}
