//! Errors where the caller looks for them: the log file in its format, and stderr.

use rorqual_logs::time;
use serde_json::json;
use std::{fs::OpenOptions, io::Write, path::PathBuf};

/// `--log` and `--log-format`.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub path: Option<PathBuf>,
    pub json: bool,
}

impl Log {
    pub fn error(&self, message: &str) {
        eprintln!("rorqual-shim: {message}");
        let Some(path) = &self.path else { return };
        let time = time::to_rfc3339(time::now());
        let line = if self.json {
            json!({"level": "error", "msg": message, "time": time}).to_string()
        } else {
            format!("time={time:?} level=error msg={message:?}")
        };
        // The message is on stderr already when the log cannot be written.
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
            let _ = writeln!(file, "{line}");
        }
    }
}
