//! The table of `docs/registry-conformance.md`: its tests are there, and Debian's `docker-registry` passes those it says.

use crate::support::PROGRAM;
use std::{collections::BTreeSet, process::Command};

const TABLE: &str = include_str!("../../../../docs/registry-conformance.md");

/// The rows of the table: the test, and what its last column says of Debian's registry.
fn rows() -> Vec<(String, String)> {
    let (mut module, mut rows) = ("", Vec::new());
    for line in TABLE.lines() {
        if let Some(file) = line.strip_prefix("## ").and_then(|title| title.split('`').nth(1)) {
            module = file.trim_end_matches(".rs");
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, _, _, tests, _, debian, ""] = cells[..] else { continue };
        for name in tests.split('`').skip(1).step_by(2).filter(|name| !name.ends_with(".rs")) {
            let module = if tests.contains("`restart.rs`") { "restart" } else { module };
            rows.push((format!("{module}::{name}"), debian.to_owned()));
        }
    }
    rows
}

fn run(arguments: &[String], registry: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if let Some(registry) = registry {
        command.env(PROGRAM, registry);
    }
    let output = command.args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn every_test_of_the_table_is_there() {
    let listed = run(&["--list".to_owned()], None);
    let listed: BTreeSet<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let rows = rows();
    assert!(rows.len() > 40, "{rows:?}");
    for (test, _) in rows {
        assert!(listed.contains(test.as_str()), "{test}");
    }
}

#[test]
fn debians_registry_passes_what_it_is_known_to_pass() {
    let known: BTreeSet<String> = rows().into_iter().filter(|(_, says)| says == "yes").map(|(test, _)| test).collect();
    assert!(known.len() >= 10, "{known:?}");
    let arguments: Vec<String> = ["--exact".to_owned()].into_iter().chain(known.iter().cloned()).collect();
    let text = run(&arguments, Some("docker-registry"));
    assert!(text.contains(&format!("{} passed", known.len())), "{text}");
}
