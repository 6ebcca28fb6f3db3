//! Counters, in Prometheus' text format.

use crate::registry::Registry;
use hyper::{Method, StatusCode};
use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "other"];
const CLASSES: usize = 6;
/// Upper bounds of the durations that are told apart, milliseconds.
const DURATIONS_MS: [u64; 8] = [1, 5, 25, 100, 500, 2_500, 10_000, 60_000];

/// What is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: [[AtomicU64; CLASSES]; METHODS.len()],
    durations: [AtomicU64; DURATIONS_MS.len()],
    duration_us: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
    collections: AtomicU64,
    collected_manifests: AtomicU64,
    collected_blobs: AtomicU64,
    collected_bytes: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    /// A request was answered whole.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode, sent: u64, took: Duration) {
        let place = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).min(CLASSES - 1);
        add(&self.requests[place][class], 1);
        add(&self.sent, sent);
        add(&self.duration_us, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if let Some(slot) = DURATIONS_MS.iter().position(|bound| took.as_millis() <= u128::from(*bound)) {
            add(&self.durations[slot], 1);
        }
    }

    /// Bytes of a blob came in.
    pub(crate) fn received(&self, count: u64) {
        add(&self.received, count);
    }

    /// A connection was taken.
    pub(crate) fn connected(&self) {
        add(&self.connections, 1);
    }

    /// A connection was refused, because there are too many.
    pub(crate) fn turned_away(&self) {
        add(&self.refused, 1);
    }

    /// A collection ended.
    pub(crate) fn collected(&self, manifests: u64, blobs: u64, bytes: u64) {
        add(&self.collections, 1);
        add(&self.collected_manifests, manifests);
        add(&self.collected_blobs, blobs);
        add(&self.collected_bytes, bytes);
    }

    /// The page that Prometheus reads.
    pub(crate) fn page(&self, registry: &Registry) -> String {
        let mut page = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: &[(String, u64)]| {
            let _ = writeln!(page, "# HELP rorqual_registry_{name} {help}\n# TYPE rorqual_registry_{name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(page, "rorqual_registry_{name}{labels} {value}");
            }
        };
        let mut requests = Vec::new();
        for (method, classes) in METHODS.iter().zip(&self.requests) {
            for (class, counter) in classes.iter().enumerate().filter(|(_, counter)| read(counter) > 0) {
                requests.push((format!("{{method=\"{method}\",status=\"{class}xx\"}}"), read(counter)));
            }
        }
        let answered = self.requests.iter().flatten().map(read).sum();
        family("requests_total", "counter", "Requests answered.", &requests);
        let one = |counter: &AtomicU64| [(String::new(), read(counter))];
        family("sent_bytes_total", "counter", "Bytes of bodies sent.", &one(&self.sent));
        family("received_bytes_total", "counter", "Bytes of blobs received.", &one(&self.received));
        family("connections_total", "counter", "Connections taken.", &one(&self.connections));
        family("connections_refused_total", "counter", "Connections beyond the limits.", &one(&self.refused));
        let uploads = registry.uploads.count() as u64;
        family("uploads", "gauge", "Unfinished uploads.", &[(String::new(), uploads)]);
        family("collections_total", "counter", "Garbage collections.", &one(&self.collections));
        family("collected_manifests_total", "counter", "Manifests collected.", &one(&self.collected_manifests));
        family("collected_blobs_total", "counter", "Blobs collected.", &one(&self.collected_blobs));
        family("collected_bytes_total", "counter", "Bytes of blobs collected.", &one(&self.collected_bytes));
        self.histogram(&mut page, answered);
        page
    }

    fn histogram(&self, page: &mut String, answered: u64) {
        let name = "rorqual_registry_request_duration_seconds";
        let _ =
            writeln!(page, "# HELP {name} From a request's head to the end of its answer.\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, counter) in DURATIONS_MS.iter().zip(&self.durations) {
            below += read(counter);
            let _ = writeln!(page, "{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 / 1000.0);
        }
        let _ = writeln!(page, "{name}_bucket{{le=\"+Inf\"}} {answered}");
        let _ = writeln!(page, "{name}_sum {}", read(&self.duration_us) as f64 / 1e6);
        let _ = writeln!(page, "{name}_count {answered}");
    }
}
