//! What concerns registries: pull, push, search, and questions about an image that is not here.

use super::{present, report};
use crate::{
    call::Call,
    reply::{self, Reply},
};
use hyper::header::HeaderName;
use rorqual_api_types::system::{AuthConfig, AuthResponse};
use rorqual_engine::{
    images::{Pull, Push},
    registry::Credentials,
};
use rorqual_error::{Error, Result};
use rorqual_types::{Digest, Reference};

/// Credentials for one registry, base64 of JSON.
const REGISTRY_AUTH: HeaderName = HeaderName::from_static("x-registry-auth");
/// Results of a search where the client names no number, and the most it may name.
const SEARCH_RESULTS: (usize, usize) = (25, 100);

/// The credentials that came with the request. A header that cannot be read is no credentials, as with dockerd.
fn credentials(call: &Call) -> Credentials {
    call.header(REGISTRY_AUTH).map(|text| Credentials::from_header(text).unwrap_or_default()).unwrap_or_default()
}

/// `POST /images/create?fromImage=`.
pub(super) async fn pull(call: Call) -> Result<Reply> {
    let reference: Reference = call.query.text("fromImage").trim_end_matches(':').parse()?;
    let reference = match call.query.filled("tag") {
        // What stands there may be a digest too.
        Some(tag) => match tag.parse::<Digest>() {
            Ok(digest) => reference.with_digest(digest),
            Err(_) => reference.with_tag(tag)?,
        },
        None => reference,
    };
    let pull = Pull { reference, platform: call.platform()?, credentials: credentials(&call) };
    Ok(report(call.engine().images.pull(pull).await?, false))
}

/// `POST /images/{name}/push`.
pub(crate) async fn push(mut call: Call) -> Result<Reply> {
    // Clients send their credentials once more as the body, from before there was a header. An answer that came before
    // all of it was read would break the connection while they write.
    call.bytes().await?;
    let reference: Reference = call.name.parse()?;
    if reference.digest().is_some() {
        return Err(Error::invalid("cannot push a digest reference"));
    }
    let reference = match call.query.filled("tag") {
        Some(tag) => reference.with_tag(tag)?,
        None => reference,
    };
    let push = Push { reference, platform: call.platform_object(46)?, credentials: credentials(&call) };
    Ok(report(call.engine().images.push(push), false))
}

/// `GET /images/search`.
pub(crate) async fn search(call: Call) -> Result<Reply> {
    let limit = match call.query.filled("limit") {
        Some(text) => {
            text.parse().map_err(|_| Error::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?
        }
        None => SEARCH_RESULTS.0,
    };
    let limit = if limit == 0 { SEARCH_RESULTS.0 } else { limit };
    if limit > SEARCH_RESULTS.1 {
        return Err(Error::invalid(format!("limit {limit} is outside the range of [1, {}]", SEARCH_RESULTS.1)));
    }
    let filters = call.query.filters()?;
    let found = call.engine().registry.search(call.query.text("term"), limit, &filters, &credentials(&call)).await?;
    Ok(reply::ok(&found.into_iter().map(present::search_result).collect::<Vec<_>>()))
}

/// `GET /distribution/{name}/json`.
pub(crate) async fn distribution(call: Call) -> Result<Reply> {
    let reference: Reference = call.name.parse()?;
    let found = call.engine().registry.inspect(&reference.or_latest(), credentials(&call)).await?;
    Ok(reply::ok(&present::distribution(&found)))
}

/// `POST /auth`.
pub(crate) async fn auth(mut call: Call) -> Result<Reply> {
    let auth: AuthConfig = call.json().await?;
    let credentials = Credentials {
        serveraddress: auth.server_address,
        identitytoken: auth.identity_token,
        ..Credentials::password(auth.username, auth.password)
    };
    let login = call.engine().registry.login(&credentials).await?;
    Ok(reply::ok(&AuthResponse { identity_token: login.identity_token, status: login.status }))
}
