#!/bin/sh
# The RUSTC_WORKSPACE_WRAPPER of `cargo xtask fuzz`: our crates, and none of the libraries, tell libFuzzer where they go.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
