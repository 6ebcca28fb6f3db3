//! What this process is: ids, groups, capabilities, limits, descriptors.

use crate::{
    During, Failure, Outcome,
    files::{print, read_text},
};
use std::{fmt::Write as _, fs};

/// Runs one verb of this file.
pub(crate) fn run(verb: &str, words: &[&str]) -> Outcome {
    match (verb, words) {
        ("ids", []) => ids(),
        ("limits", []) => print(&read_text("/proc/self/limits")?),
        ("fds", []) => fds("/proc/self"),
        ("fds", [pid]) => fds(&format!("/proc/{pid}")),
        _ => Err(Failure::Usage),
    }
}

/// The lines of `/proc/self/status` that say who we are and what we may.
const STATUS: [(&str, &str); 14] = [
    ("Uid", "uid"),
    ("Gid", "gid"),
    ("Groups", "groups"),
    ("CapInh", "cap_inheritable"),
    ("CapPrm", "cap_permitted"),
    ("CapEff", "cap_effective"),
    ("CapBnd", "cap_bounding"),
    ("CapAmb", "cap_ambient"),
    ("NoNewPrivs", "no_new_privs"),
    ("Seccomp", "seccomp"),
    ("Seccomp_filters", "seccomp_filters"),
    ("NSpid", "pids"),
    ("SigIgn", "signals_ignored"),
    ("SigBlk", "signals_blocked"),
];

fn ids() -> Outcome {
    let status = read_text("/proc/self/status")?;
    let mut out = String::new();
    for (key, name) in STATUS {
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let words: Vec<&str> = value.unwrap_or("-").split_whitespace().collect();
        _ = writeln!(out, "{name} {}", words.join(" "));
    }
    for map in ["uid_map", "gid_map"] {
        let text = read_text(&format!("/proc/self/{map}"))?;
        let words: Vec<&str> = text.split_whitespace().collect();
        _ = writeln!(out, "{map} {}", words.join(" "));
    }
    _ = writeln!(out, "oom_score_adj {}", read_text("/proc/self/oom_score_adj")?.trim());
    print(&out)
}

fn fds(process: &str) -> Outcome {
    let mut out = String::new();
    let dir = format!("{process}/fd");
    let mut numbers: Vec<u32> = Vec::new();
    for entry in fs::read_dir(&dir).during(&dir)? {
        numbers.extend(entry.during(&dir)?.file_name().to_string_lossy().parse::<u32>().ok());
    }
    numbers.sort_unstable();
    for number in numbers {
        // the descriptor of the directory being read is closed by now
        if let Ok(target) = fs::read_link(format!("{dir}/{number}")) {
            _ = writeln!(out, "{number} {}", target.display());
        }
    }
    for link in ["cwd", "root", "exe"] {
        match fs::read_link(format!("{process}/{link}")) {
            Ok(target) => _ = writeln!(out, "{link} {}", target.display()),
            Err(error) => _ = writeln!(out, "{link} {error}"),
        }
    }
    print(&out)
}
