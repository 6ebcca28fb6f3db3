//! Arguments as runc's callers write them: `--name value`, `--name=value`, short letters, words.

use rorqual_error::{Error, Result};
use std::collections::VecDeque;

/// What is left of the command line.
#[derive(Debug)]
pub(super) struct Arguments {
    rest: VecDeque<String>,
    /// The value written behind `=` of the last option.
    attached: Option<String>,
    current: String,
}

impl Arguments {
    pub fn new(args: impl Iterator<Item = String>) -> Self {
        Self { rest: args.collect(), attached: None, current: String::new() }
    }

    /// The next option, if one comes next; `--` ends them.
    pub fn option(&mut self) -> Result<Option<String>> {
        if self.attached.is_some() {
            return Err(Error::invalid(format!("option {} takes no value", self.current)));
        }
        match self.rest.front() {
            Some(next) if next == "--" => {
                self.rest.pop_front();
                Ok(None)
            }
            Some(next) if next.len() > 1 && next.starts_with('-') => {
                let next = self.rest.pop_front().unwrap_or_default();
                let (name, value) = match next.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (next, None),
                };
                // Go's flags may be written with one dash.
                let name = if name.len() > 2 && !name.starts_with("--") { format!("-{name}") } else { name };
                self.attached = value;
                self.current.clone_from(&name);
                Ok(Some(name))
            }
            _ => Ok(None),
        }
    }

    /// The value of the last option.
    pub fn value(&mut self) -> Result<String> {
        let missing = || Error::invalid(format!("flag needs an argument: {}", self.current));
        self.attached.take().or_else(|| self.rest.pop_front()).ok_or_else(missing)
    }

    /// The value of the last option when it is a switch.
    pub fn flag(&mut self) -> Result<bool> {
        match self.attached.take().as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Error::invalid(format!("invalid value {other:?} for flag {}", self.current))),
        }
    }

    /// A number as the value of the last option.
    pub fn number(&mut self) -> Result<u32> {
        let text = self.value()?;
        text.parse().map_err(|_| Error::invalid(format!("invalid value {text:?} for flag {}", self.current)))
    }

    /// The next word.
    pub fn word(&mut self) -> Option<String> {
        self.rest.pop_front()
    }

    /// A container's id: runc's rule, so that it is a file name.
    pub fn id(&mut self) -> Result<String> {
        let id = self.word().ok_or_else(|| Error::invalid("container id cannot be empty"))?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-' | b'.');
        if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.bytes().all(known) {
            return Err(Error::invalid("invalid container ID format"));
        }
        Ok(id)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> Vec<String> {
        self.rest.drain(..).collect()
    }

    /// The error for an option nobody knows.
    pub fn unknown(&self, name: &str) -> Error {
        Error::invalid(format!("flag provided but not defined: {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_values_and_words() {
        let line = "--root=/x -b dir --detach -pid-file p id -- -v";
        let mut arguments = Arguments::new(line.split(' ').map(str::to_owned));
        assert_eq!(arguments.option().unwrap().as_deref(), Some("--root"));
        assert_eq!(arguments.value().unwrap(), "/x");
        assert_eq!(arguments.option().unwrap().as_deref(), Some("-b"));
        assert_eq!(arguments.value().unwrap(), "dir");
        assert_eq!(arguments.option().unwrap().as_deref(), Some("--detach"));
        assert!(arguments.flag().unwrap());
        assert_eq!(arguments.option().unwrap().as_deref(), Some("--pid-file"));
        assert_eq!(arguments.value().unwrap(), "p");
        assert_eq!(arguments.option().unwrap(), None);
        assert_eq!(arguments.id().unwrap(), "id");
        assert_eq!(arguments.rest(), ["--", "-v"]);
    }

    #[test]
    fn ids_are_file_names() {
        for bad in ["", ".", "..", "a/b", "a b"] {
            assert!(Arguments::new([bad.to_owned()].into_iter()).id().is_err(), "{bad}");
        }
    }
}
