//! The command line: flags as dockerd takes them, in the words it refuses them in.

use super::{
    options::{Kind, OPTIONS, Opt, by_flag, by_letter},
    value::Value,
};
use std::{collections::BTreeMap, fmt::Write};

/// What the command line says, by flag.
pub type Flags = BTreeMap<&'static str, Value>;

/// Reads the arguments after the program's name; the error is what to print.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Flags, String> {
    let mut flags = Flags::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            match rest.next() {
                Some(extra) => return Err(unexpected(&extra)),
                None => break,
            }
        } else if let Some(long) = argument.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let option = by_flag(name).ok_or_else(|| format!("unknown flag: --{name}"))?;
            take(&mut flags, option, value, &mut rest, || format!("--{name}"))?;
        } else if argument.len() > 1 && argument.starts_with('-') {
            letters(&mut flags, &argument[1..], &mut rest)?;
        } else {
            return Err(unexpected(&argument));
        }
    }
    Ok(flags)
}

fn unexpected(argument: &str) -> String {
    format!("unexpected argument: {argument}; the daemon takes only flags")
}

/// Reads `-Dl debug`, `-Hunix:///x`, `-D=false`.
fn letters(flags: &mut Flags, text: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), String> {
    let mut left = text;
    while let Some(letter) = left.chars().next() {
        left = &left[letter.len_utf8()..];
        let option = by_letter(letter).ok_or_else(|| format!("unknown shorthand flag: '{letter}' in -{text}"))?;
        let named = || format!("'{letter}' in -{text}");
        if let Some(value) = left.strip_prefix('=') {
            return take(flags, option, Some(value.to_owned()), rest, named);
        }
        if option.kind != Kind::Bool {
            let value = (!left.is_empty()).then(|| left.to_owned());
            return take(flags, option, value, rest, named);
        }
        take(flags, option, None, rest, named)?;
    }
    Ok(())
}

/// Adds one flag; a value that does not stand with it is the next argument.
fn take(
    flags: &mut Flags,
    option: &'static Opt,
    value: Option<String>,
    rest: &mut impl Iterator<Item = String>,
    named: impl Fn() -> String,
) -> Result<(), String> {
    let value = match value {
        Some(value) => value,
        None if option.kind == Kind::Bool => "true".into(),
        None => rest.next().ok_or_else(|| format!("flag needs an argument: {}", named()))?,
    };
    let letter = option.short.map_or(String::new(), |letter| format!("-{letter}, "));
    let added = Value::add(flags.remove(option.flag), option, &value)
        .map_err(|why| format!("invalid argument {value:?} for \"{letter}--{}\" flag: {why}", option.flag))?;
    flags.insert(option.flag, added);
    Ok(())
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text =
        "Usage:  rorquald [OPTIONS]\n\nA daemon for containers, controlled over the Docker API.\n\nOptions:\n"
            .to_owned();
    for option in OPTIONS.iter().filter(|option| !option.flag.is_empty()) {
        let letter = option.short.map_or("    ".into(), |letter| format!("-{letter}, "));
        let value = match option.kind {
            Kind::Bool => "",
            Kind::Int => " int",
            Kind::Bytes => " bytes",
            Kind::Text => " string",
            Kind::List | Kind::Other => " list",
            Kind::Map | Kind::BoolMap => " map",
            Kind::Runtimes => " runtime",
            Kind::Ulimits => " ulimit",
        };
        let _ = writeln!(text, "  {letter}{:<38} {}", format!("--{}{value}", option.flag), option.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Flags, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_come_in_all_forms() {
        let flags =
            parsed("-D -H unix:///a --host=tcp://127.0.0.1:1 -Hfd:// -l debug --icc=false --log-opt a=b --log-opt c=d")
                .unwrap();
        assert_eq!(flags["debug"], Value::Bool(true));
        assert_eq!(flags["host"], Value::List(["unix:///a", "tcp://127.0.0.1:1", "fd://"].map(str::to_owned).into()));
        assert_eq!(flags["log-level"], Value::Text("debug".into()));
        assert_eq!(flags["icc"], Value::Bool(false));
        assert_eq!(flags["log-opt"].to_string(), "map[a:b c:d]");
        assert_eq!(parsed("-Dl warn").unwrap()["log-level"], Value::Text("warn".into()));
        assert_eq!(parsed("--default-shm-size 1m").unwrap()["default-shm-size"], Value::Int(1 << 20));
    }

    #[test]
    fn wrong_flags_are_refused_in_dockerds_words() {
        for (line, wanted) in [
            ("--foo", "unknown flag: --foo"),
            ("--foo=1", "unknown flag: --foo"),
            ("-x", "unknown shorthand flag: 'x' in -x"),
            ("--pidfile", "flag needs an argument: --pidfile"),
            ("-H", "flag needs an argument: 'H' in -H"),
            ("extra", "unexpected argument: extra; the daemon takes only flags"),
            (
                "-H foo://x",
                "invalid argument \"foo://x\" for \"-H, --host\" flag: invalid bind address (foo://x): unsupported proto 'foo'",
            ),
            (
                "--debug=x",
                "invalid argument \"x\" for \"-D, --debug\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
            ("--mtu x", "invalid argument \"x\" for \"--mtu\" flag: strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("--label foo", "invalid argument \"foo\" for \"--label\" flag: bad attribute format: foo"),
            ("--add-runtime foo", "invalid argument \"foo\" for \"--add-runtime\" flag: invalid runtime argument: foo"),
            ("--default-ulimit x", "invalid argument \"x\" for \"--default-ulimit\" flag: invalid ulimit argument: x"),
            ("--dns x", "invalid argument \"x\" for \"--dns\" flag: x is not an ip address"),
        ] {
            assert_eq!(parsed(line).unwrap_err(), wanted, "{line}");
        }
    }

    #[test]
    fn help_names_every_flag() {
        let text = help();
        for option in OPTIONS.iter().filter(|option| !option.flag.is_empty()) {
            assert!(text.contains(&format!("--{}", option.flag)), "{}", option.flag);
        }
    }
}
