//! The docker command line, unmodified: each file in `scenarios/` is a test.

use rorqual_conformance::{engine, scenario::play};
use std::{collections::BTreeSet, fs, path::Path};

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                play(engine(), stringify!($name));
            }
        )*

        #[test]
        fn every_file_is_a_test() {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
            let files: BTreeSet<String> = fs::read_dir(dir)
                .expect("list the scenarios")
                .map(|entry| entry.expect("read an entry").path())
                .map(|path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned())
                .collect();
            let tests = BTreeSet::from([$(stringify!($name).to_owned()),*]);
            assert_eq!(files, tests);
        }
    };
}

scenarios! {
    attach
    configuration
    errors
    events
    exec
    files
    identity
    images
    inspect
    lifecycle
    limits
    listing
    logs
    mounts
    network
    ports
    restart
    run
    signals
    volumes
    wait
}
