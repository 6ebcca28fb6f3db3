//! The words on the command line.

use crate::target::Target;
use anyhow::{Context as _, Result, bail};
use rorqual_testkit::Daemon;
use std::{collections::BTreeMap, path::PathBuf};

/// What `--help` prints, before the list of benchmarks.
pub(crate) const HELP: &str = "\
cargo xtask bench [NAME...] --target LABEL=DOCKER_HOST... [--ours LABEL] [--ctl LABEL=COMMAND...]
                  [--rounds N] [--json FILE]

  --target   an engine to measure; the first is the reference of the ratios
  --ours     start a rorquald of this tree on a private root, and measure it too
  --ctl      a command that takes `start [VARIANT]` and `stop`, for the start-up benchmark; it ends with 3
             where it does not know the variant (`live-restore`)
";

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    names: Vec<String>,
    hosts: Vec<(String, String)>,
    controls: BTreeMap<String, String>,
    ours: Option<String>,
    /// How often, where not each benchmark's own number.
    pub(crate) rounds: Option<u32>,
    /// Where all samples go.
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    /// Reads them; `None` where help was asked for.
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut this = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--target" => this.hosts.push(pair(&value()?)?),
                "--ctl" => this.controls.extend([pair(&value()?)?]),
                "--ours" => this.ours = Some(value()?),
                "--rounds" => this.rounds = Some(value()?.parse().context("--rounds takes a number")?),
                "--json" => this.json = Some(value()?.into()),
                other if other.starts_with('-') => bail!("no flag {other}\n{HELP}"),
                _ => this.names.push(word),
            }
        }
        Ok(Some(this))
    }

    /// Whether a benchmark was named; none named means all.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name || wanted == "all")
    }

    /// Connects to every target and gives each its image.
    pub(crate) fn open_targets(&self) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        for (label, host) in &self.hosts {
            targets.push(Target::new(label, host, self.controls.get(label).cloned(), None)?);
        }
        if let Some(label) = &self.ours {
            let daemon = Daemon::start("bench");
            let host = daemon.host();
            targets.push(Target::new(label, &host, None, Some(daemon))?);
        }
        if targets.is_empty() {
            bail!("which engine? --target LABEL=DOCKER_HOST or --ours LABEL");
        }
        Ok(targets)
    }
}

fn pair(text: &str) -> Result<(String, String)> {
    let (label, value) = text.split_once('=').with_context(|| format!("LABEL=VALUE, not {text:?}"))?;
    Ok((label.to_owned(), value.to_owned()))
}
