//! TLS for tcp: the daemon's certificate, and the check of clients' certificates.

use crate::config::Tls;
use anyhow::{Context, Result, anyhow};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{path::Path, sync::Arc};

/// The configuration of the server's side; TLS 1.2 and newer.
pub fn server(tls: &Tls) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pair = || format!("Could not load X509 key pair (cert: {:?}, key: {:?})", tls.certificate, tls.key);
    let chain = certificates(&tls.certificate).with_context(pair)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| anyhow!("{error:?}")).with_context(pair)?;
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path).with_context(|| format!("could not read CA certificate {path:?}"))? {
                roots.add(certificate).with_context(|| format!("could not read CA certificate {path:?}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).with_context(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// All certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = std::fs::read(path).with_context(|| format!("open {}", path.display()))?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&read).collect::<Result<_, _>>().map_err(|error| anyhow!("{error:?}"))?;
    if found.is_empty() {
        return Err(anyhow!("no certificate in {}", path.display()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_and_its_key_make_a_server() {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        for client_ca in [None, Some(certificate.clone())] {
            server(&Tls { client_ca, certificate: certificate.clone(), key: key.clone() }).unwrap();
        }
        let missing = Tls { client_ca: None, certificate: "/nope".into(), key };
        let error = format!("{:#}", server(&missing).unwrap_err());
        assert!(error.starts_with("Could not load X509 key pair (cert: \"/nope\""), "{error}");
    }
}
