//! The start path: what a container finds when its program runs.

use rorqual_linux_tests::{Case, Lab};

#[test]
fn a_program_runs_and_its_output_and_code_arrive() {
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let output = Case::sh(&lab, "echo out; echo err >&2; exit 3").userns(userns).run();
        assert_eq!((output.status.code, output.stdout.as_str(), output.stderr.as_str()), (3, "out\n", "err\n"));
    }
}
