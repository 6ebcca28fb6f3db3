//! Who asks, and whether they may.
//!
//! Authentication establishes an [`Identity`]; [`Access::authorize`] alone decides what it may do.

mod htpasswd;
mod token;

use crate::{
    config::{AccessConfig, Authentication},
    name::Repository,
    refusal::{Code, Refusal, Result},
};
use htpasswd::Htpasswd;
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use serde_json::json;
use token::{Grant, Tokens};

/// What a request does to what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Asks whether this is a registry, and whether the credentials are good.
    Ping,
    /// Reads.
    Pull,
    /// Writes.
    Push,
    /// Removes.
    Delete,
    /// Lists repositories; each of them needs [`Action::Pull`] besides.
    Catalog,
}

impl Action {
    /// Its name in scopes of tokens.
    fn scope(self) -> &'static str {
        match self {
            Self::Ping | Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Catalog => "*",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// A user whose password was right.
    User(String),
    /// Whoever a token was made for, and what it grants.
    Token(Grant),
}

impl Identity {
    /// As the access log names it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anonymous => "-",
            Self::User(name) => name,
            Self::Token(grant) => grant.subject(),
        }
    }
}

/// Why an identity may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// It must say who it is first, or get a token for this.
    Authenticate,
    /// The registry is read-only.
    ReadOnly,
    /// The registry does not remove on request.
    NoDeletion,
}

/// The one who decides.
#[derive(Debug)]
pub(crate) struct Access {
    method: Method,
    anonymous_pull: bool,
    read_only: bool,
    deletion: bool,
}

#[derive(Debug)]
enum Method {
    None,
    Htpasswd(Box<Htpasswd>),
    Tokens(Tokens),
}

impl Access {
    pub(crate) fn new(config: &AccessConfig) -> rorqual_error::Result<Self> {
        let method = match &config.authentication {
            Authentication::None => Method::None,
            Authentication::Htpasswd { path, realm } => Method::Htpasswd(Box::new(Htpasswd::open(path, realm)?)),
            Authentication::Token(config) => Method::Tokens(Tokens::open(config)?),
        };
        let AccessConfig { anonymous_pull, read_only, deletion, .. } = *config;
        Ok(Self { method, anonymous_pull, read_only, deletion })
    }

    /// Whether `identity` may do `action` to `repository` (none for what is about all). Every request asks here, and what
    /// a request does on the side (a mount from elsewhere, each line of the catalogue) asks here again.
    pub(crate) fn authorize(
        &self,
        identity: &Identity,
        action: Action,
        repository: Option<&Repository>,
    ) -> std::result::Result<(), Denial> {
        match action {
            Action::Push | Action::Delete if self.read_only => return Err(Denial::ReadOnly),
            Action::Delete if !self.deletion => return Err(Denial::NoDeletion),
            _ => {}
        }
        let allowed = match (identity, &self.method) {
            (_, Method::None) | (Identity::User(_), Method::Htpasswd(_)) => true,
            (Identity::Token(grant), Method::Tokens(_)) if grant.allows(action.scope(), repository) => true,
            (Identity::Token(_), Method::Tokens(_)) if action == Action::Ping => true,
            (_, _) => action == Action::Pull && self.anonymous_pull,
        };
        if allowed { Ok(()) } else { Err(Denial::Authenticate) }
    }

    /// Who sent a request with these header lines.
    ///
    /// # Errors
    /// 401 where there are credentials and they are not good.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Identity> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (given.next(), given.next()) else {
            return match headers.contains_key(AUTHORIZATION) {
                true => Err(self.unauthorized("more than one set of credentials")),
                false => Ok(Identity::Anonymous),
            };
        };
        let Some((scheme, value)) = header.to_str().ok().and_then(|text| text.trim().split_once(' ')) else {
            return Err(self.unauthorized("malformed credentials"));
        };
        let value = value.trim();
        match &self.method {
            Method::None => Ok(Identity::Anonymous),
            Method::Htpasswd(users) if scheme.eq_ignore_ascii_case("basic") => match users.check(value).await? {
                Some(name) => Ok(Identity::User(name)),
                None => Err(self.unauthorized("the user name or the password is wrong")),
            },
            Method::Tokens(tokens) if scheme.eq_ignore_ascii_case("bearer") => match tokens.check(value) {
                Ok(grant) => Ok(Identity::Token(grant)),
                Err(why) => Err(self.unauthorized(&format!("the token is not good: {why}"))),
            },
            Method::Htpasswd(_) => Err(self.unauthorized("this registry takes user names and passwords")),
            Method::Tokens(_) => Err(self.unauthorized("this registry takes bearer tokens")),
        }
    }

    fn unauthorized(&self, why: &str) -> Refusal {
        let refusal = Refusal::new(Code::Unauthorized, why);
        self.challenged(refusal, Action::Ping, None, Some("invalid_token"))
    }

    /// With the challenge that tells a client how to authenticate.
    fn challenged(
        &self,
        refusal: Refusal,
        action: Action,
        repository: Option<&Repository>,
        error: Option<&str>,
    ) -> Refusal {
        match &self.method {
            Method::None => refusal,
            Method::Htpasswd(users) => refusal.header(WWW_AUTHENTICATE, users.challenge()),
            Method::Tokens(tokens) => {
                let scope = match (action, repository) {
                    (Action::Ping, _) => None,
                    (Action::Push, Some(name)) => Some(format!("repository:{name}:pull,push")),
                    (action, Some(name)) => Some(format!("repository:{name}:{}", action.scope())),
                    (_, None) => Some("registry:catalog:*".to_owned()),
                };
                refusal.header(WWW_AUTHENTICATE, tokens.challenge(scope.as_deref(), error))
            }
        }
    }

    /// What a client is told who may not.
    pub(crate) fn refusal(
        &self,
        denial: Denial,
        identity: &Identity,
        action: Action,
        repository: Option<&Repository>,
    ) -> Refusal {
        match denial {
            Denial::ReadOnly => Refusal::new(Code::Unsupported, "the registry is read-only"),
            Denial::NoDeletion => Refusal::new(Code::Unsupported, "the registry does not delete on request"),
            Denial::Authenticate => {
                let refusal = Refusal::new(Code::Unauthorized, "authentication required");
                let refusal = refusal.about(json!({
                    "action": action.scope(),
                    "name": repository.map(Repository::as_str),
                }));
                let error = matches!(identity, Identity::Token(_)).then_some("insufficient_scope");
                self.challenged(refusal, action, repository, error)
            }
        }
    }
}
