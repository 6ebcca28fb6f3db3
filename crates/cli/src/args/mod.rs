//! Commands and their flags as data; clap reads the command line by them, help, completions and man pages are
//! printed from them.

mod command;
mod flag;
mod help;
mod matches;
mod parse;

pub use command::{Args, Command, Group, Handler, Node};
pub use flag::{Flag, Kind, parse_bool, parse_int};
pub use help::{command_help, group_help, root_help, usage_line};
pub use matches::Matches;
pub use parse::{clap_command, parse, parse_globals};
