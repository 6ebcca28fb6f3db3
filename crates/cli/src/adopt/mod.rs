//! `adopt`: images, volumes and definitions of containers of a stopped dockerd, given to the daemon by its API.

mod containers;
mod feed;
mod images;
mod tally;
mod volumes;

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    value::Value,
};
use rorqual_adopt::Source;
use rorqual_client::Client;
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};
use tally::Tally;

/// Where dockerd keeps its data unless it was told otherwise.
const DATA_ROOT: &str = "/var/lib/docker";

/// `rorqual adopt`.
pub const COMMAND: Command = Command {
    path: "adopt",
    aliases: &[],
    operands: "",
    about: "Take over images, volumes and containers of a stopped dockerd",
    args: Args::None,
    flags: &[
        Flag::string("containerd", "Root of the containerd that dockerd used, if it did not start its own"),
        Flag::switch("dry-run", "Only say what would be taken"),
        Flag::string("from", "Data root of the stopped dockerd").default(DATA_ROOT),
        Flag::list("only", "Take only \"images\", \"volumes\" or \"containers\"").check(kind),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

fn kind(text: &str) -> Result<(), String> {
    match text {
        "images" | "volumes" | "containers" => Ok(()),
        _ => Err("must be images, volumes or containers".to_owned()),
    }
}

/// What all parts of one adoption share.
struct Adoption {
    client: Client,
    source: Arc<Source>,
    dry: bool,
    tally: Tally,
}

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let from = PathBuf::from(matches.last("from").unwrap_or(DATA_ROOT));
    let containerd = matches.last("containerd").map(PathBuf::from);
    let client = cli.client()?;
    client.negotiate().await?;
    let source = blocking(move || Source::open(&from, containerd.as_deref())).await?;
    let dry = matches.on("dry-run");
    let mut adoption = Adoption { client, source: Arc::new(source), dry, tally: Tally::new(dry) };
    let only = matches.list("only");
    let wanted = |kind: &str| only.is_empty() || only.iter().any(|word| word == kind);

    // Containers need to know what the images are called here, whether or not these are taken now.
    let images = if wanted("images") || wanted("containers") {
        images::adopt(&mut adoption, wanted("images")).await?
    } else {
        images::Known::default()
    };
    let mut refused = BTreeSet::new();
    if wanted("volumes") {
        refused = volumes::adopt(&mut adoption).await?;
    }
    if wanted("containers") {
        containers::adopt(&mut adoption, &images, &refused).await?;
    }
    if only.is_empty() {
        for what in adoption.source.left_behind().map_err(from_source)? {
            adoption.tally.left(&what)?;
        }
    }
    adoption.tally.finish()
}

impl Adoption {
    /// What the daemon says of an object; `None` where it has none.
    async fn look(&self, path: String) -> Result<Option<Value>> {
        match self.client.get(path).send().await {
            Ok(response) => Ok(Some(response.json().await?)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Runs what waits for the disk where a signal still ends us.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> rorqual_error::Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::from)?.map_err(from_source)
}

fn from_source(error: rorqual_error::Error) -> Failure {
    Failure::message(error.to_string())
}

/// Why one object was refused, in the words of whoever refused it.
fn why(failure: &Failure) -> String {
    match failure {
        Failure::Client(error) => error.to_string(),
        other => other.text(),
    }
}

/// Whether the daemon refused one object, rather than being gone.
fn is_refusal(failure: &Failure) -> bool {
    match failure {
        Failure::Client(error) => error.status().is_some(),
        _ => true,
    }
}
