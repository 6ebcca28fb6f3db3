//! Docker's profile format, and its resolution for one container.

use super::{Arch, builtin};
use crate::caps::{self, CapSet};
use rorqual_error::{Context as _, Error, Result};
use rorqual_oci::runtime::{self as oci, Seccomp, SeccompArg, SeccompRule};
use serde::{Deserialize, Serialize};

/// A longer profile is refused.
const PROFILE_MAX_BYTES: usize = 1 << 20;

/// A profile as docker reads it: rules with conditions on capabilities, architecture and kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// For calls no rule names.
    pub default_action: String,
    /// Its errno; EPERM when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Interfaces, in the older form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Interfaces by the machine's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arch_map: Vec<ArchMap>,
    /// `SECCOMP_FILTER_FLAG_*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Socket of an agent; refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub listener_path: String,
    /// Rules.
    pub syscalls: Vec<Rule>,
}

/// Interfaces of one kind of machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ArchMap {
    /// The machine's own.
    pub architecture: String,
    /// Others its kernel offers.
    pub sub_architectures: Vec<String>,
}

/// A rule, and when it is in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// One name, in the older form.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Names.
    pub names: Vec<String>,
    /// What happens.
    pub action: String,
    /// The errno of the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments, all of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<SeccompArg>,
    /// For the reader.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// In force only here.
    pub includes: Condition,
    /// Not in force here.
    pub excludes: Condition,
}

/// A condition of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Capabilities: all of them to include, any of them to exclude.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Go's names of architectures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
    /// `4.8`: this kernel or newer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub min_kernel: String,
}

/// What a profile is resolved for.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The container's capabilities.
    pub caps: CapSet,
    /// The machine.
    pub arch: Arch,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
    /// Whether the 32-bit interface is open under the built-in profile: the image holds 32-bit programs.
    pub foreign32: bool,
}

impl Context {
    /// For this machine.
    pub fn here(caps: CapSet) -> Self {
        let release = rustix::system::uname();
        let kernel = release.release().to_str().ok().and_then(parse_kernel).unwrap_or((4, 8));
        Self { caps, arch: Arch::NATIVE, kernel, foreign32: false }
    }
}

/// `6.18.44-x` to major and minor.
fn parse_kernel(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

impl Profile {
    /// Reads a profile file (`--security-opt seccomp=FILE`).
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > PROFILE_MAX_BYTES {
            return Err(Error::invalid(format!(
                "decoding seccomp profile failed: longer than {PROFILE_MAX_BYTES} bytes"
            )));
        }
        let profile: Self = oci::parse_document(text).context("decoding seccomp profile failed")?;
        profile.check()?;
        Ok(profile)
    }

    /// The profile of a container that names none.
    pub fn builtin() -> Self {
        builtin::profile(builtin::Reader::Own)
    }

    /// The same for runtimes of others, which hand it to libseccomp.
    pub fn builtin_for_libseccomp() -> Self {
        builtin::profile(builtin::Reader::Libseccomp)
    }

    fn check(&self) -> Result<()> {
        let fail = |message: &str| Err(Error::invalid(message));
        if !self.architectures.is_empty() && !self.arch_map.is_empty() {
            return fail(
                "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
            );
        }
        if self.syscalls.iter().any(|rule| !rule.name.is_empty() && !rule.names.is_empty()) {
            return fail("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'");
        }
        Ok(())
    }

    /// The rules in force for one container.
    pub fn resolve(&self, context: &Context) -> Result<Seccomp> {
        self.check()?;
        let mut architectures = self.architectures.clone();
        if let Some(map) = self.arch_map.iter().find(|map| map.architecture == context.arch.name()) {
            architectures.push(map.architecture.clone());
            architectures.extend(map.sub_architectures.iter().cloned());
        }
        if context.foreign32
            && let Some(other) = context.arch.compatible()
        {
            architectures.push(other.name().to_owned());
        }
        let mut syscalls = Vec::new();
        for rule in &self.syscalls {
            if in_force(rule, context)? {
                let names = if rule.name.is_empty() { rule.names.clone() } else { vec![rule.name.clone()] };
                let (action, errno_ret, args) = (rule.action.clone(), rule.errno_ret, rule.args.clone());
                syscalls.push(SeccompRule { names, action, errno_ret, args });
            }
        }
        Ok(Seccomp {
            default_action: self.default_action.clone(),
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: String::new(),
            syscalls,
        })
    }
}

fn in_force(rule: &Rule, context: &Context) -> Result<bool> {
    let Rule { includes, excludes, .. } = rule;
    let other = context.arch.compatible().filter(|_| context.foreign32);
    let here = |arches: &[String]| {
        arches.iter().any(|arch| arch == context.arch.go_name() || other.is_some_and(|other| arch == other.go_name()))
    };
    let held = |name: &String| caps::number(name).is_some_and(|bit| context.caps.has(bit));
    let excluded = here(&excludes.arches)
        || excludes.caps.iter().any(held)
        || newer(&excludes.min_kernel, context)?.unwrap_or(false);
    let included = (includes.arches.is_empty() || here(&includes.arches))
        && includes.caps.iter().all(held)
        && newer(&includes.min_kernel, context)?.unwrap_or(true);
    Ok(included && !excluded)
}

/// Whether the kernel is at least this one; `None` without a condition.
fn newer(text: &str, context: &Context) -> Result<Option<bool>> {
    if text.is_empty() {
        return Ok(None);
    }
    let shown: String = text.chars().take(32).collect();
    let wanted = parse_kernel(text).ok_or_else(|| {
        Error::invalid(format!("invalid kernel version: '{shown}': expected the form '<kernel>.<major>'"))
    })?;
    Ok(Some(context.kernel >= wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(rules: &str, caps: u64) -> String {
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{{"architecture":"SCMP_ARCH_X86_64",
                "subArchitectures":["SCMP_ARCH_X86"]}}],"syscalls":[{rules}]}}"#
        );
        let context = Context { caps: CapSet(caps), arch: Arch::X86_64, kernel: (5, 10), foreign32: false };
        let resolved = Profile::parse(text.as_bytes()).unwrap().resolve(&context).unwrap();
        assert_eq!(resolved.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        resolved.syscalls.iter().flat_map(|rule| &rule.names).cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn conditions() {
        let rule = |name: &str, more: &str| format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_ALLOW"{more}}}"#);
        for (more, caps, expected) in [
            ("", 0, "a"),
            (r#","includes":{"caps":["CAP_SYS_ADMIN"]},"args":null"#, 0, ""),
            (r#","includes":{"caps":["CAP_SYS_ADMIN"]}"#, 1 << 21, "a"),
            (r#","excludes":{"caps":["CAP_SYS_ADMIN"]}"#, 1 << 21, ""),
            (r#","includes":{"arches":["arm64"]}"#, 0, ""),
            (r#","includes":{"arches":["amd64","x32"]}"#, 0, "a"),
            (r#","includes":{"minKernel":"4.8"}"#, 0, "a"),
            (r#","includes":{"minKernel":"5.11"}"#, 0, ""),
            (r#","excludes":{"minKernel":"5.10"}"#, 0, ""),
        ] {
            assert_eq!(resolve(&rule("a", more), caps), expected, "{more}");
        }
        assert_eq!(resolve(r#"{"name":"b","action":"SCMP_ACT_ALLOW"}"#, 0), "b");
    }

    #[test]
    fn wrong_profiles() {
        for (text, message) in [
            ("{", "decoding seccomp profile failed: not a JSON document"),
            (r#"{"syscalls":7}"#, "decoding seccomp profile failed: wrong document"),
            (r#"{"architectures":["a"],"archMap":[{}]}"#, "both 'architectures' and 'archMap' are specified"),
            (r#"{"syscalls":[{"name":"a","names":["b"]}]}"#, "both 'name' and 'names' are specified"),
        ] {
            let error = Profile::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let huge = vec![b' '; PROFILE_MAX_BYTES + 1];
        assert!(Profile::parse(&huge).is_err());
    }
}
