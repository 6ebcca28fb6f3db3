//! One flag.

/// What a flag takes. The names are those that help prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// One value; the last one counts. The name says its type.
    Value(&'static str),
    /// A value each time it is given.
    List(&'static str),
}

/// Refuses a malformed value with docker's reason.
pub type Check = fn(&str) -> Result<(), String>;

/// A flag as data: names, type, help text, the check of its values.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The name after `--`.
    pub long: &'static str,
    /// The letter after `-`.
    pub short: Option<char>,
    /// Another long name, not shown.
    pub alias: Option<&'static str>,
    /// What it takes.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// The default as help prints it; empty where there is none to show.
    pub default: &'static str,
    /// Left out of help.
    pub hidden: bool,
    /// Refuses a malformed value.
    pub check: Option<Check>,
}

impl Flag {
    const fn new(long: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { long, short: None, alias: None, kind, help, default: "", hidden: false, check: None }
    }

    /// A flag that is on or off.
    pub const fn switch(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Switch, help)
    }

    /// A flag with any text.
    pub const fn string(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Value("string"), help)
    }

    /// A flag with a value of a named type.
    pub const fn value(long: &'static str, kind: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Value(kind), help)
    }

    /// A flag with a signed number.
    pub const fn int(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Value("int"), help).check(check_int)
    }

    /// A flag with a number of bytes, `64m`.
    pub const fn bytes(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Value("bytes"), help).check(check_bytes)
    }

    /// A flag with a span of time, `1m30s`.
    pub const fn duration(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::Value("duration"), help).check(check_duration)
    }

    /// A flag that may be given many times.
    pub const fn list(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Kind::List("list"), help)
    }

    /// The `--filter` of list commands.
    pub const fn filter(help: &'static str) -> Self {
        Self::new("filter", Kind::List("filter"), help).short('f').check(check_filter)
    }

    /// The `--format` of list commands.
    pub const fn format() -> Self {
        Self::string("format", "How to print: 'table', 'table TEMPLATE', 'json', or a Go template")
    }

    /// With this letter too.
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Without a letter.
    pub const fn no_short(mut self) -> Self {
        self.short = None;
        self
    }

    /// With another long name that help does not show.
    pub const fn alias(mut self, name: &'static str) -> Self {
        self.alias = Some(name);
        self
    }

    /// With a type name of its own.
    pub const fn of(mut self, kind: &'static str) -> Self {
        self.kind = match self.kind {
            Kind::Switch => Kind::Switch,
            Kind::Value(_) => Kind::Value(kind),
            Kind::List(_) => Kind::List(kind),
        };
        self
    }

    /// With a default that help shows; the command itself applies it.
    pub const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }

    /// Left out of help.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// With a check of each value.
    pub const fn check(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// As errors name it: `-m, --memory`.
    pub fn shown(&self) -> String {
        match self.short {
            Some(letter) => format!("-{letter}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }

    /// Refuses a value that the type does not hold.
    pub fn validate(&self, value: &str) -> Result<(), String> {
        match (self.kind, self.check) {
            (Kind::Switch, _) => parse_bool(value).map(drop),
            (_, Some(check)) => check(value),
            (_, None) => Ok(()),
        }
    }
}

/// The spellings of true and false that docker's flags take.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

fn check_int(text: &str) -> Result<(), String> {
    parse_int(text).map(drop)
}

/// A signed number in base 10, or as `0x`, `0o`, `0b` and a leading zero say.
pub fn parse_int(text: &str) -> Result<i64, String> {
    let invalid = || format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(invalid());
    }
    let lower = digits.to_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let value = i128::from_str_radix(digits, radix).map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow => format!("strconv.ParseInt: parsing {text:?}: value out of range"),
        _ => invalid(),
    })?;
    let value = if negative { -value } else { value };
    i64::try_from(value).map_err(|_| format!("strconv.ParseInt: parsing {text:?}: value out of range"))
}

fn check_bytes(text: &str) -> Result<(), String> {
    crate::human::parse_bytes(text).map(drop)
}

fn check_duration(text: &str) -> Result<(), String> {
    crate::human::parse_duration(text).map(drop)
}

fn check_filter(text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains('=') {
        return Ok(());
    }
    Err("bad format of filter (expected name=value)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [("5", 5), ("-1", -1), ("+7", 7), ("0x10", 16), ("010", 8), ("0b11", 3)] {
            assert_eq!(parse_int(text), Ok(value), "{text}");
        }
        for bad in ["", "a", "--1", "1.5", "1m"] {
            assert_eq!(parse_int(bad), Err(format!("strconv.ParseInt: parsing {bad:?}: invalid syntax")));
        }
    }
}
