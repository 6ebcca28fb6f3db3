//! `cargo xtask fuzz`: one fuzz target under libFuzzer, from the inputs that are kept and those found before.

use crate::{cargo, check};
use anyhow::{Context as _, Result, bail};
use rorqual_testkit::places;
use std::{fs, process::Command};

/// Ten minutes, unless an option says otherwise; no input may take long, or much memory.
const OPTIONS: [&str; 3] = ["-max_total_time=600", "-timeout=10", "-rss_limit_mb=1024"];

/// Builds the driver with our crates instrumented, and runs the target that the first word names; further words are
/// options of libFuzzer, or inputs to run instead.
pub fn run(words: &[String]) -> Result<()> {
    let kept = places::top().join("fuzz/corpus");
    let Some((target, options)) = words.split_first().filter(|(target, _)| kept.join(target).is_dir()) else {
        let mut names: Vec<String> = fs::read_dir(&kept)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        bail!("which target? There are {}", names.join(" "));
    };
    let mut build = cargo();
    build.args(["build", "--package", "rorqual-fuzz", "--features", "driver", "--bin", "rorqual-fuzz"]);
    // The assertions of a debug build, nearly at the speed of a release.
    build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2");
    check(build.env("RUSTC_WORKSPACE_WRAPPER", places::top().join("fuzz/instrument.sh")))?;
    let scratch = places::target().join("fuzz").join(target);
    let grown = scratch.join("corpus");
    fs::create_dir_all(&grown).with_context(|| format!("create {}", grown.display()))?;
    let mut driver = Command::new(places::target().join("debug/rorqual-fuzz"));
    driver.env("RORQUAL_FUZZ_TARGET", target).args(OPTIONS);
    driver.arg(format!("-artifact_prefix={}/", scratch.display())).args(options);
    if options.iter().all(|word| word.starts_with('-')) {
        driver.arg(&grown).arg(kept.join(target));
    }
    check(&mut driver)
}
