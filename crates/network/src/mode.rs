//! `HostConfig.NetworkMode`.

use std::fmt;

/// How a container is attached to the node's networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// The default bridge (`default` or `bridge`).
    Bridge,
    /// The host's own network namespace.
    Host,
    /// A namespace with nothing but loopback.
    None,
    /// Another container's network namespace, by its name or id.
    Container(String),
    /// A network made by a user, by its name or id.
    Named(String),
}

impl NetworkMode {
    /// Reads the field as a client sends it.
    pub fn parse(text: &str) -> Self {
        match text {
            "" | "default" | "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            other => match other.strip_prefix("container:") {
                Some(container) => Self::Container(container.to_owned()),
                None => Self::Named(other.to_owned()),
            },
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(name) => write!(f, "container:{name}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}
