//! A layer's archive, put together again: dockerd keeps what lies between the files of the tar (headers, padding) as
//! "tar-split" lines of JSON, gzip'ed, and the files themselves in the layer's directory. What comes out must have the digest
//! that names the layer; nothing else is trusted.

use crate::{
    hash::Hashing,
    limits::{CHUNK_BYTES, LAYER_BYTES_MAX, SPLIT_LINE_BYTES_MAX},
    root::Root,
};
use base64::Engine as _;
use flate2::bufread::GzDecoder;
use rorqual_error::{Context, Error, Result};
use rorqual_types::DiffId;
use serde::Deserialize;
use std::{
    borrow::Cow,
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The types of a line.
const FILE: u32 = 1;
const SEGMENT: u32 = 2;

/// One line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u32,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    /// The name where it is not UTF-8, base64.
    #[serde(borrow, default)]
    name_raw: Option<Cow<'a, str>>,
    #[serde(default)]
    size: u64,
    /// Base64: the bytes of a segment, or a sum of the file's.
    #[serde(borrow, default)]
    payload: Option<Cow<'a, str>>,
}

/// What the archive consists of.
enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// This many bytes of this file.
    File(PathBuf, u64),
}

/// The lines of one record.
struct Lines {
    reader: BufReader<GzDecoder<BufReader<File>>>,
    line: Vec<u8>,
    payload: Vec<u8>,
}

impl Lines {
    fn new(record: File) -> Self {
        let reader = BufReader::with_capacity(CHUNK_BYTES, GzDecoder::new(BufReader::new(record)));
        Self { reader, line: Vec::new(), payload: Vec::new() }
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>> {
        self.line.clear();
        let mut bounded = (&mut self.reader).take(SPLIT_LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut self.line).context("read the layer's tar-split record")? == 0 {
            return Ok(None);
        }
        if self.line.len() as u64 == SPLIT_LINE_BYTES_MAX {
            return Err(Error::invalid("a line of the layer's tar-split record is too long"));
        }
        let line: Line<'_> = serde_json::from_slice(&self.line).context("read the layer's tar-split record")?;
        match line.kind {
            SEGMENT => {
                decode(line.payload.as_deref().unwrap_or_default(), &mut self.payload)?;
                Ok(Some(Piece::Bytes(&self.payload)))
            }
            FILE => Ok(Some(Piece::File(line.path()?, line.size))),
            other => Err(Error::invalid(format!("unknown type {other} in the layer's tar-split record"))),
        }
    }
}

impl Line<'_> {
    fn path(&self) -> Result<PathBuf> {
        let Some(raw) = &self.name_raw else { return Ok(self.name.as_deref().unwrap_or_default().into()) };
        let mut name = Vec::new();
        decode(raw, &mut name)?;
        Ok(OsStr::from_bytes(&name).into())
    }
}

fn decode(text: &str, into: &mut Vec<u8>) -> Result<()> {
    into.clear();
    let decoded = base64::engine::general_purpose::STANDARD.decode_vec(text, into);
    decoded.context("read base64 in the layer's tar-split record")
}

/// How many bytes the archive of `record` has.
pub(crate) fn size(record: File) -> Result<u64> {
    let mut lines = Lines::new(record);
    let mut total = 0u64;
    while let Some(piece) = lines.next()? {
        let length = match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File(_, size) => size,
        };
        total = total.checked_add(length).filter(|total| *total <= LAYER_BYTES_MAX).ok_or_else(too_large)?;
    }
    Ok(total)
}

fn too_large() -> Error {
    Error::invalid(format!("the layer has more than {LAYER_BYTES_MAX} bytes"))
}

/// Writes the archive of `record`, whose files are in `files`, and compares its digest.
///
/// # Errors
/// Names the file that is missing or has another size. Where the digest differs all has been written already: whoever reads
/// must learn of the failure.
pub(crate) fn write(record: File, files: &Root, expected: &DiffId, out: &mut dyn Write) -> Result<()> {
    let mut lines = Lines::new(record);
    let mut out = Hashing::new(out);
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Some(piece) = lines.next()? {
        match piece {
            Piece::Bytes(bytes) => out.write_all(bytes).context("write the layer")?,
            Piece::File(_, 0) => {}
            Piece::File(path, size) => {
                let name = shown(&path);
                copy(files, &path, size, &mut chunk, &mut out).with_context(|| format!("{name} of the layer"))?;
            }
        }
    }
    let digest = out.finish().context("write the layer")?;
    if digest != *expected {
        return Err(Error::invalid(format!("the layer's files give {digest}: one was changed behind dockerd's back")));
    }
    Ok(())
}

fn copy(files: &Root, path: &Path, size: u64, chunk: &mut [u8], out: &mut impl Write) -> Result<()> {
    let mut file = files.content(path).context("open")?;
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        match file.read(&mut chunk[..want]).context("read")? {
            0 => return Err(Error::invalid(format!("{left} of its {size} bytes are missing"))),
            got => {
                out.write_all(&chunk[..got]).context("write")?;
                left -= got as u64;
            }
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::digest;
    use std::{fs, io::Seek};

    fn gzip(lines: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
        writer.write_all(lines.as_bytes()).unwrap();
        writer.finish().unwrap();
        file.rewind().unwrap();
        file
    }

    fn base64(bytes: &[u8]) -> String {
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    /// The lines that tar-split would write for an archive of these files, made with another's tar writer.
    fn taken_apart(archive: &[u8]) -> String {
        let mut lines = String::new();
        let mut end = 0;
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let entry = entry.unwrap();
            let at = entry.raw_file_position() as usize;
            lines += &format!("{{\"type\":2,\"payload\":\"{}\",\"position\":0}}\n", base64(&archive[end..at]));
            let name = entry.path_bytes();
            let name = match std::str::from_utf8(&name) {
                Ok(name) => format!("\"name\":{name:?}"),
                Err(_) => format!("\"name_raw\":{:?}", base64(&name)),
            };
            let size = entry.size();
            lines += &format!("{{\"type\":1,{name},\"size\":{size},\"payload\":\"AAAA\",\"position\":1}}\n");
            end = at + size as usize;
        }
        lines + &format!("{{\"type\":2,\"payload\":\"{}\",\"position\":2}}\n", base64(&archive[end..]))
    }

    struct Made {
        directory: tempfile::TempDir,
        archive: Vec<u8>,
        lines: String,
    }

    fn made() -> Made {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        let not_utf8 = OsStr::from_bytes(b"d/\xff\xfe");
        let large = vec![7; 3 * CHUNK_BYTES + 5];
        fs::create_dir(directory.path().join("d")).unwrap();
        std::os::unix::fs::symlink("/d", directory.path().join("link")).unwrap();
        let files: [(&OsStr, &OsStr, &[u8]); 6] = [
            (OsStr::new("d/one"), OsStr::new("d/one"), b"hello"),
            (OsStr::new("d/empty"), OsStr::new("d/empty"), b""),
            (OsStr::new(".wh.gone"), OsStr::new("d/empty"), b""),
            (not_utf8, not_utf8, b"bytes"),
            (OsStr::new("link/behind"), OsStr::new("d/behind"), b"a link of the layer's own"),
            (OsStr::new("large"), OsStr::new("large"), &large),
        ];
        for (name, stored, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, Path::new(name), bytes).unwrap();
            fs::write(directory.path().join(stored), bytes).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let lines = taken_apart(&archive);
        Made { directory, archive, lines }
    }

    fn written(made: &Made) -> Result<Vec<u8>> {
        let files = Root::open(made.directory.path()).unwrap();
        let mut out = Vec::new();
        write(gzip(&made.lines), &files, &digest(&made.archive), &mut out)?;
        Ok(out)
    }

    #[test]
    fn the_very_bytes_come_back() {
        let made = made();
        assert_eq!(size(gzip(&made.lines)).unwrap(), made.archive.len() as u64);
        assert!(written(&made).unwrap() == made.archive);
    }

    #[test]
    fn a_changed_or_missing_file_is_found() {
        let made = made();
        let path = made.directory.path().join("d/one");
        fs::write(&path, "HELLO").unwrap();
        assert!(written(&made).unwrap_err().to_string().contains("behind dockerd's back"));
        fs::write(&path, "hell").unwrap();
        assert!(written(&made).unwrap_err().to_string().contains("d/one of the layer: 1 of its 5 bytes"));
        fs::remove_file(&path).unwrap();
        assert!(written(&made).unwrap_err().to_string().starts_with("d/one of the layer: open"));
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(written(&made).is_err(), "a link in a file's place is not followed");
    }

    #[test]
    fn no_name_leads_out_of_the_layer() {
        let mut made = made();
        fs::write(made.directory.path().join("passwd"), "12345").unwrap();
        made.lines = r#"{"type":1,"name":"../../../../../../passwd","size":5}"#.to_owned() + "\n";
        made.archive = b"12345".to_vec();
        assert_eq!(written(&made).unwrap(), b"12345", "the layer's own");
    }

    #[test]
    fn malformed_records_are_errors() {
        let check = |lines: &str| size(gzip(lines)).unwrap_err().to_string();
        assert!(check("{").contains("tar-split"));
        assert!(check(r#"{"type":3}"#).contains("unknown type 3"));
        assert!(check(r#"{"type":2,"payload":"*"}"#).contains("base64"));
        assert!(check(r#"{"type":1,"name":"x","size":-1}"#).contains("tar-split"));
        let largest = format!("{{\"type\":1,\"size\":{LAYER_BYTES_MAX}}}\n");
        assert_eq!(size(gzip(&largest)).unwrap(), LAYER_BYTES_MAX);
        assert!(check(&format!("{largest}{{\"type\":1,\"size\":1}}\n")).contains("more than"));
        assert!(check(&" ".repeat(SPLIT_LINE_BYTES_MAX as usize)).contains("too long"));
    }
}
