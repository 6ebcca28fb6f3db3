//! Tables for people, JSON for programs.

use crate::{Sample, target::Target};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};

/// Every sample so far.
pub(crate) struct Report {
    /// Benchmark, metric, in order of appearance; samples per target.
    metrics: Vec<(String, String, BTreeMap<usize, Vec<f64>>)>,
    versions: Vec<Value>,
}

/// The load of the machine over the last minute.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

impl Report {
    /// An empty one; says who is measured.
    pub(crate) fn new(targets: &mut [Target]) -> Result<Self> {
        let mut versions = Vec::new();
        for target in targets {
            let version = target.version()?;
            println!(
                "# {}: {} {}, API {}",
                target.label, version["Platform"]["Name"], version["Version"], version["ApiVersion"]
            );
            versions.push(version);
        }
        Ok(Self { metrics: Vec::new(), versions })
    }

    /// Adds a sample of the target with this index.
    pub(crate) fn add(&mut self, bench: &str, target: usize, sample: Sample) {
        for (metric, value) in sample {
            let known = self.metrics.iter_mut().find(|(name, key, _)| name == bench && *key == metric);
            match known {
                Some((_, _, samples)) => samples.entry(target).or_default().push(value),
                None => self.metrics.push((bench.to_owned(), metric, BTreeMap::from([(target, vec![value])]))),
            }
        }
    }

    /// Prints `median [least..most] xRATIO` of each target, the ratio to the first.
    pub(crate) fn print(&self, bench: &str, targets: &[Target]) {
        for (_, metric, samples) in self.metrics.iter().filter(|(name, _, _)| name == bench) {
            let first = samples.get(&0).map(|values| middle(values));
            let mut cells = Vec::new();
            for (index, target) in targets.iter().enumerate() {
                let Some(values) = samples.get(&index) else {
                    cells.push(format!("{}: -", target.label));
                    continue;
                };
                let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
                let mut cell =
                    format!("{}: {} [{}..{}]", target.label, number(middle(values)), number(least), number(most));
                if let Some(first) = first.filter(|first| index > 0 && *first > 0.0) {
                    cell.push_str(&format!(" x{:.3}", middle(values) / first));
                }
                cells.push(cell);
            }
            println!("{metric:44} {}", cells.join(" | "));
        }
    }

    /// Writes everything as JSON.
    pub(crate) fn save(&self, path: &Path, targets: &[Target]) -> Result<()> {
        let labels: Vec<Value> = targets.iter().zip(&self.versions)
            .map(|(target, version)| json!({"label": target.label, "host": target.host, "version": version["Version"], "api": version["ApiVersion"]})).collect();
        let metrics: Vec<Value> = self
            .metrics
            .iter()
            .map(|(bench, metric, samples)| {
                let samples: BTreeMap<&str, &Vec<f64>> =
                    samples.iter().map(|(index, values)| (targets[*index].label.as_str(), values)).collect();
                json!({"bench": bench, "metric": metric, "samples": samples})
            })
            .collect();
        let text =
            serde_json::to_string_pretty(&json!({"targets": labels, "load": load_average(), "metrics": metrics}))?;
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    crate::lifecycle::median(&mut sorted)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
