//! Pull and push against a registry made of two maps, which can break off and lie.

use super::{
    made::{Layout, layer, tar_of},
    *,
};
use crate::oci::{Descriptor, media};
use rorqual_content::digest;
use rorqual_error::{Error, Kind};
use rorqual_types::{Digest, Platform};
use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
    sync::Mutex,
};

/// Everything a registry has, and what it does wrong.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) root: Option<(String, Vec<u8>)>,
    blobs: HashMap<Digest, Vec<u8>>,
    /// What it lists as referring to a digest.
    pub(super) referrers: HashMap<Digest, Vec<Descriptor>>,
    /// Break off a blob's transfer after so many bytes, once.
    cut: Mutex<HashMap<Digest, u64>>,
    /// Bytes handed out by digest, and from which offsets.
    pub(super) given: Mutex<BTreeMap<Digest, Vec<(u64, u64)>>>,
}

impl Source for Fake {
    fn root(&self) -> Result<(Descriptor, Vec<u8>)> {
        let (media_type, bytes) = self.root.clone().ok_or_else(|| Error::not_found("manifest unknown"))?;
        Ok((Descriptor::new(media_type, digest(&bytes), bytes.len() as u64), bytes))
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.blobs.get(&descriptor.digest).cloned().ok_or_else(|| Error::not_found("manifest unknown"))
    }

    fn referrers(&self, subject: &Digest, _: &(dyn Fn() -> bool + Sync)) -> Result<Vec<Descriptor>> {
        Ok(self.referrers.get(subject).cloned().unwrap_or_default())
    }

    fn fetch(&self, blob: &Descriptor, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let bytes = self.blobs.get(&blob.digest).ok_or_else(|| Error::not_found("blob unknown"))?;
        let cut = self.cut.lock().unwrap().remove(&blob.digest);
        let end = cut.map_or(bytes.len(), |cut| (cut as usize).min(bytes.len()));
        let mut at = offset as usize;
        let note = |at: usize| self.given.lock().unwrap().entry(blob.digest).or_default().push((offset, at as u64));
        while at < end {
            let next = (at + 1000).min(end);
            sink(&bytes[at..next]).inspect_err(|_| note(at))?;
            at = next;
        }
        note(at);
        if cut.is_some() { Err(Error::unavailable("connection reset")) } else { Ok(()) }
    }
}

impl Fake {
    pub(super) fn blob(&self, digest: &Digest) -> &[u8] {
        &self.blobs[digest]
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Digest {
        let name = digest(bytes);
        self.blobs.insert(name, bytes.to_vec());
        name
    }

    /// An image of these layers for a platform; returns its manifest.
    pub(super) fn image(
        &mut self,
        layers: &[Vec<u8>],
        architecture: &str,
        compress: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Vec<u8> {
        let config = made::config(layers, architecture, "{}");
        self.put(&config);
        let descriptors: Vec<String> = layers
            .iter()
            .map(|layer| {
                let blob = compress(layer);
                self.put(&blob);
                Layout::descriptor(media::LAYER_GZIP, &blob, "")
            })
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
            media::MANIFEST,
            Layout::descriptor(media::CONFIG, &config, ""),
            descriptors.join(",")
        );
        self.put(manifest.as_bytes());
        manifest.into_bytes()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Files that do not compress, so that transfers have a middle.
pub(super) fn noisy_layer(name: &str, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    })
    .take(200_000)
    .collect();
    tar_of(&[(name, noise.as_slice())])
}

pub(super) fn pull_as(
    images: &Images,
    source: &Fake,
    name: &str,
    platform: Option<&Platform>,
    policy: &Policy<'_>,
) -> Result<(Pulled, Vec<Progress>)> {
    let reference: Reference = name.parse().unwrap();
    let mut lines = Vec::new();
    let options = PullOptions { reference: &reference, platform, downloads: 3, policy, cancelled: &|| false };
    let pulled = images.pull(source, &options, &mut |line| lines.push(line))?;
    Ok((pulled, lines))
}

pub(super) fn pull(images: &Images, source: &Fake, name: &str) -> Result<(Pulled, Vec<Progress>)> {
    pull_as(images, source, name, None, &|_, _, _| Ok(()))
}

fn steps(lines: &[Progress]) -> Vec<LayerStep> {
    lines
        .iter()
        .filter_map(|line| match line {
            Progress::Layer { step, .. } => Some(step.clone()),
            _ => None,
        })
        .filter(|step| !matches!(step, LayerStep::Downloading { .. } | LayerStep::Extracting { .. }))
        .collect()
}

pub(super) fn files(root: &Path) -> [usize; 3] {
    let count = |path: &str| {
        let entries = std::fs::read_dir(root.join(path)).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name() != "base").count()
    };
    [count("content/blobs/sha256"), count("content/partial"), count("layers")]
}

#[test]
fn a_pull_brings_what_the_platform_needs_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let mut fake = Fake::default();
    let shared = layer("base", "base");
    let ours = fake.image(&[shared.clone(), layer("own", "x")], "amd64", gzip);
    let other = fake.image(&[shared, layer("own", "arm")], "s390x", gzip);
    let statement = r#"{"in-toto":"statement"}"#;
    fake.put(statement.as_bytes());
    let empty = fake.put(b"{}");
    let attestation = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{empty}","size":2}},"layers":[{}]}}"#,
        media::MANIFEST,
        Layout::descriptor("application/vnd.in-toto+json", statement.as_bytes(), "")
    );
    fake.put(attestation.as_bytes());
    let platform = |architecture: &str| format!(r#","platform":{{"architecture":"{architecture}","os":"linux"}}"#);
    let about = format!(
        r#","platform":{{"architecture":"unknown","os":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{}"}}"#,
        digest(&ours)
    );
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{},{}]}}"#,
        media::INDEX,
        Layout::descriptor(media::MANIFEST, &other, &platform("s390x")),
        Layout::descriptor(media::MANIFEST, &ours, &platform(&Platform::host().architecture)),
        Layout::descriptor(media::MANIFEST, attestation.as_bytes(), &about)
    );
    fake.root = Some((media::INDEX.into(), index.clone().into_bytes()));

    let (pulled, lines) = pull(&images, &fake, "r:5000/a:1").unwrap();
    assert_eq!((pulled.target.digest, pulled.newer), (digest(index.as_bytes()), true));
    assert_eq!(pulled.events[0].action, "pull");
    let told = steps(&lines);
    for step in [LayerStep::Waiting, LayerStep::Downloaded, LayerStep::Pulled] {
        assert_eq!(told.iter().filter(|other| **other == step).count(), 2, "{step:?} in {told:?}");
    }
    // index, manifest, config, two layers; the attestation with its config and its statement
    assert_eq!(files(root.path()), [8, 0, 2]);
    assert!(!images.content.list().unwrap().iter().any(|(blob, _)| *blob == digest(&other)));
    assert_eq!(images.resolve("r:5000/a:1", None).unwrap().lowers.len(), 2);

    let (again, lines) = pull(&images, &fake, "r:5000/a:1").unwrap();
    assert!(!again.newer && steps(&lines).is_empty(), "{lines:?}");
    let s390x: Platform = "linux/s390x".parse().unwrap();
    let (more, lines) = pull_as(&images, &fake, "r:5000/a:1", Some(&s390x), &|_, _, _| Ok(())).unwrap();
    assert!(more.newer);
    assert!(steps(&lines).contains(&LayerStep::Present), "{lines:?}");
    let riscv: Platform = "linux/riscv64".parse().unwrap();
    let error = pull_as(&images, &fake, "r:5000/a:1", Some(&riscv), &|_, _, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    images.delete("r:5000/a:1", DeleteOptions::default(), &nobody).unwrap();
    images.snapshots.wait_for_deletions();
    assert_eq!(files(root.path()), [0, 0, 0]);
}

#[test]
fn an_interrupted_pull_goes_on_where_it_was_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let mut fake = Fake::default();
    let layers = [noisy_layer("a", 1), noisy_layer("b", 2)];
    let manifest = fake.image(&layers, "amd64", gzip);
    let blobs: Vec<(Digest, u64)> =
        layers.iter().map(|layer| gzip(layer)).map(|b| (digest(&b), b.len() as u64)).collect();
    fake.root = Some((media::MANIFEST.into(), manifest));
    fake.cut.lock().unwrap().insert(blobs[1].0, 123_000);

    let images = open(root.path());
    let error = pull(&images, &fake, "r:5000/a:1").unwrap_err();
    assert!(error.to_string().contains("connection reset"), "{error}");
    assert_eq!(images.count(), 0);
    // configuration and layers are kept as far as they came; none of it is a blob
    assert_eq!(files(root.path()), [0, 3, 0]);
    drop(images);

    let images = open(root.path());
    pull(&images, &fake, "r:5000/a:1").unwrap();
    let given = fake.given.lock().unwrap().clone();
    assert_eq!(given[&blobs[1].0], [(0, 123_000), (123_000, blobs[1].1)]);
    for (blob, size) in blobs {
        let fetched: u64 = given[&blob].iter().map(|(from, to)| to - from).sum();
        assert_eq!(fetched, size, "no byte is fetched twice: {given:?}");
    }
    assert_eq!(files(root.path()), [4, 0, 2]);
}

#[test]
fn content_that_is_not_what_it_says_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let mut fake = Fake::default();
    let manifest = fake.image(&[layer("base", "b"), layer("own", "x")], "amd64", gzip);
    let blob = digest(&gzip(&layer("own", "x")));
    let good = fake.blobs[&blob].clone();
    fake.root = Some((media::MANIFEST.into(), manifest));
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let longer = [good.as_slice(), b"x"].concat();
    for (what, bytes) in
        [("other bytes", flipped), ("too long", longer), ("too short", good[..good.len() - 1].to_vec())]
    {
        fake.blobs.insert(blob, bytes);
        let error = pull(&images, &fake, "r:5000/a:1").unwrap_err();
        assert!(images.count() == 0, "{what}: {error}");
        images.snapshots.wait_for_deletions();
        let [blobs, _, layers] = files(root.path());
        assert_eq!((blobs, layers), (0, 0), "{what}: {error}");
        for partial in images.content.partials().unwrap() {
            images.content.delete_partial(&partial.key).unwrap();
        }
    }
    fake.blobs.insert(blob, good);
    pull(&images, &fake, "r:5000/a:1").unwrap();
}

#[test]
fn a_layer_whose_uncompressed_digest_is_another_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let mut fake = Fake::default();
    // The configuration says one thing, the blob of the right digest holds another.
    let manifest = fake.image(&[layer("own", "said")], "amd64", |_| gzip(&layer("own", "sent")));
    fake.root = Some((media::MANIFEST.into(), manifest));
    let error = pull(&images, &fake, "r:5000/a:1").unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
    images.snapshots.wait_for_deletions();
    assert_eq!(files(root.path()), [0, 0, 0]);
}

#[test]
fn a_policy_may_refuse_what_was_verified() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let mut fake = Fake::default();
    let manifest = fake.image(&[layer("own", "x")], "amd64", gzip);
    fake.root = Some((media::MANIFEST.into(), manifest.clone()));
    let refuse: &Policy<'_> = &|reference, root, chosen| {
        assert_eq!((root.digest, chosen.digest), (digest(&manifest), digest(&manifest)));
        Err(Error::new(Kind::Forbidden, format!("{} is not allowed here", reference.familiar())))
    };
    let error = pull_as(&images, &fake, "r:5000/a:1", None, refuse).unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
    assert!(fake.given.lock().unwrap().is_empty(), "nothing large was fetched");
    assert_eq!(files(root.path()), [0, 0, 0]);
}

#[test]
fn two_pulls_of_one_layer_share_a_download() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let mut fake = Fake::default();
    let manifest = fake.image(&[noisy_layer("a", 3)], "amd64", gzip);
    fake.root = Some((media::MANIFEST.into(), manifest));
    std::thread::scope(|scope| {
        let pulls: Vec<_> = ["r:5000/a:1", "r:5000/b:1", "r:5000/c:1"]
            .map(|name| scope.spawn(|| pull(&images, &fake, name).map(drop)))
            .into();
        for one in pulls {
            one.join().unwrap().unwrap();
        }
    });
    let given = fake.given.lock().unwrap();
    assert!(given.values().all(|transfers| transfers.len() == 1), "{given:?}");
    assert_eq!(images.list(&ListOptions::default()).unwrap()[0].repo_tags.len(), 3);
}

/// A registry to push to.
#[derive(Default)]
pub(super) struct Sunk {
    pub(super) blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    /// Subjects and what was sent to refer to them; `None` takes none.
    pub(super) referrers: Mutex<Option<Vec<(Digest, Digest)>>>,
    documents: Mutex<Vec<(Option<String>, Digest)>>,
    origins: Mutex<Vec<Vec<String>>>,
}

impl Destination for Sunk {
    fn blob(
        &self,
        blob: &Descriptor,
        from: &[Reference],
        open: &(dyn Fn() -> Result<std::fs::File> + Sync),
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Pushed> {
        self.origins.lock().unwrap().push(from.iter().map(|origin| origin.name().to_owned()).collect());
        if self.blobs.lock().unwrap().contains_key(&blob.digest) {
            return Ok(Pushed::Existed);
        }
        let mut bytes = Vec::new();
        open()?.read_to_end(&mut bytes).unwrap();
        progress(bytes.len() as u64);
        assert_eq!((digest(&bytes), bytes.len() as u64), (blob.digest, blob.size));
        self.blobs.lock().unwrap().insert(blob.digest, bytes);
        Ok(Pushed::Sent)
    }

    fn document(&self, descriptor: &Descriptor, bytes: &[u8], tag: Option<&str>) -> Result<Digest> {
        assert_eq!(digest(bytes), descriptor.digest);
        self.documents.lock().unwrap().push((tag.map(str::to_owned), descriptor.digest));
        Ok(descriptor.digest)
    }

    fn referrer(&self, subject: &Digest, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        assert_eq!(digest(bytes), descriptor.digest);
        let mut referrers = self.referrers.lock().unwrap();
        let referrers = referrers.as_mut().ok_or_else(|| Error::invalid("manifest invalid"))?;
        referrers.push((*subject, descriptor.digest));
        Ok(())
    }
}

pub(super) fn push(images: &Images, to: &Sunk, name: &str) -> Result<(PushedImage, Vec<Progress>)> {
    let reference: Reference = name.parse().unwrap();
    let mut lines = Vec::new();
    let options = PushOptions { reference: &reference, platform: None, uploads: 2, cancelled: &|| false };
    let pushed = images.push(to, &options, &mut |line| lines.push(line))?;
    Ok((pushed, lines))
}

#[test]
fn a_push_sends_parts_before_what_names_them() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let mut layout = Layout::default();
    let one = layout.image(&[layer("a", "x"), layer("b", "y")], "amd64", media::LAYER_GZIP, gzip);
    let two = layout.image(&[layer("a", "x"), layer("b", "z")], "s390x", media::LAYER_GZIP, gzip);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
        media::INDEX,
        Layout::descriptor(media::MANIFEST, &one, r#","platform":{"architecture":"amd64","os":"linux"}"#),
        Layout::descriptor(media::MANIFEST, &two, r#","platform":{"architecture":"s390x","os":"linux"}"#)
    );
    layout.blob(index.as_bytes());
    layout.name(media::INDEX, index.as_bytes(), "r:5000/multi:1");
    load(&images, &layout.archive()).unwrap();

    let sunk = Sunk::default();
    let (pushed, lines) = push(&images, &sunk, "r:5000/multi:1").unwrap();
    assert_eq!((pushed.target.digest, pushed.instead_of), (digest(index.as_bytes()), None));
    // three layers and two configurations
    assert_eq!(sunk.blobs.lock().unwrap().len(), 5);
    assert_eq!(steps(&lines).iter().filter(|step| **step == LayerStep::Pushed).count(), 3, "{lines:?}");
    let documents = sunk.documents.lock().unwrap().clone();
    assert_eq!(documents, [(None, digest(&one)), (None, digest(&two)), (Some("1".into()), digest(index.as_bytes()))]);
    let (_, lines) = push(&images, &sunk, "r:5000/multi:1").unwrap();
    assert!(steps(&lines).iter().all(|step| *step == LayerStep::Exists), "{lines:?}");
    images.tag("r:5000/multi:1", &"r:5000/other:2".parse().unwrap()).unwrap();
    sunk.origins.lock().unwrap().clear();
    push(&images, &sunk, "r:5000/other:2").unwrap();
    assert!(sunk.origins.lock().unwrap().iter().all(|from| from == &["r:5000/multi"]));
    let error = push(&images, &sunk, "r:5000/none:1").unwrap_err();
    assert_eq!(error.to_string(), "tag does not exist: r:5000/none:1");
}

#[test]
fn of_an_index_that_is_not_all_here_the_one_manifest_is_pushed() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let mut fake = Fake::default();
    let ours = fake.image(&[layer("own", "x")], "amd64", gzip);
    let other = fake.image(&[layer("own", "arm")], "s390x", gzip);
    let platform = |architecture: &str| format!(r#","platform":{{"architecture":"{architecture}","os":"linux"}}"#);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
        media::INDEX,
        Layout::descriptor(media::MANIFEST, &other, &platform("s390x")),
        Layout::descriptor(media::MANIFEST, &ours, &platform(&Platform::host().architecture))
    );
    fake.root = Some((media::INDEX.into(), index.clone().into_bytes()));
    pull(&images, &fake, "r:5000/a:1").unwrap();
    let sunk = Sunk::default();
    let (pushed, _) = push(&images, &sunk, "r:5000/a:1").unwrap();
    assert_eq!(pushed.target.digest, digest(&ours));
    assert_eq!(pushed.instead_of.map(|index| index.digest), Some(digest(index.as_bytes())));
}

#[test]
fn a_platform_goes_and_the_image_stays() {
    let root = tempfile::tempdir().unwrap();
    let images = open(root.path());
    let mut layout = Layout::default();
    let shared = layer("base", "x");
    let one = layout.image(&[shared.clone(), layer("b", "y")], "amd64", media::LAYER_GZIP, gzip);
    let two = layout.image(&[shared, layer("b", "z")], "s390x", media::LAYER_GZIP, gzip);
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
        media::INDEX,
        Layout::descriptor(media::MANIFEST, &one, r#","platform":{"architecture":"amd64","os":"linux"}"#),
        Layout::descriptor(media::MANIFEST, &two, r#","platform":{"architecture":"s390x","os":"linux"}"#)
    );
    layout.blob(index.as_bytes());
    layout.name(media::INDEX, index.as_bytes(), "r:5000/multi:1");
    layout.name(media::MANIFEST, &one, "r:5000/one:1");
    load(&images, &layout.archive()).unwrap();
    let delete = |name: &str, platform: &str| {
        let platforms = vec![platform.parse().unwrap()];
        images.delete(name, DeleteOptions { platforms, ..DeleteOptions::default() }, &nobody)
    };
    // index; two manifests, configurations and own layers; the layer below
    let before = files(root.path())[0];
    assert_eq!(before, 8);
    for (name, platform, kind) in [
        ("r:5000/multi:1", "linux/riscv64", Kind::NotFound),
        ("r:5000/multi:1", "linux/amd64", Kind::Conflict),
        ("r:5000/one:1", "linux/amd64", Kind::Conflict),
    ] {
        let error = delete(name, platform).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with(&format!("failed to delete platform {platform} for image ")), "{error}");
        assert_eq!(files(root.path())[0], before);
    }
    let deleted = delete("r:5000/multi:1", "linux/s390x").unwrap();
    assert_eq!(deleted.items, [DeletedItem::Deleted(digest(&two).to_string())]);
    assert_eq!(files(root.path())[0], before - 3);
    let left = images.manifest_summaries(&Descriptor::new(media::INDEX, digest(index.as_bytes()), index.len() as u64));
    assert_eq!(left.unwrap().iter().map(|manifest| manifest.available).collect::<Vec<_>>(), [true, false]);
    // The same once more is not there; what is left still runs, after a restart too.
    assert_eq!(delete("r:5000/multi:1", "linux/s390x").unwrap_err().kind(), Kind::NotFound);
    images.resolve("r:5000/multi:1", Some(&"linux/amd64".parse().unwrap())).unwrap();
}
