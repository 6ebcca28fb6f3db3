//! The disk budget: when what can be had again takes too much of the disk, the least recently used of it goes, until a
//! lower mark is reached. What a container uses and what is pinned stays.
//!
//! Only images are there to go so far. The builder's cache joins with entries of its own in [`plan`].

mod marks;
mod plan;

pub use marks::{Budget, Mark};

use crate::{
    images::publish,
    limits::{BUDGET_PERIOD, BUDGET_YOUNG},
    parts::{Parts, blocking},
};
use plan::Entry;
use rorqual_error::{Context, Error, Result};
use rorqual_image::{DeletedItem, Tenant};
use rorqual_types::Digest;
use std::{future, sync::Arc};

/// What to collect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collect {
    /// Only say what would go.
    pub dry_run: bool,
    /// Bytes that images may take afterwards; the budget's low mark where not given.
    pub target: Option<u64>,
}

/// What a collection did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The images that went.
    pub images: Vec<Tenant>,
    /// The same in the words of `docker rmi`.
    pub items: Vec<DeletedItem>,
    /// Bytes of all images before.
    pub size: u64,
    /// Bytes given back, those of interrupted pulls among them.
    pub reclaimed: u64,
    /// Bytes that should have gone too: the other images are in use, pinned or young.
    pub missed: u64,
}

/// Bytes that are to go for `mark` to be reached.
fn above(parts: &Parts, mark: Mark) -> Result<u64> {
    match mark {
        Mark::Bytes(bytes) => Ok(parts.images.size().saturating_sub(bytes)),
        Mark::Percent(percent) => {
            let root = &parts.config.data_root;
            let stat = rustix::fs::statvfs(root).with_context(|| format!("ask for the space of {}", root.display()))?;
            let total = stat.f_blocks.saturating_mul(stat.f_frsize);
            let used = total.saturating_sub(stat.f_bavail.saturating_mul(stat.f_frsize));
            Ok(used.saturating_sub(total / 100 * u64::from(percent)))
        }
    }
}

/// Collects once; blocks.
pub(crate) fn collect(parts: &Parts, collect: Collect) -> Result<Collected> {
    let budget = parts.budget();
    let need = match (collect.target, &budget) {
        (Some(target), _) => above(parts, Mark::Bytes(target))?,
        (None, Some(budget)) => above(parts, budget.low)?,
        (None, None) => {
            return Err(Error::invalid("no disk budget is configured (image-gc in daemon.json): say what to aim at"));
        }
    };
    let (young, pinned) = match budget {
        Some(budget) => (budget.minimum_age, budget.pinned),
        None => (BUDGET_YOUNG, Vec::new()),
    };
    let mut done = Collected { size: parts.images.size(), ..Collected::default() };
    if need == 0 {
        return Ok(done);
    }
    if !collect.dry_run {
        done.reclaimed = parts.images.evict_partials(young)?;
    }
    let tenants = parts.images.tenants(&|| parts.image_users(), &pinned);
    let now = jiff::Timestamp::now().as_nanosecond();
    let is_young = |tenant: &Tenant| now - i128::from(tenant.used_ns) < young.as_nanos().cast_signed();
    let entries: Vec<Entry<usize>> = tenants
        .iter()
        .enumerate()
        .map(|(at, tenant)| Entry {
            key: at,
            used: tenant.used_ns,
            kept: tenant.kept || is_young(tenant),
            pieces: tenant.pieces.clone(),
        })
        .collect();
    let plan = plan::plan(&entries, need.saturating_sub(done.reclaimed));
    for tenant in plan.keys.iter().filter_map(|at| tenants.get(*at)) {
        if !collect.dry_run {
            match evict(parts, &tenant.id, &mut done) {
                // A container took it meanwhile, or somebody removed it.
                Err(error) => {
                    tracing::warn!(image = %tenant.id, %error, "could not be removed for the disk budget");
                    continue;
                }
                Ok(()) => tracing::info!(image = %tenant.id, names = ?tenant.names, "removed for the disk budget"),
            }
        }
        done.images.push(tenant.clone());
    }
    if collect.dry_run {
        done.reclaimed = plan.freed;
    }
    done.missed = need.saturating_sub(done.reclaimed);
    Ok(done)
}

fn evict(parts: &Parts, id: &Digest, done: &mut Collected) -> Result<()> {
    let (mut deleted, freed) = parts.images.evict(id, &|| parts.image_users())?;
    publish(parts, std::mem::take(&mut deleted.events));
    done.items.append(&mut deleted.items);
    done.reclaimed += freed;
    Ok(())
}

/// Keeps the budget, if there is one: after images came, now and then, and when it changes; until the engine closes.
pub(crate) async fn run(parts: Arc<Parts>) {
    let mut reloaded = parts.reloaded.subscribe();
    loop {
        let period = async {
            match parts.budget() {
                Some(_) => tokio::time::sleep(BUDGET_PERIOD).await,
                None => future::pending().await,
            }
        };
        tokio::select! { biased;
            () = parts.closing.cancelled() => return,
            () = parts.grown.notified() => {}
            _ = reloaded.changed() => {}
            () = period => {}
        }
        let worker = parts.clone();
        if let Err(error) = blocking(move || keep(&worker)).await {
            tracing::warn!(%error, "the disk budget could not be kept; the next look tries again");
        }
    }
}

fn keep(parts: &Parts) -> Result<()> {
    let Some(budget) = parts.budget() else { return Ok(()) };
    if above(parts, budget.high)? == 0 {
        return Ok(());
    }
    let done = collect(parts, Collect::default())?;
    if done.missed > 0 {
        tracing::warn!(bytes = done.missed, "images in use, pinned or young take more than the disk budget");
    }
    Ok(())
}
