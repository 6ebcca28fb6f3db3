//! Bearer tokens: JWTs of one issuer, for one service, by the algorithms of the keys we were given and no other.
//!
//! What a token's header says about keys (`jwk`, `jku`, `x5c`, ...) is not used; a critical extension is refused, since
//! none is known here.

use crate::{
    config::TokenConfig,
    limits::{CLOCK_SKEW, TOKEN, TOKEN_KEYS},
    name::Repository,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm},
};
use rorqual_error::{Context, Error, Result};
use serde::Deserialize;
use std::{fmt, fs::File, io::Read};

/// The keys of the issuer, and what its tokens must say.
pub(crate) struct Tokens {
    realm: String,
    service: String,
    issuer: String,
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// What a token grants.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Grant {
    #[serde(default)]
    sub: String,
    #[serde(default)]
    access: Vec<Scope>,
}

#[derive(Clone, Debug, Deserialize)]
struct Scope {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Grant {
    /// Who the token was made for.
    pub(crate) fn subject(&self) -> &str {
        if self.sub.is_empty() { "-" } else { &self.sub }
    }

    /// Whether it grants this action on this repository; without one, on the registry's catalogue.
    pub(crate) fn allows(&self, action: &str, repository: Option<&Repository>) -> bool {
        let (kind, name) = repository.map_or(("registry", "catalog"), |name| ("repository", name.as_str()));
        self.access.iter().any(|scope| {
            scope.kind == kind
                && scope.name == name
                && scope.actions.iter().any(|granted| granted == action || granted == "*")
        })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} keys of {})", self.keys.len(), self.issuer)
    }
}

impl Tokens {
    pub(crate) fn open(config: &TokenConfig) -> Result<Self> {
        let context = || format!("read the token keys {}", config.keys.display());
        let mut text = String::new();
        let file = File::open(&config.keys).with_context(context)?;
        file.take(TOKEN_KEYS).read_to_string(&mut text).with_context(context)?;
        let keys = keys(&text).with_context(context)?;
        if keys.is_empty() {
            return Err(Error::invalid(format!(
                "{}: no public key that tokens can be checked with",
                config.keys.display()
            )));
        }
        let TokenConfig { realm, service, issuer, .. } = config.clone();
        Ok(Self { realm, service, issuer, keys })
    }

    pub(crate) fn challenge(&self, scope: Option<&str>, error: Option<&str>) -> String {
        let quoted = |name: &str, value: &str| format!("{name}=\"{}\"", value.replace(['"', '\\'], ""));
        let mut parts = vec![quoted("realm", &self.realm), quoted("service", &self.service)];
        parts.extend(scope.map(|scope| quoted("scope", scope)));
        parts.extend(error.map(|error| quoted("error", error)));
        format!("Bearer {}", parts.join(","))
    }

    /// What `token` grants.
    pub(crate) fn check(&self, token: &str) -> Result<Grant, &'static str> {
        if token.len() > TOKEN {
            return Err("it is too long");
        }
        let header = header(token).ok_or("it is malformed")?;
        if header.contains_key("crit") {
            return Err("it has a critical extension");
        }
        let id = header.get("kid").and_then(|id| id.as_str());
        let algorithm = jsonwebtoken::decode_header(token).map_err(|_| "it is malformed")?.alg;
        let named = |key: &&Key| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
        let fitting = self.keys.iter().filter(named).filter(|key| key.algorithms.contains(&algorithm));
        let mut why = "no key of the issuer fits it";
        for key in fitting {
            match jsonwebtoken::decode::<Grant>(token, &key.key, &self.validation(&key.algorithms)) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => why = reason(error.kind()),
            }
        }
        Err(why)
    }

    fn validation(&self, algorithms: &[Algorithm]) -> Validation {
        let mut validation = Validation::new(algorithms.first().copied().unwrap_or(Algorithm::ES256));
        validation.algorithms = algorithms.to_vec();
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.service]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = CLOCK_SKEW.as_secs();
        validation
    }
}

fn reason(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::InvalidAudience => "it is for another service",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "a claim is missing",
        _ => "it is malformed",
    }
}

fn header(token: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

const RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// The keys of a file: a JWK set, or PEM public keys one after another.
fn keys(text: &str) -> Result<Vec<Key>> {
    if text.trim_start().starts_with('{') {
        let set: JwkSet = serde_json::from_str(text).context("malformed JWK set")?;
        return Ok(set.keys.iter().filter_map(of_jwk).collect());
    }
    const END: &str = "-----END PUBLIC KEY-----";
    let blocks = text.split_inclusive(END).filter(|block| block.contains(END));
    blocks
        .map(|block| of_pem(block.trim()).ok_or_else(|| Error::invalid("a PEM block is no RSA, EC or Ed25519 key")))
        .collect()
}

fn of_pem(block: &str) -> Option<Key> {
    let bytes = block.as_bytes();
    let rsa = || Some((RSA.to_vec(), DecodingKey::from_rsa_pem(bytes).ok()?));
    let ec = || {
        let der: String = block.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(der).ok()?;
        // The lengths of SubjectPublicKeyInfo with an uncompressed point of either curve.
        let algorithm = match der.len() {
            91 => Algorithm::ES256,
            120 => Algorithm::ES384,
            _ => return None,
        };
        Some((vec![algorithm], DecodingKey::from_ec_pem(bytes).ok()?))
    };
    let ed = || Some((vec![Algorithm::EdDSA], DecodingKey::from_ed_pem(bytes).ok()?));
    let (algorithms, key) = rsa().or_else(ec).or_else(ed)?;
    Some(Key { id: None, algorithms, key })
}

fn of_jwk(jwk: &Jwk) -> Option<Key> {
    let possible = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => RSA.to_vec(),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
        // A shared secret would let whoever can check tokens make them.
        _ => return None,
    };
    let algorithms = match jwk.common.key_algorithm {
        None => possible,
        Some(named) => possible.into_iter().filter(|algorithm| named == of_algorithm(*algorithm)).collect(),
    };
    if algorithms.is_empty() {
        return None;
    }
    Some(Key { id: jwk.common.key_id.clone(), algorithms, key: DecodingKey::from_jwk(jwk).ok()? })
}

fn of_algorithm(algorithm: Algorithm) -> KeyAlgorithm {
    match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::RS384 => KeyAlgorithm::RS384,
        Algorithm::RS512 => KeyAlgorithm::RS512,
        Algorithm::PS256 => KeyAlgorithm::PS256,
        Algorithm::PS384 => KeyAlgorithm::PS384,
        Algorithm::PS512 => KeyAlgorithm::PS512,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        Algorithm::ES384 => KeyAlgorithm::ES384,
        Algorithm::EdDSA => KeyAlgorithm::EdDSA,
        _ => KeyAlgorithm::UNKNOWN_ALGORITHM,
    }
}

#[cfg(test)]
mod tests;
