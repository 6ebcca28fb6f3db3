//! `docker import`: a tarball becomes an image of one layer.

use crate::{
    ImageEvent, Images, ImportOptions, Progress,
    changes::apply_changes,
    name::dangling,
    oci::{Descriptor, History, ImageConfig, Manifest, RootFs, RunConfig, media},
    tag::event,
};
use rorqual_error::{Context, Result};
use rorqual_snapshot::{Compression, check_free_space, decompressed};
use rorqual_types::{Digest, Platform};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

impl Images {
    /// `docker import`: one layer from a tarball, with configuration `changes` (Dockerfile instructions). The layer is
    /// kept as it came, compressed or not.
    pub fn import(
        &self,
        archive: &mut (dyn Read + Send),
        options: ImportOptions,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(Digest, Vec<ImageEvent>)> {
        let mut config = RunConfig::default();
        apply_changes(&mut config, &options.changes)?;
        let mut lease = self.lease();

        let mut ingest = self.content.ingest()?;
        copy(archive, &mut ingest, || check_free_space(self.snapshots.layers_dir()))?;
        let (layer, length) = ingest.finish_after(None, |digest| lease.blob(digest))?;
        let (diff_id, compression) = self.uncompressed_digest(&layer)?;

        let now = jiff::Timestamp::now().to_string();
        let platform = options.platform.unwrap_or_else(Platform::host);
        let history = History { created: Some(now.clone()), comment: options.message, ..History::default() };
        let config = ImageConfig {
            created: Some(now),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            config,
            rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id] },
            comment: history.comment.clone(),
            history: vec![history],
            ..ImageConfig::default()
        };
        let config = serde_json::to_vec(&config).context("write the image configuration")?;
        lease.blob(rorqual_content::digest(&config));
        let (config, config_length) = self.content.put(&config)?;
        let media_type = match compression {
            Compression::None => media::LAYER,
            Compression::Gzip => media::LAYER_GZIP,
            Compression::Zstd => media::LAYER_ZSTD,
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::MANIFEST.into(),
            artifact_type: String::new(),
            config: Descriptor::new(media::CONFIG, config, config_length),
            layers: vec![Descriptor::new(media_type, layer, length)],
            subject: None,
            annotations: BTreeMap::new(),
        };
        let manifest = serde_json::to_vec(&manifest).context("write the image manifest")?;
        lease.blob(rorqual_content::digest(&manifest));
        let (id, manifest_length) = self.content.put(&manifest)?;

        let target = Descriptor::new(media::MANIFEST, id, manifest_length);
        let chosen =
            self.choose(&target, None)?.ok_or_else(|| rorqual_error::Error::internal("read back the image"))?;
        let layers = self.unpack_layers(&chosen, &[], &mut lease, &mut |_, _| {})?;
        let blobs = [(layer, length), (config, config_length), (id, manifest_length)];
        let reference = options.reference.map(|reference| reference.or_latest());
        let name = reference.as_ref().map_or_else(|| dangling(&id), ToString::to_string);
        self.commit(&mut lease, &[(name, target)], layers, &blobs)?;

        progress(Progress::Status { id: String::new(), status: id.to_string(), current: 0, total: 0 });
        let mut events = Vec::new();
        if let Some(reference) = reference {
            events.push(event("tag", &id, &reference.familiar()));
        }
        events.push(event("import", &id, &id.to_string()));
        Ok((id, events))
    }

    fn uncompressed_digest(&self, layer: &Digest) -> Result<(Digest, Compression)> {
        let (mut stream, compression) = decompressed(self.content.open_blob(layer)?)?;
        if compression == Compression::None {
            return Ok((*layer, compression));
        }
        let mut hasher = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let length = stream.read(&mut buffer).context("decompress the archive")?;
            if length == 0 {
                break;
            }
            hasher.update(buffer.get(..length).unwrap_or_default());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hasher.finish().as_ref());
        Ok((Digest::from_bytes(bytes), compression))
    }
}

fn copy(from: &mut (dyn Read + Send), to: &mut dyn Write, check: impl Fn() -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut since_check = u64::MAX;
    loop {
        let length = from.read(&mut buffer).context("read the archive")?;
        if length == 0 {
            return Ok(());
        }
        if since_check >= 64 << 20 {
            check()?;
            since_check = 0;
        }
        since_check += length as u64;
        to.write_all(buffer.get(..length).unwrap_or_default()).context("write the archive")?;
    }
}
