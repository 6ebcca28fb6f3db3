//! What became of each object: a line each, counts at the end, and the exit status.

use crate::{cli::print, failure::Result};

/// Counts of one adoption.
#[derive(Debug)]
pub struct Tally {
    dry: bool,
    taken: usize,
    there: usize,
    left: usize,
}

impl Tally {
    /// Nothing yet; a dry run says what would be.
    pub fn new(dry: bool) -> Self {
        Self { dry, taken: 0, there: 0, left: 0 }
    }

    /// The object was taken, or would be. `note` is empty or says more.
    pub fn taken(&mut self, what: &str, note: &str) -> Result<()> {
        self.taken += 1;
        let verb = if self.dry { "would be taken" } else { "taken" };
        let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
        print(&format!("{what}: {verb}{note}\n"))
    }

    /// It is there already.
    pub fn there(&mut self, what: &str) -> Result<()> {
        self.there += 1;
        print(&format!("{what}: already there\n"))
    }

    /// It cannot be taken.
    pub fn refused(&mut self, what: &str, why: &str) -> Result<()> {
        self.left += 1;
        print(&format!("{what}: cannot be taken: {why}\n"))
    }

    /// Something of a kind that is never taken.
    pub fn left(&mut self, what: &str) -> Result<()> {
        self.left += 1;
        print(&format!("not taken: {what}\n"))
    }

    /// The last line, and the exit status: 0 where nothing stays behind.
    pub fn finish(self) -> Result<u8> {
        let verb = if self.dry { "would be taken" } else { "taken" };
        print(&format!("{} {verb}, {} already there, {} not taken\n", self.taken, self.there, self.left))?;
        Ok(u8::from(self.left > 0))
    }
}
