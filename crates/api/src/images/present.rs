//! Images as answers: today's form, and the fields older versions had besides.

use crate::{
    reply::{self, Reply},
    version::ApiVersion,
};
use jiff::Timestamp;
use rorqual_api_types::{
    container::{Descriptor, DescriptorPlatform, Empty, GraphDriver, Healthcheck},
    image::{
        AttestationData, DeleteItem, HistoryItem, ImageConfig, ImageData, ImageDataSize, Inspect, ManifestSize,
        ManifestSummary, Metadata, PruneReport, Referrer, RootFs, Summary,
    },
    progress::{Progress, ProgressDetail},
};
use rorqual_engine::{
    images::Step,
    registry::{Distribution, SearchResult},
};
use rorqual_error::{Error, Result};
use rorqual_image::{DeletedItem, HistoryEntry, LayerStep, ManifestKind, Progress as Said, Pruned};
use rorqual_oci::image as oci;
use rorqual_types::{ContainerId, human_size};
use serde_json::{Value, json};

/// The storage driver's name, as dockerd's with the containerd image store.
const DRIVER: &str = "overlayfs";

/// One line of a list.
pub(super) fn summary(users: &[ContainerId], image: rorqual_image::Summary, version: ApiVersion) -> Summary {
    // Containers are counted from API 1.51 on.
    let containers = if version.at_least(51) { i64::try_from(users.len()).unwrap_or(i64::MAX) } else { -1 };
    Summary {
        containers,
        created: image.created,
        id: image.id.to_string(),
        labels: image.labels,
        parent_id: String::new(),
        descriptor: version.at_least(48).then(|| descriptor(&image.target)),
        manifests: image.manifests.map(|list| list.into_iter().map(|one| manifest(one, users)).collect()),
        repo_digests: image.repo_digests,
        repo_tags: image.repo_tags,
        shared_size: image.shared_size,
        size: image.size,
        virtual_size: (!version.at_least(44)).then_some(image.size),
    }
}

/// An image in full.
pub(super) fn inspect(image: rorqual_image::Inspect, users: &[ContainerId], version: ApiVersion) -> Result<Reply> {
    let config = image.config.as_deref();
    let last_tagged = image.last_tagged.and_then(|at| Timestamp::from_nanosecond(at).ok());
    let created = match config.and_then(|config| config.created.clone()) {
        Some(created) => created,
        None if version.at_least(44) => String::new(),
        None => "0001-01-01T00:00:00Z".into(),
    };
    let text = |of: fn(&oci::ImageConfig) -> &String| config.map(of).cloned().unwrap_or_default();
    let comment = config.and_then(|config| {
        if config.comment.is_empty() {
            config.history.last().map(|line| line.comment.clone())
        } else {
            Some(config.comment.clone())
        }
    });
    let answer = Inspect {
        id: image.id.to_string(),
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        parent: String::new(),
        comment: comment.unwrap_or_default(),
        created,
        docker_version: text(|config| &config.docker_version),
        author: text(|config| &config.author),
        architecture: text(|config| &config.architecture),
        variant: text(|config| &config.variant),
        os: text(|config| &config.os),
        os_version: text(|config| &config.os_version),
        size: image.size,
        virtual_size: (!version.at_least(44)).then_some(image.size),
        graph_driver: GraphDriver { data: None, name: DRIVER.into() },
        root_fs: RootFs {
            kind: config.map(|config| config.rootfs.kind.clone()).unwrap_or_default(),
            layers: config.map(|config| config.rootfs.diff_ids.iter().map(ToString::to_string).collect()),
        },
        metadata: Metadata { last_tag_time: last_tagged.map_or("0001-01-01T00:00:00Z".into(), |at| at.to_string()) },
        descriptor: version.at_least(48).then(|| descriptor(&image.target)),
        manifests: image.manifests.map(|list| list.into_iter().map(|one| manifest(one, users)).collect()),
        referrers: image.referrers.into_iter().map(referrer).collect(),
        config: config.map(|config| run_config(&config.config)),
    };
    if version.at_least(50) {
        return Ok(reply::ok(&answer));
    }
    let mut value =
        serde_json::to_value(&answer).map_err(|cause| Error::internal("encode the answer").caused_by(cause))?;
    legacy_config(&mut value);
    Ok(reply::ok(&value))
}

/// Before API 1.50 an image's configuration had a container's fields too, all zero.
fn legacy_config(value: &mut Value) {
    let Some(Value::Object(config)) = value.get_mut("Config") else { return };
    for name in ["AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"] {
        config.insert(name.into(), json!(false));
    }
    for name in ["Domainname", "Hostname", "Image"] {
        config.insert(name.into(), json!(""));
    }
}

fn run_config(config: &oci::RunConfig) -> ImageConfig {
    let set = |names: &std::collections::BTreeMap<String, oci::Empty>| {
        names.keys().map(|name| (name.clone(), Empty {})).collect()
    };
    ImageConfig {
        args_escaped: config.args_escaped,
        cmd: config.cmd.clone(),
        entrypoint: config.entrypoint.clone(),
        env: config.env.clone(),
        exposed_ports: config.exposed_ports.as_ref().map(set),
        healthcheck: config.healthcheck.as_ref().map(|check| Healthcheck {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        labels: config.labels.clone(),
        on_build: config.on_build.clone(),
        shell: config.shell.clone(),
        stop_signal: config.stop_signal.clone(),
        user: config.user.clone(),
        volumes: config.volumes.as_ref().map(set),
        working_dir: config.working_dir.clone(),
    }
}

fn manifest(manifest: rorqual_image::ManifestSummary, users: &[ContainerId]) -> ManifestSummary {
    let containers = (!users.is_empty()).then(|| users.iter().map(ToString::to_string).collect());
    let (kind, image_data, attestation_data) = match manifest.kind {
        ManifestKind::Image { platform: of, unpacked_size } => {
            let size = ImageDataSize { unpacked: unpacked_size };
            ("image", Some(ImageData { platform: platform(&of), size, containers }), None)
        }
        ManifestKind::Attestation { of } => {
            let r#for = of.map(|digest| digest.to_string()).unwrap_or_default();
            ("attestation", None, Some(AttestationData { r#for }))
        }
        ManifestKind::Unknown => ("unknown", None, None),
    };
    ManifestSummary {
        id: manifest.id.to_string(),
        descriptor: descriptor(&manifest.descriptor),
        available: manifest.available,
        size: ManifestSize { content: manifest.content_size, total: manifest.total_size },
        kind: kind.into(),
        image_data,
        attestation_data,
    }
}

fn referrer(of: rorqual_image::Referrer) -> Referrer {
    Referrer { subject: of.subject.to_string(), descriptor: descriptor(&of.descriptor) }
}

fn descriptor(of: &oci::Descriptor) -> Descriptor {
    Descriptor {
        media_type: of.media_type.clone(),
        digest: of.digest.to_string(),
        size: i64::try_from(of.size).unwrap_or(i64::MAX),
        urls: Some(of.urls.clone()).filter(|urls| !urls.is_empty()),
        annotations: Some(of.annotations.clone()).filter(|annotations| !annotations.is_empty()),
        platform: of.platform.as_ref().map(platform),
        artifact_type: of.artifact_type.clone(),
    }
}

fn platform(of: &oci::PlatformEntry) -> DescriptorPlatform {
    DescriptorPlatform {
        architecture: of.architecture.clone(),
        os: of.os.clone(),
        os_version: of.os_version.clone(),
        os_features: Some(of.os_features.clone()).filter(|features| !features.is_empty()),
        variant: of.variant.clone(),
    }
}

/// One line of a history.
pub(super) fn history(line: HistoryEntry) -> HistoryItem {
    HistoryItem {
        comment: line.comment,
        created: line.created,
        created_by: line.created_by,
        id: line.id,
        size: line.size,
        tags: line.tags,
    }
}

/// One line of a removal.
pub(super) fn deleted(item: DeletedItem) -> DeleteItem {
    match item {
        DeletedItem::Untagged(untagged) => DeleteItem { untagged, ..DeleteItem::default() },
        DeletedItem::Deleted(deleted) => DeleteItem { deleted, ..DeleteItem::default() },
    }
}

/// What a prune did.
pub(super) fn pruned(pruned: Pruned) -> PruneReport {
    let items: Vec<_> = pruned.items.into_iter().map(deleted).collect();
    PruneReport { images_deleted: (!items.is_empty()).then_some(items), space_reclaimed: pruned.reclaimed }
}

/// The line that tells of a step; `None` where only results are wanted and it is none.
pub(super) fn step(step: Step, quiet: bool) -> Option<Progress> {
    match step {
        Step::Imported(id) => Some(Progress { status: id.to_string(), ..Progress::default() }),
        Step::PushedInstead { index, manifest } => Some(Progress {
            aux: Some(json!({
                "manifestPushedInsteadOfIndex": true,
                "originalIndex": descriptor(&index),
                "selectedManifest": descriptor(&manifest),
            })),
            ..Progress::default()
        }),
        Step::Progress(Said::Stream(text)) => Some(Progress::text(text)),
        Step::Progress(Said::Status { .. } | Said::Layer { .. }) if quiet => None,
        Step::Progress(Said::Status { id, status, current, total }) => {
            let known = current > 0 || total > 0;
            let progress_detail = known.then(|| detail(current, total));
            Some(Progress { id, status, progress_detail, ..Progress::default() })
        }
        Step::Progress(Said::Layer { id, step }) => Some(layer(id, step)),
    }
}

/// A layer's line, in dockerd's words.
fn layer(id: String, step: LayerStep) -> Progress {
    let hidden = ProgressDetail { hide_counts: true, ..ProgressDetail::default() };
    let (status, progress_detail) = match step {
        LayerStep::Waiting => ("Pulling fs layer".into(), ProgressDetail::default()),
        LayerStep::Downloading { current, total } => ("Downloading".into(), detail(current, total)),
        LayerStep::Downloaded => ("Download complete".into(), hidden),
        LayerStep::Extracting { seconds } => {
            ("Extracting".into(), ProgressDetail { units: "s".into(), ..detail(seconds, 0) })
        }
        LayerStep::Pulled => ("Pull complete".into(), hidden),
        LayerStep::Present => ("Already exists".into(), ProgressDetail::default()),
        LayerStep::Pushing { current, total } => ("Pushing".into(), detail(current, total)),
        LayerStep::Pushed => ("Pushed".into(), ProgressDetail::default()),
        LayerStep::Exists => ("Layer already exists".into(), ProgressDetail::default()),
        LayerStep::Mounted { from } => (format!("Mounted from {from}"), ProgressDetail::default()),
    };
    let progress = bar(&progress_detail);
    Progress { id, status, progress, progress_detail: Some(progress_detail), ..Progress::default() }
}

fn detail(current: u64, total: u64) -> ProgressDetail {
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    ProgressDetail { current: bytes(current), total: bytes(total), ..ProgressDetail::default() }
}

/// How far it is, drawn for clients that draw nothing themselves.
fn bar(detail: &ProgressDetail) -> String {
    if detail.hide_counts || (detail.current <= 0 && detail.total <= 0) {
        return String::new();
    }
    if !detail.units.is_empty() {
        return format!("{} {}", detail.current, detail.units);
    }
    let text = |bytes: i64| human_size(u64::try_from(bytes).unwrap_or_default());
    let done = usize::try_from((detail.current.saturating_mul(50)) / detail.total.max(1)).unwrap_or(50).min(50);
    format!("[{}>{}] {:>8}/{}", "=".repeat(done), " ".repeat(50 - done), text(detail.current), text(detail.total))
}

/// One line of a search.
pub(super) fn search_result(found: SearchResult) -> Value {
    json!({
        "star_count": found.star_count,
        "is_official": found.is_official,
        "name": found.name,
        "is_automated": false,
        "description": found.description,
    })
}

/// What a registry says of an image.
pub(super) fn distribution(found: &Distribution) -> Value {
    json!({ "Descriptor": descriptor(&found.descriptor), "Platforms": &found.platforms })
}
