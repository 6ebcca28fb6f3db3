//! Image archives made for tests.

use rorqual_content::digest;
use rorqual_types::Digest;

/// A tar of plain files, with directories made by nobody.
pub(crate) fn tar_of<N: AsRef<str>, B: AsRef<[u8]>>(files: &[(N, B)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.as_ref().len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        archive.append_data(&mut header, name.as_ref(), bytes.as_ref()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A layer with one file.
pub(crate) fn layer(name: &str, text: &str) -> Vec<u8> {
    tar_of(&[(name, text)])
}

/// A configuration for these layers; `config` is the text of its `config` member.
pub(crate) fn config(layers: &[Vec<u8>], architecture: &str, config: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("{:?}", digest(layer).to_string())).collect();
    let history: Vec<String> = (0..layers.len())
        .map(|n| format!(r#"{{"created":"2025-01-0{}T00:00:00Z","created_by":"step {n}"}}"#, n + 1))
        .collect();
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","created":"2025-01-01T00:00:00Z","config":{config},"rootfs":{{"type":"layers","diff_ids":[{}]}},"history":[{}]}}"#,
        diff_ids.join(","),
        history.join(",")
    )
    .into_bytes()
}

/// A docker-archive with one image.
pub(crate) fn docker_archive(tags: &[&str], layers: &[Vec<u8>], image_config: &str) -> Vec<u8> {
    let config = config(layers, "amd64", image_config);
    let mut files = vec![("config.json".to_owned(), config)];
    let mut names = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        names.push(format!("{n}/layer.tar"));
        files.push((format!("{n}/layer.tar"), layer.clone()));
    }
    files.push(("manifest.json".into(), manifest_json("config.json", tags, &names).into_bytes()));
    tar_of(&files)
}

pub(crate) fn manifest_json(config: &str, tags: &[&str], layers: &[String]) -> String {
    format!(r#"[{{"Config":{config:?},"RepoTags":{tags:?},"Layers":{layers:?}}}]"#)
}

/// An OCI layout in the making.
#[derive(Default)]
pub(crate) struct Layout {
    files: Vec<(String, Vec<u8>)>,
    index: Vec<String>,
}

impl Layout {
    pub(crate) fn blob(&mut self, bytes: &[u8]) -> Digest {
        let digest = digest(bytes);
        let path = format!("blobs/sha256/{}", digest.hex());
        if self.files.iter().all(|(other, _)| *other != path) {
            self.files.push((path, bytes.to_vec()));
        }
        digest
    }

    pub(crate) fn descriptor(media_type: &str, bytes: &[u8], more: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}{more}}}"#, digest(bytes), bytes.len())
    }

    /// Adds an image for a platform; `compress` makes the blob of a layer. Returns the manifest.
    pub(crate) fn image(
        &mut self,
        layers: &[Vec<u8>],
        architecture: &str,
        media_type: &str,
        compress: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Vec<u8> {
        let config = config(layers, architecture, "{}");
        self.blob(&config);
        let descriptors: Vec<String> = layers
            .iter()
            .map(|layer| {
                let blob = compress(layer);
                self.blob(&blob);
                Self::descriptor(media_type, &blob, "")
            })
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
            crate::oci::media::MANIFEST,
            Self::descriptor(crate::oci::media::CONFIG, &config, ""),
            descriptors.join(",")
        )
        .into_bytes();
        self.blob(&manifest);
        manifest
    }

    /// Names a document in the layout's index.
    pub(crate) fn name(&mut self, media_type: &str, bytes: &[u8], name: &str) {
        let more = match name {
            "" => String::new(),
            name => format!(r#","annotations":{{"io.containerd.image.name":"{name}"}}"#),
        };
        self.index.push(Self::descriptor(media_type, bytes, &more));
    }

    pub(crate) fn archive(&self) -> Vec<u8> {
        let mut files = self.files.clone();
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, self.index.join(","));
        files.push(("index.json".into(), index.into_bytes()));
        files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        tar_of(&files)
    }
}
