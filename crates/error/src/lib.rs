//! The kinds of failure that every layer shares. `api` alone turns a [`Kind`] into an HTTP status.

#![forbid(unsafe_code)]

use std::{error::Error as StdError, fmt};

/// What sort of failure it was, independent of where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The named object does not exist.
    NotFound,
    /// The request itself is wrong; sending it again cannot help.
    InvalidArgument,
    /// The object's present state, or another object, forbids it.
    Conflict,
    /// The object already is as asked (start of a running container).
    NotModified,
    /// Policy or permission forbids it.
    Forbidden,
    /// Who is asking could not be established.
    Unauthorized,
    /// The resource cannot serve now; a later attempt may succeed.
    Unavailable,
    /// A part of Docker's API that this daemon does not have.
    NotImplemented,
    /// A fault on our side: I/O, kernel, a broken invariant.
    Internal,
}

/// A failure: its kind, what was attempted on which object, and the cause.
///
/// `Display` prints the whole chain as `what: cause`, the way dockerd's messages read.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of an operation of any layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(Kind::$kind, message) })*
    };
}

impl Error {
    /// A failure without a deeper cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    constructors! {
        /// [`Kind::NotFound`].
        not_found => NotFound,
        /// [`Kind::InvalidArgument`].
        invalid => InvalidArgument,
        /// [`Kind::Conflict`].
        conflict => Conflict,
        /// [`Kind::NotModified`].
        not_modified => NotModified,
        /// [`Kind::Forbidden`].
        forbidden => Forbidden,
        /// [`Kind::Unavailable`].
        unavailable => Unavailable,
        /// [`Kind::NotImplemented`].
        not_implemented => NotImplemented,
        /// [`Kind::Internal`].
        internal => Internal,
    }

    /// The same failure with `source` as its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message without its cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same failure under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut next: Option<&(dyn StdError + 'static)> = self.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            // One of ours has printed its own causes already.
            next = if cause.is::<Error>() { None } else { cause.source() };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Says what was attempted when a lower call fails.
pub trait Context<T> {
    /// Wraps the failure under `message`; one of our own errors keeps its kind, any other becomes [`Kind::Internal`].
    fn context(self, message: impl Into<String>) -> Result<T>;
    /// As [`Context::context`], the message made only on failure.
    fn with_context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl Into<String>) -> Result<T> {
        self.with_context(|| message)
    }

    fn with_context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|cause| {
            let cause = cause.into();
            let kind = cause.downcast_ref::<Error>().map_or(Kind::Internal, Error::kind);
            Error { kind, message: message().into(), source: Some(cause) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_chain_is_printed_once() {
        let io = std::io::Error::other("disk on fire");
        let inner: Result<()> = Err(io).context("write x");
        let outer = inner.context("save y").unwrap_err();
        assert_eq!(outer.to_string(), "save y: write x: disk on fire");
        assert_eq!(outer.kind(), Kind::Internal);
    }

    #[test]
    fn context_keeps_the_kind() {
        let outer = Err::<(), _>(Error::not_found("no x")).context("start").unwrap_err();
        assert_eq!(outer.kind(), Kind::NotFound);
    }
}
