//! libFuzzer drives one of the targets: the one that `RORQUAL_FUZZ_TARGET` names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rorqual_fuzz::{TARGETS, Target};
use std::sync::OnceLock;

static TARGET: OnceLock<Target> = OnceLock::new();

fn choose() {
    let name = std::env::var("RORQUAL_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("RORQUAL_FUZZ_TARGET names no target: {name:?}"));
    TARGET.set(*target).expect("libFuzzer begins once");
}

fuzz_target!(init: choose(), |input: &[u8]| {
    if let Some(target) = TARGET.get() {
        (target.run)(input);
    }
});
