//! Measures one layer both ways: `layers erofs|directories DATA_ROOT LAYER_TAR [cold]`. Needs root; mounts in a namespace of its
//! own. With `cold` the machine's caches are dropped before the first reads.

use rorqual_snapshot::{Helper, LayerKind, LayerOptions, Snapshots, Unpack, helper_main};
use rorqual_types::ChainId;
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Instant,
};

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what:<12} {:>8.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    result
}

/// Looks at every file, and with `read` reads it; returns how many there are and their bytes.
fn walk(root: &Path, read: bool) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    let mut buffer = vec![0; 1 << 20];
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).expect("list a directory") {
            let path = entry.expect("read a directory").path();
            let stat = fs::symlink_metadata(&path).expect("look at a file");
            files += 1;
            if stat.is_dir() {
                open.push(path);
            } else if read && stat.is_file() {
                let mut file = File::open(&path).expect("open a file");
                loop {
                    match file.read(&mut buffer).expect("read a file") {
                        0 => break,
                        length => bytes += length as u64,
                    }
                }
            }
        }
    }
    (files, bytes)
}

fn main() {
    helper_main();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, data, tar, rest @ ..] = arguments.as_slice() else {
        panic!("usage: layers erofs|directories DATA_ROOT LAYER_TAR [cold]");
    };
    let kind = if kind == "erofs" { LayerKind::Archive } else { LayerKind::Directory };
    rorqual_linux::process::unshare(rorqual_linux::process::flags::NEWNS).expect("make a mount namespace");
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).expect("make all mounts private");

    let data = PathBuf::from(data);
    fs::create_dir_all(&data).expect("make the data root");
    let options = LayerOptions { kind, mounts: data.join("mounts") };
    let snapshots = Snapshots::open_with(&data, Helper::default(), &options).expect("open the store");
    let chain = [ChainId::from_bytes([7; 32])];
    // As after a download: the digest is computed on the way, here of bytes that nobody checks before.
    let mut archive = File::open(tar).expect("open the layer");
    let diff_id = digest(&mut archive);
    let archive = File::open(tar).expect("open the layer");
    let unpack = Unpack { archive, diff_id, verified: false, chain: &chain, below: None };
    let info = timed("unpack", || snapshots.unpack(unpack, &mut |_| {})).expect("unpack").expect("a new layer");
    println!("{info:?} {:?}", snapshots.layer_kind());
    timed("sync", || snapshots.sync()).expect("sync");
    let root = snapshots.layers_dir().join(chain[0].hex()).join("fs");
    if rest.first().is_some_and(|word| word == "cold") {
        fs::write("/proc/sys/vm/drop_caches", "3").expect("drop the caches");
        timed("cold stat", || walk(&root, false));
        fs::write("/proc/sys/vm/drop_caches", "3").expect("drop the caches");
        timed("cold read", || walk(&root, true));
    } else {
        println!("{:?}", timed("first read", || walk(&root, true)));
    }
    timed("warm stat", || walk(&root, false));
    timed("warm read", || walk(&root, true));
    timed("remove", || {
        snapshots.remove_layer(&chain[0]).expect("remove the layer");
        snapshots.wait_for_deletions();
    });
}

fn digest(file: &mut File) -> rorqual_types::DiffId {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).expect("read the layer") {
            0 => break,
            length => context.update(&buffer[..length]),
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    rorqual_types::DiffId::from_bytes(bytes)
}
