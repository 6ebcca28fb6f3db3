//! `WWW-Authenticate`: one line of input is one line of the header.

use hyper::{
    HeaderMap,
    header::{HeaderValue, WWW_AUTHENTICATE},
};
use rorqual_distribution::{
    challenge::{Challenge, challenges},
    limits::{CHALLENGE_BYTES_MAX, CHALLENGES_MAX},
};

pub(crate) fn run(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let Some(found) = read(&lines) else { return };
    assert!(found.len() <= CHALLENGES_MAX, "{} challenges", found.len());
    let mut bytes = 0;
    for challenge in &found {
        assert!(is_token(&challenge.scheme), "{:?}", challenge.scheme);
        bytes += challenge.scheme.len();
        for (name, value) in &challenge.parameters {
            assert!(is_token(name), "{name:?}");
            bytes += name.len() + value.len();
            let once = challenge.parameters.iter().filter(|(other, _)| other == name).count() == 1;
            assert_eq!(challenge.get(name), once.then_some(value.as_str()));
        }
    }
    assert!(bytes <= input.len(), "more came out than went in");
    let written = found.iter().map(write).collect::<Vec<_>>().join(", ");
    if written.len() <= CHALLENGE_BYTES_MAX {
        assert_eq!(read(&[written.as_bytes()]).as_ref(), Some(&found), "{written:?}");
    }
}

/// `None` where HTTP has no such header, or it is too large.
fn read(lines: &[&[u8]]) -> Option<Vec<Challenge>> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line).ok()?);
    }
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let found = challenges(&headers).ok();
    assert_eq!(found.is_some(), bytes <= CHALLENGE_BYTES_MAX, "{bytes} bytes");
    found
}

/// As servers write it.
fn write(challenge: &Challenge) -> String {
    let quoted = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"");
    let parameters = challenge.parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value)));
    format!("{} {}", challenge.scheme, parameters.collect::<Vec<_>>().join(", "))
}

/// A token in lower case.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte))
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}
