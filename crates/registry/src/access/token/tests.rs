//! The corpus of tokens (`reg.jwt_corpus`): one that is good, and each way that one is not.

use super::*;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

struct Issuer {
    keys: KeyPair,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({
        "iss": "issuer", "aud": "registry", "sub": "ann", "exp": now() + 300, "nbf": now() - 1,
        "access": [
            {"type": "repository", "name": "a/b", "actions": ["pull", "push"]},
            {"type": "registry", "name": "catalog", "actions": ["*"]},
        ],
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

impl Issuer {
    fn new() -> Self {
        Self { keys: KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.keys.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(header, claims, &key).unwrap()
    }

    fn pem(&self) -> String {
        self.keys.public_key_pem()
    }

    fn jwk(&self, id: &str) -> Value {
        let point = self.keys.der_bytes();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "kid": id, "x": encode(&point[1..33]), "y": encode(&point[33..65])})
    }
}

fn tokens(keys: &str) -> Result<Tokens> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    std::fs::write(&path, keys).unwrap();
    let [realm, service, issuer] = ["https://auth/token", "registry", "issuer"].map(String::from);
    Tokens::open(&TokenConfig { realm, service, issuer, keys: path })
}

fn es256() -> Header {
    Header::new(Algorithm::ES256)
}

#[test]
fn a_good_token_grants_what_it_says_and_no_more() {
    let issuer = Issuer::new();
    let grant = tokens(&issuer.pem()).unwrap().check(&issuer.sign(&es256(), &claims())).unwrap();
    let (name, other) = (Repository::parse("a/b").unwrap(), Repository::parse("a/bc").unwrap());
    assert_eq!(grant.subject(), "ann");
    assert!(grant.allows("pull", Some(&name)) && grant.allows("push", Some(&name)));
    assert!(!grant.allows("delete", Some(&name)));
    assert!(!grant.allows("pull", Some(&other)));
    assert!(grant.allows("*", None));
    let all = with(|claims| claims["access"][0]["actions"] = json!(["*"]));
    let grant = tokens(&issuer.pem()).unwrap().check(&issuer.sign(&es256(), &all)).unwrap();
    assert!(grant.allows("delete", Some(&name)) && !grant.allows("pull", Some(&other)));
    let kind = with(|claims| claims["access"][0]["type"] = "repository(plugin)".into());
    let grant = tokens(&issuer.pem()).unwrap().check(&issuer.sign(&es256(), &kind)).unwrap();
    assert!(!grant.allows("pull", Some(&name)));
}

#[test]
fn claims_must_be_for_us_and_for_now() {
    let issuer = Issuer::new();
    let tokens = tokens(&issuer.pem()).unwrap();
    let skew = CLOCK_SKEW.as_secs();
    for (claims, why) in [
        (with(|claims| claims["exp"] = (now() - skew - 5).into()), "it has expired"),
        (with(|claims| claims["nbf"] = (now() + skew + 60).into()), "it is not valid yet"),
        (with(|claims| claims["iss"] = "other".into()), "it is of another issuer"),
        (with(|claims| claims["iss"] = json!(null)), ""),
        (with(|claims| claims["aud"] = "other".into()), "it is for another service"),
        (with(|claims| claims["aud"] = json!(["other"])), "it is for another service"),
        (with(|claims| drop(claims.as_object_mut().unwrap().remove("exp"))), "a claim is missing"),
        (with(|claims| drop(claims.as_object_mut().unwrap().remove("iss"))), "a claim is missing"),
        (with(|claims| drop(claims.as_object_mut().unwrap().remove("aud"))), "a claim is missing"),
        (with(|claims| claims["exp"] = "9999999999".into()), ""),
        (with(|claims| claims["access"] = "all".into()), ""),
    ] {
        let refused = tokens.check(&issuer.sign(&es256(), &claims)).unwrap_err();
        assert!(why.is_empty() || refused == why, "{claims}: {refused}");
    }
    let list = with(|claims| claims["aud"] = json!(["other", "registry"]));
    tokens.check(&issuer.sign(&es256(), &list)).unwrap();
    tokens.check(&issuer.sign(&es256(), &with(|claims| claims["exp"] = (now() - 5).into()))).unwrap();
}

#[test]
fn the_signature_must_be_the_issuers_by_its_own_algorithm() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let tokens = tokens(&issuer.pem()).unwrap();
    let good = issuer.sign(&es256(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = |header: Value| format!("{}.{}.{}", encode(header), parts[1], parts[2]);

    assert_eq!(tokens.check(&stranger.sign(&es256(), &claims())).unwrap_err(), "its signature is wrong");
    // The classic confusion: a code made with the public key as the secret.
    let secret = EncodingKey::from_secret(issuer.pem().as_bytes());
    let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &secret).unwrap();
    assert_eq!(tokens.check(&confused).unwrap_err(), "no key of the issuer fits it");
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": ""}),
        json!({}),
        json!({"alg": "ES384"}),
        json!({"alg": "HS256"}),
        json!({"alg": "RS256"}),
        json!({"alg": "ES256", "crit": ["x"], "x": 1}),
        json!({"alg": "ES256", "crit": []}),
        json!({"alg": "ES256", "jwk": stranger.jwk("x")}),
        json!(["alg"]),
    ] {
        assert!(tokens.check(&signed(header.clone())).is_err(), "{header}");
    }
    let claims_of_ann = with(|claims| claims["sub"] = "eve".into());
    let changed = format!("{}.{}.{}", parts[0], encode(claims_of_ann), parts[2]);
    assert_eq!(tokens.check(&changed).unwrap_err(), "its signature is wrong");
    for malformed in [
        String::new(),
        ".".into(),
        "..".into(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{good}."),
        format!("{good}.x"),
        format!("{good}="),
        format!(" {good}"),
        good.get(..good.len() - 2).unwrap().to_owned(),
        "ä.ä.ä".into(),
    ] {
        assert!(tokens.check(&malformed).is_err(), "{malformed}");
    }
}

#[test]
fn a_key_that_the_header_brings_is_not_used() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let tokens = tokens(&issuer.pem()).unwrap();
    let jwk: Jwk = serde_json::from_value(stranger.jwk("x")).unwrap();
    let header = Header { jwk: Some(jwk), ..es256() };
    assert_eq!(tokens.check(&stranger.sign(&header, &claims())).unwrap_err(), "its signature is wrong");
}

#[test]
fn a_long_token_is_refused_before_it_is_read() {
    let issuer = Issuer::new();
    let tokens = tokens(&issuer.pem()).unwrap();
    let padded = |pad: usize| issuer.sign(&es256(), &with(|claims| claims["pad"] = "x".repeat(pad).into()));
    let short = (0..).step_by(3).map(|pad| padded(11_000 + pad)).find(|token| token.len() + 4 > TOKEN).unwrap();
    assert!(short.len() <= TOKEN);
    tokens.check(&short).unwrap();
    assert_eq!(tokens.check(&padded(20_000)).unwrap_err(), "it is too long");
}

#[test]
fn keys_come_as_a_set_or_as_pem() {
    let (one, two, stranger) = (Issuer::new(), Issuer::new(), Issuer::new());
    let set =
        json!({"keys": [one.jwk("1"), two.jwk("2"), {"kty": "oct", "k": "c2VjcmV0", "kid": "3", "alg": "HS256"}]});
    let both = tokens(&set.to_string()).unwrap();
    assert_eq!(both.keys.len(), 2, "a shared secret is no key of ours");
    let named = |id: &str| Header { kid: Some(id.into()), ..es256() };
    both.check(&one.sign(&named("1"), &claims())).unwrap();
    both.check(&two.sign(&named("2"), &claims())).unwrap();
    both.check(&two.sign(&es256(), &claims())).unwrap();
    assert!(both.check(&one.sign(&named("2"), &claims())).is_err());
    assert!(both.check(&one.sign(&named("9"), &claims())).is_err());
    let both = tokens(&(one.pem() + &two.pem())).unwrap();
    both.check(&one.sign(&named("any"), &claims())).unwrap();
    both.check(&two.sign(&es256(), &claims())).unwrap();
    assert!(both.check(&stranger.sign(&es256(), &claims())).is_err());
    for bad in [
        "",
        "{}",
        "{\"keys\":[]}",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        &one.keys.serialize_pem(),
    ] {
        assert!(tokens(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_challenge_names_realm_service_and_scope() {
    let tokens = tokens(&Issuer::new().pem()).unwrap();
    assert_eq!(
        tokens.challenge(Some("repository:a/b:pull"), Some("insufficient_scope")),
        "Bearer realm=\"https://auth/token\",service=\"registry\",scope=\"repository:a/b:pull\",error=\"insufficient_scope\""
    );
    assert_eq!(tokens.challenge(None, None), "Bearer realm=\"https://auth/token\",service=\"registry\"");
}
