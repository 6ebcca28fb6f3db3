//! `manifest push`: a list that was begun, or one that a file describes.

use super::{
    INSECURE,
    entry::{Entry, check_platforms, write_list},
    file::Specification,
    reference, remote,
    store::Store,
};
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
};
use rorqual_distribution::{Access, Repository, TagOrDigest};
use rorqual_types::Reference;

/// `rorqual manifest push`.
pub const COMMAND: Command = Command {
    path: "manifest push",
    aliases: &[],
    operands: "MANIFEST_LIST | --from FILE",
    about: "Send a list to its registry",
    args: Args::Between(0, 1),
    flags: &[
        Flag::string("from", "Send the list that this YAML file describes, as manifest-tool's files do"),
        INSECURE,
        Flag::switch("purge", "Forget the list once it is sent").short('p'),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let insecure = matches.on("insecure");
    match (matches.last("from"), matches.args()) {
        (None, [name]) => {
            let list = reference(name)?;
            let store = Store::of(&cli.config);
            let entries = store.get(&list)?;
            if entries.is_empty() {
                return Err(Failure::message(format!("{list} not found")));
            }
            push(cli, std::slice::from_ref(&list), &entries, insecure).await?;
            if matches.on("purge") {
                store.remove(&list)?;
            }
        }
        (Some(path), []) => from_file(cli, path, insecure).await?,
        _ => return Err(Failure::message("give the name of a list, or a file with --from, and not both")),
    }
    Ok(0)
}

async fn from_file(cli: &Cli, path: &str, insecure: bool) -> Result<()> {
    let specification = Specification::read(path)?;
    let mut entries = Vec::new();
    for member in &specification.manifests {
        let mut entry = remote::manifest(cli, &member.image, insecure).await?;
        member.platform.apply(entry.platform());
        entry.features.clone_from(&member.platform.features);
        entries.push(entry);
    }
    push(cli, &specification.targets()?, &entries, insecure).await
}

/// Sends a list under every name of `targets`, all of one repository, after the manifests that are not there.
async fn push(cli: &Cli, targets: &[Reference], entries: &[Entry], insecure: bool) -> Result<()> {
    check_platforms(entries)?;
    let Some(target) = targets.first() else { return Ok(()) };
    let written = write_list(target, entries)?;
    let repository = remote::repository(cli, target, Access::Push, insecure).await?;
    for entry in entries {
        let from = entry.reference()?;
        if from.name() != target.name() {
            bring(cli, &repository, target, entry, &from).await?;
        }
    }
    for target in targets {
        let digest = repository.push_manifest(&TagOrDigest::from(target), written.media_type, &written.bytes).await?;
        cli.line(digest.to_string())?;
    }
    Ok(())
}

/// Links a manifest and its blobs from another repository of the registry.
async fn bring(cli: &Cli, to: &Repository, target: &Reference, entry: &Entry, from: &Reference) -> Result<()> {
    let os = entry.descriptor.platform.as_ref().map(|platform| platform.os.as_str());
    for blob in entry.blobs()? {
        // Layers of Windows may be where no registry keeps them.
        let here = to.exists(&blob).await?.is_some() || to.mount(&blob, from).await?;
        if !here && os != Some("windows") {
            return Err(Failure::message(format!("error mounting {}@{blob} to {target}", from.name())));
        }
    }
    let digest = entry.descriptor.digest;
    let stored = to.push_manifest(&TagOrDigest::Digest(digest), &entry.descriptor.media_type, &entry.bytes()?).await?;
    cli.line(format!("Pushed ref {}@{digest} with digest: {stored}", target.name()))
}
