//! What a command line said.

use super::flag::{Kind, parse_bool, parse_int};
use std::collections::BTreeMap;

/// The flags and arguments of one command line; every value has passed its flag's check.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    pub(super) flags: BTreeMap<&'static str, (Kind, Vec<String>)>,
    pub(super) args: Vec<String>,
    /// The name the command was called by, as usage lines print it: `run` or `container run`.
    pub called: String,
}

impl Matches {
    /// The arguments.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// The argument at `index`; empty where there is none.
    pub fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// Whether the flag was given at all.
    pub fn given(&self, long: &str) -> bool {
        self.flags.contains_key(long)
    }

    /// Whether a switch is on.
    pub fn on(&self, long: &str) -> bool {
        self.switch(long).unwrap_or(false)
    }

    /// A switch's value where it was given.
    pub fn switch(&self, long: &str) -> Option<bool> {
        self.last(long).and_then(|text| parse_bool(text).ok())
    }

    /// The last value where the flag was given.
    pub fn last(&self, long: &str) -> Option<&str> {
        let (_, values) = self.flags.get(long)?;
        values.last().map(String::as_str)
    }

    /// The last value; empty where the flag was not given.
    pub fn text(&self, long: &str) -> &str {
        self.last(long).unwrap_or_default()
    }

    /// All values, in order.
    pub fn list(&self, long: &str) -> &[String] {
        self.flags.get(long).map_or(&[], |(_, values)| values)
    }

    /// A number; 0 where the flag was not given.
    pub fn int(&self, long: &str) -> i64 {
        self.int_given(long).unwrap_or(0)
    }

    /// A number where the flag was given.
    pub fn int_given(&self, long: &str) -> Option<i64> {
        self.last(long).and_then(|text| parse_int(text).ok())
    }

    /// A number of bytes; 0 where the flag was not given.
    pub fn bytes(&self, long: &str) -> i64 {
        self.last(long).and_then(|text| crate::human::parse_bytes(text).ok()).unwrap_or(0)
    }

    /// A span in nanoseconds; 0 where the flag was not given.
    pub fn duration(&self, long: &str) -> i64 {
        self.last(long).and_then(|text| crate::human::parse_duration(text).ok()).unwrap_or(0)
    }
}
