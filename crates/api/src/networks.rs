//! Networks: the three every node has.

use crate::{
    call::Call,
    reply::{self, Reply},
};
use rorqual_error::{Error, Result};
use serde_json::json;

/// `GET /networks`; before API 1.28 each came with its containers.
pub(crate) async fn list(call: Call) -> Result<Reply> {
    let networks = &call.engine().networks;
    let mut found = networks.list(&call.query.filters()?)?;
    if !call.version.at_least(28) {
        found = found.iter().map(|network| networks.inspect(&network.id)).collect::<Result<_>>()?;
    }
    Ok(reply::ok(&found))
}

/// `GET /networks/{name}`.
pub(crate) async fn inspect(call: Call) -> Result<Reply> {
    let scope = call.query.text("scope");
    let missing = || Error::not_found(format!("network {} not found", call.name));
    if !matches!(scope, "" | "local") {
        return Err(missing());
    }
    Ok(reply::ok(&call.engine().networks.inspect(&call.name)?))
}

/// `DELETE /networks/{name}`: those there are cannot be removed.
pub(crate) async fn remove(call: Call) -> Result<Reply> {
    let network = call.engine().networks.inspect(&call.name)?;
    Err(Error::forbidden(format!("{} is a pre-defined network and cannot be removed", network.name)))
}

/// `POST /networks/prune`: those there are stay.
pub(crate) async fn prune(call: Call) -> Result<Reply> {
    call.query.filters()?.validate(&["label", "label!", "until"])?;
    Ok(reply::ok(&json!({ "NetworksDeleted": null })))
}
