//! Each limit of a request: just under, at, and just over it. And its deadlines, with the clock moved by hand.

use crate::support::Lab;
use rorqual_api::limits::{BODY_DEADLINE, HEAD_DEADLINE, HEADERS, IDLE_DEADLINE, JSON_BODY, JSON_DEPTH, URL};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_body_may_have_four_mebibytes() {
    let lab = Lab::open().await;
    for (size, status) in [(JSON_BODY - 1, 201), (JSON_BODY, 201), (JSON_BODY + 1, 400)] {
        let body = format!("{{{}}}", " ".repeat(size - 2));
        let answer = lab.call("POST", "/volumes/create", Some(&body)).await;
        assert_eq!(answer.status, status, "{size}");
        // The same without an announced length.
        let text = format!(
            "POST /volumes/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
        );
        assert_eq!(lab.raw(text.as_bytes()).await.status, status, "{size} in chunks");
    }
}

#[tokio::test]
async fn a_url_may_have_sixteen_kibibytes() {
    let lab = Lab::open().await;
    for (length, status) in [(URL - 1, 200), (URL, 200), (URL + 1, 414)] {
        let path = format!("/_ping?x={}", "a".repeat(length - "/_ping?x=".len()));
        assert_eq!(lab.call("GET", &path, None).await.status, status, "{length}");
    }
}

#[tokio::test]
async fn headers_may_have_sixty_four_kibibytes() {
    let lab = Lab::open().await;
    for (length, status) in [(HEADERS - 1, 200), (HEADERS, 200), (HEADERS + 1, 431)] {
        let start = "GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: ";
        let request = format!("{start}{}\r\n\r\n", "a".repeat(length - start.len() - 4));
        assert_eq!(request.len(), length);
        assert_eq!(lab.raw(request.as_bytes()).await.status, status, "{length}");
    }
}

#[tokio::test]
async fn a_body_may_nest_sixty_four_levels() {
    let lab = Lab::open().await;
    for (depth, status) in [(JSON_DEPTH - 1, 201), (JSON_DEPTH, 201), (JSON_DEPTH + 1, 400)] {
        let body = format!("{{\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert_eq!(lab.call("POST", "/volumes/create", Some(&body)).await.status, status, "{depth}");
    }
}

/// One request on a connection that stays.
async fn ping(connection: &mut tokio::io::DuplexStream) -> bool {
    if connection.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await.is_err() {
        return false;
    }
    let mut bytes = vec![0; 4096];
    let length = connection.read(&mut bytes).await.unwrap_or_default();
    bytes[..length].starts_with(b"HTTP/1.1 200")
}

const MOMENT: Duration = Duration::from_millis(10);

#[tokio::test]
async fn a_slow_head_is_cut() {
    let lab = Lab::open().await;
    tokio::time::pause();
    for start in ["", "GET /_ping HTTP/1.1\r\n"] {
        let mut connection = lab.connect();
        connection.write_all(start.as_bytes()).await.unwrap();
        tokio::time::sleep(HEAD_DEADLINE - MOMENT).await;
        let mut kept = lab.connect();
        assert!(ping(&mut kept).await);
        tokio::time::sleep(MOMENT * 2).await;
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{start:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_long() {
    let lab = Lab::open().await;
    tokio::time::pause();
    let mut connection = lab.connect();
    assert!(ping(&mut connection).await);
    tokio::time::sleep(HEAD_DEADLINE * 3).await;
    assert!(ping(&mut connection).await);
    tokio::time::sleep(IDLE_DEADLINE - MOMENT).await;
    assert!(ping(&mut connection).await);
    tokio::time::sleep(IDLE_DEADLINE + MOMENT).await;
    assert!(!ping(&mut connection).await);
}

#[tokio::test]
async fn a_slow_body_is_refused() {
    let lab = Lab::open().await;
    tokio::time::pause();
    let mut connection = lab.connect();
    let head =
        "POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{";
    connection.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(BODY_DEADLINE + MOMENT).await;
    let mut bytes = vec![0; 4096];
    let length = connection.read(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes[..length]);
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    assert!(text.contains("no byte of the body for 30 s"), "{text}");
}
