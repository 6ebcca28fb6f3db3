//! What keeps the store in order: collection of images and the check of records against files. Routes of ours.

use crate::{
    call::Call,
    reply::{self, Reply},
};
use futures_util::stream;
use rorqual_api_types::upkeep::{CheckLine, CollectedImage, ImagesCollected};
use rorqual_engine::{
    budget::{Collect, Collected},
    system::CheckStep,
};
use rorqual_error::{Error, Result};

/// `POST /rorqual/images/gc`.
pub(crate) async fn collect(call: Call) -> Result<Reply> {
    let target = match call.query.number("target")? {
        Some(bytes) => Some(u64::try_from(bytes).map_err(|_| Error::invalid("target must not be negative"))?),
        None => None,
    };
    let collect = Collect { dry_run: call.query.flag("dry-run"), target };
    let collected = call.engine().images.collect(collect).await?;
    Ok(reply::ok(&present(collected)))
}

fn present(collected: Collected) -> ImagesCollected {
    let images = collected.images.into_iter().map(|image| CollectedImage {
        id: image.id.to_string(),
        names: image.names,
        last_used: image.used_ns.div_euclid(1_000_000_000),
        size: image.pieces.iter().map(|(_, bytes)| bytes).sum(),
    });
    ImagesCollected {
        images: images.collect(),
        size: collected.size,
        space_reclaimed: collected.reclaimed,
        missed: collected.missed,
    }
}

/// `POST /rorqual/system/fsck`.
pub(crate) async fn check(call: Call) -> Result<Reply> {
    let findings = call.engine().system.check(call.query.flag("repair"));
    Ok(reply::documents(stream::unfold(findings, |mut findings| async move {
        let line = match findings.next().await? {
            Ok(CheckStep::Finding(finding)) => CheckLine { finding: Some(finding), ..CheckLine::default() },
            Ok(CheckStep::Summary(summary)) => CheckLine { summary: Some(summary), ..CheckLine::default() },
            Err(error) => CheckLine { error: Some(error.to_string()), ..CheckLine::default() },
        };
        Some((line, findings))
    })))
}
