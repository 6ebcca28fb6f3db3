//! `reg.delete_model`: pushes, removals and collections at once, many times over, against a model of what must be there.
//!
//! Each writer has its own tags and shares blobs and manifests with the others. Removals and collections run all the
//! while. No push may fail, whatever is tagged must be whole, and in the end nothing else may be left.

use crate::support::{OCI, Running, closing, serve, sha256, start_with};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A sequence of numbers that a seed determines.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Pushes a blob as clients do: not where it is there already, by mount where another repository may have it.
async fn push_blob(registry: &Running, random: &mut Random, name: &str, bytes: &str) -> String {
    let digest = sha256(bytes);
    if random.below(4) > 0 && registry.head(&format!("/v2/{name}/blobs/{digest}")).await.status == 200 {
        return digest;
    }
    let from = ["a", "b"][random.below(2) as usize];
    let path = match random.below(3) {
        0 => format!("/v2/{name}/blobs/uploads/?mount={digest}&from={from}"),
        _ => format!("/v2/{name}/blobs/uploads/"),
    };
    let answer = registry.send("POST", &path, &[], "").await;
    if answer.status == 202 {
        let location = answer.location();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        registry.send("PATCH", &location, &[], first.to_owned()).await.expect(202);
        registry.send("PUT", &closing(&location, &digest), &[], second.to_owned()).await.expect(201);
    }
    digest
}

/// Pushes one of a few images that share layers; returns its digest and what it needs.
async fn push(registry: &Running, random: &mut Random, name: &str, tag: &str) -> (String, Vec<String>) {
    let number = random.below(6);
    let descriptor = |digest: &String| json!({"mediaType": "text/plain", "digest": digest, "size": 1});
    let config = push_blob(registry, random, name, &format!("config {number}")).await;
    let mut layers = Vec::new();
    for layer in 0..3 {
        layers.push(push_blob(registry, random, name, &format!("layer {}", (number + layer) % 5)).await);
    }
    let document = json!({
        "schemaVersion": 2, "mediaType": OCI, "config": descriptor(&config),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    })
    .to_string();
    let path = format!("/v2/{name}/manifests/{tag}");
    registry.send("PUT", &path, &[("Content-Type", OCI)], document.clone()).await.expect(201);
    layers.push(config);
    (sha256(document), layers)
}

async fn writer(registry: Arc<Running>, number: u64, seed: u64) -> BTreeMap<(String, String), (String, Vec<String>)> {
    let mut random = Random(seed * 1000 + number + 1);
    let mut tagged = BTreeMap::new();
    for _ in 0..15 {
        let name = ["a", "b"][random.below(2) as usize].to_owned();
        let tag = format!("w{number}-{}", random.below(3));
        let key = (name.clone(), tag.clone());
        match random.below(4) {
            0 if tagged.remove(&key).is_some() => {
                registry.delete(&format!("/v2/{name}/manifests/{tag}")).await.expect(202);
            }
            _ => {
                let pushed = push(&registry, &mut random, &name, &tag).await;
                tagged.insert(key, pushed);
            }
        }
        for ((name, tag), (digest, _)) in &tagged {
            let answer = registry.get(&format!("/v2/{name}/manifests/{tag}")).await.expect(200);
            assert_eq!(sha256(&answer.body), *digest);
        }
    }
    tagged
}

async fn history(seed: u64) {
    let registry = start_with(|config| {
        config.collect.keep_untagged = false;
        config.collect.grace_at_start = Duration::ZERO;
        // Pushes here pause for less; where the machine makes them pause for more, the test says so wrongly, so: long.
        config.collect.grace = Duration::from_secs(60);
    })
    .await;
    let registry = Arc::new(registry);
    let done = Arc::new(AtomicBool::new(false));
    let collector = tokio::spawn({
        let (registry, done) = (registry.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                registry.registry_collects().await;
            }
        }
    });
    let writers: Vec<_> = (0..4).map(|number| tokio::spawn(writer(registry.clone(), number, seed))).collect();
    let mut tagged = BTreeMap::new();
    for writer in writers {
        tagged.extend(writer.await.unwrap());
    }
    done.store(true, Ordering::Relaxed);
    collector.await.unwrap();

    // With no push under way, and then with no registry, exactly what is tagged is left.
    let Ok(registry) = Arc::try_unwrap(registry) else { panic!("a task still has the registry") };
    let (config, _directory) = registry.stop().await;
    rorqual_registry::collect(&config).await.unwrap();
    let wanted: BTreeSet<String> =
        tagged.values().flat_map(|(digest, blobs)| blobs.iter().chain([digest])).cloned().collect();
    let left: BTreeSet<String> = std::fs::read_dir(config.root.join("content/blobs/sha256"))
        .unwrap()
        .map(|entry| format!("sha256:{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    assert_eq!(left, wanted, "seed {seed}");
    let registry = serve(config).await;
    for ((name, tag), (digest, blobs)) in &tagged {
        let answer = registry.get(&format!("/v2/{name}/manifests/{tag}")).await.expect(200);
        assert_eq!(answer.header("docker-content-digest"), digest);
        for blob in blobs {
            let answer = registry.get(&format!("/v2/{name}/blobs/{blob}")).await.expect(200);
            assert_eq!(sha256(&answer.body), *blob);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_fails_and_nothing_is_left_whatever_is_removed_meanwhile() {
    for seed in 1..=6 {
        history(seed).await;
    }
}

/// Without any grace a push may have to be sent again, but what is acknowledged is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_manifest_is_whole_even_without_grace() {
    let registry = start_with(|config| {
        config.collect.keep_untagged = false;
        config.collect.grace_at_start = Duration::ZERO;
        config.collect.grace = Duration::ZERO;
    })
    .await;
    let registry = Arc::new(registry);
    let done = Arc::new(AtomicBool::new(false));
    let collector = tokio::spawn({
        let (registry, done) = (registry.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                registry.registry_collects().await;
            }
        }
    });
    let mut acknowledged = 0;
    for round in 0..60 {
        let text = format!("round {round}");
        let config = registry.push_blob("a", text.clone()).await;
        let blob = json!({"mediaType": "text/plain", "digest": config, "size": text.len()});
        let document = json!({"schemaVersion": 2, "mediaType": OCI, "config": blob, "layers": [blob]}).to_string();
        let answer = registry.send("PUT", "/v2/a/manifests/t", &[("Content-Type", OCI)], document.clone()).await;
        if answer.status == 400 {
            answer.refused(400, "MANIFEST_BLOB_UNKNOWN");
            continue;
        }
        acknowledged += 1;
        assert_eq!(registry.get("/v2/a/manifests/t").await.expect(200).body, document);
        assert_eq!(registry.get(&format!("/v2/a/blobs/{config}")).await.expect(200).body, text);
    }
    done.store(true, Ordering::Relaxed);
    collector.await.unwrap();
    println!("{acknowledged} of 60 acknowledged");
}
