//! The options of a registry by their names: flags of `rorqual registry serve`, and what the daemon's `--registry-opt` takes.

use crate::{
    config::{AccessConfig, Authentication, Config, ObjectsConfig, ProxyConfig, Tls, TokenConfig},
    limits::PASSWORD_FILE,
};
use rorqual_error::{Context, Error, Result};
use std::{collections::BTreeMap, fs::File, io::Read, net::SocketAddr, path::Path, time::Duration};

/// Where a registry listens unless told otherwise.
pub const ADDRESS: &str = "127.0.0.1:5000";

/// What an option is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `true` or `false`.
    Switch,
    /// Text, once.
    Text,
    /// Text, as often as wanted.
    List,
}

/// Every option.
const OPTIONS: [(&str, Form); 24] = [
    ("address", Form::Text),
    ("anonymous-pull", Form::Switch),
    ("gc-grace", Form::Text),
    ("gc-period", Form::Text),
    ("gc-untagged", Form::Switch),
    ("htpasswd", Form::Text),
    ("metrics", Form::Text),
    ("no-delete", Form::Switch),
    ("plain-http", Form::Switch),
    ("proxy-password-file", Form::Text),
    ("proxy-remoteurl", Form::Text),
    ("proxy-ttl", Form::Text),
    ("proxy-username", Form::Text),
    ("read-only", Form::Switch),
    ("realm", Form::Text),
    ("root", Form::Text),
    ("storage", Form::Text),
    ("storage-opt", Form::List),
    ("tls-cert", Form::Text),
    ("tls-key", Form::Text),
    ("token-issuer", Form::Text),
    ("token-keys", Form::Text),
    ("token-realm", Form::Text),
    ("token-service", Form::Text),
];

/// Those of a node that serves its blobs.
const NODE: [&str; 11] = [
    "address",
    "htpasswd",
    "metrics",
    "plain-http",
    "realm",
    "tls-cert",
    "tls-key",
    "token-issuer",
    "token-keys",
    "token-realm",
    "token-service",
];

/// Options that were given.
#[derive(Clone, Debug, Default)]
pub struct Options(BTreeMap<&'static str, Vec<String>>);

impl Options {
    /// Takes one option; of those that are not lists the last counts.
    ///
    /// # Errors
    /// `InvalidArgument` where there is no such option.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> Result<()> {
        let known = OPTIONS.iter().find(|(known, _)| *known == name);
        let (known, form) = known.ok_or_else(|| Error::invalid(format!("a registry has no option {name:?}")))?;
        let value = value.into();
        if *form == Form::Switch && !matches!(value.as_str(), "true" | "false") {
            return Err(Error::invalid(format!("option {name} is true or false, not {value:?}")));
        }
        let values = self.0.entry(known).or_default();
        if *form != Form::List {
            values.clear();
        }
        values.push(value);
        Ok(())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.last().map(String::as_str)
    }

    fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    fn duration(&self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        duration(text).map(Some).ok_or_else(|| Error::invalid(format!("{name} is a duration as 1h30m, not {text:?}")))
    }

    /// What a registry is told. `root` is its directory where no other is given.
    ///
    /// # Errors
    /// `InvalidArgument` where options contradict each other, or would be unsafe; a file that cannot be read.
    pub fn config(&self, root: &Path) -> Result<Config> {
        let address = address(self.text("address").unwrap_or(ADDRESS))?;
        let mut config = Config::new(self.text("root").map_or(root, Path::new), address);
        config.metrics = self.text("metrics").map(self::address).transpose()?;
        config.tls = match (self.text("tls-cert"), self.text("tls-key")) {
            (Some(certificate), Some(key)) => Some(Tls { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            _ => return Err(Error::invalid("tls-cert and tls-key go together")),
        };
        if config.tls.is_none() && !address.ip().is_loopback() && !self.on("plain-http") {
            return Err(Error::invalid(format!(
                "a registry on {address} without TLS lets whoever is on the way change images: give tls-cert and \
                 tls-key, or plain-http where something in front speaks TLS"
            )));
        }
        config.access = AccessConfig {
            authentication: self.authentication()?,
            anonymous_pull: self.on("anonymous-pull"),
            read_only: self.on("read-only"),
            deletion: !self.on("no-delete"),
        };
        config.collect.keep_untagged = !self.on("gc-untagged");
        if let Some(period) = self.duration("gc-period")? {
            config.collect.period = Some(period).filter(|period| !period.is_zero());
        }
        if let Some(grace) = self.duration("gc-grace")? {
            (config.collect.grace, config.collect.grace_at_start) = (grace, grace);
        }
        config.objects = self.objects()?;
        config.proxy = self.proxy()?;
        Ok(config)
    }

    /// What is told a registry that gives the content of an engine to other nodes.
    ///
    /// # Errors
    /// As of [`Options::config`]; also where everybody could ask.
    pub fn node_config(&self) -> Result<Config> {
        if let Some(name) = self.0.keys().find(|name| !NODE.contains(name)) {
            return Err(Error::invalid(format!("a node that serves its blobs has no option {name}")));
        }
        if self.text("address").is_none() {
            return Err(Error::invalid("a node that serves its blobs needs the option address"));
        }
        let mut config = self.config(Path::new(""))?;
        if matches!(config.access.authentication, Authentication::None) {
            return Err(Error::invalid(
                "a node that serves its blobs needs the option htpasswd: else whoever reaches it could read its images",
            ));
        }
        config.collect.period = None;
        Ok(config)
    }

    fn objects(&self) -> Result<Option<ObjectsConfig>> {
        let options = self.0.get("storage-opt").map(Vec::as_slice).unwrap_or_default();
        let Some(url) = self.text("storage") else {
            return match options {
                [] => Ok(None),
                _ => Err(Error::invalid("storage-opt needs storage")),
            };
        };
        // A value may be a secret: it is not shown.
        let option = |text: &String| match text.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Error::invalid("storage-opt is KEY=VALUE")),
        };
        Ok(Some(ObjectsConfig { url: url.to_owned(), options: options.iter().map(option).collect::<Result<_>>()? }))
    }

    fn proxy(&self) -> Result<Option<ProxyConfig>> {
        let Some(url) = self.text("proxy-remoteurl") else {
            let more = ["proxy-username", "proxy-password-file", "proxy-ttl"];
            return match more.iter().find(|name| self.0.contains_key(*name)) {
                Some(name) => Err(Error::invalid(format!("{name} needs proxy-remoteurl"))),
                None => Ok(None),
            };
        };
        let mut proxy = ProxyConfig::new(url);
        match (self.text("proxy-username"), self.text("proxy-password-file")) {
            (Some(username), Some(path)) => {
                (proxy.username, proxy.password) = (username.to_owned(), password(Path::new(path))?);
            }
            (None, None) => {}
            _ => return Err(Error::invalid("proxy-username and proxy-password-file go together")),
        }
        if let Some(ttl) = self.duration("proxy-ttl")? {
            proxy.ttl = Some(ttl).filter(|ttl| !ttl.is_zero());
        }
        Ok(Some(proxy))
    }

    fn authentication(&self) -> Result<Authentication> {
        let parts = ["token-issuer", "token-keys", "token-realm", "token-service"].map(|name| self.text(name));
        match (self.text("htpasswd"), parts) {
            (None, [None, None, None, None]) => Ok(Authentication::None),
            (Some(path), [None, None, None, None]) => {
                let realm = self.text("realm").unwrap_or("Registry").to_owned();
                Ok(Authentication::Htpasswd { path: path.into(), realm })
            }
            (None, [Some(issuer), Some(keys), Some(realm), Some(service)]) => Ok(Authentication::Token(TokenConfig {
                realm: realm.to_owned(),
                service: service.to_owned(),
                issuer: issuer.to_owned(),
                keys: keys.into(),
            })),
            (Some(_), _) => Err(Error::invalid("htpasswd and tokens exclude each other")),
            (None, _) => {
                Err(Error::invalid("tokens need all of token-issuer, token-keys, token-realm and token-service"))
            }
        }
    }
}

/// `ADDRESS:PORT`, or `:PORT` for all addresses.
fn address(text: &str) -> Result<SocketAddr> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| Error::invalid(format!("invalid address {text:?}: say ADDRESS:PORT or :PORT")))
}

/// The first line of a file.
fn password(path: &Path) -> Result<String> {
    let context = || format!("read {}", path.display());
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(PASSWORD_FILE).read_to_string(&mut text)).with_context(context)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Hours, minutes and seconds, as `1h30m`; `0` needs no unit.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest.get(..end)?.parse().ok()?;
        let unit = match rest.as_bytes().get(end)? {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(number.checked_mul(unit)?))?;
        rest = rest.get(end + 1..)?;
    }
    (total > Duration::ZERO || text.starts_with('0')).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PROXY_TTL;

    fn check(line: &str) -> Result<Config> {
        let mut options = Options::default();
        for word in line.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, "true"));
            options.set(name, value)?;
        }
        options.config(Path::new("/nowhere"))
    }

    #[test]
    fn options_become_the_configuration() {
        let config = check("").unwrap();
        assert_eq!((config.address.to_string().as_str(), config.root.as_path()), (ADDRESS, Path::new("/nowhere")));
        assert!(config.access.deletion && config.collect.keep_untagged && config.collect.period.is_some());
        assert!(config.objects.is_none() && config.proxy.is_none());
        let config = check("gc-period=0 gc-grace=5m gc-untagged no-delete read-only metrics=:9000 root=/x").unwrap();
        assert_eq!((config.collect.period, config.collect.grace), (None, Duration::from_secs(300)));
        assert!(!config.access.deletion && !config.collect.keep_untagged && config.access.read_only);
        assert_eq!(
            (config.metrics.unwrap().to_string().as_str(), config.root.as_path()),
            ("[::]:9000", Path::new("/x"))
        );
        let config = check("token-issuer=i token-keys=k token-realm=r token-service=s").unwrap();
        assert!(matches!(config.access.authentication, Authentication::Token(_)));
        let config = check("storage=s3://b/p storage-opt=aws_region=x storage-opt=aws_endpoint=http://y").unwrap();
        let objects = config.objects.unwrap();
        assert_eq!(objects.options, [("aws_region".into(), "x".into()), ("aws_endpoint".into(), "http://y".into())]);
        assert!(!format!("{objects:?}").contains("http://y"));
    }

    #[test]
    fn an_upstream_has_its_options() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\nmore").unwrap();
        let proxy =
            |more: &str| check(&format!("proxy-remoteurl=https://u {more}")).map(|config| config.proxy.unwrap());
        assert_eq!(proxy("").unwrap().ttl, Some(PROXY_TTL));
        assert_eq!(proxy("proxy-ttl=0").unwrap().ttl, None);
        let with = proxy(&format!("proxy-username=me proxy-password-file={}", file.path().display())).unwrap();
        assert_eq!((with.username.as_str(), with.password.as_str()), ("me", "secret"));
        assert!(!format!("{with:?}").contains("secret"));
        assert!(proxy("proxy-username=me").is_err());
        assert!(proxy("proxy-username=me proxy-password-file=/nowhere/x").is_err());
        assert!(check("proxy-username=me").is_err() && check("proxy-ttl=1h").is_err());
    }

    #[test]
    fn a_node_serves_blobs_to_those_it_knows() {
        let node = |line: &str| {
            let mut options = Options::default();
            for word in line.split_whitespace() {
                let (name, value) = word.split_once('=').unwrap_or((word, "true"));
                options.set(name, value)?;
            }
            options.node_config()
        };
        let config = node("address=:5002 htpasswd=f tls-cert=c tls-key=k").unwrap();
        assert_eq!((config.address.port(), config.collect.period), (5002, None));
        for (line, why) in [
            ("htpasswd=f", "needs the option address"),
            ("address=127.0.0.1:5002", "needs the option htpasswd"),
            ("address=:5002 htpasswd=f", "without TLS"),
            ("address=127.0.0.1:5002 htpasswd=f anonymous-pull", "no option anonymous-pull"),
            ("address=127.0.0.1:5002 htpasswd=f storage=s3://b", "no option storage"),
        ] {
            let error = node(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn what_would_be_open_or_unclear_is_refused() {
        check("address=:5000 plain-http").unwrap();
        check("address=:5000 tls-cert=c tls-key=k").unwrap();
        for bad in [
            "address=:5000",
            "address=192.0.2.1:5000",
            "tls-cert=c",
            "htpasswd=f token-issuer=i",
            "token-issuer=i",
            "address=x",
            "address=localhost:5000",
            "gc-grace=1",
            "gc-grace=h",
            "gc-grace=-1h",
            "gc-grace=99999999999999999999h",
            "read-only=yes",
            "storage-opt=a=b",
            "storage=s3://b storage-opt=a",
            "nothing=x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
