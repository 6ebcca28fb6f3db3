//! `-p` and `--expose`: `[[ip:]host[-host]:]container[-container][/proto]`, and the long form
//! `published=8080,target=80,protocol=tcp`.

use super::{comma_fields, object};
use crate::value::Value;
use std::{collections::BTreeMap, net::IpAddr};

/// Exposed ports and bindings, as the API's body holds them.
#[derive(Debug, Default, PartialEq)]
pub struct Ports {
    exposed: BTreeMap<String, ()>,
    bindings: BTreeMap<String, Vec<(String, String)>>,
}

impl Ports {
    /// Reads every `--publish` and `--expose`.
    pub fn parse(publish: &[String], expose: &[String]) -> Result<Self, String> {
        let mut ports = Self::default();
        for text in publish {
            let text = if text.contains('=') { long_form(text)? } else { text.clone() };
            ports.publish(&text)?;
        }
        for text in expose {
            ports.expose(text)?;
        }
        Ok(ports)
    }

    /// `ExposedPorts`; none where no port was named.
    pub fn exposed(&self) -> Option<Value> {
        if self.exposed.is_empty() {
            return None;
        }
        Some(Value::Map(self.exposed.keys().map(|port| (port.clone(), Value::Map(Vec::new()))).collect()))
    }

    /// `PortBindings`.
    pub fn bindings(&self) -> Value {
        let binding = |(ip, port): &(String, String)| {
            object([("HostIp", ip.as_str().into()), ("HostPort", port.as_str().into())])
        };
        Value::Map(
            self.bindings
                .iter()
                .map(|(port, hosts)| (port.clone(), Value::List(hosts.iter().map(binding).collect())))
                .collect(),
        )
    }

    fn publish(&mut self, text: &str) -> Result<(), String> {
        let (ip, host, container) = split(text);
        let (container, protocol) = protocol(container)?;
        if container.is_empty() {
            return Err(format!("no port specified: {text}<empty>"));
        }
        let ip = match ip.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner,
            None => ip,
        };
        if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
            return Err(format!("invalid IP address: {ip}"));
        }
        let (first, last) = range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
        let hosts = match host {
            "" => None,
            host => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
        };
        if let Some((low, high)) = hosts
            && last - first != high - low
            && first != last
        {
            return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
        }
        for port in first..=last {
            let name = format!("{port}/{protocol}");
            let host_port = match hosts {
                None => String::new(),
                // Several host ports for one of the container: the daemon takes a free one.
                Some((low, high)) if first == last && low != high => format!("{low}-{high}"),
                Some((low, _)) => (low + (port - first)).to_string(),
            };
            self.exposed.insert(name.clone(), ());
            self.bindings.entry(name).or_default().push((ip.to_owned(), host_port));
        }
        Ok(())
    }

    fn expose(&mut self, text: &str) -> Result<(), String> {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let (port, protocol) = match text.split_once('/') {
            Some((port, protocol)) => (port, protocol.to_lowercase()),
            None => (text, "tcp".to_owned()),
        };
        let (first, last) =
            range(port).map_err(|why| format!("invalid range format for --expose: {port}, error: {why}"))?;
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(format!("invalid proto: {protocol}"));
        }
        for port in first..=last {
            self.exposed.insert(format!("{port}/{protocol}"), ());
        }
        Ok(())
    }
}

/// Address, host part and container part.
fn split(text: &str) -> (&str, &str, &str) {
    match text.rsplit_once(':') {
        None => ("", "", text),
        Some((rest, container)) => match rest.rsplit_once(':') {
            None => ("", rest, container),
            Some((ip, host)) => (ip, host, container),
        },
    }
}

fn protocol(container: &str) -> Result<(&str, String), String> {
    match container.split_once('/') {
        None => Ok((container, "tcp".to_owned())),
        Some((port, protocol)) => {
            let protocol = protocol.to_lowercase();
            match protocol.as_str() {
                "tcp" | "udp" | "sctp" => Ok((port, protocol)),
                _ => Err(format!("invalid proto: {protocol}")),
            }
        }
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        text.parse::<u16>().map_err(|error| match error.kind() {
            std::num::IntErrorKind::PosOverflow => format!("strconv.ParseUint: parsing {text:?}: value out of range"),
            _ => format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
        })
    };
    match text.split_once('-') {
        None if text.is_empty() => Err("empty string specified for ports".to_owned()),
        None => port(text).map(|port| (port, port)),
        Some((low, high)) => {
            let (low, high) = (port(low)?, port(high)?);
            if high < low {
                return Err(format!("invalid range specified for port: {text}"));
            }
            Ok((low, high))
        }
    }
}

/// `published=8080,target=80,protocol=udp,mode=host` in the short form.
fn long_form(text: &str) -> Result<String, String> {
    let (mut target, mut published, mut protocol) = (String::new(), String::new(), "tcp".to_owned());
    for field in comma_fields(text)? {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        match name.to_lowercase().as_str() {
            "protocol" if matches!(value, "tcp" | "udp" | "sctp") => protocol = value.to_owned(),
            "protocol" => return Err(format!("invalid protocol value '{value}'")),
            "mode" if matches!(value, "host" | "ingress") => {}
            "mode" => return Err(format!("invalid publish mode value ({value}): must be either 'ingress' or 'host'")),
            "target" => target = value.to_owned(),
            "published" => published = value.to_owned(),
            _ => return Err(format!("invalid field key {name}")),
        }
    }
    if target.is_empty() {
        return Err("missing mandatory field 'target'".to_owned());
    }
    Ok(match published.is_empty() {
        true => format!("{target}/{protocol}"),
        false => format!("{published}:{target}/{protocol}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(publish: &[&str], expose: &[&str], want: &str) {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let got = match Ports::parse(&owned(publish), &owned(expose)) {
            Ok(ports) => format!("{} {}", ports.exposed().unwrap_or_default().json(), ports.bindings().json()),
            Err(why) => why,
        };
        assert_eq!(got, want, "{publish:?} {expose:?}");
    }

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        check(&["8080:80"], &[], r#"{"80/tcp":{}} {"80/tcp":[{"HostIp":"","HostPort":"8080"}]}"#);
        check(&["127.0.0.1::82/udp"], &[], r#"{"82/udp":{}} {"82/udp":[{"HostIp":"127.0.0.1","HostPort":""}]}"#);
        check(&["[::1]:53:53/tcp"], &[], r#"{"53/tcp":{}} {"53/tcp":[{"HostIp":"::1","HostPort":"53"}]}"#);
        check(&["1000-1002:80"], &[], r#"{"80/tcp":{}} {"80/tcp":[{"HostIp":"","HostPort":"1000-1002"}]}"#);
        check(
            &["published=8080,target=80,protocol=udp"],
            &[],
            r#"{"80/udp":{}} {"80/udp":[{"HostIp":"","HostPort":"8080"}]}"#,
        );
        check(&[], &["90", "91-92/udp"], r#"{"90/tcp":{},"91/udp":{},"92/udp":{}} {}"#);
    }

    #[test]
    fn refusals_read_as_dockers() {
        check(&["abc"], &[], "invalid containerPort: abc");
        check(&["99999"], &[], "invalid containerPort: 99999");
        check(&["1-3:1-2"], &[], "invalid ranges specified for container and host Ports: 1-2 and 1-3");
        check(&["1:2:3:4"], &[], "invalid IP address: 1:2");
        check(&["80/foo"], &[], "invalid proto: foo");
        check(&[], &["5-3"], "invalid range format for --expose: 5-3, error: invalid range specified for port: 5-3");
    }
}
