//! Images: everything but their form in answers (`present.rs`).

mod present;
pub(crate) mod registry;

use crate::{
    body::Body,
    call::{Call, platform_object},
    reply::{self, Reply},
};
use futures_util::stream;
use hyper::{StatusCode, header::HeaderValue};
use rorqual_api_types::image::Summary;
use rorqual_engine::images::Steps;
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

/// `POST /images/create`: a pull or an import.
pub(crate) async fn create(call: Call) -> Result<Reply> {
    if let Some(source) = call.query.filled("fromSrc") {
        if source != "-" {
            return Err(Error::not_implemented("not supported yet: importing from a URL; send the archive with `-`"));
        }
        return import(call).await;
    }
    match call.query.filled("fromImage") {
        Some(_) => registry::pull(call).await,
        None => Err(Error::invalid("fromImage or fromSrc is required")),
    }
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

/// The lines of a load, import, pull or push. Quiet ones tell results only.
fn report(steps: Steps, quiet: bool) -> Reply {
    reply::progress(stream::unfold(steps, move |mut steps| async move {
        loop {
            let line = match steps.next().await? {
                Ok(step) => match present::step(step, quiet) {
                    Some(line) => Ok(line),
                    None => continue,
                },
                Err(failure) => Err(failure),
            };
            return Some((line, steps));
        }
    }))
}
