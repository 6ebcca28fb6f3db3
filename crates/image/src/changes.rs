//! Dockerfile instructions that change an image's configuration (`import --change`, `commit --change`).

use crate::oci::{Empty, Healthcheck, RunConfig};
use rorqual_error::{Error, Result};
use std::collections::BTreeMap;

/// Applies instructions in order.
///
/// # Errors
/// `InvalidArgument` naming an instruction that is malformed or that changes no configuration.
pub fn apply_changes(config: &mut RunConfig, changes: &[String]) -> Result<()> {
    for change in changes.iter().flat_map(|change| change.lines()) {
        let change = change.trim();
        if change.is_empty() || change.starts_with('#') {
            continue;
        }
        let (name, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
        apply(config, &name.to_ascii_lowercase(), rest.trim())?;
    }
    Ok(())
}

fn apply(config: &mut RunConfig, name: &str, rest: &str) -> Result<()> {
    let shown: String = name.chars().take(64).collect();
    if rest.is_empty() && name != "cmd" && name != "entrypoint" {
        return Err(Error::invalid(format!("{} requires at least one argument", shown.to_uppercase())));
    }
    match name {
        "cmd" => config.cmd = Some(command(rest)),
        "entrypoint" => config.entrypoint = Some(command(rest)),
        "env" => {
            let env = config.env.get_or_insert_default();
            for (key, value) in pairs(rest)? {
                env.retain(|entry| entry.split_once('=').map_or(entry.as_str(), |(name, _)| name) != key);
                env.push(format!("{key}={value}"));
            }
        }
        "label" => config.labels.get_or_insert_default().extend(pairs(rest)?),
        "expose" => {
            for port in words(rest)? {
                for port in ports(&port)? {
                    config.exposed_ports.get_or_insert_default().insert(port, Empty {});
                }
            }
        }
        "volume" => {
            let volumes = json_words(rest).map_or_else(|| words(rest), Ok)?;
            config.volumes.get_or_insert_default().extend(volumes.into_iter().map(|path| (path, Empty {})));
        }
        "user" => config.user = one(rest)?,
        "workdir" => {
            let path = one(rest)?;
            config.working_dir = if path.starts_with('/') {
                path
            } else {
                format!("{}/{path}", config.working_dir.trim_end_matches('/'))
            };
            if !config.working_dir.starts_with('/') {
                config.working_dir.insert(0, '/');
            }
        }
        "stopsignal" => config.stop_signal = one(rest)?,
        "onbuild" => config.on_build.get_or_insert_default().push(rest.to_owned()),
        "shell" => {
            config.shell = Some(
                json_words(rest).ok_or_else(|| Error::invalid("SHELL requires the arguments to be in JSON form"))?,
            );
        }
        "healthcheck" => config.healthcheck = Some(healthcheck(rest)?),
        _ => return Err(Error::invalid(format!("{} is not a valid change command", shown))),
    }
    Ok(())
}

/// A JSON list of words, or a line for the shell.
fn command(rest: &str) -> Vec<String> {
    json_words(rest).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), rest.into()])
}

fn json_words(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
}

fn one(rest: &str) -> Result<String> {
    match words(rest)?.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(Error::invalid(format!(
            "exactly one argument is required: {}",
            rest.chars().take(64).collect::<String>()
        ))),
    }
}

/// Splits at spaces outside quotes; a backslash quotes the next character.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.extend(characters.next());
                any = true;
            }
            ('"' | '\'', None) => (quote, any) = (Some(c), true),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => {
                if std::mem::take(&mut any) {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, _) => {
                word.push(c);
                any = true;
            }
        }
    }
    if quote.is_some() {
        return Err(Error::invalid("a quote is not closed"));
    }
    if any {
        words.push(word);
    }
    Ok(words)
}

/// `a=b c="d e"`, or the old form `key value with spaces`.
fn pairs(rest: &str) -> Result<BTreeMap<String, String>> {
    let words = words(rest)?;
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = rest.split_once(char::is_whitespace).ok_or_else(|| {
            Error::invalid(format!("Syntax error - can't find = in {:?}. Must be of the form: name=value", first))
        })?;
        return Ok(BTreeMap::from([(key.to_owned(), value.trim().to_owned())]));
    }
    let pairs = words.iter().map(|word| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::invalid(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))),
    });
    pairs.collect()
}

/// `80`, `80/udp`, `80-82`: each port with its protocol.
fn ports(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::invalid(format!("Invalid containerPort: {}", text.chars().take(64).collect::<String>()));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("Invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(rest: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, tail) = option
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::invalid("Missing command after HEALTHCHECK"))?;
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let bad = || Error::invalid(format!("invalid value for the HEALTHCHECK option {name}"));
        if name == "retries" {
            check.retries = value.parse().map_err(|_| bad())?;
        } else {
            let time = crate::filters::duration_ns(value).and_then(|ns| i64::try_from(ns).ok()).ok_or_else(bad)?;
            match name {
                "interval" => check.interval = time,
                "timeout" => check.timeout = time,
                "start-period" => check.start_period = time,
                "start-interval" => check.start_interval = time,
                _ => return Err(Error::invalid(format!("unknown flag: {name}"))),
            }
        }
        rest = tail.trim_start();
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = Some(match kind.to_ascii_uppercase().as_str() {
        "NONE" if arguments.is_empty() => vec!["NONE".into()],
        "CMD" if !arguments.trim().is_empty() => match json_words(arguments.trim()) {
            Some(words) => ["CMD".to_owned()].into_iter().chain(words).collect(),
            None => vec!["CMD-SHELL".into(), arguments.trim().into()],
        },
        _ => {
            return Err(Error::invalid(format!(
                "Unknown type {:?} in HEALTHCHECK (try CMD)",
                kind.chars().take(64).collect::<String>()
            )));
        }
    });
    Ok(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let mut config = RunConfig { env: Some(vec!["A=0".into()]), ..RunConfig::default() };
        let changes = [
            r#"CMD ["sleep", "300"]"#,
            "ENTRYPOINT echo hi",
            r#"ENV A=1 B="two words""#,
            "env C old form",
            "EXPOSE 80 81-82/udp",
            "VOLUME /data",
            "USER 1:2",
            "WORKDIR app",
            "LABEL x=y",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=5s --retries=2 CMD true",
        ];
        apply_changes(&mut config, &changes.map(str::to_owned)).unwrap();
        assert_eq!(config.cmd.unwrap(), ["sleep", "300"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "echo hi"]);
        assert_eq!(config.env.unwrap(), ["A=1", "B=two words", "C=old form"]);
        assert!(config.exposed_ports.unwrap().keys().eq(["80/tcp", "81/udp", "82/udp"]));
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1:2", "/app"));
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (5_000_000_000, 2));
        assert_eq!(check.test.unwrap(), ["CMD-SHELL", "true"]);
    }

    #[test]
    fn other_instructions_are_refused() {
        for bad in [
            "FROM x",
            "RUN true",
            "ENV",
            "ENV novalue",
            "EXPOSE x",
            "EXPOSE 9-1",
            "USER a b",
            "HEALTHCHECK x",
            "ENV \"a",
        ] {
            assert!(apply_changes(&mut RunConfig::default(), &[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
