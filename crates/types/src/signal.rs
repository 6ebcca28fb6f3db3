//! Signals by number or name (signal(7)), as `docker kill --signal` takes them.

use rorqual_error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A signal number, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal(i32);

impl Signal {
    /// SIGTERM, what `stop` sends unless the image or the container says otherwise.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);

    /// The number.
    pub const fn number(self) -> i32 {
        self.0
    }
}

/// Names on Linux, by number; the generic table, shared by x86 and arm.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

impl FromStr for Signal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let shown: String = text.chars().take(256).collect();
        let invalid = || Error::invalid(format!("invalid signal: {shown}"));
        if let Ok(number) = text.parse::<i32>() {
            return match number {
                1..=64 => Ok(Self(number)),
                0 => Err(invalid()),
                _ => Err(Error::invalid(format!("the linux daemon does not support signal {number}"))),
            };
        }
        let upper = text.to_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |rest: &str, sign: char| rest.strip_prefix(sign).and_then(|n| n.parse::<i32>().ok());
        let number = match name {
            "IOT" => 6,
            "CLD" => 17,
            "POLL" => 29,
            "RTMIN" => 34,
            "RTMAX" => 64,
            _ => match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
                (Some(rest), _) => {
                    offset(rest, '+').filter(|n| (1..=15).contains(n)).map(|n| 34 + n).ok_or_else(invalid)?
                }
                (_, Some(rest)) => {
                    offset(rest, '-').filter(|n| (1..=14).contains(n)).map(|n| 64 - n).ok_or_else(invalid)?
                }
                _ => NAMES.iter().position(|known| *known == name).map(|index| index as i32 + 1).ok_or_else(invalid)?,
            },
        };
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SYS", 31)]
        {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "SIGNOPE", "RTMIN+99"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
