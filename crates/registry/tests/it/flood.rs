//! Hostile clients (`reg.flood`): what they send costs one request, and the next client is served.

use crate::support::{OCI, Running, closing, serve, sha256, start, start_with};
use rorqual_registry::{Tls, limits};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Sends raw bytes, and reads until the registry closes or says nothing more.
async fn raw(registry: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(registry.address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut read = vec![0; 4096];
    let count = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut read)).await.unwrap().unwrap_or(0);
    String::from_utf8_lossy(&read[..count]).into_owned()
}

#[tokio::test]
async fn malformed_requests_are_refused_and_others_served() {
    let registry = start().await;
    let lines = "X: y\r\n".repeat(limits::HEADER_COUNT + 1);
    let long = "x".repeat(limits::HEADERS + 1);
    for bytes in [
        "GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ".to_owned() + &long + "\r\n\r\n",
        format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n"),
        format!("GET /v2/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(limits::URL + 1)),
        "\0\0\0\0\r\n\r\n".into(),
        "GET /v2/ HTTP/9.9\r\n\r\n".into(),
        "POST /v2/a/blobs/uploads/?digest=sha256:0 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".into(),
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".into(),
    ] {
        let answer = raw(&registry, bytes.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        registry.get("/v2/").await.expect(200);
    }
}

#[tokio::test]
async fn a_url_just_under_the_limit_is_read() {
    let registry = start().await;
    let base = "/v2/_catalog?last=";
    let path = |length: usize| format!("{base}{}", "x".repeat(length - base.len()));
    registry.get(&path(limits::URL)).await.expect(200);
    registry.get(&path(limits::URL + 1)).await.expect(414);
}

#[tokio::test]
async fn header_lines_just_under_the_limit_are_read() {
    let registry = start().await;
    let head = |length: usize| {
        let (before, after) = ("GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n");
        format!("{before}{}{after}", "x".repeat(length - before.len() - after.len()))
    };
    for (length, status) in [(limits::HEADERS - 1, "200"), (limits::HEADERS + 1, "431")] {
        let answer = raw(&registry, head(length).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer}");
    }
    let lines = |count: usize| format!("GET /v2/ HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    for (count, status) in [(limits::HEADER_COUNT, "200"), (limits::HEADER_COUNT + 1, "431")] {
        let answer = raw(&registry, lines(count).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{count}: {answer}");
    }
}

#[tokio::test]
async fn so_many_uploads_may_be_unfinished() {
    let (config, _directory) = start().await.stop().await;
    for number in 1..limits::UPLOADS {
        std::fs::File::create(config.root.join(format!("content/partial/{number:032x}-{number:032x}"))).unwrap();
    }
    let registry = serve(config).await;
    let last = registry.begin("a").await;
    let over = async || registry.send("POST", "/v2/a/blobs/uploads/", &[], "").await;
    over().await.refused(429, "TOOMANYREQUESTS");
    registry.delete(&last).await.expect(204);
    over().await.expect(202);
}

#[tokio::test]
async fn the_list_of_referrers_shows_so_much_of_each() {
    let registry = start().await;
    let mut image = registry.image("a", "x").await;
    image["subject"] = serde_json::json!({"mediaType": OCI, "digest": sha256("x"), "size": 1});
    for (length, status) in [(limits::REFERRER - 1000, 201), (limits::REFERRER, 400)] {
        image["annotations"] = serde_json::json!({"pad": "x".repeat(length)});
        let document = image.to_string();
        let path = format!("/v2/a/manifests/{}", sha256(&document));
        registry.send("PUT", &path, &[("Content-Type", OCI)], document).await.expect(status);
    }
}

#[tokio::test]
async fn errors_do_not_echo_what_was_sent_at_length() {
    let registry = start().await;
    let answer = registry.get(&format!("/v2/{}/tags/list", "X".repeat(5000))).await.refused(400, "NAME_INVALID");
    assert!(answer.body.len() < 1024, "{}", answer.body.len());
    let answer = registry.get(&format!("/v2/a/blobs/sha256:{}", "x".repeat(5000))).await.refused(400, "DIGEST_INVALID");
    assert!(answer.body.len() < 1024, "{}", answer.body.len());
}

#[tokio::test]
async fn an_upload_cut_in_the_middle_keeps_what_came() {
    let registry = start().await;
    let location = registry.begin("a").await;
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    let mut stream = TcpStream::connect(registry.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    // The request that was cut has the upload until it has noticed; the next waits for it.
    let answer = loop {
        let answer = registry.get(&location).await.expect(204);
        if answer.header("range") == "0-4" {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(answer.header("range"), "0-4");
    registry.send("PATCH", &location, &[("Content-Range", "5-10")], " world").await.expect(202);
    let path = closing(&location, &sha256("hello world"));
    registry.send("PUT", &path, &[], "").await.expect(201);
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let registry = start().await;
    let mut held = Vec::new();
    for _ in 0..limits::CONNECTIONS_PER_PEER {
        held.push(TcpStream::connect(registry.address).await.unwrap());
    }
    // The last of them is served: it was admitted.
    let last = held.last_mut().unwrap();
    last.write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut read = [0; 12];
    last.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"HTTP/1.1 200");
    let mut over = TcpStream::connect(registry.address).await.unwrap();
    let mut answer = String::new();
    over.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("TOOMANYREQUESTS"), "{answer}");
    drop(held);
    // A place is free again once the registry has noticed.
    while !raw(&registry, b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 200") {}
}

#[tokio::test]
async fn tls_is_spoken_where_there_is_a_certificate() {
    let made = rcgen::generate_simple_self_signed(["registry".to_owned()]).unwrap();
    let root = made.cert.der().clone();
    let registry = start_with(|config| {
        let (certificate, key) = (config.root.join("cert.pem"), config.root.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        config.tls = Some(Tls { certificate, key });
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
    let stream = TcpStream::connect(registry.address).await.unwrap();
    let mut stream = connector.connect("registry".try_into().unwrap(), stream).await.unwrap();
    let bytes = "x".repeat(3_000_000);
    let digest = sha256(&bytes);
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 201");
    let get = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.ends_with(bytes.as_bytes()));
    // Plain text on that port is no request.
    let answer = raw(&registry, b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn what_happens_is_counted() {
    let registry = start_with(|config| config.metrics = Some("127.0.0.1:0".parse().unwrap())).await;
    registry.push_blob("a", "hello").await;
    registry.get("/v2/a/manifests/t").await.expect(404);
    let metrics = registry.metrics.unwrap();
    let page = crate::support::send(metrics, "GET", "/metrics", &[], "".into()).await.expect(200).body;
    let page = String::from_utf8(page.to_vec()).unwrap();
    for line in [
        "rorqual_registry_requests_total{method=\"PUT\",status=\"2xx\"} 1",
        "rorqual_registry_requests_total{method=\"GET\",status=\"4xx\"} 1",
        "rorqual_registry_received_bytes_total 5",
        "rorqual_registry_uploads 0",
        "rorqual_registry_request_duration_seconds_count 4",
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line} in\n{page}");
    }
    crate::support::send(metrics, "GET", "/v2/", &[], "".into()).await.expect(404);
}
