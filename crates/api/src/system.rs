//! The daemon itself: ping, version, info, disk usage, credentials.

use crate::{
    body::Body,
    call::Call,
    images,
    reply::{self, Reply},
    version::{CURRENT, OLDEST},
};
use hyper::{
    Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderName, HeaderValue, PRAGMA},
};
use rorqual_api_types::system::{Component, Info, Platform, Version};
use rorqual_engine::system::DiskUsageOptions;
use rorqual_error::{Error, Result};
use serde_json::{Value, json};

/// `GET` and `HEAD /_ping`: how clients learn what they speak to.
pub(crate) async fn ping(call: Call) -> Result<Reply> {
    let head_only = *call.request.method() == Method::HEAD;
    let body = if head_only { Body::empty() } else { Body::full("OK") };
    let mut reply = reply::typed(StatusCode::OK, HeaderValue::from_static("text/plain; charset=utf-8"), body);
    let headers = reply.headers_mut();
    if head_only {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // There is no builder. Version 1 keeps clients that have a choice away from BuildKit's sessions, so that `docker
    // build` fails with the answer of POST /build, which says so.
    headers.insert(HeaderName::from_static("builder-version"), HeaderValue::from_static("1"));
    headers.insert(HeaderName::from_static("swarm"), HeaderValue::from_static("inactive"));
    Ok(reply)
}

/// `OPTIONS` of anything.
pub(crate) async fn options(_call: Call) -> Result<Reply> {
    Ok(reply::empty(StatusCode::OK))
}

/// The machine's architecture in Go's words.
pub(crate) fn go_arch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i686" | "i386" => "386",
        "armv7l" | "armv6l" => "arm",
        "riscv64" | "s390x" | "ppc64le" | "loongarch64" => machine,
        other => other,
    }
}

/// `GET /version`.
pub(crate) async fn version(call: Call) -> Result<Reply> {
    let about = call.api.about();
    let host = rustix::system::uname();
    let kernel = host.release().to_string_lossy().into_owned();
    let arch = go_arch(std::env::consts::ARCH).to_owned();
    let details = [
        ("ApiVersion", CURRENT.to_string()),
        ("Arch", arch.clone()),
        ("BuildTime", about.built.clone()),
        ("Experimental", about.experimental.to_string()),
        ("GitCommit", about.commit.clone()),
        ("GoVersion", about.compiler.clone()),
        ("KernelVersion", kernel.clone()),
        ("MinAPIVersion", OLDEST.to_string()),
        ("Os", "linux".to_owned()),
    ];
    let component = |name: &str, details| Component { name: name.into(), version: about.version.clone(), details };
    let details = details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let shim = [("GitCommit".to_owned(), about.commit.clone())].into();
    Ok(reply::ok(&Version {
        platform: Platform { name: "Rorqual".into() },
        components: vec![component("Engine", details), component("rorqual-shim", shim)],
        version: about.version.clone(),
        api_version: CURRENT.to_string(),
        min_api_version: OLDEST.to_string(),
        git_commit: about.commit.clone(),
        go_version: about.compiler.clone(),
        os: "linux".into(),
        arch,
        kernel_version: kernel,
        experimental: about.experimental,
        build_time: about.built.clone(),
    }))
}

/// `GET /info`.
pub(crate) async fn info(call: Call) -> Result<Reply> {
    let about = call.api.about();
    let mut info: Info = call.engine().system.info();
    info.index_server_address = "https://index.docker.io/v1/".into();
    info.registry_config = Some(about.registries.clone());
    info.experimental_build = about.experimental;
    info.rorqual_registry = about.registry.map(|address| address.to_string());
    let [http, https, none] = about.proxies.clone();
    (info.http_proxy, info.https_proxy, info.no_proxy) = (http, https, none);
    if !call.version.at_least(50) {
        (info.bridge_nf_iptables, info.bridge_nf_ip6tables) = (Some(false), Some(false));
    }
    if !call.version.at_least(49) {
        info.firewall_backend = None;
        for commit in [&mut info.containerd_commit, &mut info.runc_commit, &mut info.init_commit] {
            commit.expected = commit.id.clone();
        }
    }
    if !call.version.at_least(46) {
        info.containerd = None;
    }
    if !call.version.at_least(44) {
        info.runtimes.values_mut().for_each(|runtime| runtime.status = None);
    }
    if !call.version.at_least(42) {
        info.kernel_memory = info.memory_limit;
    }
    let mut value =
        serde_json::to_value(&info).map_err(|cause| Error::internal("encode the answer").caused_by(cause))?;
    if !call.version.at_least(47) {
        set(&mut value, "/RegistryConfig", "AllowNondistributableArtifactsCIDRs");
        set(&mut value, "/RegistryConfig", "AllowNondistributableArtifactsHostnames");
    }
    if !call.version.at_least(25) {
        legacy_security(&mut value);
    }
    // The field order of the type is lost in a map; it is kept where nothing had to be adapted.
    Ok(if call.version.at_least(47) { reply::ok(&info) } else { reply::ok(&value) })
}

/// Adds a `null` member that newer versions no longer have.
fn set(value: &mut Value, place: &str, name: &str) {
    if let Some(Value::Object(members)) = value.pointer_mut(place) {
        members.insert(name.into(), Value::Null);
    }
}

/// Before API 1.25 security options were bare names.
fn legacy_security(value: &mut Value) {
    if let Some(Value::Array(options)) = value.pointer_mut("/SecurityOptions") {
        for option in options {
            if let Some(text) = option.as_str() {
                let name = text.split(',').find_map(|part| part.strip_prefix("name=")).unwrap_or(text);
                *option = json!(name);
            }
        }
    }
}

/// `GET /system/df`; `type` limits what is computed.
pub(crate) async fn disk_usage(call: Call) -> Result<Reply> {
    let kinds = call.query.all("type");
    if let Some(odd) =
        kinds.iter().find(|kind| !matches!(kind.as_str(), "container" | "image" | "volume" | "build-cache"))
    {
        let shown: String = odd.chars().take(crate::limits::SHOWN).collect();
        return Err(Error::invalid(format!("unknown object type: {shown}")));
    }
    let wanted = |kind: &str| kinds.is_empty() || kinds.iter().any(|asked| asked == kind);
    let options =
        DiskUsageOptions { containers: wanted("container"), images: wanted("image"), volumes: wanted("volume") };
    let mut usage = call.engine().system.disk_usage(options).await?;
    if options.images {
        usage.images = Some(images::for_disk_usage(&call).await?);
    }
    usage.build_cache = wanted("build-cache").then(Vec::new);
    Ok(reply::ok(&usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_read_bare_security_options() {
        let mut value = json!({ "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"] });
        legacy_security(&mut value);
        assert_eq!(value, json!({ "SecurityOptions": ["seccomp", "userns"] }));
    }

    #[test]
    fn architectures_have_gos_names() {
        assert_eq!(go_arch("x86_64"), "amd64");
        assert_eq!(go_arch("aarch64"), "arm64");
    }
}
