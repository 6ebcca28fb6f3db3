//! Images: everything but their form in answers (`present.rs`).

mod present;

use crate::{
    body::Body,
    call::{Call, platform_object},
    reply::{self, Reply},
};
use futures_util::stream;
use hyper::{StatusCode, header::HeaderValue};
use rorqual_api_types::{
    image::Summary,
    progress::{Progress, ProgressDetail},
};
use rorqual_engine::images::{Step, Steps};
use rorqual_error::{Error, Result};
use rorqual_image::{DeleteOptions, ImportOptions, ListOptions};
use rorqual_types::Reference;

/// `GET /images/json`.
pub(crate) async fn list(call: Call) -> Result<Reply> {
    let query = &call.query;
    let mut filters = query.filters()?;
    // Before API 1.41 a reference came as a parameter of its own.
    if let Some(pattern) = query.filled("filter").filter(|_| !call.version.at_least(41)) {
        filters.add("reference", pattern);
    }
    let options = ListOptions {
        all: query.flag("all"),
        filters,
        shared_size: query.flag("shared-size") && call.version.at_least(42),
        manifests: query.flag("manifests") && call.version.at_least(47),
    };
    let found = call.engine().images.list(options).await?;
    let engine = call.engine();
    let users = |image: &rorqual_image::Summary| engine.images.users(&image.id);
    let found: Vec<Summary> =
        found.into_iter().map(|image| present::summary(&users(&image), image, call.version)).collect();
    Ok(reply::ok(&found))
}

/// The images of `GET /system/df`: with containers and shared bytes counted.
pub(crate) async fn for_disk_usage(call: &Call) -> Result<Vec<Summary>> {
    let options = ListOptions { all: true, shared_size: true, ..ListOptions::default() };
    let engine = call.engine();
    let found = engine.images.list(options).await?;
    Ok(found
        .into_iter()
        .map(|image| {
            let users = engine.images.users(&image.id);
            let containers = i64::try_from(users.len()).unwrap_or(i64::MAX);
            Summary { containers, ..present::summary(&users, image, call.version) }
        })
        .collect())
}

/// `GET /images/{name}/json`.
pub(crate) async fn inspect(call: Call) -> Result<Reply> {
    let manifests = call.query.flag("manifests") && call.version.at_least(48);
    let platform = call.platform_object(49)?;
    if manifests && platform.is_some() {
        return Err(Error::invalid("conflicting options: manifests and platform options cannot both be set"));
    }
    let image = call.engine().images.inspect(&call.name, platform, manifests).await?;
    let users = call.engine().images.users(&image.id);
    present::inspect(image, &users, call.version)
}

/// `GET /images/{name}/history`.
pub(crate) async fn history(call: Call) -> Result<Reply> {
    let platform = call.platform_object(48)?;
    let lines = call.engine().images.history(&call.name, platform).await?;
    let lines: Vec<_> = lines.into_iter().map(present::history).collect();
    Ok(reply::ok(&lines))
}

/// `POST /images/{name}/tag`.
pub(crate) async fn tag(call: Call) -> Result<Reply> {
    let target = target(&call)?.ok_or_else(|| Error::invalid("invalid reference format"))?;
    call.engine().images.tag(&call.name, target).await?;
    Ok(reply::empty(StatusCode::CREATED))
}

/// The reference of `repo` and `tag`; `None` where no repository is named.
fn target(call: &Call) -> Result<Option<Reference>> {
    let Some(repository) = call.query.filled("repo") else { return Ok(None) };
    let reference: Reference = repository.parse()?;
    if reference.digest().is_some() {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    match call.query.filled("tag") {
        Some(tag) => reference.with_tag(tag).map(Some),
        None => Ok(Some(reference.or_latest())),
    }
}

/// `DELETE /images/{name}`.
pub(crate) async fn delete(call: Call) -> Result<Reply> {
    if call.name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank"));
    }
    let platforms = match call.version.at_least(50) {
        true => call.query.all("platforms").iter().map(|text| platform_object(text)).collect::<Result<_>>()?,
        false => Vec::new(),
    };
    let options = DeleteOptions { force: call.query.flag("force"), no_prune: call.query.flag("noprune"), platforms };
    let deleted = call.engine().images.delete(&call.name, options).await?;
    let lines: Vec<_> = deleted.items.into_iter().map(present::deleted).collect();
    Ok(reply::ok(&lines))
}

/// `POST /images/prune`.
pub(crate) async fn prune(call: Call) -> Result<Reply> {
    let pruned = call.engine().images.prune(call.query.filters()?).await?;
    Ok(reply::ok(&present::pruned(pruned)))
}

/// `GET /images/get`.
pub(crate) async fn save(call: Call) -> Result<Reply> {
    let names = call.query.all("names");
    archive(call, names).await
}

/// `GET /images/{name}/get`.
pub(crate) async fn save_one(call: Call) -> Result<Reply> {
    let names = vec![call.name.clone()];
    archive(call, names).await
}

async fn archive(call: Call, names: Vec<String>) -> Result<Reply> {
    let platform = call.platform_object(48)?;
    let bytes = call.engine().images.save(names, platform).await?;
    Ok(reply::typed(StatusCode::OK, HeaderValue::from_static("application/x-tar"), Body::from_engine(bytes)))
}

/// `POST /images/load`: the archive is read as it comes, and what happens is told as it happens.
pub(crate) async fn load(call: Call) -> Result<Reply> {
    let platform = call.platform_object(48)?;
    let quiet = call.query.flag_or("quiet", true);
    let images = call.engine().images.clone();
    Ok(report(images.load(call.archive(), platform), quiet))
}

/// `POST /images/create`: import, or a pull, which has nothing to pull from yet and says so in the stream.
pub(crate) async fn create(call: Call) -> Result<Reply> {
    if let Some(source) = call.query.filled("fromSrc") {
        if source != "-" {
            return Err(Error::not_implemented("not supported yet: importing from a URL; send the archive with `-`"));
        }
        return import(call).await;
    }
    let Some(image) = call.query.filled("fromImage") else {
        return Err(Error::invalid("fromImage or fromSrc is required"));
    };
    let reference: Reference = image.parse()?;
    let shown = reference.familiar_name();
    let refusal = Error::not_implemented(format!(
        "pulling {shown} from a registry is not supported yet; save it elsewhere with `docker save` and bring it with \
         `docker load`"
    ));
    Ok(reply::progress(stream::iter([Err(refusal)])))
}

async fn import(call: Call) -> Result<Reply> {
    let options = ImportOptions {
        reference: target(&call)?,
        platform: call.platform()?,
        message: call.query.text("message").to_owned(),
        changes: call.query.all("changes"),
    };
    let images = call.engine().images.clone();
    Ok(report(images.import(call.archive(), options), false))
}

/// The lines of a load or import. Quiet ones tell results only.
fn report(steps: Steps, quiet: bool) -> Reply {
    reply::progress(stream::unfold(steps, move |mut steps| async move {
        loop {
            let line = match steps.next().await? {
                Ok(Step::Imported(id)) => Ok(Progress { status: id.to_string(), ..Progress::default() }),
                Ok(Step::Progress(rorqual_image::Progress::Stream(text))) => Ok(Progress::text(text)),
                Ok(Step::Progress(rorqual_image::Progress::Status { .. })) if quiet => continue,
                Ok(Step::Progress(rorqual_image::Progress::Status { id, status, current, total })) => {
                    Ok(progress_of(id, status, current, total))
                }
                Err(failure) => Err(failure),
            };
            return Some((line, steps));
        }
    }))
}

fn progress_of(id: String, status: String, current: u64, total: u64) -> Progress {
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let known = current > 0 || total > 0;
    let progress_detail =
        known.then(|| ProgressDetail { current: bytes(current), total: bytes(total), ..ProgressDetail::default() });
    Progress { id, status, progress_detail, ..Progress::default() }
}
