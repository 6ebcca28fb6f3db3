//! `--network` in both forms, with the flags that belong to the first network.

use super::{comma_fields, object, texts_or_null};
use crate::{args::Matches, value::Value};
use std::collections::BTreeSet;

/// One network to join, with what was asked of the endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attachment {
    /// The network: a name, an id, `host`, `none`, `default`, `container:NAME`.
    pub target: String,
    aliases: Vec<String>,
    driver_options: Vec<String>,
    ip: String,
    ip6: String,
    link_local: Vec<String>,
    mac: String,
    priority: i64,
}

/// The check of the flag.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

fn parse(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !text.contains('=') {
        attachment.target = text.to_owned();
        return Ok(attachment);
    }
    for field in comma_fields(text)? {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        let name = name.trim().to_lowercase();
        let value = value.trim();
        match name.as_str() {
            "name" => attachment.target = value.to_owned(),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => attachment.ip = address(value)?,
            "ip6" => attachment.ip6 = address(value)?,
            "mac-address" => attachment.mac = mac(value)?,
            "link-local-ip" => attachment.link_local.push(address(value)?),
            "driver-opt" if value.contains('=') => attachment.driver_options.push(value.to_owned()),
            "driver-opt" => return Err(format!("invalid key value pair format in driver options ({value})")),
            "gw-priority" => {
                attachment.priority = value.parse().map_err(|_| {
                    format!("invalid gw-priority ({value}): strconv.Atoi: parsing {value:?}: invalid syntax")
                })?;
            }
            _ => return Err(format!("invalid field key {name}")),
        }
    }
    if attachment.target.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(attachment)
}

fn address(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn mac(text: &str) -> Result<String, String> {
    let digits: Vec<&str> = text.split([':', '-']).collect();
    let pair = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    match matches!(digits.len(), 6 | 8 | 20) && digits.iter().all(pair) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text} is not a valid mac address")),
    }
}

/// Whether a network is one that users make, so that aliases and links are scoped to it.
pub fn is_user_defined(mode: &str) -> bool {
    !matches!(mode, "" | "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}

/// All networks to join, the flags for the first one added to it.
pub fn attachments(matches: &Matches, links: &[String]) -> Result<Vec<Attachment>, String> {
    let mut all = matches.list("network").iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() {
        all.push(Attachment { target: "default".to_owned(), ..Attachment::default() });
    }
    let several = all.len() > 1;
    let mut seen = BTreeSet::new();
    for (index, attachment) in all.iter_mut().enumerate() {
        if several && !is_user_defined(&attachment.target) {
            return Err(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned()
            );
        }
        if attachment.target.is_empty() {
            return Err("no name set for network".to_owned());
        }
        if index == 0 {
            attachment.add_flags(matches)?;
        }
        if !is_user_defined(&attachment.target) && !attachment.aliases.is_empty() {
            return Err("network-scoped aliases are only supported for user-defined networks".to_owned());
        }
        if attachment.target.starts_with("container:") && !links.is_empty() {
            return Err(
                "conflicting options: container type network can't be used with links. This would result in undefined behavior"
                    .to_owned(),
            );
        }
        if !seen.insert(attachment.target.clone()) {
            return Err(format!("network {:?} is specified multiple times", attachment.target));
        }
    }
    Ok(all)
}

impl Attachment {
    fn add_flags(&mut self, matches: &Matches) -> Result<(), String> {
        let conflict = |flag: &str, field: &str| {
            Err(format!("conflicting options: cannot specify both --{flag} and per-network {field}"))
        };
        let aliases = matches.list("network-alias");
        if !self.aliases.is_empty() && !aliases.is_empty() {
            return conflict("network-alias", "alias");
        }
        if !self.link_local.is_empty() && !matches.list("link-local-ip").is_empty() {
            return conflict("link-local-ip", "link-local IP addresses");
        }
        for (flag, field, text) in [
            ("ip", "IPv4 address", &self.ip),
            ("ip6", "IPv6 address", &self.ip6),
            ("mac-address", "MAC address", &self.mac),
        ] {
            if !text.is_empty() && !matches.text(flag).is_empty() {
                return conflict(flag, field);
            }
        }
        self.aliases.extend_from_slice(aliases);
        self.link_local.extend_from_slice(matches.list("link-local-ip"));
        let over = |own: &mut String, flag: &str| {
            if !matches.text(flag).is_empty() {
                *own = matches.text(flag).to_owned();
            }
        };
        over(&mut self.ip, "ip");
        over(&mut self.ip6, "ip6");
        if let Some(text) = matches.last("mac-address").filter(|text| !text.is_empty()) {
            self.mac = mac(text)?;
        }
        Ok(())
    }

    /// The endpoint's settings in the body.
    pub fn settings(&self, links: &[String]) -> Value {
        let mut ipam = Vec::new();
        if !self.ip.is_empty() {
            ipam.push(("IPv4Address".to_owned(), self.ip.as_str().into()));
        }
        if !self.ip6.is_empty() {
            ipam.push(("IPv6Address".to_owned(), self.ip6.as_str().into()));
        }
        if !self.link_local.is_empty() {
            ipam.push(("LinkLocalIPs".to_owned(), super::texts_list(&self.link_local)));
        }
        let links = if is_user_defined(&self.target) { texts_or_null(links) } else { Value::Null };
        let options = if self.driver_options.is_empty() { Value::Null } else { super::pairs(&self.driver_options) };
        object([
            ("IPAMConfig", if ipam.is_empty() { Value::Null } else { Value::Map(ipam) }),
            ("Links", links),
            ("Aliases", texts_or_null(&self.aliases)),
            ("MacAddress", self.mac.as_str().into()),
            ("DriverOpts", options),
            ("GwPriority", Value::Int(self.priority)),
            ("NetworkID", "".into()),
            ("EndpointID", "".into()),
            ("Gateway", "".into()),
            ("IPAddress", "".into()),
            ("IPPrefixLen", Value::Int(0)),
            ("IPv6Gateway", "".into()),
            ("GlobalIPv6Address", "".into()),
            ("GlobalIPv6PrefixLen", Value::Int(0)),
            ("DNSNames", Value::Null),
        ])
    }
}
