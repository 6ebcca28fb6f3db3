//! Answers whose head comes long before their body.

use crate::support::Lab;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn events_begin_at_once_and_follow() {
    let lab = Lab::open().await;
    let mut connection = lab.connect();
    connection.write_all(b"GET /v1.51/events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut bytes = vec![0; 4096];
    let length = connection.read(&mut bytes).await.unwrap();
    let head = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let made = lab.call("POST", "/v1.51/volumes/create", Some(r#"{"Name":"one"}"#)).await;
    assert_eq!(made.status, 201);
    let length = connection.read(&mut bytes).await.unwrap();
    let event = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let wanted =
        r#"{"Type":"volume","Action":"create","Actor":{"ID":"one","Attributes":{"driver":"local"}},"scope":"local""#;
    assert!(event.contains(wanted), "{event}");
}

#[tokio::test]
async fn several_requests_share_a_connection() {
    let lab = Lab::open().await;
    let mut connection = lab.connect();
    for _ in 0..3 {
        connection.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = vec![0; 4096];
        let length = connection.read(&mut bytes).await.unwrap();
        assert!(bytes[..length].ends_with(b"OK"));
    }
}
