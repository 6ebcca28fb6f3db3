//! Names of images, digests and platforms: what is accepted is safe to build paths and URLs of, and has one meaning.

use rorqual_distribution::TagOrDigest;
use rorqual_types::{Digest, Platform, Reference};

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        check(&reference);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text, "a digest has one spelling");
        assert_eq!(Digest::from_hex(&digest.hex()).ok(), Some(digest));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().ok(), Some(platform));
    }
    let tagged = "example.org/x".parse::<Reference>().and_then(|reference| reference.with_tag(text));
    assert_eq!(tagged.is_ok(), is_tag(text), "{text:?}");
    assert_eq!(TagOrDigest::tag(text).is_ok(), is_tag(text), "{text:?}");
}

fn check(reference: &Reference) {
    for text in [reference.to_string(), reference.familiar()] {
        assert_eq!(text.parse::<Reference>().as_ref().ok(), Some(reference), "{text:?} is read as something else");
    }
    let name = reference.name();
    assert!(name.len() <= 255, "{name:?}");
    let (domain, path) = name.split_once('/').expect("a name has a domain");
    assert_eq!(domain, reference.domain());
    assert!(!domain.is_empty() && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)));
    for component in path.split('/') {
        let alphanumeric = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
        let bytes = component.as_bytes();
        assert!(alphanumeric(bytes.first()) && alphanumeric(bytes.last()), "{component:?}");
        assert!(bytes.iter().all(|byte| alphanumeric(Some(byte)) || b"._-".contains(byte)), "{component:?}");
        assert!(!component.contains(".."), "{component:?}");
    }
    assert!(reference.tag().is_none_or(is_tag), "{:?}", reference.tag());
    let latest = reference.clone().or_latest();
    assert!(latest.tag().is_some() || latest.digest().is_some());
    assert_eq!(latest.clone().or_latest(), latest);
    let target = TagOrDigest::from(reference).to_string();
    match reference.digest() {
        Some(digest) => assert_eq!(target, digest.to_string()),
        None => assert_eq!(Some(target.as_str()), latest.tag()),
    }
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "_.-".contains(character))
}
