//! A list described by a YAML file, in manifest-tool's form: an image, further tags, and the manifests with their
//! platforms. What a platform does not say is taken from the image itself.

use crate::{
    failure::{Failure, Result},
    limits::{LIST_BYTES_MAX, YAML_DEPTH_MAX},
};
use rorqual_oci::image::{INDEX_ENTRIES_MAX, PlatformEntry};
use rorqual_types::Reference;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use std::{fs::File, io::Read};

/// What a file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Specification {
    image: Reference,
    tags: Vec<String>,
    pub(super) manifests: Vec<Member>,
}

/// One manifest of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) image: Reference,
    pub(super) platform: Platform,
}

/// What the file says of a platform.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Platform {
    said: PlatformEntry,
    pub(super) features: Vec<String>,
}

impl Platform {
    /// Changes what the image says of itself.
    pub(super) fn apply(&self, own: &mut PlatformEntry) {
        for (said, own) in [
            (&self.said.architecture, &mut own.architecture),
            (&self.said.os, &mut own.os),
            (&self.said.os_version, &mut own.os_version),
            (&self.said.variant, &mut own.variant),
        ] {
            if !said.is_empty() {
                own.clone_from(said);
            }
        }
        if !self.said.os_features.is_empty() {
            own.os_features.clone_from(&self.said.os_features);
        }
    }
}

impl Specification {
    pub(super) fn read(path: &str) -> Result<Self> {
        let failed = |why: String| Failure::message(format!("read {path}: {why}"));
        let mut text = String::new();
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        file.take(LIST_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > LIST_BYTES_MAX {
            return Err(failed(format!("it is larger than {LIST_BYTES_MAX} bytes")));
        }
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if depth(text) > YAML_DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let documents = MarkedYaml::load_from_str(text).map_err(|error| error.to_string())?;
        let [root] = documents.as_slice() else { return Err("it is not one document".to_owned()) };
        let (mut image, mut tags, mut manifests) = (None, Vec::new(), Vec::new());
        for (key, value) in fields(root)? {
            match key {
                "image" => image = Some(reference(value)?),
                "tags" => tags = texts(value)?,
                "manifests" => manifests = items(value)?.iter().map(member).collect::<Result<_, String>>()?,
                other => return Err(at(value, format!("{other:?} is unknown: image, tags or manifests is meant"))),
            }
        }
        if manifests.is_empty() || manifests.len() > INDEX_ENTRIES_MAX {
            return Err(at(root, format!("\"manifests\" must list between 1 and {INDEX_ENTRIES_MAX} images")));
        }
        let image = image.ok_or_else(|| at(root, "\"image\" is missing: the name of the list".to_owned()))?;
        Ok(Self { image, tags, manifests })
    }

    /// The names of the list: the image's own, and its repository with each tag.
    pub(super) fn targets(&self) -> Result<Vec<Reference>> {
        let mut targets = vec![self.image.clone()];
        for tag in &self.tags {
            let target = self.image.with_tag(tag)?;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }
}

/// An upper bound of how deeply the text nests, before anything recursive reads it: each level of flow style is a
/// bracket, and each of block style is indented further or begins with a dash.
fn depth(text: &str) -> usize {
    let flow = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    let block = |line: &str| line.bytes().take_while(|byte| matches!(byte, b' ' | b'-' | b'?')).count();
    flow + text.lines().map(block).max().unwrap_or(0)
}

fn member(node: &MarkedYaml<'_>) -> Result<Member, String> {
    let (mut image, mut platform) = (None, Platform::default());
    for (key, value) in fields(node)? {
        match key {
            "image" => image = Some(reference(value)?),
            "platform" => platform = self::platform(value)?,
            other => return Err(at(value, format!("{other:?} is unknown: image or platform is meant"))),
        }
    }
    let image = image.ok_or_else(|| at(node, "\"image\" is missing".to_owned()))?;
    Ok(Member { image, platform })
}

fn platform(node: &MarkedYaml<'_>) -> Result<Platform, String> {
    let mut platform = Platform::default();
    for (key, value) in fields(node)? {
        match key {
            "architecture" => platform.said.architecture = text(value)?,
            "os" => platform.said.os = text(value)?,
            "variant" => platform.said.variant = text(value)?,
            "os.version" | "osversion" => platform.said.os_version = text(value)?,
            "os.features" | "osfeatures" => platform.said.os_features = texts(value)?,
            "features" => platform.features = texts(value)?,
            other => {
                let known = "architecture, os, variant, os.version, os.features or features";
                return Err(at(value, format!("{other:?} is unknown: {known} is meant")));
            }
        }
    }
    Ok(platform)
}

fn at(node: &MarkedYaml<'_>, why: String) -> String {
    format!("line {}: {why}", node.span.start.line())
}

fn fields<'a>(node: &'a MarkedYaml<'_>) -> Result<Vec<(&'a str, &'a MarkedYaml<'a>)>, String> {
    let YamlData::Mapping(map) = &node.data else { return Err(at(node, "names and values are expected".to_owned())) };
    let pairs = map.iter().map(|(key, value)| match &key.data {
        YamlData::Value(Scalar::String(name)) => Ok((name.as_ref(), value)),
        _ => Err(at(key, "a name is expected".to_owned())),
    });
    pairs.collect()
}

fn items<'a>(node: &'a MarkedYaml<'_>) -> Result<&'a [MarkedYaml<'a>], String> {
    match &node.data {
        YamlData::Sequence(items) => Ok(items),
        _ => Err(at(node, "a list is expected".to_owned())),
    }
}

fn text(node: &MarkedYaml<'_>) -> Result<String, String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Ok(text.clone().into_owned()),
        _ => Err(at(node, "a text is expected: write it in quotes".to_owned())),
    }
}

fn texts(node: &MarkedYaml<'_>) -> Result<Vec<String>, String> {
    items(node)?.iter().map(text).collect()
}

fn reference(node: &MarkedYaml<'_>) -> Result<Reference, String> {
    let name = text(node)?.parse::<Reference>().map_err(|error| at(node, error.to_string()))?;
    Ok(name.or_latest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_manifest_tool_is_read() {
        let read = Specification::parse(
            "image: r.io/team/app:1\ntags: ['1.2', latest]\nmanifests:\n  -\n    image: r.io/team/app:1-amd64\n    \
             platform:\n      architecture: amd64\n      os: linux\n  - image: r.io/team/app:1-win\n    platform: {os: \
             windows, architecture: amd64, os.version: '10.0', os.features: [win32k], features: [sse4], variant: v2}\n  \
             - image: r.io/team/plain\n",
        )
        .unwrap();
        let names: Vec<String> = read.targets().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["r.io/team/app:1", "r.io/team/app:1.2", "r.io/team/app:latest"]);
        assert_eq!(read.manifests[2].image.to_string(), "r.io/team/plain:latest");
        let mut own = PlatformEntry { architecture: "arm64".into(), os: "linux".into(), ..Default::default() };
        read.manifests[2].platform.apply(&mut own);
        assert_eq!((own.architecture.as_str(), own.os.as_str()), ("arm64", "linux"));
        read.manifests[1].platform.apply(&mut own);
        let wanted = PlatformEntry {
            architecture: "amd64".into(),
            os: "windows".into(),
            os_version: "10.0".into(),
            os_features: vec!["win32k".into()],
            variant: "v2".into(),
        };
        assert_eq!((own, read.manifests[1].platform.features.as_slice()), (wanted, &["sse4".to_owned()][..]));
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_line() {
        for (text, wanted) in [
            ("", "it is not one document"),
            ("image: x\n---\nimage: y\n", "it is not one document"),
            ("- x\n", "line 1: names and values are expected"),
            ("image: x\n", "line 1: \"manifests\" must list between 1 and 1024 images"),
            ("manifests:\n- image: x\n", "line 1: \"image\" is missing: the name of the list"),
            ("image: x\nimage: y\n", "duplicate"),
            ("image: x\nmanifests:\n- image: X\n", "must be lowercase"),
            ("image: x\nmanifests:\n- {}\n", "line 3: \"image\" is missing"),
            ("image: x\ntag: 1\n", "line 2: \"tag\" is unknown: image, tags or manifests is meant"),
            ("image: x\ntags: [1]\n", "line 2: a text is expected: write it in quotes"),
            ("image: x\nmanifests: 1\n", "line 2: a list is expected"),
            (
                "image: x\nmanifests:\n- image: x\n  platform:\n    arch: x\n",
                "line 5: \"arch\" is unknown: architecture, os, variant, os.version, os.features or features is meant",
            ),
            ("image: [x\n", "line"),
        ] {
            let error = Specification::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
        assert_eq!(Specification::parse(&"[".repeat(100_000)).unwrap_err(), "it is nested too deeply");
        assert_eq!(Specification::parse(&"- ".repeat(100_000)).unwrap_err(), "it is nested too deeply");
    }
}
