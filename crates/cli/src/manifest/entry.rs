//! One manifest of a list, and the list as registries take it.

use crate::failure::{Failure, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rorqual_oci::image::{Descriptor, Document, PlatformEntry, media};
use rorqual_types::{Digest, Reference};
use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};

/// Operating systems, each with the processors that a list may name with it (docker's list, and Windows on arm64).
const PLATFORMS: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    ("linux", &["386", "amd64", "arm", "arm64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"]),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64", "arm64"]),
];

/// Whether there are images for it.
pub(super) fn is_platform(os: &str, architecture: &str) -> bool {
    PLATFORMS.iter().any(|(name, processors)| *name == os && processors.contains(&architecture))
}

/// A manifest as it is in its registry, and the platform that the list will say it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Entry {
    /// Its full name.
    #[serde(rename = "Ref")]
    pub(super) name: String,
    /// With the platform.
    pub(super) descriptor: Descriptor,
    /// Its bytes, base64.
    pub(super) raw: String,
    /// Features of the processor, which only docker's lists have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) features: Vec<String>,
}

#[derive(Serialize)]
struct List<'a> {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    manifests: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(rename = "mediaType")]
    media_type: &'a str,
    size: u64,
    digest: Digest,
    platform: Platform<'a>,
}

#[derive(Default, Serialize)]
struct Platform<'a> {
    #[serde(flatten)]
    known: PlatformEntry,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    features: &'a [String],
}

/// The document of a list, byte for byte as docker's clients write it.
pub(super) struct Written {
    pub(super) media_type: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Entry {
    pub(super) fn new(reference: &Reference, descriptor: Descriptor, bytes: &[u8]) -> Self {
        Self { name: reference.to_string(), descriptor, raw: BASE64_STANDARD.encode(bytes), features: Vec::new() }
    }

    pub(super) fn reference(&self) -> Result<Reference> {
        Ok(self.name.parse()?)
    }

    /// The manifest's bytes.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        BASE64_STANDARD
            .decode(&self.raw)
            .map_err(|_| Failure::message(format!("{} is damaged: remove its list", self.name)))
    }

    /// The blobs that it refers to.
    pub(super) fn blobs(&self) -> Result<Vec<Digest>> {
        match Document::parse(&self.descriptor.media_type, &self.bytes()?)? {
            Document::Manifest(manifest) => Ok([manifest.config.digest]
                .into_iter()
                .chain(manifest.layers.iter().map(|layer| layer.digest))
                .collect()),
            Document::Index(_) => Ok(Vec::new()),
        }
    }

    /// The platform, to be changed.
    pub(super) fn platform(&mut self) -> &mut PlatformEntry {
        self.descriptor.platform.get_or_insert_default()
    }
}

/// The list of these manifests for `target`, whose registry must be theirs.
pub(super) fn write_list(target: &Reference, entries: &[Entry]) -> Result<Written> {
    let oci = entries.first().is_some_and(|first| first.descriptor.media_type == media::MANIFEST);
    let media_type = if oci { media::INDEX } else { media::DOCKER_INDEX };
    let mut manifests = Vec::new();
    for entry in entries {
        let (from, to) = (entry.reference()?, target.domain());
        if from.domain() != to {
            return Err(Failure::message(format!(
                "cannot use source images from a different registry than the target image: {} != {to}",
                from.domain()
            )));
        }
        let known = entry.descriptor.platform.clone().unwrap_or_default();
        manifests.push(Listed {
            media_type: &entry.descriptor.media_type,
            size: entry.descriptor.size,
            digest: entry.descriptor.digest,
            platform: Platform { known, features: &entry.features },
        });
    }
    let mut bytes = Vec::new();
    let mut writer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"   "));
    List { schema_version: 2, media_type, manifests }
        .serialize(&mut writer)
        .map_err(|error| Failure::message(error.to_string()))?;
    Ok(Written { media_type, bytes })
}

/// That every manifest has a platform.
pub(super) fn check_platforms(entries: &[Entry]) -> Result<()> {
    let lacks = |entry: &&Entry| {
        entry.descriptor.platform.as_ref().is_none_or(|own| own.os.is_empty() || own.architecture.is_empty())
    };
    match entries.iter().find(lacks) {
        Some(entry) => Err(Failure::message(format!(
            "manifest {} must have an OS and Architecture to be pushed to a registry",
            entry.name
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_as_dockers_clients_write_it() {
        let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let mut entry = Entry::new(
            &"r.io/x:1".parse().unwrap(),
            Descriptor::new(media::DOCKER_MANIFEST, digest, 7),
            br#"{"schemaVersion":2,"config":{"digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size":1}}"#,
        );
        *entry.platform() = PlatformEntry {
            architecture: "arm".into(),
            os: "linux".into(),
            variant: "v7".into(),
            ..Default::default()
        };
        let written = write_list(&"r.io/list:1".parse().unwrap(), &[entry.clone()]).unwrap();
        assert_eq!(written.media_type, media::DOCKER_INDEX);
        let wanted = format!(
            "{{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"{}\",\n   \"manifests\": [\n      {{\n         \"mediaType\": \"{}\",\n         \"size\": 7,\n         \"digest\": \"{digest}\",\n         \"platform\": {{\n            \"architecture\": \"arm\",\n            \"os\": \"linux\",\n            \"variant\": \"v7\"\n         }}\n      }}\n   ]\n}}",
            media::DOCKER_INDEX,
            media::DOCKER_MANIFEST
        );
        assert_eq!(String::from_utf8(written.bytes).unwrap(), wanted);
        assert_eq!(entry.blobs().unwrap().len(), 1);
        let error = write_list(&"other.io/list:1".parse().unwrap(), &[entry.clone()]).err().unwrap();
        assert!(error.text().ends_with("than the target image: r.io != other.io"), "{}", error.text());
        check_platforms(&[entry.clone()]).unwrap();
        entry.platform().os.clear();
        assert!(check_platforms(&[entry]).is_err());
    }

    #[test]
    fn platforms_are_those_docker_knows() {
        assert!(is_platform("linux", "riscv64") && is_platform("windows", "amd64"));
        assert!(!is_platform("linux", "sparc") && !is_platform("", ""));
    }
}
