//! From a name to the servers that may have it: mirrors in their order, then the registry itself.

use crate::{
    config::{Config, HostRule, mirror_url},
    origin::Origin,
};
use reqwest::Url;
use rorqual_error::{Error, Result};
use rorqual_types::Reference;

/// Docker Hub's registry, which names call `docker.io`.
pub(crate) const HUB_HOST: &str = "registry-1.docker.io";

/// What a repository is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading; mirrors are asked first.
    Pull,
    /// Reading and writing, at the registry itself.
    Push,
}

/// One server that may have a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The address above `/v2/`, ending in `/`.
    pub(crate) base: Url,
    /// Scheme, host and port of it.
    pub(crate) origin: Origin,
    /// The repository's name there.
    pub(crate) name: String,
    /// Whether plain HTTP is tried where HTTPS does not work.
    pub(crate) may_be_plain: bool,
    /// What is expected of it.
    pub(crate) role: Role,
}

/// What is expected of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Another node: it has what it has, by digest, and is not waited for.
    Peer,
    /// Another server is asked when it does not have something.
    Mirror,
    /// Its word is the last.
    Registry,
}

impl Endpoint {
    /// The same server by plain HTTP.
    pub(crate) fn plain(&self) -> Result<Self> {
        let mut base = self.base.clone();
        base.set_scheme("http").map_err(|()| Error::internal("a registry's address without a scheme"))?;
        Ok(Self { origin: Origin::of(&base)?, base, ..self.clone() })
    }

    /// The URL of `/v2/PATH`.
    pub(crate) fn url(&self, path: &str) -> Result<Url> {
        self.base.join(&format!("v2/{path}")).map_err(|_| Error::invalid("a name that gives no URL"))
    }
}

/// The rules of a configuration, checked.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<(HostRule, Vec<Url>)>,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let mut rules = Vec::new();
        for rule in &config.rules {
            if rule.registry.is_empty() || rule.registry.contains('/') {
                return Err(Error::invalid(format!("registry rule: {:?} is no registry", rule.registry)));
            }
            if rule.mirrors_only && rule.mirrors.is_empty() {
                return Err(Error::invalid(format!(
                    "registry rule for {}: mirrors-only without mirrors",
                    rule.registry
                )));
            }
            let urls: Result<Vec<Url>> = rule.mirrors.iter().map(|mirror| mirror_url(&mirror.url)).collect();
            rules.push((rule.clone(), urls?));
        }
        let mirrors = config.registry_mirrors.iter().map(|url| crate::Mirror { url: url.clone(), prefix: None });
        let hub = HostRule { registry: "docker.io".into(), mirrors: mirrors.collect(), ..HostRule::default() };
        let urls: Result<Vec<Url>> = hub.mirrors.iter().map(|mirror| mirror_url(&mirror.url)).collect();
        rules.push((hub, urls?));
        Ok(Self { rules })
    }

    /// The servers for `reference`, in the order in which they are asked; the registry itself is the last.
    pub(crate) fn endpoints(
        &self,
        reference: &Reference,
        access: Access,
        is_insecure: impl Fn(&Origin) -> bool,
    ) -> Result<Vec<Endpoint>> {
        let path = reference.name().split_once('/').map_or(reference.name(), |(_, path)| path);
        let registry = registry_url(reference.domain())?;
        let rule = self.rules.iter().find(|(rule, _)| {
            rule.registry.eq_ignore_ascii_case(reference.domain()) && path.starts_with(rule.prefix.as_str())
        });
        let mut endpoints = Vec::new();
        let mut own = true;
        if let Some((rule, urls)) = rule.filter(|_| access == Access::Pull) {
            own = !rule.mirrors_only;
            for (mirror, url) in rule.mirrors.iter().zip(urls) {
                let name = match (&mirror.prefix, path.strip_prefix(rule.prefix.as_str())) {
                    (Some(prefix), Some(rest)) => format!("{prefix}{rest}"),
                    _ => path.to_owned(),
                };
                endpoints.push(endpoint(url.clone(), name, Role::Mirror, &is_insecure)?);
            }
        }
        if own {
            endpoints.push(endpoint(registry, path.to_owned(), Role::Registry, &is_insecure)?);
        } else if let Some(last) = endpoints.last_mut() {
            last.role = Role::Registry;
        }
        Ok(endpoints)
    }
}

pub(crate) fn endpoint(
    mut base: Url,
    name: String,
    role: Role,
    is_insecure: &impl Fn(&Origin) -> bool,
) -> Result<Endpoint> {
    if !base.path().ends_with('/') {
        let path = format!("{}/", base.path());
        base.set_path(&path);
    }
    // A rewritten name is text of the operator's: it must stay below the server's /v2/.
    let parsed = format!("registry.invalid/{name}").parse::<Reference>();
    if !parsed.is_ok_and(|reference| reference.name() == format!("registry.invalid/{name}")) {
        return Err(Error::invalid(format!("a mirror's rule makes {name:?}, which is no repository")));
    }
    let origin = Origin::of(&base)?;
    let may_be_plain = origin.is_https() && is_insecure(&origin);
    Ok(Endpoint { base, origin, name, may_be_plain, role })
}

/// The address of the registry that names call `domain`.
pub(crate) fn registry_url(domain: &str) -> Result<Url> {
    let host = if domain == "docker.io" { HUB_HOST } else { domain };
    let url: Url = format!("https://{host}/")
        .parse()
        .map_err(|_| Error::invalid(format!("{:?} is no registry", crate::answer::clip(domain))))?;
    if url.path() != "/" || !url.username().is_empty() || url.query().is_some() || url.fragment().is_some() {
        return Err(Error::invalid(format!("{:?} is no registry", crate::answer::clip(domain))));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mirror;
    use proptest::prelude::*;

    fn check(config: &Config, reference: &str, access: Access) -> Vec<String> {
        let rules = Rules::new(config).unwrap();
        let insecure = |origin: &Origin| origin.host() == "localhost";
        let endpoints = rules.endpoints(&reference.parse().unwrap(), access, insecure).unwrap();
        endpoints.iter().map(|e| e.url(&format!("{}/tags/list", e.name)).unwrap().to_string()).collect()
    }

    #[test]
    fn a_name_leads_to_its_registry() {
        let config = Config::default();
        for (reference, url) in [
            ("busybox", "https://registry-1.docker.io/v2/library/busybox/tags/list"),
            ("localhost:5000/a/b", "https://localhost:5000/v2/a/b/tags/list"),
            ("[::1]:5000/a", "https://[::1]:5000/v2/a/tags/list"),
            (
                "ghcr.io/a/b@sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
                "https://ghcr.io/v2/a/b/tags/list",
            ),
        ] {
            assert_eq!(check(&config, reference, Access::Pull), [url]);
        }
    }

    #[test]
    fn mirrors_are_asked_first_and_never_pushed_to() {
        let mirror = |url: &str, prefix: Option<&str>| Mirror { url: url.into(), prefix: prefix.map(str::to_owned) };
        let config = Config {
            registry_mirrors: vec!["https://hub.corp".into()],
            rules: vec![
                HostRule {
                    registry: "docker.io".into(),
                    prefix: "library/".into(),
                    mirrors: vec![mirror("http://m1:5000", Some("proxy/hub/")), mirror("https://m2/sub", None)],
                    mirrors_only: false,
                },
                HostRule {
                    registry: "ghcr.io".into(),
                    mirrors: vec![mirror("https://m3", None)],
                    mirrors_only: true,
                    ..HostRule::default()
                },
            ],
            ..Config::default()
        };
        assert_eq!(
            check(&config, "busybox", Access::Pull),
            [
                "http://m1:5000/v2/proxy/hub/busybox/tags/list",
                "https://m2/sub/v2/library/busybox/tags/list",
                "https://registry-1.docker.io/v2/library/busybox/tags/list"
            ]
        );
        assert_eq!(
            check(&config, "user/app", Access::Pull),
            ["https://hub.corp/v2/user/app/tags/list", "https://registry-1.docker.io/v2/user/app/tags/list"]
        );
        assert_eq!(check(&config, "ghcr.io/a", Access::Pull), ["https://m3/v2/a/tags/list"]);
        assert_eq!(check(&config, "ghcr.io/a", Access::Push), ["https://ghcr.io/v2/a/tags/list"]);
        assert_eq!(
            check(&config, "busybox", Access::Push),
            ["https://registry-1.docker.io/v2/library/busybox/tags/list"]
        );
    }

    #[test]
    fn a_rule_cannot_lead_out_of_the_api() {
        for prefix in ["../", "a/../", "A/", "x?y=", "//"] {
            let rule = HostRule {
                registry: "r.io".into(),
                mirrors: vec![Mirror { url: "https://m".into(), prefix: Some(prefix.into()) }],
                ..HostRule::default()
            };
            let rules = Rules::new(&Config { rules: vec![rule], ..Config::default() }).unwrap();
            assert!(rules.endpoints(&"r.io/b".parse().unwrap(), Access::Pull, |_| false).is_err(), "{prefix}");
        }
    }

    proptest! {
        #[test]
        fn a_reference_stays_at_its_host(text in "[a-z0-9./:@_-]{1,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let rules = Rules::new(&Config::default()).unwrap();
                if let Ok(endpoints) = rules.endpoints(&reference, Access::Pull, |_| false) {
                    let endpoint = endpoints.last().unwrap();
                    let url = endpoint.url(&format!("{}/manifests/x", endpoint.name)).unwrap();
                    let path = reference.name().split_once('/').unwrap().1;
                    prop_assert_eq!(url.path(), format!("/v2/{path}/manifests/x"));
                    prop_assert!(url.query().is_none() && url.username().is_empty());
                }
            }
        }
    }
}
