//! An image's layers unpacked, each verified against the configuration before it is used.

use crate::{
    Images,
    commit::Lease,
    documents::chain,
    oci::{Descriptor, media},
    resolve::Chosen,
    state::LayerRecord,
};
use rorqual_error::{Context, Error, Result};
use rorqual_snapshot::Unpack;
use rorqual_types::{ChainId, Digest};
use std::{fs::File, time::Duration};

/// Between two looks at what another operation does, and how many.
const WAIT: Duration = Duration::from_millis(10);
/// See [`WAIT`].
const WAITS_MAX: usize = 6000;

/// A layer that was unpacked and has no record yet.
pub(crate) type NewLayers = Vec<(ChainId, LayerRecord)>;

impl Images {
    /// Unpacks what is not unpacked yet, under `lease`; the records are the caller's to commit, `known` those it
    /// has already. `progress` is told the layer's number and the position in it.
    pub(crate) fn unpack_layers(
        &self,
        chosen: &Chosen,
        known: &[(ChainId, LayerRecord)],
        lease: &mut Lease<'_>,
        progress: &mut dyn FnMut(usize, u64),
    ) -> Result<NewLayers> {
        let open = |layer: &Descriptor| {
            let size = self.content.size(&layer.digest)?;
            if size != Some(layer.size) {
                return Err(Error::invalid(format!("layer {} is not as long as its descriptor says", layer.digest)));
            }
            Ok((self.content.open_blob(&layer.digest)?, true))
        };
        self.unpack_from(chosen, known, lease, &open, &mut |layer, position| {
            if let Some(position) = position {
                progress(layer, position);
            }
        })
    }

    /// As [`Images::unpack_layers`], the archives given by `open`. It also says whether the archive is known to have
    /// its own digest. `progress` is told a layer's number with a position in it, and without one when it is unpacked.
    pub(crate) fn unpack_from(
        &self,
        chosen: &Chosen,
        known: &[(ChainId, LayerRecord)],
        lease: &mut Lease<'_>,
        open: &dyn Fn(&Descriptor) -> Result<(File, bool)>,
        progress: &mut dyn FnMut(usize, Option<u64>),
    ) -> Result<NewLayers> {
        let (manifest, config) = (&chosen.manifest, &chosen.config);
        let diff_ids = &config.rootfs.diff_ids;
        if manifest.layers.len() != diff_ids.len() {
            return Err(Error::invalid("mismatched image rootfs and manifest layers"));
        }
        let chain = chain(config);
        let mut new = NewLayers::new();
        for (at, (layer, diff_id)) in manifest.layers.iter().zip(diff_ids).enumerate() {
            if !media::is_layer(&layer.media_type) {
                return Err(Error::invalid(format!("layer {} has an unsupported media type", layer.digest)));
            }
            lease.layer(chain[at]);
            let is_known = known.iter().any(|(layer, _)| *layer == chain[at]);
            if is_known || self.state().layers.contains_key(&chain[at]) {
                continue;
            }
            let mut report = |position| progress(at, Some(position));
            let record = self.unpack_layer(layer, diff_id, &chain[..=at], open, &mut report);
            let record = record.with_context(|| format!("apply layer {}", layer.digest))?;
            new.extend(record.map(|record| (chain[at], record)));
            progress(at, None);
        }
        Ok(new)
    }

    /// Unpacks one layer, whose record is the caller's to commit; `None` where it is recorded already. What another
    /// operation has unpacked and not recorded yet counts as ours: the caller's lease keeps it if that one fails.
    fn unpack_layer(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        chain: &[ChainId],
        open: &dyn Fn(&Descriptor) -> Result<(File, bool)>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<LayerRecord>> {
        let Some((last, below)) = chain.split_last() else { return Err(Error::internal("a layer without a chain ID")) };
        for _ in 0..WAITS_MAX {
            {
                let state = self.state();
                if state.layers.contains_key(last) {
                    return Ok(None);
                }
                if let Some(record) = state.unrecorded.get(last) {
                    return Ok(Some(record.clone()));
                }
            }
            let (archive, verified) = open(layer)?;
            // Where the layer is not compressed, a digest that was computed over its very bytes is its diff ID.
            let unpack = Unpack { archive, diff_id: *diff_id, verified: verified && layer.digest == *diff_id, chain };
            if let Some(info) = self.snapshots.unpack(unpack, progress)? {
                let blob = (info.shared > 0).then_some(layer.digest);
                let unsynced = Some(self.boot.clone());
                let record = LayerRecord { info, parent: below.last().copied(), blob, unsynced };
                self.state().unrecorded.insert(*last, record.clone());
                return Ok(Some(record));
            }
            // Another operation has just put it there, and says so in a moment.
            std::thread::sleep(WAIT);
        }
        Err(Error::unavailable("the layer is being unpacked by another request; try again"))
    }

    /// Unpacks and records the layers of an image that is here already.
    pub(crate) fn ensure_unpacked(&self, chosen: &Chosen) -> Result<()> {
        let chain = chain(&chosen.config);
        if chain.len() == chosen.manifest.layers.len() {
            let state = self.state();
            if chain.iter().all(|chain| state.layers.contains_key(chain)) {
                return Ok(());
            }
        }
        let mut lease = self.lease();
        let layers = self.unpack_layers(chosen, &[], &mut lease, &mut |_, _| {})?;
        self.commit(&mut lease, &[], layers, &[])
    }
}
