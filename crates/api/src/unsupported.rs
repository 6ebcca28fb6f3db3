//! The parts of Docker's API that this daemon does not have: each says which it is. Questions whose true answer is "none"
//! are answered.

use crate::{
    call::Call,
    reply::{self, Reply},
};
use rorqual_error::{Error, Result};
use serde_json::json;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident $message:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(call: Call) -> Result<Reply> {
            // Read to its end, or the client would see its connection break instead of the answer.
            drop(call.archive());
            Err(Error::not_implemented($message))
        }
    )*};
}

refusals! {
    /// `docker export`.
    export "not supported yet: export of a container's file system";
    /// `docker diff`.
    changes "not supported yet: changes of a container's file system";
    /// `docker stats`.
    stats "not supported yet: container statistics";
    /// `docker cp`.
    copy "not supported yet: copying files to and from containers";
    /// `docker checkpoint`.
    checkpoint "not supported yet: checkpoints";
    /// `docker commit`.
    commit "not supported yet: commit; build images elsewhere and bring them with `docker load`";
    /// `docker build`, and the builder's sessions.
    build "not supported yet: building images; bring them with `docker load`";
    /// User-defined networks.
    network "not supported yet: user-defined networks; there are bridge, host and none";
    /// Volumes of a cluster.
    cluster_volume "not supported yet: cluster volumes";
    /// Managed plugins.
    plugin "not supported yet: plugins";
    /// A swarm's beginning.
    swarm "not supported yet: swarm mode";
}

/// `GET /plugins`: there are none.
pub(crate) async fn plugins(_call: Call) -> Result<Reply> {
    Ok(reply::ok(&json!([])))
}

/// `POST /build/prune`, which `docker system prune` ends with: there is no cache.
pub(crate) async fn build_prune(_call: Call) -> Result<Reply> {
    Ok(reply::ok(&json!({ "CachesDeleted": null, "SpaceReclaimed": 0 })))
}

/// What only a manager answers, in dockerd's words for a node outside any swarm.
pub(crate) async fn swarm_manager(_call: Call) -> Result<Reply> {
    Err(Error::unavailable(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm \
         and try again.",
    ))
}

/// What only a member answers.
pub(crate) async fn swarm_member(_call: Call) -> Result<Reply> {
    Err(Error::unavailable("This node is not part of a swarm"))
}
