//! The one table of routes: method, path, oldest version, handler. The first match wins; what is not here is
//! `page not found`, as is a method a path does not have.

use crate::{
    call::Call, containers, events, exec, images, networks, reply::Reply, system, unsupported, upkeep,
    version::ApiVersion, volumes,
};
use hyper::Method;
use rorqual_error::Result;
use std::pin::Pin;

/// What answers a call.
pub(crate) type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

/// One route.
pub(crate) struct Route {
    /// The method; `HEAD` has routes of its own.
    pub(crate) method: Method,
    /// The path without its version; `{}` stands for one or more characters, slashes among them.
    pub(crate) path: &'static str,
    /// The version that brought it.
    pub(crate) since: ApiVersion,
    /// What answers.
    pub(crate) handler: Handler,
}

macro_rules! table {
    ($($method:ident $path:literal $minor:literal $handler:path;)*) => {
        /// All routes.
        pub(crate) static ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            since: ApiVersion::new(1, $minor),
            handler: |call| Box::pin($handler(call)),
        }),*];
    };
}

table! {
    GET "/_ping" 24 system::ping;
    HEAD "/_ping" 24 system::ping;
    GET "/version" 24 system::version;
    GET "/info" 24 system::info;
    GET "/events" 24 events::stream;
    GET "/system/df" 25 system::disk_usage;
    POST "/auth" 24 images::registry::auth;
    OPTIONS "/{}" 24 system::options;

    GET "/containers/json" 24 containers::list;
    POST "/containers/create" 24 containers::create;
    POST "/containers/prune" 25 containers::prune;
    GET "/containers/{}/json" 24 containers::inspect;
    GET "/containers/{}/top" 24 containers::top;
    GET "/containers/{}/logs" 24 containers::logs;
    GET "/containers/{}/attach/ws" 24 containers::attach_websocket;
    POST "/containers/{}/attach" 24 containers::attach;
    POST "/containers/{}/start" 24 containers::start;
    POST "/containers/{}/stop" 24 containers::stop;
    POST "/containers/{}/kill" 24 containers::kill;
    POST "/containers/{}/restart" 24 containers::restart;
    POST "/containers/{}/pause" 24 containers::pause;
    POST "/containers/{}/unpause" 24 containers::unpause;
    POST "/containers/{}/wait" 24 containers::wait;
    POST "/containers/{}/resize" 24 containers::resize;
    POST "/containers/{}/rename" 24 containers::rename;
    POST "/containers/{}/update" 24 containers::update;
    POST "/containers/{}/exec" 24 exec::create;
    GET "/exec/{}/json" 24 exec::inspect;
    POST "/exec/{}/start" 24 exec::start;
    POST "/exec/{}/resize" 24 exec::resize;
    GET "/containers/{}/export" 24 unsupported::export;
    GET "/containers/{}/changes" 24 unsupported::changes;
    GET "/containers/{}/stats" 24 unsupported::stats;
    HEAD "/containers/{}/archive" 24 unsupported::copy;
    GET "/containers/{}/archive" 24 unsupported::copy;
    PUT "/containers/{}/archive" 24 unsupported::copy;
    GET "/containers/{}/checkpoints" 24 unsupported::checkpoint;
    POST "/containers/{}/checkpoints" 24 unsupported::checkpoint;
    DELETE "/containers/{}/checkpoints/{}" 24 unsupported::checkpoint;
    DELETE "/containers/{}" 24 containers::remove;

    GET "/images/json" 24 images::list;
    GET "/images/search" 24 images::registry::search;
    GET "/images/get" 24 images::save;
    POST "/images/create" 24 images::create;
    POST "/images/load" 24 images::load;
    POST "/images/prune" 25 images::prune;
    GET "/images/{}/get" 24 images::save_one;
    GET "/images/{}/history" 24 images::history;
    GET "/images/{}/json" 24 images::inspect;
    POST "/images/{}/push" 24 images::registry::push;
    POST "/images/{}/tag" 24 images::tag;
    DELETE "/images/{}" 24 images::delete;
    GET "/distribution/{}/json" 30 images::registry::distribution;
    POST "/commit" 24 unsupported::commit;

    POST "/rorqual/images/gc" 24 upkeep::collect;
    POST "/rorqual/system/fsck" 24 upkeep::check;

    GET "/volumes" 24 volumes::list;
    POST "/volumes/create" 24 volumes::create;
    POST "/volumes/prune" 25 volumes::prune;
    GET "/volumes/{}" 24 volumes::inspect;
    PUT "/volumes/{}" 42 unsupported::cluster_volume;
    DELETE "/volumes/{}" 24 volumes::remove;

    GET "/networks" 24 networks::list;
    GET "/networks/" 24 networks::list;
    POST "/networks/create" 24 unsupported::network;
    POST "/networks/prune" 25 networks::prune;
    POST "/networks/{}/connect" 24 unsupported::network;
    POST "/networks/{}/disconnect" 24 unsupported::network;
    GET "/networks/{}" 24 networks::inspect;
    DELETE "/networks/{}" 24 networks::remove;

    POST "/build" 24 unsupported::build;
    POST "/build/prune" 31 unsupported::build_prune;
    POST "/build/cancel" 39 unsupported::build;
    POST "/grpc" 39 unsupported::build;
    POST "/session" 39 unsupported::build;

    GET "/plugins" 25 unsupported::plugins;
    GET "/plugins/privileges" 25 unsupported::plugin;
    GET "/plugins/{}" 25 unsupported::plugin;
    POST "/plugins/{}" 25 unsupported::plugin;
    DELETE "/plugins/{}" 25 unsupported::plugin;

    POST "/swarm/init" 24 unsupported::swarm;
    POST "/swarm/join" 24 unsupported::swarm;
    POST "/swarm/leave" 24 unsupported::swarm_member;
    POST "/swarm/unlock" 24 unsupported::swarm_member;
    GET "/swarm" 24 unsupported::swarm_manager;
    GET "/swarm/{}" 24 unsupported::swarm_manager;
    POST "/swarm/{}" 24 unsupported::swarm_manager;
    GET "/nodes" 24 unsupported::swarm_manager;
    GET "/nodes/{}" 24 unsupported::swarm_manager;
    POST "/nodes/{}" 24 unsupported::swarm_manager;
    DELETE "/nodes/{}" 24 unsupported::swarm_manager;
    GET "/services" 24 unsupported::swarm_manager;
    GET "/services/{}" 24 unsupported::swarm_manager;
    POST "/services/{}" 24 unsupported::swarm_manager;
    DELETE "/services/{}" 24 unsupported::swarm_manager;
    GET "/tasks" 24 unsupported::swarm_manager;
    GET "/tasks/{}" 24 unsupported::swarm_manager;
    GET "/secrets" 25 unsupported::swarm_manager;
    GET "/secrets/{}" 25 unsupported::swarm_manager;
    POST "/secrets/{}" 25 unsupported::swarm_manager;
    DELETE "/secrets/{}" 25 unsupported::swarm_manager;
    GET "/configs" 30 unsupported::swarm_manager;
    GET "/configs/{}" 30 unsupported::swarm_manager;
    POST "/configs/{}" 30 unsupported::swarm_manager;
    DELETE "/configs/{}" 30 unsupported::swarm_manager;
}

/// The route of a path without its version, and the path's first variable part.
pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Option<(&'static Route, &'p str)> {
    ROUTES.iter().filter(|route| route.method == *method).find_map(|route| Some((route, matched(route.path, path)?)))
}

/// What `{}` of `pattern` stands for in `path`; `""` for a pattern without one, `None` where they differ.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, after)) = pattern.split_once("{}") else { return (pattern == path).then_some("") };
    let rest = path.strip_prefix(before)?;
    if let Some((between, last)) = after.split_once("{}") {
        let (first, second) = rest.rsplit_once(between)?;
        return (last.is_empty() && !first.is_empty() && !second.is_empty()).then_some(first);
    }
    rest.strip_suffix(after).filter(|name| !name.is_empty())
}

/// The version a path begins with, without its `v`, and the rest.
pub(crate) fn split_version(path: &str) -> (Option<&str>, &str) {
    let none = (None, path);
    let Some(rest) = path.strip_prefix("/v") else { return none };
    let Some(end) = rest.find('/') else { return none };
    let version = &rest[..end];
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return none;
    }
    (Some(version), &rest[end..])
}

/// The path a client should have asked for, where this one holds empty or `.` parts.
pub(crate) fn cleaned(path: &str) -> Option<String> {
    let odd = |part: &str| matches!(part, "" | ".");
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() || !inner.split('/').any(odd) {
        return None;
    }
    let mut parts = Vec::new();
    for part in inner.split('/') {
        match part {
            "" | "." => {}
            other => parts.push(other),
        }
    }
    Some(format!("/{}{}", parts.join("/"), if path.ends_with('/') && !parts.is_empty() { "/" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_route() {
        for (method, path, wanted, name) in [
            ("GET", "/_ping", "/_ping", ""),
            ("HEAD", "/_ping", "/_ping", ""),
            ("GET", "/containers/json", "/containers/json", ""),
            ("GET", "/containers/a/json", "/containers/{}/json", "a"),
            ("GET", "/containers/a/attach/ws", "/containers/{}/attach/ws", "a"),
            ("DELETE", "/containers/a", "/containers/{}", "a"),
            ("DELETE", "/containers/a/checkpoints/b", "/containers/{}/checkpoints/{}", "a"),
            ("GET", "/images/json", "/images/json", ""),
            ("GET", "/images/get", "/images/get", ""),
            ("GET", "/images/host:5000/a/b:1/json", "/images/{}/json", "host:5000/a/b:1"),
            ("GET", "/images/json/json", "/images/{}/json", "json"),
            ("DELETE", "/images/a/b@sha256:00", "/images/{}", "a/b@sha256:00"),
            ("POST", "/images/a/b/tag", "/images/{}/tag", "a/b"),
            ("GET", "/networks/bridge", "/networks/{}", "bridge"),
            ("POST", "/networks/x/connect", "/networks/{}/connect", "x"),
            ("OPTIONS", "/anything/at/all", "/{}", "anything/at/all"),
        ] {
            let (route, found) = find(&method.parse().unwrap(), path).unwrap_or_else(|| panic!("{method} {path}"));
            assert_eq!((route.path, found), (wanted, name), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/nope"),
            ("DELETE", "/info"),
            ("HEAD", "/info"),
            ("GET", "/containers//json"),
            ("GET", "/_ping/"),
            ("GET", "/exec/"),
            ("GET", "/volumes/"),
        ] {
            assert!(find(&method.parse().unwrap(), path).is_none(), "{method} {path}");
        }
    }

    #[test]
    fn a_version_is_a_prefix_of_digits_and_points() {
        for (path, version, rest) in [
            ("/v1.51/_ping", Some("1.51"), "/_ping"),
            ("/v1/info", Some("1"), "/info"),
            ("/v1.5x/info", None, "/v1.5x/info"),
            ("/v1.51", None, "/v1.51"),
            ("/volumes/a", None, "/volumes/a"),
            ("/version", None, "/version"),
        ] {
            assert_eq!(split_version(path), (version, rest), "{path}");
        }
    }

    #[test]
    fn odd_paths_are_cleaned() {
        for (path, wanted) in [
            ("/v1.51/_ping", None),
            ("/", None),
            ("/_ping/", None),
            ("//v1.51/_ping", Some("/v1.51/_ping")),
            ("/v1.51//_ping", Some("/v1.51/_ping")),
            ("/a/./b/", Some("/a/b/")),
        ] {
            assert_eq!(cleaned(path).as_deref(), wanted, "{path}");
        }
    }

    #[test]
    fn every_route_is_reachable() {
        for (index, route) in ROUTES.iter().enumerate() {
            let path = route.path.replace("{}", "x");
            let (found, _) = find(&route.method, &path).expect(route.path);
            assert!(
                std::ptr::eq(found, &raw const ROUTES[index]),
                "{} {} is hidden by {}",
                route.method,
                path,
                found.path
            );
        }
    }
}
