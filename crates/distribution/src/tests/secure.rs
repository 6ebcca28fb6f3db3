//! TLS: whom we believe, and that nothing leads below it. The registry is `reg.test`, reached through a proxy, since
//! loopback itself counts as insecure.

use super::*;
use crate::{Proxies, TagOrDigest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rorqual_error::Error;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsAcceptor;

/// A certificate for `reg.test` by an authority of its own, and that authority's certificate.
fn tls() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["reg.test".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), authority.pem())
}

struct Behind {
    repository: Repository,
    asked: Arc<Mutex<Vec<String>>>,
    _certs: tempfile::TempDir,
}

/// `reg.test/a/b` at `fake`, through a proxy, with `authority` in `certs.d`.
async fn behind(fake: &Fake, authority: Option<&str>, insecure: &[&str]) -> Behind {
    let (proxy, asked) = fake::proxy_to(fake.address).await;
    let certs = tempfile::tempdir().unwrap();
    if let Some(pem) = authority {
        std::fs::create_dir(certs.path().join("reg.test")).unwrap();
        std::fs::write(certs.path().join("reg.test/ca.crt"), pem).unwrap();
    }
    let proxy = format!("http://{proxy}");
    let config = Config {
        certs_dirs: vec![certs.path().to_owned()],
        insecure_registries: insecure.iter().map(|host| (*host).to_owned()).collect(),
        proxies: Proxies { http_proxy: proxy.clone(), https_proxy: proxy, no_proxy: String::new() },
        ..Config::default()
    };
    let registries = Registries::with_pace(config, pace()).unwrap();
    let reference = "reg.test/a/b:t".parse().unwrap();
    let repository = registries.repository(&reference, Credentials::password("user", "hunter2"), Access::Pull).unwrap();
    Behind { repository, asked, _certs: certs }
}

async fn fetch(behind: &Behind) -> Result<Vec<u8>, Error> {
    drain(behind.repository.fetch(&layer(b"blob"), 0)).await.map(|(bytes, _)| bytes)
}

#[tokio::test]
async fn an_authority_of_certs_d_is_trusted_for_its_host() {
    let (acceptor, authority) = tls();
    let fake = Fake::with_tls(acceptor, |_| Reply::new(200).body("blob")).await;
    let trusting = behind(&fake, Some(&authority), &[]).await;
    assert_eq!(fetch(&trusting).await.unwrap(), b"blob");
    assert_eq!(trusting.asked.lock().unwrap()[0], "CONNECT reg.test:443 HTTP/1.1");
    let error = fetch(&behind(&fake, None, &[]).await).await.unwrap_err();
    assert!(error.to_string().ends_with("x509: certificate signed by unknown authority"), "{error}");
    assert_eq!(fake.lines().len(), 1, "and no request is made");
    // Where the operator says so, any certificate will do.
    assert_eq!(fetch(&behind(&fake, None, &["reg.test"]).await).await.unwrap(), b"blob");
}

#[tokio::test]
async fn a_secure_registry_is_never_spoken_to_without_tls() {
    let fake = Fake::start(|_| Reply::new(200).body("blob")).await;
    let behind = behind(&fake, None, &["other.test"]).await;
    let target = TagOrDigest::tag("t").unwrap();
    let error = behind.repository.manifest(&target, 1000).await.unwrap_err();
    let expected = "failed to do request: Get \"https://reg.test/v2/a/b/manifests/t\": http: server gave HTTP response to \
                    HTTPS client";
    assert_eq!(error.to_string(), expected);
    assert!(fake.lines().is_empty(), "{:?}", fake.lines());
}

/// Part of `reg.downgrade`.
pub(super) async fn a_tls_registry_cannot_redirect_to_plain_http() {
    let plain = Fake::start(|_| Reply::new(200).body("blob")).await;
    let (acceptor, authority) = tls();
    let fake = Fake::with_tls(acceptor, |_| Reply::new(307).header("location", "http://reg.test/plain")).await;
    let error = fetch(&behind(&fake, Some(&authority), &[]).await).await.unwrap_err();
    assert!(error.to_string().contains("redirects from HTTPS to plain HTTP"), "{error}");
    // Not even to itself, not even where plain HTTP would be allowed.
    let error = fetch(&behind(&fake, Some(&authority), &["reg.test"]).await).await.unwrap_err();
    assert!(error.to_string().contains("redirects from HTTPS to plain HTTP"), "{error}");
    assert!(plain.lines().is_empty());
}

/// Part of `reg.realm`.
pub(super) async fn a_tls_registry_cannot_name_a_plain_token_server() {
    let (acceptor, authority) = tls();
    let fake = Fake::with_tls(acceptor, |_| {
        Reply::new(401).header("www-authenticate", r#"Bearer realm="http://auth.test/token",service="s""#)
    })
    .await;
    let error = fetch(&behind(&fake, Some(&authority), &[]).await).await.unwrap_err();
    assert!(error.to_string().contains("names a token server without TLS"), "{error}");
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test]
async fn an_insecure_registry_may_speak_plain_http() {
    let fake = Fake::start(|_| Reply::new(200).body("blob")).await;
    // Loopback always may; the scheme that answered is remembered.
    let repository = pull(&fake);
    for _ in 0..2 {
        drain(repository.fetch(&layer(b"blob"), 0)).await.unwrap();
    }
    assert_eq!(fake.lines().len(), 2);
    let (acceptor, _) = tls();
    let fake = Fake::with_tls(acceptor, |_| Reply::new(200).body("blob")).await;
    drain(pull(&fake).fetch(&layer(b"blob"), 0)).await.unwrap();
}
