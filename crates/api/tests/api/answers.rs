//! What the API answers to a table of requests, on an engine without objects. The texts are dockerd 28.5's.

use crate::support::Lab;

/// Method, path, body; status and a part of the answer.
type Case = (&'static str, &'static str, Option<&'static str>, u16, &'static str);

async fn check(cases: &[Case]) {
    let lab = Lab::open().await;
    for (method, path, body, status, part) in cases {
        let answer = lab.call(method, path, *body).await;
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        assert!(answer.body.contains(part), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn paths_and_versions() {
    check(&[
        ("GET", "/_ping", None, 200, "OK"),
        ("HEAD", "/v1.24/_ping", None, 200, ""),
        ("GET", "/v1.51/_ping", None, 200, "OK"),
        ("GET", "/v1.23/_ping", None, 400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n"),
        ("GET", "/v1.52/_ping", None, 400, r#"{"message":"client version 1.52 is too new. Maximum supported API version is 1.51"}"#),
        ("GET", "/v1.99/nope", None, 404, r#"{"message":"page not found"}"#),
        ("GET", "/", None, 404, r#"{"message":"page not found"}"#),
        ("DELETE", "/info", None, 404, "page not found"),
        ("PATCH", "/v1.51/info", None, 404, "page not found"),
        ("GET", "/v1.5x/info", None, 404, "page not found"),
        ("GET", "//v1.51/_ping", None, 301, ""),
        ("GET", "/v1.51/../../etc/passwd", None, 404, "page not found"),
        ("OPTIONS", "/v1.51/info", None, 200, ""),
        ("GET", "/v1.24/containers/prune", None, 404, ""),
        ("POST", "/v1.24/containers/prune", None, 400, "requires API version 1.25, but the Docker daemon API version is 1.24"),
        ("GET", "/v1.51/version", None, 200, r#""ApiVersion":"1.51","MinAPIVersion":"1.24""#),
        ("GET", "/v1.51/info", None, 200, r#""driver-type""#),
        ("GET", "/containers/json?filters=%zz", None, 400, "invalid URL escape"),
    ])
    .await;
}

#[tokio::test]
async fn a_ping_tells_what_clients_ask() {
    let lab = Lab::open().await;
    let answer = lab.call("HEAD", "/_ping", None).await;
    for (name, value) in [
        ("Api-Version", "1.51"),
        ("Docker-Experimental", "false"),
        ("Ostype", "linux"),
        ("Builder-Version", "1"),
        ("Swarm", "inactive"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Content-Length", "0"),
        ("Server", "Rorqual/0.1.0 (linux)"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let moved = lab.call("GET", "/v1.51//images/json?a=b", None).await;
    assert_eq!(moved.header("Location"), "/v1.51/images/json?a=b");
}

#[tokio::test]
async fn containers_that_are_not_there() {
    check(&[
        ("GET", "/v1.51/containers/json?all=1", None, 200, "[]"),
        ("GET", "/v1.51/containers/nope/json", None, 404, r#"{"message":"No such container: nope"}"#),
        ("POST", "/v1.51/containers/nope/start", None, 404, "No such container: nope"),
        (
            "POST",
            "/v1.51/containers/nope/start",
            Some("{\"a\":123}"),
            400,
            "starting container with non-empty request body",
        ),
        ("POST", "/v1.51/containers/nope/stop?t=x", None, 500, r#"strconv.Atoi: parsing \"x\": invalid syntax"#),
        (
            "POST",
            "/v1.51/containers/nope/kill?signal=FOO",
            None,
            400,
            "cannot kill container: nope: invalid signal: FOO",
        ),
        ("POST", "/v1.51/containers/nope/wait?condition=foo", None, 400, r#"invalid condition: \"foo\""#),
        ("POST", "/v1.51/containers/nope/wait", None, 404, "No such container: nope"),
        ("POST", "/v1.51/containers/nope/resize?h=a&w=2", None, 400, r#"invalid resize height \"a\": invalid syntax"#),
        (
            "POST",
            "/v1.51/containers/nope/resize?h=1&w=70000",
            None,
            400,
            r#"invalid resize width \"70000\": value out of range"#,
        ),
        ("POST", "/v1.51/containers/nope/rename", None, 400, "Neither old nor new names may be empty"),
        ("GET", "/v1.51/containers/nope/logs", None, 400, "Bad parameters: you must choose at least one stream"),
        ("GET", "/v1.51/containers/nope/logs?stdout=1", None, 404, "No such container: nope"),
        (
            "GET",
            "/v1.51/containers/nope/logs?stdout=1&since=abc",
            None,
            500,
            r#"strconv.ParseInt: parsing \"abc\": invalid syntax"#,
        ),
        ("POST", "/v1.51/containers/nope/attach?stream=1", None, 404, "No such container: nope\r\n"),
        ("GET", "/v1.51/containers/nope/attach/ws", None, 400, "not a websocket handshake"),
        ("GET", "/v1.51/containers/nope/top", None, 404, "No such container: nope"),
        ("POST", "/v1.51/containers/nope/exec", Some("{}"), 400, "No exec command specified"),
        ("POST", "/v1.51/containers/nope/exec", Some(r#"{"Cmd":["a"]}"#), 404, "No such container: nope"),
        ("GET", "/v1.51/exec/nope/json", None, 404, "No such exec instance: nope"),
        ("POST", "/v1.51/exec/nope/start", Some("{}"), 404, "No such exec instance: nope"),
        ("DELETE", "/v1.51/containers/nope", None, 404, "No such container: nope"),
        ("GET", "/v1.51/containers/json?filters=foo", None, 400, "invalid filter"),
        ("GET", "/v1.51/containers/json?limit=x", None, 500, r#"strconv.Atoi: parsing \"x\": invalid syntax"#),
        ("POST", "/v1.51/containers/prune", None, 200, r#"{"ContainersDeleted":null,"SpaceReclaimed":0}"#),
    ])
    .await;
}

#[tokio::test]
async fn bodies_of_create() {
    check(&[
        ("POST", "/v1.51/containers/create", Some("{}"), 400, "config cannot be empty in order to create a container"),
        ("POST", "/v1.51/containers/create", Some("["), 400, "invalid JSON"),
        ("POST", "/v1.51/containers/create", Some(r#"{"Image":5}"#), 400, "cannot unmarshal number"),
        (
            "POST",
            "/v1.51/containers/create?name=-x",
            Some(r#"{"Image":"a"}"#),
            400,
            "Invalid container name (-x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
        (
            "POST",
            "/v1.51/containers/create",
            Some(r#"{"image":"nope:1"}"#),
            404,
            r#"{"message":"No such image: nope:1"}"#,
        ),
    ])
    .await;
    let lab = Lab::open().await;
    let text = "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\n\
                Content-Length: 2\r\n\r\n{}";
    let answer = lab.raw(text.as_bytes()).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("unsupported Content-Type header (text/plain): must be 'application/json'"));
}

#[tokio::test]
async fn images_volumes_and_networks() {
    check(&[
        ("GET", "/v1.51/images/json", None, 200, "[]"),
        ("GET", "/v1.51/images/nope/json", None, 404, "No such image: nope:latest"),
        ("GET", "/v1.51/images/a/b%2Fc/json", None, 404, "No such image: a/b/c:latest"),
        ("GET", "/v1.51/images/json?filters=%7B%22foo%22%3A%7B%22a%22%3Atrue%7D%7D", None, 400, "invalid filter 'foo'"),
        ("POST", "/rorqual/images/gc", None, 400, "no disk budget is configured (image-gc in daemon.json)"),
        ("POST", "/rorqual/images/gc?target=-1", None, 400, "target must not be negative"),
        (
            "POST",
            "/rorqual/images/gc?target=0&dry-run=1",
            None,
            200,
            r#"{"Images":[],"Size":0,"SpaceReclaimed":0,"Missed":0}"#,
        ),
        ("POST", "/rorqual/system/fsck", None, 200, r#"{"Summary":{"Blobs":0,"Layers":0,"#),
        ("POST", "/v1.51/images/prune", None, 200, r#"{"ImagesDeleted":null,"SpaceReclaimed":0}"#),
        (
            "POST",
            "/v1.51/images/create?fromImage=127.0.0.1:1/alpine&tag=3",
            None,
            500,
            r#"failed to resolve reference \"127.0.0.1:1/alpine:3\": failed to do request: "#,
        ),
        ("POST", "/v1.51/images/load", Some("junk"), 200, r#"{"errorDetail":{"message":"#),
        ("POST", "/v1.51/auth", Some(r#"{"serveraddress":"127.0.0.1:1"}"#), 500, "connection refused"),
        ("POST", "/v1.51/images/x/push", Some("{}"), 200, "An image does not exist locally with the tag: x"),
        ("GET", "/v1.51/volumes", None, 200, r#"{"Volumes":[],"Warnings":null}"#),
        ("GET", "/v1.51/volumes/nope", None, 404, "get nope: no such volume"),
        (
            "POST",
            "/v1.51/volumes/create",
            Some(r#"{"Name":"one","Labels":{"a":"b"}}"#),
            201,
            r#""Driver":"local","Labels":{"a":"b"}"#,
        ),
        ("GET", "/v1.51/volumes/one", None, 200, r#""Name":"one","Options":null,"Scope":"local"}"#),
        ("DELETE", "/v1.51/volumes/one", None, 204, ""),
        ("POST", "/v1.51/volumes/prune", None, 200, r#"{"VolumesDeleted":[],"SpaceReclaimed":0}"#),
        ("GET", "/v1.51/networks/host", None, 200, r#""Driver":"host""#),
        ("GET", "/v1.51/networks/nope", None, 404, "network nope not found"),
        ("DELETE", "/v1.51/networks/host", None, 403, "host is a pre-defined network and cannot be removed"),
        ("POST", "/v1.51/networks/prune", None, 200, r#"{"NetworksDeleted":null}"#),
        ("POST", "/v1.51/build/prune", None, 200, r#"{"CachesDeleted":null,"SpaceReclaimed":0}"#),
        ("GET", "/v1.51/system/df", None, 200, r#""BuildCache":[]"#),
        ("GET", "/v1.51/system/df?type=nope", None, 400, "unknown object type: nope"),
    ])
    .await;
}

#[tokio::test]
async fn parts_that_are_missing_are_named() {
    check(&[
        ("POST", "/v1.51/networks/create", Some("{}"), 501, "not supported yet: user-defined networks"),
        ("POST", "/v1.51/build", None, 501, "not supported yet: building images"),
        ("POST", "/v1.51/commit", None, 501, "not supported yet: commit"),
        ("GET", "/v1.51/containers/x/stats", None, 501, "not supported yet: container statistics"),
        ("PUT", "/v1.51/containers/x/archive", None, 501, "not supported yet: copying files"),
        ("GET", "/v1.51/plugins", None, 200, "[]"),
        ("POST", "/v1.51/plugins/pull", None, 501, "not supported yet: plugins"),
        ("POST", "/v1.51/swarm/init", Some("{}"), 501, "not supported yet: swarm mode"),
        ("GET", "/v1.51/nodes", None, 503, "This node is not a swarm manager."),
    ])
    .await;
}

#[tokio::test]
async fn moments_of_events() {
    check(&[
        ("GET", "/v1.51/events?until=abc", None, 500, r#"strconv.ParseInt: parsing \"abc\": invalid syntax"#),
        ("GET", "/v1.51/events?since=5&until=1", None, 400, "`since` time (5) cannot be after `until` time (1)"),
        ("GET", "/v1.51/events?until=1", None, 200, ""),
    ])
    .await;
}
