//! Two pulls that want the same layer, of which one has a registry that does not give it.

use super::{
    remote::{Fake, gzip, noisy_layer},
    *,
};
use crate::oci::{Descriptor, media};
use rorqual_content::digest;
use rorqual_error::Error;
use rorqual_types::Digest;
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread::{ScopedJoinHandle, scope, yield_now},
    time::Duration,
};

/// What the stuck registry gives of a layer.
const PART: usize = 50_000;

/// A registry that gives a part of each layer and then stands still, until its connection breaks.
struct Stuck<'a> {
    fake: &'a Fake,
    stands: AtomicBool,
    broken: AtomicBool,
}

impl Source for Stuck<'_> {
    fn root(&self) -> Result<(Descriptor, Vec<u8>)> {
        self.fake.root()
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.fake.document(descriptor)
    }

    fn fetch(&self, blob: &Descriptor, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        if blob.size < PART as u64 {
            return self.fake.fetch(blob, offset, sink);
        }
        if offset < PART as u64 {
            sink(&self.fake.blob(&blob.digest)[offset as usize..PART])?;
        }
        self.stands.store(true, SeqCst);
        while !self.broken.load(SeqCst) {
            // Nothing comes; whoever waits may give up.
            sink(&[])?;
            yield_now();
        }
        Err(Error::unavailable("connection reset"))
    }
}

/// An image with one layer, and that layer's blob.
fn image() -> (Fake, Digest, u64) {
    let mut fake = Fake::default();
    let layer = noisy_layer("a", 5);
    let manifest = fake.image(std::slice::from_ref(&layer), "amd64", gzip);
    fake.root = Some((media::MANIFEST.into(), manifest));
    let blob = gzip(&layer);
    (fake, digest(&blob), blob.len() as u64)
}

/// Pulls; `looks` counts how often it was asked whether it is given up.
fn pull(images: &Images, source: &dyn Source, name: &str, looks: &AtomicUsize) -> Result<()> {
    let reference: Reference = name.parse().unwrap();
    let cancelled = || {
        looks.fetch_add(1, SeqCst);
        false
    };
    let options = PullOptions {
        reference: &reference,
        platform: None,
        downloads: 1,
        policy: &|_, _, _| Ok(()),
        cancelled: &cancelled,
    };
    images.pull(source, &options, &mut |_| {}).map(drop)
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        yield_now();
    }
}

/// What came of a pull whose registry stands still, and of another that a moment later wants the same.
fn both(images: &Images, fake: &Fake, meanwhile: impl FnOnce(&Stuck<'_>, &AtomicUsize)) -> [Result<()>; 2] {
    let stuck = Stuck { fake, stands: AtomicBool::new(false), broken: AtomicBool::new(false) };
    let looks = [AtomicUsize::new(0), AtomicUsize::new(0)];
    scope(|scope| {
        let first = scope.spawn(|| pull(images, &stuck, "slow:5000/a:1", &looks[0]));
        wait_until(|| stuck.stands.load(SeqCst));
        let second = scope.spawn(|| pull(images, fake, "r:5000/a:1", &looks[1]));
        meanwhile(&stuck, &looks[1]);
        [first, second].map(ScopedJoinHandle::join).map(Result::unwrap)
    })
}

#[test]
fn a_shared_download_that_breaks_off_costs_only_its_own_pull() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let (fake, blob, size) = image();
    let [first, second] = both(&images, &fake, |stuck, looks| {
        // Asked this often, it waits for the other's layer.
        wait_until(|| looks.load(SeqCst) > 6);
        stuck.broken.store(true, SeqCst);
    });
    assert!(first.unwrap_err().to_string().contains("connection reset"));
    second.unwrap();
    assert_eq!(fake.given.lock().unwrap()[&blob], [(PART as u64, size)], "what had come was not fetched again");
    assert_eq!(images.count(), 1);
}

#[test]
fn a_slow_download_is_handed_over_to_a_registry_that_may_be_faster() {
    let root = tempfile::tempdir().unwrap();
    let mut images = open(root.path());
    images.patience = Duration::from_millis(10);
    let (fake, blob, size) = image();
    let [first, second] = both(&images, &fake, |_, _| {});
    second.unwrap();
    first.unwrap();
    assert_eq!(fake.given.lock().unwrap()[&blob], [(PART as u64, size)], "what had come was not fetched again");
    for name in ["slow:5000/a:1", "r:5000/a:1"] {
        assert_eq!(images.resolve(name, None).unwrap().lowers.len(), 1);
    }
}
