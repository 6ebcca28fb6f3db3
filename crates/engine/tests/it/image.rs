//! A docker archive of the machine's own static busybox.

use rorqual_engine::{Engine, images::Step};
use std::io::Cursor;

/// The image's name.
pub const NAME: &str = "it/busybox:latest";

/// Programs the image has links for.
const APPLETS: [&str; 12] =
    ["sh", "true", "false", "echo", "cat", "sleep", "kill", "ls", "id", "tty", "env", "hostname"];

fn entry(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, mode: u32, link: &str, data: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    if !link.is_empty() {
        header.set_link_name(link).expect("a short link");
    }
    builder.append_data(&mut header, path, data).expect("an entry");
}

fn layer() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("busybox");
    let mut builder = tar::Builder::new(Vec::new());
    for directory in ["bin/", "etc/", "tmp/", "data/"] {
        entry(&mut builder, directory, tar::EntryType::Directory, 0o755, "", b"");
    }
    entry(&mut builder, "bin/busybox", tar::EntryType::Regular, 0o755, "", &busybox);
    for applet in APPLETS {
        entry(&mut builder, &format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, "busybox", b"");
    }
    entry(&mut builder, "etc/passwd", tar::EntryType::Regular, 0o644, "", b"root:x:0:0::/root:/bin/sh\n");
    entry(&mut builder, "data/seed", tar::EntryType::Regular, 0o644, "", b"seed\n");
    builder.into_inner().expect("an archive")
}

/// Loads it.
pub async fn load(engine: &Engine) {
    let layer = layer();
    let config = serde_json::json!({
        "architecture": rorqual_types::Platform::host().architecture,
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [rorqual_content::digest(&layer).to_string()]},
        "history": [{"created_by": "it"}],
    });
    let config = serde_json::to_vec(&config).expect("JSON");
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]);
    let manifest = serde_json::to_vec(&manifest).expect("JSON");
    let mut archive = tar::Builder::new(Vec::new());
    for (path, data) in [("layer.tar", &layer), ("config.json", &config), ("manifest.json", &manifest)] {
        entry(&mut archive, path, tar::EntryType::Regular, 0o644, "", data);
    }
    let mut steps = engine.images.load(Cursor::new(archive.into_inner().expect("an archive")), None);
    while let Some(step) = steps.next().await {
        let _: Step = step.expect("the image loads");
    }
}
