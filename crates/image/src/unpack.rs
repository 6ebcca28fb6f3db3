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
use rorqual_snapshot::{Below, Unpack};
use rorqual_types::{ChainId, Digest};
use std::{
    fs::File,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::Builder,
    time::Duration,
};

/// Between two looks at what another operation does, and how many.
const WAIT: Duration = Duration::from_millis(10);
/// See [`WAIT`].
const WAITS_MAX: usize = 6000;

/// Layers of one image that are unpacked at a time, where there are as many processors: each has a process with its own
/// buffers.
const UNPACKS: usize = 4;

/// Gives a layer's archive, and whether it is known to have its own digest.
pub(crate) type Open<'a> = dyn Fn(&Descriptor) -> Result<(File, bool)> + Sync + 'a;

/// One layer to unpack.
struct Layer<'a> {
    blob: &'a Descriptor,
    diff_id: &'a Digest,
    /// From the lowest layer to this one.
    chain: &'a [ChainId],
    /// Waits for those below, where they are not there yet.
    below: Option<&'a Below<'a>>,
}

/// The layers of one image that are being unpacked, lowest first: each is begun before those above it.
struct Stack {
    next: AtomicUsize,
    /// Which have ended, and whether well.
    ended: Mutex<Vec<Option<bool>>>,
    changed: Condvar,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stack {
    /// The next layer to begin; none after one has failed.
    fn take(&self, wanted: &[usize]) -> Option<(usize, usize)> {
        if lock(&self.ended).contains(&Some(false)) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        wanted.get(number).map(|at| (number, *at))
    }

    fn end(&self, number: usize, well: bool) {
        if let Some(ended) = lock(&self.ended).get_mut(number) {
            ended.get_or_insert(well);
        }
        self.changed.notify_all();
    }

    /// Whether all below are unpacked.
    fn are_below(&self, number: usize) -> bool {
        lock(&self.ended).iter().take(number).all(|ended| *ended == Some(true))
    }

    /// Waits until all below are unpacked.
    fn wait_below(&self, number: usize) -> Result<()> {
        let mut ended = lock(&self.ended);
        loop {
            if ended.iter().take(number).any(|ended| *ended == Some(false)) {
                return Err(Error::unavailable("a layer below could not be unpacked"));
            }
            if ended.iter().take(number).all(Option::is_some) {
                return Ok(());
            }
            ended = self.changed.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Dropped by a panic too: nobody waits for a layer that nobody unpacks.
struct Ends<'a> {
    stack: &'a Stack,
    number: usize,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.stack.end(self.number, false);
    }
}

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
        progress: &mut (dyn FnMut(usize, u64) + Send),
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
    ///
    /// Several layers are worked on at a time; of each, what needs the layers below waits for them.
    pub(crate) fn unpack_from(
        &self,
        chosen: &Chosen,
        known: &[(ChainId, LayerRecord)],
        lease: &mut Lease<'_>,
        open: &Open<'_>,
        progress: &mut (dyn FnMut(usize, Option<u64>) + Send),
    ) -> Result<NewLayers> {
        let (manifest, config) = (&chosen.manifest, &chosen.config);
        let diff_ids = &config.rootfs.diff_ids;
        if manifest.layers.len() != diff_ids.len() {
            return Err(Error::invalid("mismatched image rootfs and manifest layers"));
        }
        let chain = chain(config);
        let mut wanted = Vec::new();
        for (at, layer) in manifest.layers.iter().enumerate() {
            if !media::is_layer(&layer.media_type) {
                return Err(Error::invalid(format!("layer {} has an unsupported media type", layer.digest)));
            }
            lease.layer(chain[at]);
            let is_known = known.iter().any(|(layer, _)| *layer == chain[at]);
            if !is_known && !self.state().layers.contains_key(&chain[at]) {
                wanted.push(at);
            }
        }
        let stack =
            Stack { next: AtomicUsize::new(0), ended: Mutex::new(vec![None; wanted.len()]), changed: Condvar::new() };
        let progress = Mutex::new(progress);
        let unpack = |number: usize, at: usize| {
            let layer = &manifest.layers[at];
            let mut report = |position| lock(&progress)(at, Some(position));
            let below = || stack.wait_below(number);
            let below: Option<&Below<'_>> = if stack.are_below(number) { None } else { Some(&below) };
            let layer_of = Layer { blob: layer, diff_id: &diff_ids[at], chain: &chain[..=at], below };
            let record = self.unpack_layer(&layer_of, open, &mut report);
            let record = record.with_context(|| format!("apply layer {}", layer.digest))?;
            lock(&progress)(at, None);
            Ok(record.map(|record| (chain[at], record)))
        };
        let work = || {
            let mut done = Vec::new();
            while let Some((number, at)) = stack.take(&wanted) {
                let guard = Ends { stack: &stack, number };
                let unpacked = unpack(number, at);
                stack.end(number, unpacked.is_ok());
                drop(guard);
                done.push((number, unpacked));
            }
            done
        };
        let mut done = std::thread::scope(|scope| {
            let others = std::thread::available_parallelism().map_or(1, usize::from).min(UNPACKS).min(wanted.len());
            let others = (1..others).map(|_| Builder::new().name("unpack".into()).spawn_scoped(scope, work));
            let others: Vec<_> = others.collect();
            let mut done = work();
            for thread in others.into_iter().flatten() {
                done.extend(thread.join().map_err(|_| Error::internal("a thread that unpacks broke off"))?);
            }
            Ok::<_, Error>(done)
        })?;
        done.sort_by_key(|(number, _)| *number);
        // The lowest that failed is why the others did.
        done.into_iter().filter_map(|(_, unpacked)| unpacked.transpose()).collect()
    }

    /// Unpacks one layer, whose record is the caller's to commit; `None` where it is recorded already. What another
    /// operation has unpacked and not recorded yet counts as ours: the caller's lease keeps it if that one fails.
    fn unpack_layer(
        &self,
        layer: &Layer<'_>,
        open: &Open<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<LayerRecord>> {
        let Layer { blob, diff_id, chain, below } = *layer;
        let Some((last, parents)) = chain.split_last() else {
            return Err(Error::internal("a layer without a chain ID"));
        };
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
            let (archive, verified) = open(blob)?;
            // Where the layer is not compressed, a digest that was computed over its very bytes is its diff ID.
            let verified = verified && blob.digest == *diff_id;
            let unpack = Unpack { archive, diff_id: *diff_id, verified, chain, below };
            if let Some(info) = self.snapshots.unpack(unpack, progress)? {
                let source = (info.shared > 0).then_some(blob.digest);
                let unsynced = Some(self.boot.clone());
                let record = LayerRecord { info, parent: parents.last().copied(), blob: source, unsynced };
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
