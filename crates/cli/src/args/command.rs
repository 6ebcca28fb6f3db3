//! A command, a group of commands, and the tree they form.

use super::{Flag, Matches};
use crate::{cli::Cli, failure::Result};
use std::{fmt, future::Future, pin::Pin};

/// What runs a command: the exit status, or why it failed.
pub type Handler = for<'a> fn(&'a mut Cli, &'a Matches) -> Pin<Box<dyn Future<Output = Result<u8>> + 'a>>;

/// How many arguments a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Args {
    /// None at all.
    None,
    /// This many.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
    /// From so many to so many.
    Between(usize, usize),
    /// Any number.
    Any,
}

/// A command as data.
pub struct Command {
    /// Where it stands: `container kill`.
    pub path: &'static str,
    /// Shorter names at the top: `kill`.
    pub aliases: &'static [&'static str],
    /// What follows the name in the usage line, without `[OPTIONS]`: `CONTAINER [CONTAINER...]`.
    pub operands: &'static str,
    /// One line.
    pub about: &'static str,
    /// How many arguments it takes.
    pub args: Args,
    /// Its flags.
    pub flags: &'static [Flag],
    /// Whether flags end at the first argument, as those of `run` and `exec` do.
    pub flags_first: bool,
    /// What runs it.
    pub run: Handler,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({})", self.path)
    }
}

impl Command {
    /// Its name within its group: `kill`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit(' ').next().unwrap_or(self.path)
    }

    /// What is wrong with this number of arguments, in docker's words after the command's name.
    pub fn count_error(&self, given: usize) -> Option<String> {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        match self.args {
            Args::None if given > 0 => Some("accepts no arguments".to_owned()),
            Args::Exactly(n) if given != n => Some(format!("requires {n} {}", plural(n))),
            Args::AtLeast(n) if given < n => Some(format!("requires at least {n} {}", plural(n))),
            Args::Between(low, high) if !(low..=high).contains(&given) => {
                Some(format!("requires at least {low} and at most {high} {}", plural(high)))
            }
            _ => None,
        }
    }
}

/// A group: `container`, `image`, ...
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// What it holds, in alphabetical order.
    pub commands: &'static [&'static Command],
}

/// What a word at the top names.
#[derive(Clone, Copy, Debug)]
pub enum Node {
    /// A command.
    Command(&'static Command),
    /// A group.
    Group(&'static Group),
}
