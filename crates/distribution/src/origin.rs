//! Scheme, host and port: what credentials are bound to, and where an answer may send us (threats.md, R12).

use crate::{config::literal, limits::URL_BYTES_MAX};
use reqwest::Url;
use rorqual_error::{Error, Result};
use std::{fmt, net::IpAddr};

/// Scheme, host and port of a URL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an `http` or `https` URL.
    pub(crate) fn of(url: &Url) -> Result<Self> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(Error::invalid("unsupported scheme: neither http nor https")),
        };
        match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) if !host.is_empty() => {
                Ok(Self { https, host: host.trim_end_matches('.').to_ascii_lowercase(), port })
            }
            _ => Err(Error::invalid("a URL without a host")),
        }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the port is the scheme's own, so that names leave it out.
    pub(crate) fn has_default_port(&self) -> bool {
        self.port == if self.https { 443 } else { 80 }
    }

    /// Whether it is the same host and port, whatever the scheme: an insecure registry is one place under both.
    /// The default ports of both schemes are one place.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        self.host == other.host && (self.port == other.port || (self.has_default_port() && other.has_default_port()))
    }

    /// Whether `host[:port]` is this origin.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        name == format!("{}:{}", self.host, self.port) || (self.has_default_port() && name == self.host)
    }

    /// `host` or `host:port`, as names have it.
    pub(crate) fn authority(&self) -> String {
        if self.has_default_port() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether the host is an address, or a name that always is one.
    fn address(&self) -> Option<IpAddr> {
        if self.host == "localhost" || self.host.ends_with(".localhost") {
            return Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        }
        literal(&self.host)
    }

    /// Whether both are the same machine by address: equal, or both loopback.
    fn same_machine(&self, other: &Self) -> bool {
        match (self.address(), other.address()) {
            (Some(one), Some(two)) => one == two || (one.is_loopback() && two.is_loopback()),
            _ => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Addresses that no registry may send us to: of this machine, this link or a private network, or of nobody.
pub(crate) fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || a == 0
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local() || is_link(v6.into())
        }
    }
}

/// Link-local addresses: the metadata services of clouds live there, registries do not.
pub(crate) fn is_link(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether an answer of `from` may redirect to `to` while `registry` is spoken to.
///
/// # Errors
/// `Forbidden`: from HTTPS to HTTP, or to an address of this machine, link or private network where the registry is not.
pub(crate) fn check_redirect(from: &Origin, to: &Origin, registry: &Origin) -> Result<()> {
    if from.https && !to.https {
        return Err(Error::forbidden(format!("{from} redirects from HTTPS to plain HTTP ({to}): refused")));
    }
    match to.address() {
        Some(address) if is_inside(address) && !to.same_machine(registry) => {
            Err(Error::forbidden(format!("{from} redirects to {to}, an address it has no business with: refused")))
        }
        _ => Ok(()),
    }
}

/// Whether `registry` may name `realm` as its token server.
///
/// # Errors
/// `Forbidden`: a weaker scheme, or an address instead of a name where the registry itself is not at that address.
pub(crate) fn check_realm(registry: &Origin, realm: &Url) -> Result<Origin> {
    let to = Origin::of(realm)?;
    if registry.https && !to.https {
        return Err(Error::forbidden(format!("{registry} names a token server without TLS ({to}): refused")));
    }
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err(Error::forbidden(format!(
            "{registry} names a token server with a password in its address: refused"
        )));
    }
    if to.address().is_some() && !to.same_machine(registry) {
        return Err(Error::forbidden(format!("{registry} names a token server by address ({to}): refused")));
    }
    Ok(to)
}

/// Resolves a `Location` or a link against the URL that it came from.
pub(crate) fn join(base: &Url, location: &str) -> Result<Url> {
    if location.len() > URL_BYTES_MAX {
        return Err(Error::invalid("a location longer than 16 KiB"));
    }
    let mut url = base.join(location).map_err(|_| Error::invalid("a location that is no URL"))?;
    Origin::of(&url)?;
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::forbidden("a location with a user or a password: refused"));
    }
    Ok(url)
}

/// A URL for an error text: without its query, which may hold a signature.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _ = url.set_password(None);
    let _ = url.set_username("");
    crate::answer::clip(url.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn redirects_keep_to_the_outside() {
        let hub = "https://registry-1.docker.io";
        for (from, to, registry, allowed) in [
            (hub, "https://cdn.example.org/x?sig=1", hub, true),
            (hub, "http://cdn.example.org/x", hub, false),
            ("http://127.0.0.1:5000", "https://cdn.example.org", "http://127.0.0.1:5000", true),
            ("http://127.0.0.1:5000", "http://127.0.0.1:6000", "http://127.0.0.1:5000", true),
            ("http://localhost:5000", "http://127.0.0.1:6000", "http://localhost:5000", true),
            (hub, "https://8.8.8.8/x", hub, true),
            (hub, "https://127.0.0.1/x", hub, false),
            (hub, "https://localhost/x", hub, false),
            (hub, "https://10.0.0.1/x", hub, false),
            (hub, "https://192.168.1.1/x", hub, false),
            (hub, "https://100.64.0.1/x", hub, false),
            (hub, "https://169.254.169.254/latest/meta-data", hub, false),
            (hub, "https://[::ffff:169.254.169.254]/", hub, false),
            (hub, "https://2852039166/", hub, false),
            (hub, "https://0xa9fea9fe/", hub, false),
            (hub, "https://[fe80::1]/", hub, false),
            (hub, "https://[fd00::1]/", hub, false),
            (hub, "https://[::]/", hub, false),
            (hub, "https://0.0.0.0/", hub, false),
            ("https://10.0.0.1", "https://10.0.0.1:9000/", "https://10.0.0.1", true),
            ("https://10.0.0.1", "https://10.0.0.2/", "https://10.0.0.1", false),
        ] {
            let checked = check_redirect(&origin(from), &origin(to), &origin(registry));
            assert_eq!(checked.is_ok(), allowed, "{from} -> {to}: {checked:?}");
        }
    }

    #[test]
    fn a_realm_is_as_strong_as_its_registry() {
        for (registry, realm, allowed) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://registry-1.docker.io", "http://auth.docker.io/token", false),
            ("https://registry-1.docker.io", "https://8.8.8.8/token", false),
            ("https://registry-1.docker.io", "https://169.254.169.254/token", false),
            ("https://registry-1.docker.io", "https://localhost/token", false),
            ("https://registry-1.docker.io", "https://u:p@auth.docker.io/token", false),
            ("https://registry-1.docker.io", "file:///etc/passwd", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", true),
            ("http://127.0.0.1:5000", "https://auth.example.org/token", true),
            ("http://10.0.0.1", "http://10.0.0.2/token", false),
        ] {
            let checked = check_realm(&origin(registry), &realm.parse().unwrap());
            assert_eq!(checked.is_ok(), allowed, "{registry} -> {realm}: {checked:?}");
        }
    }

    #[test]
    fn a_location_is_shown_without_its_query() {
        let url = "https://u:p@h/x?signature=secret".parse().unwrap();
        assert_eq!(shown(&url), "https://h/x");
        assert!(join(&url, "https://a:b@c/").is_err());
        assert!(join(&url, "file:///etc/shadow").is_err());
        for (length, taken) in [(URL_BYTES_MAX - 1, true), (URL_BYTES_MAX, true), (URL_BYTES_MAX + 1, false)] {
            assert_eq!(join(&"https://h".parse().unwrap(), &"x".repeat(length)).is_ok(), taken);
        }
        assert_eq!(join(&"https://h/v2/x".parse().unwrap(), "/y?z=1#f").unwrap().as_str(), "https://h/y?z=1");
    }
}
