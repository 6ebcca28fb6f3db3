//! Whom we trust behind an address: the system's certificates, and what `certs.d` adds for one host.

use crate::{config::Insecure, origin::Origin};
use rorqual_error::{Context, Error, Result};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// The trust of all hosts.
#[derive(Debug)]
pub(crate) struct Trust {
    certs_dirs: Vec<PathBuf>,
    insecure: Insecure,
    system: OnceLock<RootCertStore>,
}

impl Trust {
    pub(crate) fn new(certs_dirs: Vec<PathBuf>, insecure: Insecure) -> Self {
        Self { certs_dirs, insecure, system: OnceLock::new() }
    }

    /// Whether any certificate, and plain HTTP, will do there.
    pub(crate) fn is_insecure(&self, origin: &Origin) -> bool {
        self.insecure.covers(origin.host(), origin.port())
    }

    /// The TLS settings for `origin`. Reads files: not for an async thread.
    pub(crate) fn config(&self, origin: &Origin) -> Result<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .context("set up TLS")?;
        if !origin.is_https() {
            return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
        }
        let mut own = HostFiles::default();
        for directory in self.directories(origin) {
            own.read(&directory)?;
        }
        let builder = if self.is_insecure(origin) {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            let mut roots = self.system.get_or_init(system_roots).clone();
            for (path, certificate) in own.authorities {
                roots.add(certificate).with_context(|| format!("trust {}", path.display()))?;
            }
            builder.with_root_certificates(roots)
        };
        let mut config = match own.client {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .with_context(|| format!("use the client certificate for {}", origin.authority()))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// `certs.d/HOST:PORT`, and `certs.d/HOST` for the default port.
    fn directories(&self, origin: &Origin) -> Vec<PathBuf> {
        let mut names = vec![format!("{}:{}", origin.host(), origin.port())];
        if origin.has_default_port() {
            names.push(origin.host().to_owned());
        }
        if origin.host() == "registry-1.docker.io" {
            names.push("docker.io".to_owned());
        }
        self.certs_dirs.iter().flat_map(|top| names.iter().map(|name| top.join(name))).collect()
    }
}

fn system_roots() -> RootCertStore {
    let loaded = rustls_native_certs::load_native_certs();
    for error in loaded.errors {
        tracing::warn!(%error, "a certificate of the system could not be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    roots
}

/// What `certs.d` has for one host: `*.crt` are authorities, `*.cert` and `*.key` are ours.
#[derive(Default)]
struct HostFiles {
    authorities: Vec<(PathBuf, CertificateDer<'static>)>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl HostFiles {
    fn read(&mut self, directory: &Path) -> Result<()> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("list {}", directory.display())),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in &paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.authorities.extend(certificates(path)?.into_iter().map(|one| (path.clone(), one))),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !paths.contains(&key) {
                        return Err(Error::invalid(format!(
                            "missing key {} for client certificate {}. CA certificates must use the extension .crt",
                            key.display(),
                            path.display()
                        )));
                    }
                    let der = PrivateKeyDer::from_pem_file(&key).with_context(|| format!("read {}", key.display()))?;
                    self.client = Some((certificates(path)?, der));
                }
                Some("key") if !paths.contains(&path.with_extension("cert")) => {
                    return Err(Error::invalid(format!("missing client certificate for key {}", path.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).with_context(|| format!("read {}", path.display()))
}

/// Accepts any certificate, as the operator has said of this host; the handshake itself is still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_client_certificate_needs_its_key() {
        let top = tempfile::tempdir().unwrap();
        let trust = Trust::new(vec![top.path().to_owned()], Insecure::default());
        let host = top.path().join("reg.corp:5000");
        fs::create_dir(&host).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
        fs::write(host.join("client.cert"), made.cert.pem()).unwrap();
        let error = trust.config(&origin("https://reg.corp:5000")).unwrap_err().to_string();
        assert!(error.starts_with("missing key ") && error.contains("must use the extension .crt"), "{error}");
        fs::write(host.join("client.key"), made.signing_key.serialize_pem()).unwrap();
        fs::write(host.join("ca.crt"), made.cert.pem()).unwrap();
        let config = trust.config(&origin("https://reg.corp:5000")).unwrap();
        assert!(config.client_auth_cert_resolver.has_certs());
        assert!(!trust.config(&origin("https://other.corp:5000")).unwrap().client_auth_cert_resolver.has_certs());
        fs::remove_file(host.join("client.cert")).unwrap();
        assert!(trust.config(&origin("https://reg.corp:5000")).is_err());
    }
}
