//! `manifest annotate`.

use super::{entry::is_platform, reference, store::Store};
use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
};

/// `rorqual manifest annotate`.
pub const COMMAND: Command = Command {
    path: "manifest annotate",
    aliases: &[],
    operands: "MANIFEST_LIST MANIFEST",
    about: "Say which platform an image of a list is for",
    args: Args::Exactly(2),
    flags: &[
        Flag::string("arch", "Architecture of the processor"),
        Flag::string("os", "Operating system"),
        Flag::list("os-features", "Features that the operating system must have").of("strings"),
        Flag::string("os-version", "Version of the operating system"),
        Flag::string("variant", "Variant of the processor"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(async move { run(cli, matches) }),
};

fn run(cli: &Cli, matches: &Matches) -> Result<u8> {
    let parse = |what: &str, text: &str| {
        let failed =
            |why: Failure| Failure::message(format!("annotate: error parsing name for {what} {text}: {}", why.text()));
        reference(text).map_err(failed)
    };
    let list = parse("manifest list", matches.arg(0))?;
    let name = parse("manifest", matches.arg(1))?.to_string();
    let store = Store::of(&cli.config);
    let mut entries = store.find(&list)?.unwrap_or_default();
    let Some(entry) = entries.iter_mut().find(|entry| entry.name == name) else {
        let (image, list) = (matches.arg(1), matches.arg(0));
        return Err(Failure::message(format!("manifest for image {image} does not exist in {list}")));
    };
    let platform = entry.platform();
    for (flag, field) in [
        ("os", &mut platform.os),
        ("arch", &mut platform.architecture),
        ("variant", &mut platform.variant),
        ("os-version", &mut platform.os_version),
    ] {
        if !matches.text(flag).is_empty() {
            *field = matches.text(flag).to_owned();
        }
    }
    for feature in matches.list("os-features").iter().flat_map(|text| text.split(',')) {
        if !platform.os_features.iter().any(|known| known == feature) {
            platform.os_features.push(feature.to_owned());
        }
    }
    if !is_platform(&platform.os, &platform.architecture) {
        let (os, architecture) = (matches.text("os"), matches.text("arch"));
        return Err(Failure::message(format!(
            "manifest entry for image has unsupported os/arch combination: {os}/{architecture}"
        )));
    }
    store.put(&list, entries)?;
    Ok(0)
}
