//! Device rules: lines for the version 1 controller, a BPF program for version 2. The last rule that matches wins.

use super::{bpf, set_file};
use rorqual_error::{Context, Error, Result};
use rorqual_oci::runtime::DeviceRule;
use std::path::Path;

/// Which kind of node a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Any,
    Block,
    Char,
}

/// A checked rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub allow: bool,
    pub kind: NodeKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// BPF_DEVCG_ACC_MKNOD 1, READ 2, WRITE 4.
    pub access: u32,
}

pub(super) const ACCESS_ALL: u32 = 7;

/// Checks the rules, and joins an allowing rule with an earlier one for the same nodes when only such stand between.
pub(super) fn parse(rules: &[DeviceRule]) -> Result<Vec<Rule>> {
    let mut parsed: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules {
        let rule = parse_one(rule)?;
        let same = |known: &&mut Rule| (known.kind, known.major, known.minor) == (rule.kind, rule.major, rule.minor);
        match parsed.iter_mut().rev().take_while(|known| known.allow == rule.allow).find(same) {
            Some(known) if rule.allow => known.access |= rule.access,
            _ => parsed.push(rule),
        }
    }
    Ok(parsed)
}

fn parse_one(rule: &DeviceRule) -> Result<Rule> {
    let invalid = || Error::invalid(format!("invalid device rule {rule:?}"));
    let kind = match rule.kind.as_str() {
        "" | "a" => NodeKind::Any,
        "b" => NodeKind::Block,
        "c" | "u" => NodeKind::Char,
        _ => return Err(invalid()),
    };
    let number = |value: Option<i64>| match value {
        None => Ok(None),
        Some(value) if value < 0 => Ok(None),
        Some(value) => u32::try_from(value).map(Some).map_err(|_| invalid()),
    };
    let bit = |letter: char| match letter {
        'm' => Ok(1),
        'r' => Ok(2),
        'w' => Ok(4),
        _ => Err(invalid()),
    };
    let access = rule.access.chars().try_fold(0, |sum, letter| bit(letter).map(|bit| sum | bit))?;
    let access = if access == 0 { ACCESS_ALL } else { access };
    Ok(Rule { allow: rule.allow, kind, major: number(rule.major)?, minor: number(rule.minor)?, access })
}

/// Writes the rules in order to `devices.allow` and `devices.deny`.
pub(super) fn write_v1(dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    for rule in parse(rules)? {
        for line in lines(&rule) {
            set_file(dir, if rule.allow { "devices.allow" } else { "devices.deny" }, &line)?;
        }
    }
    Ok(())
}

/// The controller takes `a` for everything whatever follows it, so a narrower rule for both kinds is two lines.
fn lines(rule: &Rule) -> Vec<String> {
    let number = |value: Option<u32>| value.map_or("*".to_owned(), |value| value.to_string());
    let letters = [(2, 'r'), (4, 'w'), (1, 'm')];
    let access: String = letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| *letter).collect();
    let line = |kind: char| format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor));
    match rule.kind {
        NodeKind::Any if rule.major.is_none() && rule.minor.is_none() && rule.access == ACCESS_ALL => {
            vec!["a".to_owned()]
        }
        NodeKind::Any => vec![line('b'), line('c')],
        NodeKind::Block => vec![line('b')],
        NodeKind::Char => vec![line('c')],
    }
}

/// Loads the program and attaches it in place of what is attached.
pub(super) fn attach_v2(dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    let program = bpf::compile(&parse(rules)?);
    bpf::replace(dir, &program).with_context(|| format!("attach the device rules of {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
        DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
    }

    #[test]
    fn rules_become_lines() {
        for (given, text) in [
            (rule(false, "", None, None, "rwm"), "a"),
            (rule(true, "a", None, None, ""), "a"),
            (rule(true, "c", Some(1), Some(3), "rwm"), "c 1:3 rwm"),
            (rule(true, "c", None, Some(-1), "m"), "c *:* m"),
            (rule(true, "b", Some(8), None, "r"), "b 8:* r"),
        ] {
            assert_eq!(lines(&parse_one(&given).unwrap()), [text]);
        }
        let both = parse_one(&rule(true, "a", None, None, "m")).unwrap();
        assert_eq!(lines(&both), ["b *:* m", "c *:* m"]);
        for bad in [
            rule(true, "x", None, None, "r"),
            rule(true, "c", None, None, "q"),
            rule(true, "c", Some(1 << 40), None, ""),
        ] {
            assert!(parse_one(&bad).is_err());
        }
    }

    #[test]
    fn allowing_rules_for_one_node_are_joined() {
        let joined = parse(&[
            rule(false, "a", None, None, ""),
            rule(true, "c", Some(1), Some(3), "r"),
            rule(true, "c", Some(1), Some(5), "r"),
            rule(true, "c", Some(1), Some(3), "w"),
            rule(false, "c", Some(1), Some(3), "w"),
            rule(true, "c", Some(1), Some(3), "m"),
        ])
        .unwrap();
        let access: Vec<u32> = joined.iter().map(|rule| rule.access).collect();
        assert_eq!(access, [7, 6, 2, 4, 1]);
    }
}
