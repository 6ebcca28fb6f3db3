//! Columns as Go's tabwriter lays them out for docker: cells at least ten wide, three spaces apart.

use std::io::Write;
use tabwriter::TabWriter;

/// The least width of a cell with its padding.
const CELL: usize = 10;
/// Spaces after a cell.
const PADDING: usize = 3;

/// Lays out lines whose cells are separated by tabs.
pub fn table(text: &str) -> String {
    table_with(text, CELL)
}

/// As [`table`], with another least width.
pub fn table_with(text: &str, cell: usize) -> String {
    let mut writer = TabWriter::new(Vec::new()).minwidth(cell.saturating_sub(PADDING)).padding(PADDING);
    let written = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    match (written, writer.into_inner()) {
        (Ok(()), Ok(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        // Memory does not fail; an error here would be the library's own.
        _ => text.to_owned(),
    }
}
