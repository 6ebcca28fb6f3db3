//! From a request to its handler, past the one decision whether it may.

use crate::{
    access::Action,
    blobs,
    call::{Call, Reply, json},
    lists, manifests,
    refusal::{Code, Refusal, Result, shown},
    route::Route,
    uploads,
};
use hyper::{Method, header::ALLOW};
use serde_json::json as value;

/// What a request does, by its method and what its path names; `None` where that has no such method.
fn action(method: &Method, route: &Route) -> Option<Action> {
    let action = match (route, method.as_str()) {
        (Route::Base, "GET" | "HEAD") => Action::Ping,
        (Route::Catalog, "GET") => Action::Catalog,
        (Route::Tags(_) | Route::Referrers(..), "GET") => Action::Pull,
        (Route::Manifest(..) | Route::Blob(..), "GET" | "HEAD") => Action::Pull,
        (Route::Manifest(..), "PUT") => Action::Push,
        (Route::Manifest(..) | Route::Blob(..), "DELETE") => Action::Delete,
        (Route::Uploads(_), "POST") => Action::Push,
        (Route::Upload(..), "GET" | "PATCH" | "PUT" | "DELETE") => Action::Push,
        _ => return None,
    };
    Some(action)
}

fn methods(route: &Route) -> &'static str {
    match route {
        Route::Base => "GET, HEAD",
        Route::Catalog | Route::Tags(_) | Route::Referrers(..) => "GET",
        Route::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Route::Blob(..) => "GET, HEAD, DELETE",
        Route::Uploads(_) => "POST",
        Route::Upload(..) => "GET, PATCH, PUT, DELETE",
    }
}

/// Answers a request for `path`.
pub(crate) async fn answer(mut call: Call, path: &str) -> Result<Reply> {
    let Some(route) = Route::parse(path)? else {
        let refusal = Refusal::new(Code::NameUnknown, "no such page").about(value!({"path": shown(path)}));
        return Err(refusal);
    };
    let Some(action) = action(&call.method, &route) else {
        let refusal = Refusal::new(Code::Unsupported, "the method is not supported here");
        return Err(refusal.header(ALLOW, methods(&route)));
    };
    let access = &call.registry.access;
    if let Err(denial) = access.authorize(&call.identity, action, route.repository()) {
        return Err(access.refusal(denial, &call.identity, action, route.repository()));
    }
    match (route, call.method.as_str()) {
        (Route::Base, _) => Ok(json("application/json", &value!({}))),
        (Route::Catalog, _) => lists::catalog(&call).await,
        (Route::Tags(name), _) => lists::tags(&call, &name).await,
        (Route::Referrers(name, subject), _) => lists::referrers(&call, &name, subject).await,
        (Route::Manifest(name, target), "PUT") => manifests::put(&mut call, &name, &target).await,
        (Route::Manifest(name, target), "DELETE") => manifests::delete(&call, &name, &target).await,
        (Route::Manifest(name, target), _) => manifests::get(&call, &name, &target).await,
        (Route::Blob(name, digest), "DELETE") => blobs::delete(&call, &name, digest).await,
        (Route::Blob(name, digest), _) => blobs::get(&call, &name, digest).await,
        (Route::Uploads(name), _) => uploads::post(&mut call, &name).await,
        (Route::Upload(name, id), "GET") => uploads::status(&call, &name, &id).await,
        (Route::Upload(name, id), "PATCH") => uploads::patch(&mut call, &name, &id).await,
        (Route::Upload(name, id), "PUT") => uploads::put(&mut call, &name, &id).await,
        (Route::Upload(name, id), _) => uploads::cancel(&call, &name, &id).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_is_named_has_an_action() {
        let hex = "0a".repeat(32);
        for path in [
            "/v2/".to_owned(),
            "/v2/_catalog".to_owned(),
            "/v2/a/tags/list".to_owned(),
            format!("/v2/a/referrers/sha256:{hex}"),
            "/v2/a/manifests/t".to_owned(),
            format!("/v2/a/blobs/sha256:{hex}"),
            "/v2/a/blobs/uploads/".to_owned(),
            "/v2/a/blobs/uploads/x".to_owned(),
        ] {
            let route = Route::parse(&path).unwrap().unwrap();
            let named: Vec<&str> = methods(&route).split(", ").collect();
            for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "X"] {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                assert_eq!(action(&method, &route).is_some(), named.contains(&method.as_str()), "{method} {path}");
            }
        }
    }
}
