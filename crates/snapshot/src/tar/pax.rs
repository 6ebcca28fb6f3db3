//! Extended headers: pax records and GNU long names.

use super::{malformed, shown};
use crate::limits::EXTENDED_HEADER_MAX;
use rorqual_error::{Error, Result};

/// The largest size that a header's own field can hold in octal.
const OCTAL_SIZE_MAX: u64 = 0o777_7777_7777;
/// The owner that means "no change" to the kernel; not an id.
const NO_ID: u32 = u32::MAX;

/// What extended headers say about the entry that follows.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) modified: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
    size: Option<u64>,
    seen_pax: bool,
    seen_any: bool,
    bytes: u64,
}

impl Extended {
    pub(super) fn is_empty(&self) -> bool {
        !self.seen_any
    }

    /// Takes in an extended header of type `kind`.
    pub(super) fn add(&mut self, kind: u8, data: &[u8]) -> Result<()> {
        self.bytes += data.len() as u64;
        if self.bytes > EXTENDED_HEADER_MAX {
            return Err(Error::invalid("extended headers of more than 1 MiB for one entry"));
        }
        match kind {
            // Some readers take what was said before for said of this header, and not of the entry.
            b'g' if self.seen_any => return Err(malformed("a global header between an entry and its extended header")),
            b'g' => {}
            _ => self.seen_any = true,
        }
        match kind {
            b'g' => records(data, |key, _| match key {
                // What would change every entry is refused; a comment (git writes one) is not.
                "path" | "linkpath" | "size" | "uid" | "gid" | "mtime" | "uname" | "gname" => {
                    Err(Error::invalid(format!("a global header that sets {key}")))
                }
                key if key.starts_with("GNU.sparse.") || key.starts_with("SCHILY.") => {
                    Err(Error::invalid(format!("a global header that sets {}", shown(key.as_bytes()))))
                }
                _ => Ok(()),
            }),
            b'x' => {
                if std::mem::replace(&mut self.seen_pax, true) {
                    return Err(malformed("two extended headers for one entry"));
                }
                self.records(data)
            }
            b'L' => once(&mut self.path, long_name(data)?, "path"),
            _ => once(&mut self.link, long_name(data)?, "link target"),
        }
    }

    fn records(&mut self, data: &[u8]) -> Result<()> {
        let mut seen = std::collections::BTreeSet::new();
        records(data, |key, value| {
            if !seen.insert(key.to_owned()) {
                return Err(malformed(format!("the field {:?} stands twice", shown(key.as_bytes()))));
            }
            match key {
                "path" => once(&mut self.path, not_empty(value)?, "path"),
                "linkpath" => once(&mut self.link, not_empty(value)?, "link target"),
                "size" => once(&mut self.size, decimal(value)?, "size"),
                "uid" => once(&mut self.uid, id(value)?, "user id"),
                "gid" => once(&mut self.gid, id(value)?, "group id"),
                "mtime" => once(&mut self.modified, time(value)?, "time"),
                "hdrcharset" if value != b"BINARY" && value != b"ISO-IR 10646 2000 UTF-8" => {
                    Err(Error::invalid("an extended header in another character set"))
                }
                key if key.starts_with("GNU.sparse.") => Err(Error::invalid("sparse files are not supported")),
                key => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        self.xattrs.push((name.to_owned(), value.to_vec()));
                    }
                    Ok(())
                }
            }
        })
    }

    /// The size of the entry's data, where the header's own field says `header`.
    pub(super) fn size(&self, header: u64) -> Result<u64> {
        match self.size {
            None => Ok(header),
            Some(size) if size == header => Ok(size),
            // A size that the field cannot hold: writers put nothing or the most there.
            Some(size) if size > OCTAL_SIZE_MAX && matches!(header, 0 | OCTAL_SIZE_MAX) => Ok(size),
            Some(size) => Err(malformed(format!("two sizes for one entry: {header} and {size}"))),
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T, what: &str) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed(format!("the {what} stands twice"))),
    }
}

/// A GNU long name: text and one zero byte.
fn long_name(data: &[u8]) -> Result<Vec<u8>> {
    let name = data.strip_suffix(b"\0").unwrap_or(data);
    if name.contains(&0) {
        return Err(malformed("a long name with a zero byte"));
    }
    not_empty(name)
}

fn not_empty(value: &[u8]) -> Result<Vec<u8>> {
    if value.is_empty() { Err(malformed("an empty name")) } else { Ok(value.to_vec()) }
}

fn decimal(value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok())
        .filter(|size| *size <= i64::MAX as u64)
        .ok_or_else(|| malformed("an extended header's number is none"))
}

fn id(value: &[u8]) -> Result<u32> {
    u32::try_from(decimal(value)?)
        .ok()
        .filter(|id| *id != NO_ID)
        .ok_or_else(|| malformed("an owner's id is out of range"))
}

/// `-12.345`: seconds and nanoseconds, the latter never negative.
fn time(value: &[u8]) -> Result<(i64, u32)> {
    let parse = || {
        let text = std::str::from_utf8(value).ok()?;
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
            return None;
        }
        let seconds: i64 = seconds.parse().ok()?;
        let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().ok()?;
        match (negative, nanoseconds) {
            (false, _) => Some((seconds, nanoseconds)),
            (true, 0) => Some((-seconds, 0)),
            (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
        }
    };
    parse().ok_or_else(|| malformed("an extended header's time is none"))
}

/// Calls `each` with every `length key=value\n`.
fn records(mut data: &[u8], mut each: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
    let wrong = || malformed("an extended header's record");
    while !data.is_empty() {
        let space = data.iter().take(8).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let digits = &data[..space];
        if digits.is_empty() || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
            return Err(wrong());
        }
        let length = decimal(digits)? as usize;
        let (record, rest) = data.split_at_checked(length).ok_or_else(wrong)?;
        let body = record.get(space + 1..).and_then(|body| body.strip_suffix(b"\n")).ok_or_else(wrong)?;
        let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let key = std::str::from_utf8(&body[..equals]).map_err(|_| malformed("a field's name is not UTF-8"))?;
        if key.is_empty() || key.contains('\0') {
            return Err(wrong());
        }
        each(key, &body[equals + 1..])?;
        data = rest;
    }
    Ok(())
}
