//! The JSON lines of load, import, pull and build: progress, output and in-band errors.

use crate::codec::is_zero;
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Text to print as it is.
    #[serde(skip_serializing_if = "is_zero")]
    pub stream: String,
    /// What is being done.
    #[serde(skip_serializing_if = "is_zero")]
    pub status: String,
    /// How far it is.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The same for a person; made by dockerd for old clients.
    #[serde(skip_serializing_if = "is_zero")]
    pub progress: String,
    /// What the line is of, as a layer.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: String,
    /// Why it failed.
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The same as plain text.
    #[serde(skip_serializing_if = "is_zero")]
    pub error: String,
    /// A value for programs, as an image id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// How far something is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    /// Done.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: i64,
    /// To do in all.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: i64,
    /// When it began, in seconds since 1970.
    #[serde(skip_serializing_if = "is_zero")]
    pub start: i64,
    /// Whether a client need not print numbers.
    #[serde(rename = "hidecounts", skip_serializing_if = "is_zero")]
    pub hide_counts: bool,
    /// Of the numbers; empty for bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub units: String,
}

/// Why something failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    /// An exit code, where there is one.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: i64,
    /// In words.
    pub message: String,
}

impl Progress {
    /// The line that reports a failure.
    pub fn failure(message: impl Into<String>) -> Self {
        let message = message.into();
        let error_detail = Some(ErrorDetail { code: 0, message: message.clone() });
        Self { error_detail, error: message, ..Self::default() }
    }

    /// A line of text.
    pub fn text(stream: impl Into<String>) -> Self {
        Self { stream: stream.into(), ..Self::default() }
    }
}
