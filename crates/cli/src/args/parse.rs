//! Reads a command line by clap, with docker's rules: letters in clusters, `--flag=value`, the last value counts,
//! values may begin with a hyphen, flags of `run` and `exec` end at the first argument.

use super::{Command, Flag, Kind, Matches};
use crate::failure::{Failure, Result};
use clap::{
    Arg, ArgAction,
    error::{ContextKind, ContextValue, ErrorKind},
};

const OPERANDS: &str = "\u{0}operands";

/// What clap needs to read or describe a command.
pub fn clap_command(name: &'static str, flags: &[Flag], flags_first: bool) -> clap::Command {
    let mut command = clap::Command::new(name)
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true);
    for flag in flags {
        command = command.arg(clap_flag(flag));
    }
    // One list of operands: with `flags_first` the first of them ends the flags, known ones too.
    command.arg(
        Arg::new(OPERANDS)
            .num_args(0..)
            .action(ArgAction::Append)
            .trailing_var_arg(flags_first)
            .allow_hyphen_values(false)
            .value_parser(clap::value_parser!(std::ffi::OsString))
            .hide(true),
    )
}

fn clap_flag(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.long).long(flag.long).help(flag.help).hide(flag.hidden);
    let arg = match flag.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    let arg = match flag.alias {
        Some(alias) => arg.alias(alias),
        None => arg,
    };
    let arg = arg.value_parser(clap::value_parser!(std::ffi::OsString)).action(ArgAction::Append);
    match flag.kind {
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Value(name) | Kind::List(name) => arg.num_args(1).allow_hyphen_values(true).value_name(name),
    }
}

/// Reads the arguments of `command`, which was called as `called`.
pub fn parse(command: &'static Command, called: &str, argv: &[String]) -> Result<Matches> {
    let wrong = |message: String| Failure::Flag { message, command, called: called.to_owned() };
    let matches = read(command.name(), command.flags, command.flags_first, argv).map_err(wrong)?;
    let matches = Matches { called: called.to_owned(), ..matches };
    if let Some(error) = command.count_error(matches.args.len()) {
        return Err(Failure::Count { message: error, command, called: called.to_owned() });
    }
    Ok(matches)
}

/// Reads the flags before the command's name; the rest are operands.
pub fn parse_globals(flags: &'static [Flag], argv: &[String]) -> std::result::Result<Matches, String> {
    read("rorqual", flags, true, argv)
}

fn read(
    name: &'static str,
    flags: &'static [Flag],
    flags_first: bool,
    argv: &[String],
) -> std::result::Result<Matches, String> {
    let mut found =
        clap_command(name, flags, flags_first).try_get_matches_from(argv).map_err(|error| explain(&error, argv))?;
    let texts = |values: clap::parser::Values<std::ffi::OsString>| {
        values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let mut matches = Matches::default();
    for flag in flags {
        let Some(values) = found.remove_many(flag.long).map(texts) else { continue };
        for value in &values {
            flag.validate(value)
                .map_err(|why| format!("invalid argument {value:?} for \"{}\" flag: {why}", flag.shown()))?;
        }
        matches.flags.insert(flag.long, (flag.kind, values));
    }
    matches.args = found.remove_many(OPERANDS).map(texts).unwrap_or_default();
    Ok(matches)
}

/// clap's refusal in docker's words.
fn explain(error: &clap::Error, argv: &[String]) -> String {
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::UnknownArgument => match named.strip_prefix("--") {
            Some(long) => format!("unknown flag: --{}", long.split('=').next().unwrap_or(long)),
            None => {
                let letter = named.trim_start_matches('-').chars().next().unwrap_or('-');
                format!("unknown shorthand flag: '{letter}' in -{}", after_letter(letter, argv))
            }
        },
        // Only the last word can want a value that is not there.
        _ => match argv.last().map(String::as_str) {
            Some(last) if last.starts_with("--") => format!("flag needs an argument: {last}"),
            Some(last) => {
                let letter = last.chars().last().unwrap_or('-');
                format!("flag needs an argument: '{letter}' in -{letter}")
            }
            None => error.to_string(),
        },
    }
}

/// The rest of the cluster from the unknown letter on.
fn after_letter(letter: char, argv: &[String]) -> String {
    argv.iter()
        .filter(|word| word.starts_with('-') && !word.starts_with("--"))
        .find_map(|word| word.find(letter).map(|at| word[at..].to_owned()))
        .unwrap_or_else(|| letter.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::switch("interactive", "").short('i'),
        Flag::switch("tty", "").short('t'),
        Flag::switch("rm", ""),
        Flag::list("env", "").short('e'),
        Flag::string("name", ""),
        Flag::list("publish", "").short('p'),
        Flag::bytes("memory", "").short('m'),
        Flag::string("network", "").alias("net"),
    ];

    fn check(first: bool, line: &str, want: &str) {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let got = match read("t", FLAGS, first, &argv) {
            Ok(matches) => {
                let flags: Vec<String> =
                    matches.flags.iter().map(|(name, (_, values))| format!("{name}={}", values.join("+"))).collect();
                format!("{} | {}", flags.join(" "), matches.args.join(" "))
            }
            Err(message) => message,
        };
        assert_eq!(got, want, "{line}");
    }

    #[test]
    fn clusters_values_and_switches() {
        check(true, "-it -e A=1 -eB=2 -e=C=3 img", "env=A=1+B=2+C=3 interactive=true tty=true | img");
        check(true, "--rm=false -p80:80 --name=x img", "name=x publish=80:80 rm=false | img");
        check(true, "-itp 80 img", "interactive=true publish=80 tty=true | img");
        check(true, "--net n img", "network=n | img");
        check(true, "--name --rm img", "name=--rm | img");
        check(true, "-m -1 img", "invalid argument \"-1\" for \"-m, --memory\" flag: invalid size: '-1'");
        check(true, "--name= img", "name= | img");
        check(true, "--rm --rm=false img", "rm=true+false | img");
    }

    #[test]
    fn flags_end_at_the_first_argument_where_they_must() {
        check(true, "img sh -e x --name y -- -z", " | img sh -e x --name y -- -z");
        check(true, "-- img -x", " | img -x");
        check(true, "img -- -x", " | img -- -x");
        check(false, "a --rm b -e x", "env=x rm=true | a b");
        check(false, "a -- --rm", " | a --rm");
        check(false, "-", " | -");
    }

    #[test]
    fn refusals_read_as_dockers() {
        check(true, "--bogus", "unknown flag: --bogus");
        check(true, "--bogus=x", "unknown flag: --bogus");
        check(true, "-Z", "unknown shorthand flag: 'Z' in -Z");
        check(true, "-iZx", "unknown shorthand flag: 'Z' in -Zx");
        check(true, "--name", "flag needs an argument: --name");
        check(true, "-ip", "flag needs an argument: 'p' in -p");
        check(
            true,
            "--rm=abc x",
            "invalid argument \"abc\" for \"--rm\" flag: strconv.ParseBool: parsing \"abc\": invalid syntax",
        );
    }
}
