//! `--env-file` and `--label-file`: one entry a line, comments and empty lines left out.

use crate::limits;

/// The entries of all `files`. With `environment` a name alone takes our own environment's value, or is left out.
pub fn read(files: &[String], environment: bool) -> Result<Vec<String>, String> {
    let mut entries = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).map_err(|error| format!("open {file}: {}", io_text(&error)))?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| format!("invalid env file ({file}): invalid utf8 bytes"))?
            .trim_start_matches('\u{feff}');
        for (index, line) in text.lines().enumerate() {
            entries.extend(
                entry(line, environment)
                    .map_err(|why| format!("invalid env file ({file}): line {}: {why}", index + 1))?,
            );
        }
    }
    Ok(entries)
}

fn entry(line: &str, environment: bool) -> Result<Option<String>, String> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.len() > limits::FILE_LINE_MAX {
        return Err("line too long".to_owned());
    }
    match line.split_once('=') {
        Some(("", _)) => Err("no variable name on line".to_owned()),
        Some((name, _)) if name.contains(char::is_whitespace) => Err(format!("variable '{name}' contains whitespaces")),
        Some(_) => Ok(Some(line.to_owned())),
        None if line.trim().contains(char::is_whitespace) => Err(format!("variable '{line}' contains whitespaces")),
        None if environment => {
            Ok(std::env::var_os(line.trim()).map(|value| format!("{}={}", line.trim(), value.to_string_lossy())))
        }
        None => Ok(None),
    }
}

/// An error of the system in the words that docker prints: `no such file or directory`.
pub fn io_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}
