//! `--security-opt`.

use rorqual_error::{Error, Result};

/// What the options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// The system call filter.
    pub seccomp: SeccompChoice,
    /// Whether set-id programs gain nothing; `None` leaves it to the daemon.
    pub no_new_privileges: Option<bool>,
    /// AppArmor profile; without effect where the kernel has none, as docker.
    pub apparmor: Option<String>,
    /// SELinux label options; without effect where the kernel has none.
    pub labels: Vec<String>,
}

/// Which system call filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SeccompChoice {
    /// The daemon's; none for a privileged container.
    #[default]
    Default,
    /// The built-in one, whatever the daemon's is.
    Builtin,
    /// None.
    Unconfined,
    /// This profile, as JSON.
    Profile(String),
}

impl Security {
    /// Parses docker's options; its messages.
    pub fn parse(options: &[String]) -> Result<Self> {
        let mut security = Self::default();
        for option in options {
            security.add(option)?;
        }
        Ok(security)
    }

    fn add(&mut self, option: &str) -> Result<()> {
        let shown: String = option.chars().take(128).collect();
        let invalid = |place: u8| Error::invalid(format!("invalid --security-opt {place}: {shown:?}"));
        match option {
            "no-new-privileges" => {
                self.no_new_privileges = Some(true);
                return Ok(());
            }
            "disable" => {
                self.labels.push("disable".to_owned());
                return Ok(());
            }
            _ => {}
        }
        let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(|| invalid(1))?;
        match key {
            "label" => self.labels.push(value.to_owned()),
            "apparmor" => self.apparmor = Some(value.to_owned()),
            "seccomp" => {
                self.seccomp = match value {
                    "unconfined" => SeccompChoice::Unconfined,
                    "builtin" => SeccompChoice::Builtin,
                    profile => SeccompChoice::Profile(profile.to_owned()),
                }
            }
            "no-new-privileges" => self.no_new_privileges = Some(parse_bool(value).ok_or_else(|| invalid(2))?),
            "writable-cgroups" => {
                parse_bool(value).filter(|wanted| !wanted).ok_or_else(|| invalid(2))?;
            }
            _ => return Err(invalid(2)),
        }
        Ok(())
    }
}

/// The words Go takes for booleans.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Security> {
        Security::parse(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        let security =
            parse(&["no-new-privileges", "seccomp={\"a\":1}", "apparmor=x", "label:type:y", "label=disable"]).unwrap();
        assert_eq!(security.no_new_privileges, Some(true));
        assert_eq!(security.seccomp, SeccompChoice::Profile("{\"a\":1}".to_owned()));
        assert_eq!(security.apparmor.as_deref(), Some("x"));
        assert_eq!(security.labels, ["type:y", "disable"]);
        assert_eq!(parse(&["no-new-privileges=false"]).unwrap().no_new_privileges, Some(false));
        assert_eq!(parse(&["seccomp=unconfined"]).unwrap().seccomp, SeccompChoice::Unconfined);
    }

    #[test]
    fn refusals_in_dockers_words() {
        for (option, message) in [
            ("bogus", "invalid --security-opt 1: \"bogus\""),
            ("bogus=1", "invalid --security-opt 2: \"bogus=1\""),
            ("no-new-privileges=maybe", "invalid --security-opt 2: \"no-new-privileges=maybe\""),
        ] {
            assert_eq!(parse(&[option]).unwrap_err().to_string(), message);
        }
    }
}
