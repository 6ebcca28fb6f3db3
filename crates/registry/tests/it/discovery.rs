//! Workflow 3, content discovery: end-8, end-12, and the catalogue.

use crate::support::{INDEX, OCI, Running, sha256, start};
use serde_json::{Value, json};

/// The target of `Link`, checked for its relation.
fn next(link: &str) -> &str {
    let (target, relation) = link.split_once('>').unwrap_or_else(|| panic!("no link: {link:?}"));
    assert_eq!(relation, "; rel=\"next\"");
    target.trim_start_matches('<')
}

async fn tags(registry: &Running, path: &str) -> (Vec<String>, String) {
    let answer = registry.get(path).await.expect(200);
    let tags = answer.json()["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
    (tags, answer.header("link").to_owned())
}

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let registry = start().await;
    let image = registry.image("a/b", "x").await;
    for tag in ["v2", "v10", "V1", "_", "latest"] {
        registry.push_manifest("a/b", tag, OCI, &image).await;
    }
    let all = ["V1", "_", "latest", "v10", "v2"];
    let answer = registry.get("/v2/a/b/tags/list").await.expect(200);
    assert_eq!(answer.json(), json!({"name": "a/b", "tags": all}));
    assert_eq!((answer.header("content-type"), answer.header("link")), ("application/json", ""));

    let (first, link) = tags(&registry, "/v2/a/b/tags/list?n=2").await;
    assert_eq!(first, all[..2]);
    let (second, link) = tags(&registry, next(&link)).await;
    assert_eq!(second, all[2..4]);
    let (third, link) = tags(&registry, next(&link)).await;
    assert_eq!((third.as_slice(), link.as_str()), (&[all[4].to_owned()][..], ""));

    // The last one need not exist; a page that ends with the list has no link.
    assert_eq!(tags(&registry, "/v2/a/b/tags/list?last=m").await.0, all[3..]);
    assert_eq!(tags(&registry, "/v2/a/b/tags/list?n=5").await, (all.map(String::from).to_vec(), String::new()));
    assert_eq!(tags(&registry, "/v2/a/b/tags/list?n=0").await, (vec![], String::new()));
    assert_eq!(tags(&registry, "/v2/a/b/tags/list?last=v2").await, (vec![], String::new()));
    for bad in ["-1", "x", "", "1.5"] {
        registry.get(&format!("/v2/a/b/tags/list?n={bad}")).await.refused(400, "PAGINATION_NUMBER_INVALID");
    }
    registry.get("/v2/a/tags/list").await.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_repository_without_tags_has_an_empty_list() {
    let registry = start().await;
    registry.push_image("a", "@", "x").await;
    assert_eq!(registry.get("/v2/a/tags/list").await.expect(200).json(), json!({"name": "a", "tags": []}));
}

#[tokio::test]
async fn repositories_are_listed_in_pages() {
    let registry = start().await;
    assert_eq!(registry.get("/v2/_catalog").await.expect(200).json(), json!({"repositories": []}));
    let mut all = vec!["a", "a/b", "a/b/c", "b", "c-d"];
    for name in &all {
        registry.push_image(name, "t", "x").await;
    }
    let (mut found, mut path): (Vec<String>, String) = (Vec::new(), "/v2/_catalog?n=2".into());
    loop {
        let answer = registry.get(&path).await.expect(200);
        let page: Vec<String> = serde_json::from_value(answer.json()["repositories"].clone()).unwrap();
        assert!(page.len() <= 2);
        found.extend(page);
        match answer.header("link") {
            "" => break,
            link => path = next(link).to_owned(),
        }
    }
    found.sort();
    all.sort_unstable();
    assert_eq!(found, all);
}

/// Pushes something that refers to `subject`.
async fn refer(registry: &Running, subject: &str, kind: &str, note: &str) -> String {
    let mut image = registry.image("a", note).await;
    image["subject"] = json!({"mediaType": OCI, "digest": subject, "size": 3});
    image["annotations"] = json!({"note": note});
    if !kind.is_empty() {
        image["artifactType"] = kind.into();
    }
    registry.push_manifest("a", "@", OCI, &image).await
}

async fn referrers(registry: &Running, path: &str) -> Vec<Value> {
    let answer = registry.get(path).await.expect(200);
    assert_eq!(answer.header("content-type"), INDEX);
    let index = answer.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(INDEX)));
    index["manifests"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_refers_to_a_manifest_is_listed() {
    let registry = start().await;
    let subject = registry.push_image("a", "t", "x").await;
    let path = format!("/v2/a/referrers/{subject}");
    assert!(referrers(&registry, &path).await.is_empty());
    let signature = refer(&registry, &subject, "application/signature", "one").await;
    let untyped = refer(&registry, &subject, "", "two").await;
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "artifactType": "application/sbom", "manifests": [],
        "subject": {"mediaType": OCI, "digest": subject, "size": 3}, "annotations": {"note": "three"},
    });
    let index_digest = registry.push_manifest("a", "@", INDEX, &index).await;

    let mut found = referrers(&registry, &path).await;
    found.sort_by_key(|descriptor| descriptor["annotations"]["note"].to_string());
    let brief = |descriptor: &Value| {
        ["mediaType", "digest", "artifactType"].map(|key| descriptor[key].as_str().unwrap().to_owned())
    };
    let found: Vec<_> = found.iter().map(brief).collect();
    assert_eq!(
        found,
        [
            [OCI, &signature, "application/signature"],
            [INDEX, &index_digest, "application/sbom"],
            [OCI, &untyped, "application/vnd.oci.image.config.v1+json"],
        ]
    );
    let size: u64 =
        registry.head(&format!("/v2/a/manifests/{signature}")).await.header("content-length").parse().unwrap();
    assert_eq!(referrers(&registry, &path).await.iter().filter(|d| d["size"] == size).count(), 1);
}

#[tokio::test]
async fn referrers_are_filtered_by_their_type() {
    let registry = start().await;
    let subject = registry.push_image("a", "t", "x").await;
    let signature = refer(&registry, &subject, "application/signature+x", "one").await;
    refer(&registry, &subject, "application/other", "two").await;
    let path = format!("/v2/a/referrers/{subject}?artifactType=application/signature%2Bx");
    let answer = registry.get(&path).await.expect(200);
    assert_eq!(answer.header("oci-filters-applied"), "artifactType");
    let found = referrers(&registry, &path).await;
    assert_eq!((found.len(), &found[0]["digest"]), (1, &json!(signature)));
    assert_eq!(registry.get(&format!("/v2/a/referrers/{subject}")).await.header("oci-filters-applied"), "");
    assert!(referrers(&registry, &format!("/v2/a/referrers/{subject}?artifactType=none")).await.is_empty());
}

#[tokio::test]
async fn an_unknown_subject_has_an_empty_list_and_keeps_what_refers_to_it() {
    let registry = start().await;
    let unknown = sha256("none");
    assert!(referrers(&registry, &format!("/v2/a/referrers/{unknown}")).await.is_empty());
    let digest = refer(&registry, &unknown, "application/x", "early").await;
    let found = referrers(&registry, &format!("/v2/a/referrers/{unknown}")).await;
    assert_eq!(found[0]["digest"], json!(digest));
    // In this repository only.
    assert!(referrers(&registry, &format!("/v2/b/referrers/{unknown}")).await.is_empty());
    registry.get("/v2/a/referrers/sha256:x").await.refused(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_deleted_referrer_is_listed_no_longer() {
    let registry = start().await;
    let subject = registry.push_image("a", "t", "x").await;
    let digest = refer(&registry, &subject, "application/x", "one").await;
    registry.delete(&format!("/v2/a/manifests/{digest}")).await.expect(202);
    assert!(referrers(&registry, &format!("/v2/a/referrers/{subject}")).await.is_empty());
}

#[tokio::test]
async fn many_referrers_come_in_pages() {
    let registry = start().await;
    let subject = registry.push_image("a", "t", "x").await;
    let image = registry.image("a", "y").await;
    for n in 0..6 {
        let mut image = image.clone();
        image["subject"] = json!({"mediaType": OCI, "digest": subject, "size": 3});
        image["artifactType"] = "application/x".into();
        image["annotations"] = json!({"n": n.to_string(), "pad": "x".repeat(900_000)});
        registry.push_manifest("a", "@", OCI, &image).await;
    }
    let (mut found, mut path) = (0, format!("/v2/a/referrers/{subject}?artifactType=application/x"));
    let mut pages = 0;
    loop {
        let answer = registry.get(&path).await.expect(200);
        found += answer.json()["manifests"].as_array().unwrap().len();
        pages += 1;
        match answer.header("link") {
            "" => break,
            link => path = next(link).to_owned(),
        }
    }
    assert_eq!((found, pages), (6, 2));
}
