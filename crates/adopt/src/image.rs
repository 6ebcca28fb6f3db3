//! An image of the data root, and the OCI archive that it becomes: written as it is put together, with no copy on the disk.

use crate::{
    hash::Hashing,
    limits::CHUNK_BYTES,
    root::{Root, missing},
    split,
};
use rorqual_error::{Context, Error, Result};
use rorqual_oci::image::{Descriptor, media};
use rorqual_types::{Digest, Reference};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::PathBuf,
    sync::Arc,
};

/// The annotation of an index that holds a full image name.
const NAME: &str = "io.containerd.image.name";
/// The annotation that holds its tag.
const TAG: &str = "org.opencontainers.image.ref.name";

/// An image that can be taken.
#[derive(Debug)]
pub struct Image {
    /// The ID it has in an engine with a content store: the digest of its manifest or index.
    pub id: Digest,
    /// The ID that dockerd showed: the same, or with a graph driver the digest of the configuration.
    pub docker_id: Digest,
    /// Its names; none where it has none.
    pub names: Vec<Reference>,
    pub(crate) target: Descriptor,
    pub(crate) blobs: BTreeMap<Digest, Blob>,
    pub(crate) root: Arc<Root>,
}

/// One blob of an image: where its bytes are, and how many.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) size: u64,
    pub(crate) data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// Here.
    Bytes(Arc<[u8]>),
    /// In this file.
    File(PathBuf),
    /// In a tar-split record, and files of a layer's directory.
    Layer { record: PathBuf, files: PathBuf },
}

#[derive(Serialize)]
struct Index {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

impl Image {
    /// Bytes of all its blobs.
    pub fn size(&self) -> u64 {
        self.blobs.values().map(|blob| blob.size).sum()
    }

    /// Writes it as an OCI archive that gives it these names.
    ///
    /// # Errors
    /// Also when all has been written: a layer whose digest is not what it should be is known at its end.
    pub fn write(&self, names: &[Reference], out: &mut dyn Write) -> Result<()> {
        let index = Index { schema_version: 2, media_type: media::INDEX, manifests: self.entries(names) };
        let index = serde_json::to_vec(&index).context("write index.json")?;
        for (name, bytes) in
            [("oci-layout", &br#"{"imageLayoutVersion":"1.0.0"}"#[..]), ("index.json", index.as_slice())]
        {
            begin(out, name, bytes.len() as u64)?;
            out.write_all(bytes).with_context(|| format!("write {name}"))?;
            end(out, bytes.len() as u64)?;
        }
        for (digest, blob) in &self.blobs {
            begin(out, &format!("blobs/sha256/{}", digest.hex()), blob.size)?;
            blob.write(&self.root, digest, out).with_context(|| format!("blob {digest}"))?;
            end(out, blob.size)?;
        }
        out.write_all(&[0; 1024]).and_then(|()| out.flush()).context("write the end of the archive")
    }

    /// The entries of the archive's index: one a name.
    fn entries(&self, names: &[Reference]) -> Vec<Descriptor> {
        if names.is_empty() {
            return vec![self.target.clone()];
        }
        let named = names.iter().map(|name| {
            let mut target = self.target.clone();
            target.annotations.insert(NAME.into(), name.to_string());
            target.annotations.insert(TAG.into(), name.tag().unwrap_or_default().to_owned());
            target
        });
        named.collect()
    }
}

impl Blob {
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Self { size: bytes.len() as u64, data: Data::Bytes(bytes.into()) }
    }

    fn write(&self, root: &Root, digest: &Digest, out: &mut dyn Write) -> Result<()> {
        match &self.data {
            Data::Bytes(bytes) => out.write_all(bytes).context("write"),
            Data::File(path) => {
                let mut file = root.file(path)?.ok_or_else(|| missing(path))?.take(self.size);
                let mut hashing = Hashing::new(out);
                let mut chunk = vec![0; CHUNK_BYTES];
                loop {
                    match file.read(&mut chunk).with_context(|| format!("read {}", path.display()))? {
                        0 => break,
                        got => hashing.write_all(&chunk[..got]).context("write")?,
                    }
                }
                let found = hashing.finish().context("write")?;
                if found != *digest {
                    return Err(Error::invalid(format!("its bytes have the digest {found}")));
                }
                Ok(())
            }
            Data::Layer { record, files } => {
                let files = root.directory(files)?.ok_or_else(|| missing(files))?;
                let record = root.file(record)?.ok_or_else(|| missing(record))?;
                split::write(record, &files, digest, out)
            }
        }
    }
}

fn begin(out: &mut dyn Write, name: &str, size: u64) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).with_context(|| format!("name {name}"))?;
    header.set_mode(0o444);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    out.write_all(header.as_bytes()).with_context(|| format!("write {name}"))
}

/// Fills up the last block of a file.
fn end(out: &mut dyn Write, size: u64) -> Result<()> {
    let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or_default();
    out.write_all(&[0; 512][..padding]).context("write the archive")
}
