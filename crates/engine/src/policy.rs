//! The pull policy: which images may come from a registry, decided on the digests that were verified.
//!
//! A file names repositories and what is asked of each; the most specific entry counts. It is read whole or not at all:
//! an unknown word, a name that could mean two things or an entry that stands twice refuses the file. Images that are
//! loaded or imported come from nobody but the caller and are not asked about.

use crate::limits::{POLICY_BYTES_MAX, POLICY_ENTRIES_MAX};
use rorqual_error::{Context, Error, Result};
use rorqual_oci::image::Descriptor;
use rorqual_types::{Digest, Reference};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What may be pulled. A clone is the same policy; the default one allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullPolicy(Option<Arc<FromFile>>);

/// A policy and where it came from.
#[derive(Debug, PartialEq, Eq)]
struct FromFile {
    path: PathBuf,
    document: Document,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// For repositories without an entry.
    default: Ask,
    #[serde(default)]
    repositories: Repositories,
}

/// What is asked of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// Nothing.
    Any,
    /// That there is none.
    None,
    /// That its name has a digest.
    ByDigest,
    /// That its digest, or the chosen manifest's, is one of these.
    Listed(BTreeSet<Digest>),
}

/// By the names of repositories, or of what several have in front.
#[derive(Debug, Default, PartialEq, Eq)]
struct Repositories(BTreeMap<String, Ask>);

impl PullPolicy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// `InvalidArgument` with the file, the line and what to write there.
    pub fn read(path: &Path) -> Result<Self> {
        let named = || format!("read the pull policy {}", path.display());
        let mut text = String::new();
        let file = File::open(path).with_context(named)?;
        file.take(POLICY_BYTES_MAX + 1).read_to_string(&mut text).with_context(named)?;
        if text.len() as u64 > POLICY_BYTES_MAX {
            return Err(Error::invalid(format!("{}: it is larger than {POLICY_BYTES_MAX} bytes", named())));
        }
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let document = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("the pull policy {} cannot be used: {error}", path.display())))?;
        Ok(Self(Some(Arc::new(FromFile { path: path.to_owned(), document }))))
    }

    /// The file it came from.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref().map(|read| read.path.as_path())
    }

    /// Whether the image may be pulled: `target` is what its name led to, `chosen` the manifest for the platform.
    ///
    /// # Errors
    /// `Forbidden`, with the file, the entry and what it asks.
    pub fn check(&self, reference: &Reference, target: &Descriptor, chosen: &Descriptor) -> Result<()> {
        let Some(FromFile { path, document }) = self.0.as_deref() else { return Ok(()) };
        let (entry, ask) = document.ask(reference.name());
        let why = match ask {
            Ask::Any => return Ok(()),
            Ask::ByDigest if reference.digest().is_some() => return Ok(()),
            Ask::Listed(digests) if digests.contains(&target.digest) || digests.contains(&chosen.digest) => {
                return Ok(());
            }
            Ask::None => "allows none of its images".to_owned(),
            Ask::ByDigest => {
                format!("asks for a digest: pull {}@{}", reference.familiar_name(), target.digest)
            }
            Ask::Listed(_) => format!("does not list {}", target.digest),
        };
        let entry = entry.map_or_else(|| "\"default\"".to_owned(), |name| format!("the entry \"{name}\""));
        let shown = reference.familiar();
        Err(Error::forbidden(format!("pull of {shown} refused by {}: {entry} {why}", path.display())))
    }
}

impl Document {
    /// The longest entry that the repository is, or is below.
    fn ask(&self, repository: &str) -> (Option<&str>, &Ask) {
        let mut name = repository;
        loop {
            if let Some((name, ask)) = self.repositories.0.get_key_value(name) {
                return (Some(name), ask);
            }
            match name.rsplit_once('/') {
                Some((above, _)) => name = above,
                None => return (None, &self.default),
            }
        }
    }
}

/// That a name is of a registry, of a repository or of what several have in front, as [`Reference::name`] has them.
fn check_name(name: &str) -> Result<(), String> {
    let domain = name.split('/').next().unwrap_or_default();
    if domain != "localhost" && !domain.contains(['.', ':']) {
        return Err(format!(
            "{name:?} has no registry: write it whole, as \"docker.io/library/busybox\" or \"registry.example.org/team\""
        ));
    }
    // A registry alone is no reference; with some repository it is one.
    let probe = if name.contains('/') { name.to_owned() } else { format!("{name}/x") };
    let reference: Reference = probe.parse().map_err(|error| format!("{name:?} names no repository: {error}"))?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(format!("{name:?} has a tag or a digest: an entry is for a whole repository"));
    }
    // docker.io/library is what several have in front, and docker.io alone is short for nothing.
    if reference.name() != probe && !matches!(name, "docker.io" | "docker.io/library") {
        return Err(format!("{name:?} is known as {:?}: write that", reference.name()));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Repositories {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Repositories;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of repositories and what is asked of each")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Repositories, A::Error> {
                let mut found = BTreeMap::new();
                while let Some(name) = entries.next_key::<String>()? {
                    check_name(&name).map_err(de::Error::custom)?;
                    if found.len() == POLICY_ENTRIES_MAX {
                        return Err(de::Error::custom(format!("more than {POLICY_ENTRIES_MAX} repositories")));
                    }
                    if found.contains_key(&name) {
                        return Err(de::Error::custom(format!("{name:?} stands twice: keep one entry")));
                    }
                    let ask = entries.next_value()?;
                    found.insert(name, ask);
                }
                Ok(Repositories(found))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Ask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;

        impl<'de> Visitor<'de> for Word {
            type Value = Ask;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"any\", \"none\", \"by-digest\" or a list of digests")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Ask, E> {
                match word {
                    "any" => Ok(Ask::Any),
                    "none" => Ok(Ask::None),
                    "by-digest" => Ok(Ask::ByDigest),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Ask, A::Error> {
                let mut digests = BTreeSet::new();
                while let Some(text) = items.next_element::<String>()? {
                    let digest = text.parse().map_err(|_| {
                        de::Error::custom(format!("{text:?} is no digest: write sha256: and 64 hexadecimal digits"))
                    })?;
                    digests.insert(digest);
                }
                Ok(Ask::Listed(digests))
            }
        }

        deserializer.deserialize_any(Word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(hex: char) -> Digest {
        format!("sha256:{}", hex.to_string().repeat(64)).parse().unwrap()
    }

    /// Whether the policy lets the image in, whose index is `a` and whose manifest is `b`.
    fn check(text: &str, name: &str) -> Result<(), String> {
        let policy = PullPolicy::parse(Path::new("/etc/policy.json"), text).unwrap();
        let of = |hex| Descriptor::new("x", digest(hex), 1);
        policy.check(&name.parse().unwrap(), &of('a'), &of('b')).map_err(|error| error.to_string())
    }

    #[test]
    fn the_most_specific_entry_counts() {
        let text = r#"{"default":"none","repositories":{"docker.io":"by-digest","docker.io/library":"any",
            "docker.io/library/secret":"none","r.io:5000/team":"any"}}"#;
        for (name, allowed) in [
            ("busybox:1", true),
            ("secret", false),
            ("user/app:1", false),
            ("r.io:5000/team", true),
            ("r.io:5000/team/app/web:2", true),
            ("r.io:5000/teams:1", false),
            ("r.io:5001/team:1", false),
            ("ghcr.io/x/y:1", false),
        ] {
            assert_eq!(check(text, name).is_ok(), allowed, "{name}");
        }
        assert_eq!(check(text, &format!("user/app@{}", digest('a'))), Ok(()));
        assert_eq!(
            PullPolicy::default()
                .check(
                    &"x".parse().unwrap(),
                    &Descriptor::new("x", digest('a'), 1),
                    &Descriptor::new("x", digest('a'), 1)
                )
                .map_err(|error| error.to_string()),
            Ok(())
        );
    }

    #[test]
    fn a_list_holds_the_digest_of_the_index_or_of_the_manifest() {
        for (listed, allowed) in [('a', true), ('b', true), ('c', false)] {
            let text = format!(r#"{{"default":"any","repositories":{{"r.io/x":["{}"]}}}}"#, digest(listed));
            assert_eq!(check(&text, "r.io/x:1").is_ok(), allowed, "{listed}");
        }
        assert!(check(r#"{"default":[]}"#, "x").is_err());
    }

    #[test]
    fn a_refusal_names_the_file_the_entry_and_what_it_asks() {
        let text = r#"{"default":"none","repositories":{"r.io/a":"by-digest","r.io/b":[]}}"#;
        let a = digest('a');
        for (name, wanted) in [
            ("r.io/a:1", format!("the entry \"r.io/a\" asks for a digest: pull r.io/a@{a}")),
            ("r.io/b:1", format!("the entry \"r.io/b\" does not list {a}")),
            ("busybox:1", "\"default\" allows none of its images".to_owned()),
        ] {
            let error = check(text, name).unwrap_err();
            assert_eq!(error, format!("pull of {name} refused by /etc/policy.json: {wanted}"));
        }
    }

    #[test]
    fn a_broken_file_is_refused_with_its_line_and_a_remedy() {
        for (text, wanted) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{}", "missing field `default` at line 1 column 2"),
            (
                "{\"default\":\"any\",\n\"rules\":1}",
                "unknown field `rules`, expected `default` or `repositories` at line 2",
            ),
            ("{\"default\":\n\"all\"}", "expected \"any\", \"none\", \"by-digest\" or a list of digests at line 2"),
            (
                "{\"default\":[\"sha256:1\"]}",
                "\"sha256:1\" is no digest: write sha256: and 64 hexadecimal digits at line 1",
            ),
            (
                "{\"default\":\"any\",\"repositories\":{\n\"r.io/a\":\"any\",\n\"r.io/a\":\"none\"}}",
                "\"r.io/a\" stands twice: keep one entry at line 3",
            ),
            (
                "{\"default\":\"any\",\"repositories\":{\n\"busybox\":\"any\"}}",
                "\"busybox\" has no registry: write it whole, as \"docker.io/library/busybox\" or \
                 \"registry.example.org/team\" at line 2",
            ),
            (
                "{\"default\":\"any\",\"repositories\":{\"docker.io/busybox\":\"any\"}}",
                "\"docker.io/busybox\" is known as \"docker.io/library/busybox\": write that at line 1",
            ),
            (
                "{\"default\":\"any\",\"repositories\":{\"r.io/x:1\":\"any\"}}",
                "\"r.io/x:1\" has a tag or a digest: an entry is for a whole repository at line 1",
            ),
            (
                "{\"default\":\"any\",\"repositories\":{\"r.io/x/\":\"any\"}}",
                "\"r.io/x/\" names no repository: invalid reference format at line 1",
            ),
        ] {
            let error = PullPolicy::parse(Path::new("/p.json"), text).unwrap_err().to_string();
            let rest = error.strip_prefix("the pull policy /p.json cannot be used: ").unwrap_or(&error);
            assert!(rest.contains(wanted), "{text}: {rest}");
        }
        let error = PullPolicy::read(Path::new("/nowhere/p.json")).unwrap_err().to_string();
        assert!(error.starts_with("read the pull policy /nowhere/p.json: "), "{error}");
    }

    #[test]
    fn a_file_as_long_as_allowed_is_read_and_a_longer_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{"default":"any"}"#;
        let most = usize::try_from(POLICY_BYTES_MAX).unwrap();
        for (length, read) in [(most - 1, true), (most, true), (most + 1, false)] {
            std::fs::write(file.path(), format!("{text}{}", " ".repeat(length - text.len()))).unwrap();
            assert_eq!(PullPolicy::read(file.path()).is_ok(), read, "{length}");
        }
    }
}
