//! The progress streams of pull, push, load and import: JSON lines with in-band errors.

use crate::{
    cli::{print, stdout_is_terminal},
    failure::{Failure, Result},
    human,
    value::Value,
};
use rorqual_client::Lines;

/// Prints a stream as docker does: lines that rewrite themselves on a terminal, plain lines elsewhere.
pub async fn show_progress(lines: &mut Lines, quiet: bool) -> Result<()> {
    let mut shown = Screen { terminal: stdout_is_terminal(), order: Vec::new() };
    while let Some(message) = lines.json::<Value>().await? {
        if let Some(error) = in_band_error(&message) {
            return Err(Failure::message(error));
        }
        if !quiet {
            print(&shown.draw(&message))?;
        }
    }
    Ok(())
}

fn in_band_error(message: &Value) -> Option<String> {
    match message.get("errorDetail") {
        Some(Value::Null) | None => match message.text("error") {
            "" => None,
            text => Some(text.to_owned()),
        },
        Some(detail) if detail.int("code") == 401 => Some("authentication is required".to_owned()),
        Some(detail) => Some(detail.text("message").to_owned()),
    }
}

struct Screen {
    terminal: bool,
    /// The ids in the order of their lines.
    order: Vec<String>,
}

impl Screen {
    fn draw(&mut self, message: &Value) -> String {
        let stream = message.text("stream");
        if !stream.is_empty() {
            return stream.to_owned();
        }
        let progress = progress_text(message);
        let id = message.text("id");
        if !self.terminal {
            // Bars are of no use in a file.
            return if progress.is_empty() { line(message, "") + "\n" } else { String::new() };
        }
        if id.is_empty() || (progress.is_empty() && !self.order.iter().any(|known| known == id)) {
            if id.is_empty() {
                self.order.clear();
            } else {
                self.order.push(id.to_owned());
            }
            return line(message, &progress) + "\n";
        }
        let at = match self.order.iter().position(|known| known == id) {
            Some(at) => at,
            None => {
                self.order.push(id.to_owned());
                return line(message, &progress) + "\n";
            }
        };
        let up = self.order.len() - at;
        format!("\x1b[{up}A\x1b[2K\r{}\r\x1b[{up}B", line(message, &progress))
    }
}

fn line(message: &Value, progress: &str) -> String {
    let id = message.text("id");
    let from = message.text("from");
    let mut text = String::new();
    if !id.is_empty() {
        text.push_str(&format!("{id}: "));
    }
    if !from.is_empty() {
        text.push_str(&format!("(from {from}) "));
    }
    text.push_str(message.text("status"));
    if !progress.is_empty() {
        text.push(' ');
        text.push_str(progress);
    }
    text
}

/// `[====>    ]  1.2MB/3.4MB`; empty where the message holds no progress.
fn progress_text(message: &Value) -> String {
    let detail = message.at(&["progressDetail"]);
    let (current, total) = (detail.int("current"), detail.int("total"));
    if current <= 0 && total <= 0 {
        return String::new();
    }
    let current_text = human::size(current as f64, 4);
    if total <= 0 {
        return format!("{current_text:>8}");
    }
    let percent = ((current as f64 / total as f64) * 100.0) as i64 / 2;
    let percent = percent.clamp(0, 50) as usize;
    let bar = format!("[{}>{}]", "=".repeat(percent), " ".repeat(50 - percent));
    format!("{bar} {current_text:>8}/{}", human::size(total as f64, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_and_errors() {
        let read = |text: &str| Value::parse(text.as_bytes()).unwrap();
        let mut screen = Screen { terminal: false, order: Vec::new() };
        assert_eq!(screen.draw(&read(r#"{"stream":"Loaded image: a\n"}"#)), "Loaded image: a\n");
        assert_eq!(screen.draw(&read(r#"{"status":"Pulling fs layer","id":"abc"}"#)), "abc: Pulling fs layer\n");
        let bar = r#"{"status":"Downloading","id":"abc","progressDetail":{"current":50,"total":100}}"#;
        assert_eq!(screen.draw(&read(bar)), "");
        assert_eq!(progress_text(&read(bar)), format!("[{}>{}]      50B/100B", "=".repeat(25), " ".repeat(25)));
        assert_eq!(in_band_error(&read(r#"{"errorDetail":{"message":"no"},"error":"no"}"#)).unwrap(), "no");
    }
}
