//! What others say of the data root: coreutils of its size, and a walk over its documents of what belongs there.

use rorqual_testkit::{Daemon, archive::sha256, command, shell};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

/// How long the daemon may take to finish what it does in the background.
const SETTLED: Duration = Duration::from_secs(60);

/// Bytes of the data root.
pub(crate) fn du(daemon: &Daemon) -> u64 {
    let done = shell(&format!("du -s --block-size=1 {} 2>/dev/null", daemon.data_root().display()));
    done.stdout.split_whitespace().next().and_then(|word| word.parse().ok()).expect("du prints a number")
}

fn names(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn is_settled(daemon: &Daemon) -> bool {
    let root = daemon.data_root();
    names(&root.join("trash")).is_empty()
        && names(&root.join("content/ingest")).is_empty()
        && !names(&root.join("volumes")).iter().any(|name| name.starts_with(".trash-"))
        && !names(&root.join("layers")).iter().any(|name| name.starts_with("ingest-"))
}

/// Bytes of the data root once nothing is being deleted and the records are in order.
pub(crate) fn settled_du(daemon: &Daemon) -> u64 {
    let mut last = 0;
    command::wait_for("the disk to settle", || {
        let now = du(daemon);
        let settled = is_settled(daemon) && now == last && journal(daemon) < 128 << 10;
        last = now;
        if settled { Some(now) } else { None }
    })
}

/// Bytes of records that wait to be folded.
fn journal(daemon: &Daemon) -> u64 {
    let meta = daemon.data_root().join("meta");
    let journals = names(&meta).into_iter().filter(|name| name.starts_with("journal."));
    journals.filter_map(|name| fs::metadata(meta.join(name)).ok()).map(|metadata| metadata.len()).sum()
}

/// The sum of the rows that stock clients show, and the daemon's own total.
fn df(daemon: &Daemon) -> (u64, u64) {
    let usage = daemon.api().get("/system/df");
    let list = |name: &str| usage[name].as_array().cloned().unwrap_or_default();
    let sum = |items: Vec<Value>, size: &dyn Fn(&Value) -> Option<u64>| -> u64 {
        items.iter().map(|item| size(item).unwrap_or_else(|| panic!("no size in {item}"))).sum()
    };
    let rows = usage["LayersSize"].as_u64().expect("LayersSize")
        + sum(list("Containers"), &|container| container["SizeRw"].as_u64())
        + sum(list("Volumes"), &|volume| volume["UsageData"]["Size"].as_u64());
    (rows, usage["DataRoot"]["Total"].as_u64().expect("a total"))
}

/// `system df` is what `du` says, within a hundredth.
pub(crate) fn df_is_du(daemon: &Daemon) {
    let mut last = String::new();
    let end = std::time::Instant::now() + SETTLED;
    while std::time::Instant::now() < end {
        let (before, (rows, total), after) = (du(daemon), df(daemon), du(daemon));
        let close = |bytes: u64| bytes.abs_diff(after) * 100 <= after;
        if is_settled(daemon) && before == after && close(rows) && close(total) {
            return;
        }
        last = format!("du says {before} and then {after}; the rows of df are {rows}, its total {total}");
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{last}: {}", daemon.api().get("/system/df"));
}

/// Everything below the data root that belongs to nothing the daemon lists.
pub(crate) fn orphans(daemon: &Daemon) -> Vec<String> {
    let root = daemon.data_root();
    let mut api = daemon.api();
    let ids = |path: &str, list: &str, id: &str, api: &mut rorqual_testkit::Api| -> BTreeSet<String> {
        let answer = api.get(path);
        let items = if list.is_empty() { answer } else { answer[list].clone() };
        items.as_array().into_iter().flatten().filter_map(|item| item[id].as_str().map(str::to_owned)).collect()
    };
    let images = ids("/images/json?all=1", "", "Id", &mut api);
    let containers = api.get("/containers/json?all=1");
    let mut wrong = Vec::new();
    let mut compare = |what: &str, found: BTreeSet<String>, known: BTreeSet<String>| {
        wrong.extend(found.difference(&known).map(|name| format!("{what} {name} belongs to nothing")));
        wrong.extend(known.difference(&found).map(|name| format!("{what} {name} has no files")));
    };
    compare("container", names(&root.join("containers")), ids("/containers/json?all=1", "", "Id", &mut api));
    compare("volume", names(&root.join("volumes")), ids("/volumes", "Volumes", "Name", &mut api));

    let documents = documents(&root.join("content/blobs/sha256"), &images);
    let blobs = names(&root.join("content/blobs/sha256"));
    let led_to: BTreeSet<String> = documents.blobs.intersection(&blobs).cloned().collect();
    compare("blob", blobs, led_to);
    let layers: BTreeSet<String> = names(&root.join("layers")).into_iter().filter(|name| name != "base").collect();
    // A container's layers stay when its image goes; which they are is not to be had from outside then.
    let is_orphaned = |container: &Value| container["ImageID"].as_str().is_none_or(|image| !images.contains(image));
    if !containers.as_array().into_iter().flatten().any(is_orphaned) {
        let known = documents.layers.intersection(&layers).cloned().collect();
        compare("layer", layers, known);
    }
    let known = ["meta", "content", "layers", "containers", "volumes", "trash", "lock"].map(str::to_owned);
    compare("entry", names(&root), known.into());
    wrong
}

#[derive(Default)]
struct Documents {
    blobs: BTreeSet<String>,
    layers: BTreeSet<String>,
}

/// What images lead to, found by reading every document that they name.
fn documents(blobs: &Path, images: &BTreeSet<String>) -> Documents {
    let hex = |digest: &str| digest.strip_prefix("sha256:").map(str::to_owned);
    let mut found = Documents::default();
    let mut chains: BTreeMap<String, String> = BTreeMap::new();
    let mut open: Vec<String> = images.iter().filter_map(|id| hex(id)).collect();
    while let Some(name) = open.pop() {
        if !found.blobs.insert(name.clone()) {
            continue;
        }
        let path = blobs.join(&name);
        let is_small = fs::metadata(&path).is_ok_and(|metadata| metadata.len() < 1 << 20);
        let Some(document) = is_small.then(|| fs::read(&path).ok()).flatten() else { continue };
        let Ok(document) = serde_json::from_slice::<Value>(&document) else { continue };
        let descriptors = ["manifests", "layers"].iter().flat_map(|key| document[key].as_array().into_iter().flatten());
        for descriptor in descriptors.chain([&document["config"]]) {
            open.extend(descriptor["digest"].as_str().and_then(hex));
        }
        let mut chain = String::new();
        for diff in document["rootfs"]["diff_ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            chain = match chain.as_str() {
                "" => diff.to_owned(),
                below => {
                    let text = format!("{below} {diff}");
                    chains.entry(text.clone()).or_insert_with(|| format!("sha256:{}", sha256(text.as_bytes()))).clone()
                }
            };
            found.layers.extend(hex(&chain));
        }
    }
    found
}
