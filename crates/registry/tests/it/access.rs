//! Who may do what: passwords, tokens, challenges, and the one decision on every route.

use crate::support::{OCI, Running, sha256, start, start_with};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use rorqual_registry::{Authentication, Config, TokenConfig};
use serde_json::{Value, json};

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

async fn with_passwords(change: impl FnOnce(&mut Config)) -> Running {
    start_with(|config| {
        let path = config.root.join("users");
        std::fs::write(&path, format!("ann:{}\n", bcrypt::hash("secret", 4).unwrap())).unwrap();
        config.access.authentication = Authentication::Htpasswd { path, realm: "Here".into() };
        change(config);
    })
    .await
}

/// A request of each kind that a route takes, and the action it needs.
fn everything() -> Vec<(&'static str, String, &'static str)> {
    let digest = sha256("x");
    let id = "0".repeat(32);
    vec![
        ("GET", "/v2/".into(), "ping"),
        ("GET", "/v2/_catalog".into(), "catalog"),
        ("GET", "/v2/a/tags/list".into(), "pull"),
        ("GET", format!("/v2/a/referrers/{digest}"), "pull"),
        ("GET", "/v2/a/manifests/t".into(), "pull"),
        ("HEAD", "/v2/a/manifests/t".into(), "pull"),
        ("PUT", "/v2/a/manifests/t".into(), "push"),
        ("DELETE", "/v2/a/manifests/t".into(), "delete"),
        ("DELETE", format!("/v2/a/manifests/{digest}"), "delete"),
        ("GET", format!("/v2/a/blobs/{digest}"), "pull"),
        ("HEAD", format!("/v2/a/blobs/{digest}"), "pull"),
        ("DELETE", format!("/v2/a/blobs/{digest}"), "delete"),
        ("POST", "/v2/a/blobs/uploads/".into(), "push"),
        ("POST", format!("/v2/a/blobs/uploads/?digest={digest}"), "push"),
        ("GET", format!("/v2/a/blobs/uploads/{id}"), "push"),
        ("PATCH", format!("/v2/a/blobs/uploads/{id}"), "push"),
        ("PUT", format!("/v2/a/blobs/uploads/{id}?digest={digest}"), "push"),
        ("DELETE", format!("/v2/a/blobs/uploads/{id}"), "push"),
    ]
}

#[tokio::test]
async fn without_credentials_every_route_is_closed() {
    let registry = with_passwords(|_| {}).await;
    for (method, path, _) in everything() {
        let answer = registry.send(method, &path, &[], "").await.expect(401);
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"Here\"", "{method} {path}");
        if method != "HEAD" {
            answer.refused(401, "UNAUTHORIZED");
        }
    }
    assert!(!registry.config.root.join("content/blobs/sha256").read_dir().unwrap().any(|_| true));
}

#[tokio::test]
async fn a_password_opens_them_and_a_wrong_one_does_not() {
    let registry = with_passwords(|_| {}).await;
    let good = basic("ann", "secret");
    for (method, path, _) in everything() {
        let answer = registry.send(method, &path, &[("Authorization", &good)], "").await;
        assert_ne!(answer.status, 401, "{method} {path}");
    }
    for bad in [
        basic("ann", "Secret"),
        basic("eve", "secret"),
        "Basic".into(),
        "Basic x".into(),
        "Bearer x".into(),
        good.replace("Basic", "Basics"),
        format!("{good} {good}"),
    ] {
        registry.send("GET", "/v2/", &[("Authorization", &bad)], "").await.refused(401, "UNAUTHORIZED");
    }
    let twice = [("Authorization", good.as_str()), ("Authorization", good.as_str())];
    registry.send("GET", "/v2/", &twice, "").await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn anybody_may_pull_where_that_is_allowed() {
    let registry = with_passwords(|config| config.access.anonymous_pull = true).await;
    for (method, path, action) in everything() {
        let status = registry.send(method, &path, &[], "").await.status;
        assert_eq!(status == 401, action != "pull", "{method} {path}: {status}");
    }
}

struct Issuer(KeyPair);

impl Issuer {
    fn token(&self, scopes: Value) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({"iss": "issuer", "aud": "registry", "sub": "ann", "exp": now + 300, "access": scopes});
        let key = EncodingKey::from_ec_pem(self.0.serialize_pem().as_bytes()).unwrap();
        format!("Bearer {}", jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap())
    }
}

fn repository(name: &str, actions: &[&str]) -> Value {
    json!({"type": "repository", "name": name, "actions": actions})
}

async fn with_tokens() -> (Running, Issuer) {
    let issuer = Issuer(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap());
    let registry = start_with(|config| {
        let keys = config.root.join("issuer.pem");
        std::fs::write(&keys, issuer.0.public_key_pem()).unwrap();
        let [realm, service, issuer] = ["https://auth/token", "registry", "issuer"].map(String::from);
        config.access.authentication = Authentication::Token(TokenConfig { realm, service, issuer, keys });
    })
    .await;
    (registry, issuer)
}

#[tokio::test]
async fn a_token_opens_what_it_is_for() {
    let (registry, issuer) = with_tokens().await;
    for granted in ["pull", "push", "delete"] {
        let token = issuer.token(json!([repository("a", &[granted])]));
        for (method, path, action) in everything() {
            let status = registry.send(method, &path, &[("Authorization", &token)], "").await.status;
            let open = action == granted || action == "ping";
            assert_eq!(status != 401, open, "{granted}: {method} {path}: {status}");
            // The same for another repository.
            let elsewhere = path.replace("/v2/a/", "/v2/b/");
            if elsewhere != path {
                registry.send(method, &elsewhere, &[("Authorization", &token)], "").await.expect(401);
            }
        }
    }
}

#[tokio::test]
async fn the_challenge_says_which_token_is_needed() {
    let (registry, issuer) = with_tokens().await;
    let challenge = async |method: &str, path: &str, token: &str| {
        let headers = [("Authorization", token)];
        let headers = if token.is_empty() { &headers[..0] } else { &headers[..] };
        registry.send(method, path, headers, "").await.expect(401).header("www-authenticate").to_owned()
    };
    let base = "Bearer realm=\"https://auth/token\",service=\"registry\"";
    assert_eq!(challenge("GET", "/v2/", "").await, base);
    assert_eq!(challenge("GET", "/v2/a/b/manifests/t", "").await, format!("{base},scope=\"repository:a/b:pull\""));
    let push = format!("{base},scope=\"repository:a/b:pull,push\"");
    assert_eq!(challenge("POST", "/v2/a/b/blobs/uploads/", "").await, push);
    assert_eq!(challenge("DELETE", "/v2/a/b/manifests/t", "").await, format!("{base},scope=\"repository:a/b:delete\""));
    assert_eq!(challenge("GET", "/v2/_catalog", "").await, format!("{base},scope=\"registry:catalog:*\""));
    let pull = issuer.token(json!([repository("a/b", &["pull"])]));
    let wanted = format!("{push},error=\"insufficient_scope\"");
    assert_eq!(challenge("POST", "/v2/a/b/blobs/uploads/", &pull).await, wanted);
}

#[tokio::test]
async fn a_mount_needs_the_right_to_read_its_source() {
    let (registry, issuer) = with_tokens().await;
    let both = issuer.token(json!([repository("a", &["pull", "push"]), repository("b", &["push"])]));
    let digest = sha256("hello");
    let auth = [("Authorization", both.as_str())];
    registry.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &auth, "hello").await.expect(201);
    let path = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    let only_b = issuer.token(json!([repository("b", &["push"])]));
    registry.send("POST", &path, &[("Authorization", &only_b)], "").await.expect(202);
    registry.send("POST", &path, &auth, "").await.expect(201);
}

#[tokio::test]
async fn the_catalogue_lists_what_the_token_may_read() {
    let (registry, issuer) = with_tokens().await;
    let push = issuer.token(json!([repository("a", &["push"]), repository("b", &["push"])]));
    for name in ["a", "b"] {
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", sha256("x"));
        registry.send("POST", &path, &[("Authorization", &push)], "x").await.expect(201);
    }
    let scopes = json!([{"type": "registry", "name": "catalog", "actions": ["*"]}, repository("b", &["pull"])]);
    let token = issuer.token(scopes);
    let answer = registry.send("GET", "/v2/_catalog", &[("Authorization", &token)], "").await.expect(200);
    assert_eq!(answer.json()["repositories"], json!(["b"]));
}

#[tokio::test]
async fn an_escaped_name_is_the_same_name() {
    let (registry, issuer) = with_tokens().await;
    let token = issuer.token(json!([repository("a/b", &["pull"])]));
    let auth = [("Authorization", token.as_str())];
    registry.send("GET", "/v2/a%2Fb/manifests/t", &auth, "").await.refused(404, "MANIFEST_UNKNOWN");
    registry.send("GET", "/v2/a%2Fc/manifests/t", &auth, "").await.refused(401, "UNAUTHORIZED");
    registry.send("GET", "/v2/a/b/../c/manifests/t", &auth, "").await.refused(400, "NAME_INVALID");
}

#[tokio::test]
async fn an_open_registry_asks_nobody() {
    let registry = start().await;
    let image = registry.image("a", "x").await.to_string();
    let headers = [("Content-Type", OCI), ("Authorization", "Bearer whatever")];
    registry.send("PUT", "/v2/a/manifests/t", &headers, image).await.expect(201);
}
