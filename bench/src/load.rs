//! Loading an image of 400 MB: three layers, about nine thousand files, half of it compressible.

use crate::{Sample, target::Target};
use anyhow::{Context as _, Result, ensure};
use rorqual_testkit::{Archive, archive::Tar, places};
use serde_json::json;
use std::{
    fs::File,
    io::{self, BufReader, Write as _},
    path::PathBuf,
    time::Instant,
};

const TAG: &str = "rorqual-bench-big:latest";

fn archive() -> Result<PathBuf> {
    let path = places::cache().join("bench-big-1.tar");
    if path.exists() {
        return Ok(path);
    }
    Ok(image().save(&path))
}

pub(crate) fn image() -> Archive {
    let mut image = Archive::new(TAG, json!({"Cmd": ["x"]}));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for layer in 0..3 {
        let mut tar = Tar::new();
        for number in 0..3000 {
            // most files are small, some are large, as in a distribution
            let size = if number % 50 == 0 { 1_200_000 } else { 21_000 };
            let mut content = Vec::with_capacity(size);
            while content.len() < size {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                content.extend_from_slice(&state.to_le_bytes());
                content.extend_from_slice(b"the same ");
            }
            tar.file(&format!("layer{layer}/dir{}/file{number}", number / 100), 0o644, &content);
        }
        image = image.layer(tar.finish());
    }
    image
}

/// One load, and the removal again.
pub(crate) fn once(target: &mut Target) -> Result<Sample> {
    let path = archive()?;
    let mut file = File::open(&path)?;
    let size = file.metadata()?.len();
    // from memory, not from the disk
    io::copy(&mut File::open(&path)?, &mut io::sink())?;
    let mut stream = target.api().connect()?;
    let begin = Instant::now();
    write!(
        stream,
        "POST /images/load?quiet=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: {size}\r\n\r\n"
    )?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            break;
        }
        stream.write_all(&buffer[..read])?;
    }
    let mut reader = BufReader::new(stream);
    let head = rorqual_testkit::http::read_head(&mut reader)?;
    let mut body = Vec::new();
    if head.header("transfer-encoding").is_some() {
        while rorqual_testkit::http::read_chunk(&mut reader, &mut body)? {}
    } else {
        let length: u64 = head.header("content-length").and_then(|text| text.parse().ok()).context("a length")?;
        io::copy(&mut io::Read::take(&mut reader, length), &mut body)?;
    }
    let loaded = begin.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&body);
    ensure!(text.contains("Loaded image"), "{}", text.chars().take(300).collect::<String>());
    // the first container shows whether anything was put off
    let mut api = target.api();
    let body = json!({"Image": TAG, "Cmd": ["x"], "Labels": {"bench": "1"}});
    let id = Target::call(&mut api, "POST", "/containers/create", Some(&body))?.json()["Id"]
        .as_str()
        .context("an id")?
        .to_owned();
    let usable = begin.elapsed().as_secs_f64();
    Target::call(&mut api, "DELETE", &format!("/containers/{id}"), None)?;
    let begin = Instant::now();
    Target::call(&mut api, "DELETE", &format!("/images/{TAG}?force=1"), None)?;
    Ok(vec![
        ("load of 400 MB, s".to_owned(), loaded),
        ("load and first create, s".to_owned(), usable),
        ("removal, s".to_owned(), begin.elapsed().as_secs_f64()),
    ])
}
