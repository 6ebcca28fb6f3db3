//! Image archives made by hand: docker-archive and OCI layout, and any deformity a test wants.
//!
//! Digests come from `sha256sum`, so that what judges the daemon's digests is not a library it uses too.

use crate::command;
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// The time every made image carries, so that the same content gives the same digests.
const CREATED: &str = "2025-01-01T00:00:00Z";

/// One image in the making.
#[derive(Clone, Debug)]
pub struct Archive {
    /// `name:tag`s it is loaded under.
    pub tags: Vec<String>,
    /// The `config` object of the image document.
    pub config: Value,
    /// Plain tar layers, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The architecture named in the image document.
    pub architecture: String,
}

impl Archive {
    /// An image without layers yet.
    pub fn new(tag: &str, config: Value) -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self { tags: vec![tag.to_owned()], config, layers: Vec::new(), architecture: architecture.to_owned() }
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, tar: Vec<u8>) -> Self {
        self.layers.push(tar);
        self
    }

    /// The image document.
    pub fn document(&self) -> Value {
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let history: Vec<Value> =
            (0..self.layers.len()).map(|at| json!({"created": CREATED, "created_by": format!("layer {at}")})).collect();
        json!({
            "created": CREATED, "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        })
    }

    /// The whole image as `docker save` of the classic image store prints it.
    pub fn docker_archive(&self) -> Vec<u8> {
        let document = self.document().to_string().into_bytes();
        let config_name = format!("{}.json", sha256(&document));
        let mut tar = Tar::new();
        let mut names = Vec::new();
        for layer in &self.layers {
            let name = format!("{}.tar", sha256(layer));
            tar.file(&name, 0o644, layer);
            names.push(name);
        }
        tar.file(&config_name, 0o644, &document);
        let manifest = json!([{"Config": config_name, "RepoTags": self.tags, "Layers": names}]);
        tar.file("manifest.json", 0o644, manifest.to_string().as_bytes());
        tar.finish()
    }

    /// The whole image as an OCI layout, its layers gzipped by `gzip` or `zstd` by the program `compressor`.
    pub fn oci_archive(&self, compressor: Option<&str>) -> Vec<u8> {
        let mut tar = Tar::new();
        let mut blob = |bytes: &[u8]| {
            let digest = sha256(bytes);
            tar.file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
            json!({"digest": format!("sha256:{digest}"), "size": bytes.len()})
        };
        let suffix = compressor.map_or(String::new(), |name| format!("+{name}"));
        let with_type = |mut descriptor: Value, kind: String| {
            descriptor["mediaType"] = kind.into();
            descriptor
        };
        let mut layers = Vec::new();
        for layer in &self.layers {
            let bytes = compressor.map_or_else(|| layer.clone(), |program| compress(program, layer));
            layers.push(with_type(blob(&bytes), format!("application/vnd.oci.image.layer.v1.tar{suffix}")));
        }
        let config = with_type(
            blob(self.document().to_string().as_bytes()),
            "application/vnd.oci.image.config.v1+json".to_owned(),
        );
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut entry = with_type(blob(manifest.to_string().as_bytes()), kind.to_owned());
        entry["platform"] = json!({"os": "linux", "architecture": self.architecture});
        let manifests: Vec<Value> = self
            .tags
            .iter()
            .map(|tag| {
                let mut entry = entry.clone();
                let (name, version) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
                entry["annotations"] = json!({
                    "io.containerd.image.name": format!("docker.io/library/{name}:{version}"),
                    "org.opencontainers.image.ref.name": version,
                });
                entry
            })
            .collect();
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        tar.file("index.json", 0o644, index.to_string().as_bytes());
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        tar.finish()
    }

    /// Writes the docker-archive to `path` unless it is there already; gives the path back.
    pub fn save(&self, path: &Path) -> PathBuf {
        let temporary = path.with_extension(format!("part{}", std::process::id()));
        fs::write(&temporary, self.docker_archive())
            .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        fs::rename(&temporary, path).unwrap_or_else(|error| panic!("rename to {}: {error}", path.display()));
        path.to_owned()
    }
}

/// The SHA-256 of `bytes` in hexadecimal, by the system's own tool.
pub fn sha256(bytes: &[u8]) -> String {
    let done = command::finish(&mut Command::new("sha256sum"), bytes, command::DEADLINE).ok();
    done.split_whitespace().next().expect("sha256sum prints a digest").to_owned()
}

/// `bytes` through `gzip` or `zstd`.
pub fn compress(program: &str, bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (plain, packed) = (dir.path().join("plain"), dir.path().join("packed"));
    fs::write(&plain, bytes).expect("write the plain layer");
    let script = match program {
        "gzip" => "gzip -n -6 -c <\"$1\" >\"$2\"",
        "zstd" => "zstd -q -3 -c <\"$1\" >\"$2\"",
        other => panic!("no compressor {other}"),
    };
    command::run("sh", ["-c", script, "sh", &plain.display().to_string(), &packed.display().to_string()]).ok();
    fs::read(&packed).expect("read the compressed layer")
}

/// A tar archive in the making. Entries have owner 0:0 and time 0 unless set.
#[expect(missing_debug_implementations, reason = "the tar library's builder has none")]
pub struct Tar {
    builder: tar::Builder<Vec<u8>>,
}

impl Default for Tar {
    fn default() -> Self {
        Self::new()
    }
}

impl Tar {
    /// An empty archive.
    pub fn new() -> Self {
        Self { builder: tar::Builder::new(Vec::new()) }
    }

    /// Any entry at all: the name goes in as it is, `..` and leading slashes included.
    pub fn entry(&mut self, kind: tar::EntryType, name: &str, mode: u32, link: &str, content: &[u8]) -> &mut Self {
        self.owned(kind, name, mode, (0, 0), link, content)
    }

    /// Any entry, with its owner.
    pub fn owned(
        &mut self,
        kind: tar::EntryType,
        name: &str,
        mode: u32,
        owner: (u64, u64),
        link: &str,
        content: &[u8],
    ) -> &mut Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let raw = header.as_old_mut();
        assert!(name.len() <= 100 && link.len() <= 100, "names here are short");
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.builder.append(&header, content).expect("writing to memory does not fail");
        self
    }

    /// A file.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> &mut Self {
        if name.len() > 100 {
            let mut header = tar::Header::new_gnu();
            header.set_mode(mode);
            header.set_size(content.len() as u64);
            self.builder.append_data(&mut header, name, content).expect("writing to memory does not fail");
            return self;
        }
        self.entry(tar::EntryType::Regular, name, mode, "", content)
    }

    /// A directory.
    pub fn dir(&mut self, name: &str, mode: u32) -> &mut Self {
        self.entry(tar::EntryType::Directory, name, mode, "", b"")
    }

    /// A symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(tar::EntryType::Symlink, name, 0o777, target, b"")
    }

    /// A hard link.
    pub fn hard(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(tar::EntryType::Link, name, 0o644, target, b"")
    }

    /// The archive's bytes.
    pub fn finish(&mut self) -> Vec<u8> {
        let builder = std::mem::replace(&mut self.builder, tar::Builder::new(Vec::new()));
        builder.into_inner().expect("writing to memory does not fail")
    }
}

/// A directory tree as one layer, by the system's `tar`, owners and attributes as they are, sorted.
///
/// # Errors
/// When the tree cannot be read.
pub fn layer_of(tree: &Path) -> io::Result<Vec<u8>> {
    let mut file = tempfile::NamedTempFile::new()?;
    let done = command::finish(
        Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--numeric-owner", "--format=posix"])
            .args(["--pax-option=delete=atime,delete=ctime", "--xattrs", "--one-file-system", "-C"])
            .arg(tree)
            .arg("-cf")
            .arg(file.path())
            .arg("."),
        b"",
        std::time::Duration::from_secs(600),
    );
    if done.code != 0 {
        return Err(io::Error::other(done.stderr));
    }
    file.flush()?;
    fs::read(file.path())
}
