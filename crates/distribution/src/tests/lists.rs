//! Tags and referrers, page by page.

use super::*;
use rorqual_error::Kind;

#[tokio::test]
async fn tags_come_page_by_page() {
    let fake = Fake::start(|seen| match seen.path.as_str() {
        "/v2/a/b/tags/list?n=1000" => Reply::new(200)
            .header("link", r#"</v2/a/b/tags/list?last=2&n=2>; rel="next""#)
            .body(r#"{"name":"a/b","tags":["1","2"]}"#),
        "/v2/a/b/tags/list?last=2&n=2" => Reply::new(200).body(r#"{"name":"a/b","tags":["3"]}"#),
        _ => Reply::new(404),
    })
    .await;
    assert_eq!(pull(&fake).tags().await.unwrap(), ["1", "2", "3"]);
    let fake = Fake::start(|_| Reply::new(200).body(r#"{"name":"a/b","tags":null}"#)).await;
    assert!(pull(&fake).tags().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_goes_on_at_the_same_server_only() {
    for next in ["https://example.org/next", "http://127.0.0.1:1/next", "/v2/a/b/tags/list?n=1000", "file:///x"] {
        let fake = Fake::start(move |_| {
            Reply::new(200).header("link", format!(r#"<{next}>; rel="next""#)).body(r#"{"tags":["1"]}"#)
        })
        .await;
        let error = pull(&fake).tags().await.unwrap_err();
        assert!(matches!(error.kind(), Kind::Forbidden | Kind::InvalidArgument), "{next}: {error}");
        assert_eq!(fake.lines().len(), 1);
    }
}

#[tokio::test]
async fn what_is_no_list_of_tags_is_refused() {
    for body in [r#"{"tags":["../../etc"]}"#, r#"{"tags":["a b"]}"#, "[]", "x", r#"{"tags":[1]}"#] {
        let fake = Fake::start(move |_| Reply::new(200).body(body)).await;
        assert!(pull(&fake).tags().await.is_err(), "{body}");
    }
}

fn index(types: &[&str]) -> String {
    let entry = |artifact: &&str| {
        let digest = sha256(artifact.as_bytes());
        format!(r#"{{"mediaType":"{}","digest":"{digest}","size":1,"artifactType":"{artifact}"}}"#, media::MANIFEST)
    };
    let entries: Vec<String> = types.iter().map(entry).collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#, media::INDEX, entries.join(","))
}

async fn types_of(fake: &Fake, wanted: Option<&str>) -> Vec<String> {
    let found = pull(fake).referrers(&sha256(b"subject"), wanted).await.unwrap();
    found.into_iter().map(|descriptor| descriptor.artifact_type).collect()
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let fake = Fake::start(|_| Reply::new(200).header("content-type", media::INDEX).body(index(&["a/x", "a/y"]))).await;
    assert_eq!(types_of(&fake, None).await, ["a/x", "a/y"]);
    assert_eq!(types_of(&fake, Some("a/y")).await, ["a/y"], "a registry need not filter");
    let digest = sha256(b"subject");
    let path = format!("GET /v2/a/b/referrers/{digest}");
    assert_eq!(fake.lines(), [path.clone(), format!("{path}?artifactType=a%2Fy")]);
}

#[tokio::test]
async fn a_registry_without_referrers_is_asked_by_tag() {
    let tag = format!("/v2/a/b/manifests/sha256-{}", sha256(b"subject").hex());
    let fake = Fake::start(move |seen| match seen.path == tag {
        true => Reply::new(200).header("content-type", media::INDEX).body(index(&["a/x"])),
        false => Reply::new(404),
    })
    .await;
    assert_eq!(types_of(&fake, None).await, ["a/x"]);
    let fake = Fake::start(|_| Reply::new(404)).await;
    assert!(types_of(&fake, None).await.is_empty());
}

#[tokio::test]
async fn the_size_of_a_page_is_limited() {
    let max = usize::try_from(crate::limits::LIST_BYTES_MAX).unwrap();
    for (size, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        let body = r#"{"tags":["1"]}"#.to_owned();
        let body = body.clone() + &" ".repeat(size - body.len());
        let fake = Fake::start(move |_| Reply::new(200).body(body.clone())).await;
        assert_eq!(pull(&fake).tags().await.is_ok(), taken, "{size}");
    }
}
