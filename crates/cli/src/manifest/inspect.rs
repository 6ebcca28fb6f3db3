//! `manifest inspect`.

use super::{
    INSECURE,
    entry::{Entry, write_list},
    no_such, reference,
    remote::{self, Found},
    store::Store,
};
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    value::{Value, indent_json},
};
use rorqual_oci::image::media;
use rorqual_types::Reference;

/// `rorqual manifest inspect`.
pub const COMMAND: Command = Command {
    path: "manifest inspect",
    aliases: &[],
    operands: "[MANIFEST_LIST] MANIFEST",
    about: "Show a list that was begun, or what a registry has",
    args: Args::Between(1, 2),
    flags: &[INSECURE, Flag::switch("verbose", "Show the manifests of a list and their platforms too").short('v')],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let name = reference(matches.args().last().map_or("", String::as_str))?;
    let store = Store::of(&cli.config);
    let found = if matches.args().len() == 2 {
        let entries = store.find(&reference(matches.arg(0))?)?.unwrap_or_default();
        let entry = entries.into_iter().find(|entry| entry.name == name.to_string());
        Found::Manifest(Box::new(entry.ok_or_else(|| no_such(&name))?))
    } else {
        match store.find(&name)? {
            Some(entries) => Found::List(entries),
            None => remote::find(cli, &name, matches.on("insecure")).await?,
        }
    };
    let shown = match (&found, matches.on("verbose")) {
        (Found::Manifest(entry), false) => indent_json(&entry.bytes()?, "\t"),
        (Found::Manifest(entry), true) => detail(entry)?.pretty("\t"),
        (Found::List(entries), false) => listed(&name, entries)?,
        (Found::List(entries), true) => Value::List(entries.iter().map(detail).collect::<Result<_>>()?).pretty("\t"),
    };
    cli.line(shown)?;
    Ok(0)
}

fn listed(name: &Reference, entries: &[Entry]) -> Result<String> {
    text(write_list(name, entries)?.bytes)
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Failure::message("a manifest that is no text"))
}

/// All that is known of a manifest, in docker's order.
fn detail(entry: &Entry) -> Result<Value> {
    let parse = |bytes: &[u8]| Value::parse(bytes).map_err(|error| Failure::message(error.to_string()));
    let descriptor = serde_json::to_vec(&entry.descriptor).map_err(|error| Failure::message(error.to_string()))?;
    let kind = match entry.descriptor.media_type.as_str() {
        media::DOCKER_MANIFEST => "SchemaV2Manifest",
        _ => "OCIManifest",
    };
    Ok(Value::Map(vec![
        ("Ref".into(), entry.name.as_str().into()),
        ("Descriptor".into(), parse(&descriptor)?),
        ("Raw".into(), entry.raw.as_str().into()),
        (kind.into(), parse(&entry.bytes()?)?),
    ]))
}
