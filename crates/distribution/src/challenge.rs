//! `WWW-Authenticate`: the grammar of RFC 9110, as far as Basic and Bearer use it.

use crate::limits::{CHALLENGE_BYTES_MAX, CHALLENGES_MAX};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use rorqual_error::{Error, Result};

/// One challenge of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme, in lower case.
    pub scheme: String,
    /// Its parameters, names in lower case, in their order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The parameter, where it is given once.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

/// The challenges of an answer, in order.
///
/// # Errors
/// `InvalidArgument` where they are larger than 16 KiB. What does not follow the grammar is left out.
pub fn challenges(headers: &HeaderMap) -> Result<Vec<Challenge>> {
    let lines = || headers.get_all(WWW_AUTHENTICATE).iter();
    if lines().map(|line| line.len()).sum::<usize>() > CHALLENGE_BYTES_MAX {
        return Err(Error::invalid("the registry's authentication challenge is larger than 16 KiB"));
    }
    let mut found = Vec::new();
    for line in lines().filter_map(|line| line.to_str().ok()) {
        Scanner { rest: line }.list(&mut found);
    }
    Ok(found)
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// Reads challenges until the line ends or stops following the grammar.
    fn list(mut self, found: &mut Vec<Challenge>) {
        loop {
            self.separators();
            let Some(scheme) = self.token() else { return };
            if found.len() >= CHALLENGES_MAX {
                return;
            }
            let mut challenge = Challenge { scheme: scheme.to_ascii_lowercase(), parameters: Vec::new() };
            let complete = self.parameters(&mut challenge);
            if complete {
                found.push(challenge);
            } else {
                return;
            }
        }
    }

    /// Reads `name=value` pairs; stops before the scheme of the next challenge. False on a malformed pair.
    fn parameters(&mut self, challenge: &mut Challenge) -> bool {
        loop {
            self.separators();
            let before = self.rest;
            let Some(name) = self.token() else { return self.rest.is_empty() };
            let after_name = self.rest;
            self.blanks();
            let Some(rest) = self.rest.strip_prefix('=') else {
                // No parameter: the next challenge begins here, or a token68 that neither scheme has.
                self.rest = if before.len() == after_name.len() { after_name } else { before };
                return true;
            };
            self.rest = rest;
            self.blanks();
            let value = match self.rest.strip_prefix('"') {
                Some(rest) => {
                    self.rest = rest;
                    self.quoted()
                }
                None => self.token().map(str::to_owned),
            };
            let Some(value) = value else { return false };
            challenge.parameters.push((name.to_ascii_lowercase(), value));
            self.blanks();
            if !self.rest.is_empty() && !self.rest.starts_with(',') {
                return false;
            }
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The rest of a quoted string; `None` where it does not end.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, line.parse().unwrap());
        challenges(&headers).unwrap()
    }

    fn text(challenges: &[Challenge]) -> String {
        let one = |challenge: &Challenge| {
            let parameters: Vec<String> = challenge.parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{}[{}]", challenge.scheme, parameters.join(";"))
        };
        challenges.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        for (line, expected) in [
            (r#"Basic realm="Registry""#, "basic[realm=Registry]"),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "bearer[realm=https://auth.docker.io/token;service=registry.docker.io;scope=repository:a/b:pull,push]",
            ),
            (r#"BEARER Realm = "x" , service=y"#, "bearer[realm=x;service=y]"),
            (
                r#"Basic realm="a", Bearer realm="b",error="insufficient_scope""#,
                "basic[realm=a] bearer[realm=b;error=insufficient_scope]",
            ),
            (r#"Negotiate, Basic realm="a""#, "negotiate[] basic[realm=a]"),
            (r#"Bearer realm="a\"b\\c""#, r#"bearer[realm=a"b\c]"#),
            (r#"Bearer realm="open"#, ""),
            (r#"Bearer realm="a" junk"#, ""),
            ("", ""),
            (",,,", ""),
            ("Bearer", "bearer[]"),
        ] {
            assert_eq!(text(&parse(line)), expected, "{line}");
        }
    }

    #[test]
    fn a_parameter_given_twice_does_not_count() {
        let found = parse(r#"Bearer realm="https://a",realm="https://b",service="s""#);
        assert_eq!((found[0].get("realm"), found[0].get("service")), (None, Some("s")));
    }

    #[test]
    fn the_size_is_limited() {
        let header = |size: usize| {
            let mut headers = HeaderMap::new();
            headers.append(WWW_AUTHENTICATE, "x".repeat(size / 2).parse().unwrap());
            headers.append(WWW_AUTHENTICATE, "x".repeat(size - size / 2).parse().unwrap());
            headers
        };
        assert!(challenges(&header(CHALLENGE_BYTES_MAX - 1)).is_ok());
        assert!(challenges(&header(CHALLENGE_BYTES_MAX)).is_ok());
        assert!(challenges(&header(CHALLENGE_BYTES_MAX + 1)).is_err());
        assert_eq!(parse(&"a, ".repeat(100)).len(), CHALLENGES_MAX);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            scheme in "[A-Za-z]{1,8}",
            parameters in prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,20}"), 1..6),
        ) {
            let quote = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"");
            let list: Vec<String> = parameters.iter().map(|(k, v)| format!("{k}=\"{}\"", quote(v))).collect();
            let found = parse(&format!("{scheme} {}", list.join(", ")));
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(&found[0].scheme, &scheme.to_ascii_lowercase());
            prop_assert_eq!(&found[0].parameters, &parameters);
        }

        #[test]
        fn no_line_is_too_strange(line in "[ -~]{0,200}") {
            parse(&line);
        }
    }
}
