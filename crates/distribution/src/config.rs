//! What an operator can say about registries: mirrors, rewriting, insecure hosts, certificates, proxies.

use ipnet::IpNet;
use reqwest::Url;
use rorqual_error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, path::PathBuf};

/// The settings of all registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Mirrors of `docker.io`, asked in order before it (`registry-mirrors` of dockerd).
    pub registry_mirrors: Vec<String>,
    /// `HOST`, `HOST:PORT` or `ADDRESS/BITS` where any certificate and plain HTTP are accepted (`insecure-registries`).
    /// Networks are compared with literal addresses only: a name server cannot make a registry insecure.
    /// `127.0.0.0/8`, `::1` and `localhost` always are.
    pub insecure_registries: Vec<String>,
    /// Directories that hold `HOST:PORT/{*.crt,*.cert,*.key}`, as dockerd's `certs.d`.
    pub certs_dirs: Vec<PathBuf>,
    /// Mirrors of any registry. The first rule that fits a name counts.
    pub rules: Vec<HostRule>,
    /// Other nodes, asked in this order for what is named by digest, before mirrors and registries.
    pub peers: Vec<Peer>,
    /// Proxies.
    pub proxies: Proxies,
    /// How we name ourselves.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registry_mirrors: Vec::new(),
            insecure_registries: Vec::new(),
            certs_dirs: vec![PathBuf::from("/etc/docker/certs.d")],
            rules: Vec::new(),
            peers: Vec::new(),
            proxies: Proxies::default(),
            user_agent: concat!("rorqual/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Where else the images of one registry, or of a part of it, are pulled from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostRule {
    /// The registry as names have it: `docker.io`, `ghcr.io`, `registry.example.org:5000`.
    pub registry: String,
    /// Only repositories whose path begins with this: `library/`. Empty means all.
    #[serde(default)]
    pub prefix: String,
    /// Asked in this order.
    #[serde(default)]
    pub mirrors: Vec<Mirror>,
    /// Whether the registry itself is left out when no mirror has the image.
    #[serde(default)]
    pub mirrors_only: bool,
}

/// One mirror of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mirror {
    /// `https://mirror.example.org:5000`, with a path where the mirror's `/v2/` is below one. `http://` says that the
    /// mirror is spoken to without TLS.
    pub url: String,
    /// What the rule's prefix becomes there: `proxy/library/`. Absent, names stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A node that serves the blobs it has to those who know a password, whatever repository they are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Peer {
    /// `https://node2.example.org:5002`; `http://` only where the host is insecure. Its certificate authority is found
    /// as a registry's is.
    pub url: String,
    /// Who we are there.
    pub username: String,
    /// The file that holds the password, and nothing else.
    pub password_file: PathBuf,
}

/// Proxies, as dockerd's `proxies`. Loopback addresses are never reached through one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Proxies {
    /// For plain HTTP.
    pub http_proxy: String,
    /// For HTTPS.
    pub https_proxy: String,
    /// Hosts, domains and networks that are reached directly, separated by commas.
    pub no_proxy: String,
}

impl fmt::Debug for Proxies {
    /// A proxy's address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| if text.is_empty() { "none" } else { "set" };
        f.debug_struct("Proxies")
            .field("http_proxy", &shown(&self.http_proxy))
            .field("https_proxy", &shown(&self.https_proxy))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// The insecure registries, parsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Insecure {
    hosts: Vec<String>,
    networks: Vec<IpNet>,
}

impl Insecure {
    pub(crate) fn parse(list: &[String]) -> Result<Self> {
        let mut insecure = Self::default();
        for entry in list {
            let entry = entry.trim();
            if entry.contains("://") {
                return Err(Error::invalid(format!("insecure registry {entry} should not contain '://'")));
            }
            if entry.is_empty() || entry.starts_with('-') || entry.ends_with('-') {
                return Err(Error::invalid(format!("invalid insecure registry {entry:?}")));
            }
            match entry.parse::<IpNet>() {
                Ok(network) => insecure.networks.push(network),
                Err(_) if entry.contains('/') => {
                    return Err(Error::invalid(format!("insecure registry {entry} is neither a host nor a network")));
                }
                Err(_) => insecure.hosts.push(entry.to_ascii_lowercase()),
            }
        }
        Ok(insecure)
    }

    /// Whether the operator accepts plain HTTP and any certificate there.
    pub(crate) fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let with_port = format!("{host}:{port}");
        if host == "localhost" || self.hosts.iter().any(|entry| *entry == host || *entry == with_port) {
            return true;
        }
        let Some(address) = literal(&host) else { return false };
        address.is_loopback() || self.networks.iter().any(|network| network.contains(&address))
    }
}

/// The address that a host of a URL is, where it is one; an IPv4 address in IPv6 clothes is the IPv4 address.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The base address of a mirror: `http` or `https`, no user, no query.
pub(crate) fn mirror_url(text: &str) -> Result<Url> {
    // What cannot be read may hold a password: it is not shown.
    let url: Url = text.parse().map_err(|_| Error::invalid("invalid mirror: not a valid URI"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::invalid(format!("invalid mirror: unsupported scheme {:?}", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid("invalid mirror: username and password not allowed in its URI"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::invalid(format!("invalid mirror: query or fragment at the end of the URI {url}")));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_listed_hosts_are_insecure() {
        let list = ["10.0.0.0/8", "reg.corp", "reg2.corp:5000", "fd00::/8"].map(String::from);
        let insecure = Insecure::parse(&list).unwrap();
        for (host, port) in [
            ("127.0.0.1", 5000),
            ("127.9.9.9", 443),
            ("[::1]", 443),
            ("localhost", 5000),
            ("10.1.2.3", 1),
            ("[::ffff:10.1.2.3]", 1),
            ("[fd00::1]", 1),
            ("REG.corp", 77),
            ("reg2.corp", 5000),
        ] {
            assert!(insecure.covers(host, port), "{host}:{port}");
        }
        for (host, port) in [("reg2.corp", 5001), ("11.0.0.1", 1), ("x.reg.corp", 1), ("docker.io", 443)] {
            assert!(!insecure.covers(host, port), "{host}:{port}");
        }
        for bad in ["http://x", "", "10.0.0.0/99", "-x"] {
            assert!(Insecure::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_reads_as_daemon_json_has_it() {
        let text = r#"{"registry":"ghcr.io","prefix":"a/","mirrors":[{"url":"https://m","prefix":"p/a/"}]}"#;
        let rule: HostRule = serde_json::from_str(text).unwrap();
        assert_eq!(rule.mirrors[0].prefix.as_deref(), Some("p/a/"));
        assert!(!rule.mirrors_only);
        assert!(serde_json::from_str::<HostRule>(r#"{"registry":"x","mirror":[]}"#).is_err());
    }

    #[test]
    fn a_mirror_has_no_user_and_no_query() {
        for good in ["https://m", "http://m:5000/", "https://m/sub/path"] {
            assert!(mirror_url(good).is_ok(), "{good}");
        }
        for bad in ["m", "ftp://m", "https://u:p@m", "https://m?x", "https://m#x"] {
            assert!(mirror_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_proxy_password_is_not_shown() {
        let proxies = Proxies { https_proxy: "http://u:hunter2@p".into(), ..Proxies::default() };
        assert!(!format!("{proxies:?}").contains("hunter2"));
    }
}
