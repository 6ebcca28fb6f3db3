//! Volumes.

use crate::{
    call::Call,
    reply::{self, Reply},
};
use hyper::StatusCode;
use rorqual_api_types::volume::{CreateRequest, ListResponse};
use rorqual_error::{Error, Result};

/// `GET /volumes`.
pub(crate) async fn list(call: Call) -> Result<Reply> {
    let volumes = call.engine().volumes.list(call.query.filters()?).await?;
    Ok(reply::ok(&ListResponse { volumes, warnings: None }))
}

/// `POST /volumes/create`.
pub(crate) async fn create(mut call: Call) -> Result<Reply> {
    let request: CreateRequest = call.json().await?;
    if request.cluster_volume_spec.is_some() {
        return Err(Error::not_implemented("not supported yet: cluster volumes"));
    }
    let volume = call.engine().volumes.create(request).await?;
    Ok(reply::json(StatusCode::CREATED, &volume))
}

/// `GET /volumes/{name}`.
pub(crate) async fn inspect(call: Call) -> Result<Reply> {
    Ok(reply::ok(&call.engine().volumes.inspect(&call.name).await?))
}

/// `DELETE /volumes/{name}`.
pub(crate) async fn remove(call: Call) -> Result<Reply> {
    call.engine().volumes.remove(&call.name, call.query.flag("force")).await?;
    Ok(reply::no_content())
}

/// `POST /volumes/prune`; before API 1.42 named volumes went too.
pub(crate) async fn prune(call: Call) -> Result<Reply> {
    let mut filters = call.query.filters()?;
    if !call.version.at_least(42) {
        filters.add("all", "true");
    }
    Ok(reply::ok(&call.engine().volumes.prune(filters).await?))
}
