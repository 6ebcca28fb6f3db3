//! The command line: docker's verbs, flags, output and exit statuses over the Engine API. One file per command.

#![forbid(unsafe_code)]

mod adopt;
pub mod args;
mod attach;
mod cli;
mod completion;
mod config;
mod container;
mod context;
mod credentials;
mod failure;
mod human;
mod image;
mod inspect;
mod limits;
mod man;
mod manifest;
mod network;
mod opts;
mod print;
mod registry;
mod system;
mod template;
mod tree;
mod value;
mod volume;

pub use failure::Failure;

/// The name users call us by, printed where docker prints its own.
pub const PROGRAM: &str = "rorqual";

/// Runs one command line, without the program's name, and gives its exit status.
pub fn main(argv: impl IntoIterator<Item = std::ffi::OsString>) -> u8 {
    let argv: Vec<String> = argv.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    attach::tty::restore_on_panic();
    let status = tree::run(&argv);
    attach::tty::restore();
    status
}
