//! Help as docker lays it out: usage, about, aliases, options in columns wrapped to the terminal.

use super::{Command, Flag, Group, Kind};
use crate::PROGRAM;
use std::fmt::Write;

/// `Usage:  rorqual run [OPTIONS] IMAGE [COMMAND] [ARG...]`
pub fn usage_line(command: &Command, called: &str) -> String {
    let options = if command.flags.iter().any(|flag| !flag.hidden) { " [OPTIONS]" } else { "" };
    let operands = if command.operands.is_empty() { String::new() } else { format!(" {}", command.operands) };
    format!("Usage:  {PROGRAM} {called}{options}{operands}")
}

/// The whole help of a command.
pub fn command_help(command: &Command, called: &str, width: usize) -> String {
    let mut text = format!("{}\n\n{}\n", usage_line(command, called), command.about);
    if !command.aliases.is_empty() {
        let names: Vec<String> = std::iter::once(command.path)
            .chain(command.aliases.iter().copied())
            .map(|name| format!("{PROGRAM} {name}"))
            .collect();
        let _ = write!(text, "\nAliases:\n  {}\n", names.join(", "));
    }
    if command.flags.iter().any(|flag| !flag.hidden) {
        let _ = write!(text, "\nOptions:\n{}", options(command.flags, width));
    }
    text
}

/// The help of a group.
pub fn group_help(group: &Group) -> String {
    let mut text = format!("Usage:  {PROGRAM} {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    text.push_str(&listing(group.commands.iter().map(|command| (command.name(), command.about))));
    let _ = write!(text, "\nRun '{PROGRAM} {} COMMAND --help' for more information on a command.\n", group.name);
    text
}

/// The help of the program.
pub fn root_help(globals: &[Flag], groups: &[&Group], commands: &[(&str, &Command)], width: usize) -> String {
    let mut text = format!("Usage:  {PROGRAM} [OPTIONS] COMMAND\n\nRuns and manages containers\n\nCommands:\n");
    text.push_str(&listing(commands.iter().map(|(name, command)| (*name, command.about))));
    text.push_str("\nManagement Commands:\n");
    text.push_str(&listing(groups.iter().map(|group| (group.name, group.about))));
    let _ = write!(text, "\nGlobal Options:\n{}", options(globals, width));
    let _ = write!(text, "\nRun '{PROGRAM} COMMAND --help' for more information on a command.\n");
    text
}

fn listing<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    rows.fold(String::new(), |mut text, (name, about)| {
        let _ = writeln!(text, "  {name:<11} {about}");
        text
    })
}

/// The options in alphabetical order, in two columns.
fn options(flags: &[Flag], width: usize) -> String {
    let mut shown: Vec<&Flag> = flags.iter().filter(|flag| !flag.hidden).collect();
    shown.sort_by_key(|flag| flag.long);
    let lefts: Vec<String> = shown.iter().map(|flag| left(flag)).collect();
    let column = lefts.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut text = String::new();
    for (flag, left) in shown.iter().zip(&lefts) {
        let mut help = flag.help.to_owned();
        if !flag.default.is_empty() {
            let _ = match flag.kind {
                Kind::Value("string") => write!(help, " (default \"{}\")", flag.default),
                _ => write!(help, " (default {})", flag.default),
            };
        }
        let lines = wrap(&help, width.saturating_sub(column).max(24));
        for (index, line) in lines.iter().enumerate() {
            let left = if index == 0 { left.as_str() } else { "" };
            let _ = writeln!(text, "{left:<column$}{line}");
        }
    }
    text
}

fn left(flag: &Flag) -> String {
    let names = match flag.short {
        Some(letter) => format!("  -{letter}, --{}", flag.long),
        None => format!("      --{}", flag.long),
    };
    match flag.kind {
        Kind::Switch => names,
        Kind::Value(name) | Kind::List(name) => format!("{names} {name}"),
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a last line");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
