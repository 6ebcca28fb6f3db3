//! What went wrong below HTTP, in the words that docker's users know.

use crate::{answer::Failure, origin::shown};
use reqwest::{Method, Url};
use rorqual_error::{Error, Kind};
use rustls::{CertificateError, InvalidMessage};
use std::{error::Error as StdError, io};

/// A request that brought no answer.
pub(crate) fn unanswered(method: &Method, url: &Url, error: reqwest::Error) -> Failure {
    let connecting = error.is_connect();
    let cause = Cause::of(&error);
    let text = cause.text(&error, url);
    let verb = method.as_str();
    let verb = verb.get(..1).unwrap_or_default().to_owned() + &verb.get(1..).unwrap_or_default().to_ascii_lowercase();
    let message = format!("failed to do request: {verb} \"{}\": {text}", shown(url));
    Failure {
        unreached: connecting,
        transient: !matches!(cause, Cause::Certificate(_) | Cause::PlainHttp) && !error.is_builder(),
        ..Failure::last(Error::new(Kind::Unavailable, message))
    }
}

/// A body that broke off.
pub(crate) fn broken(url: &Url, error: &reqwest::Error) -> Failure {
    let text = Cause::of(error).text(error, url);
    Failure::transient(Error::unavailable(format!("failed to read from {}: {text}", shown(url))))
}

/// Nothing came within the deadline.
pub(crate) fn late(method: &Method, url: &Url) -> Failure {
    let message = format!("failed to do request: {method} \"{}\": context deadline exceeded", shown(url));
    Failure::transient(Error::unavailable(message))
}

enum Cause {
    /// The server speaks plain HTTP where TLS is expected.
    PlainHttp,
    Certificate(&'static str),
    Refused,
    Other,
}

impl Cause {
    fn of(error: &reqwest::Error) -> Self {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(cause) = next {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::of_tls(tls);
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                if io.kind() == io::ErrorKind::ConnectionRefused {
                    return Self::Refused;
                }
                // The source of an I/O error is its inner error's source: look at the inner error first.
                if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    return Self::of_tls(tls);
                }
            }
            next = cause.source();
        }
        Self::Other
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::PlainHttp,
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                Self::Certificate("x509: certificate signed by unknown authority")
            }
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. } | CertificateError::NotValidYet,
            ) => Self::Certificate("x509: certificate has expired or is not yet valid"),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::Certificate("x509: certificate is valid for another name"),
            rustls::Error::InvalidCertificate(_) => Self::Certificate("the server's certificate is not valid"),
            _ => Self::Other,
        }
    }

    fn text(&self, error: &reqwest::Error, url: &Url) -> String {
        let port = url.port_or_known_default().unwrap_or_default();
        match self {
            Self::PlainHttp => "http: server gave HTTP response to HTTPS client".to_owned(),
            Self::Certificate(why) => format!("tls: failed to verify certificate: {why}"),
            Self::Refused => {
                format!("dial tcp {}:{port}: connect: connection refused", url.host_str().unwrap_or_default())
            }
            Self::Other if error.is_dns() => {
                format!("dial tcp: lookup {}: no such host", url.host_str().unwrap_or_default())
            }
            Self::Other if error.is_timeout() => "i/o timeout".to_owned(),
            Self::Other => deepest(error),
        }
    }
}

/// The innermost cause: the outer ones repeat the URL.
fn deepest(error: &reqwest::Error) -> String {
    let mut last: &dyn StdError = error;
    while let Some(source) = last.source() {
        last = source;
    }
    if std::ptr::addr_eq(last, error) {
        "the connection broke off".to_owned()
    } else {
        crate::answer::clip(&last.to_string())
    }
}
