//! `system fsck`: whether what the daemon has recorded is what is on the disk. Exit statuses are those of `fsck(8)`.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    human,
};
use rorqual_api_types::upkeep::{CheckFinding, CheckLine, CheckSummary};
use rorqual_engine::fsck;
use std::path::PathBuf;

/// What was wrong was put right.
const CORRECTED: u8 = 1;
/// Something is still wrong.
const UNCORRECTED: u8 = 4;
/// The check could not be made.
const FAILED: u8 = 8;

/// `rorqual system fsck`.
pub const COMMAND: Command = Command {
    path: "system fsck",
    aliases: &[],
    operands: "",
    about: "Check records against files, and files against their digests; exits with 1 if errors were repaired, 4 if some are left",
    args: Args::None,
    flags: &[
        Flag::string("data-root", "Check this data root, which no daemon may use, instead of the running daemon's"),
        Flag::switch("repair", "Repair what can be repaired"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

/// What has been found so far.
#[derive(Debug, Default)]
struct Tally {
    repaired: u64,
    left: u64,
}

impl Tally {
    fn print(&mut self, finding: &CheckFinding) -> Result<()> {
        let word = match finding.state.as_str() {
            "repaired" => "repaired",
            "repairable" => "can be repaired",
            _ => "cannot be repaired here",
        };
        if finding.state == "repaired" {
            self.repaired += 1;
        } else {
            self.left += 1;
        }
        crate::cli::print(&format!("{} {}; {word}: {}\n", finding.object, finding.problem, finding.remedy))
    }

    fn close(&self, summary: &CheckSummary) -> Result<u8> {
        let CheckSummary { blobs, layers, directories, containers, volumes, bytes } = *summary;
        let unverifiable = match directories {
            0 => String::new(),
            count => format!(" ({count} more are directories, which have no digest)"),
        };
        let bytes = human::size(bytes as f64, 4);
        crate::cli::print(&format!(
            "{blobs} blobs, {layers} layers{unverifiable}, {containers} containers, {volumes} volumes; {bytes} read\n\
             {} repaired, {} left\n",
            self.repaired, self.left
        ))?;
        Ok(match (self.repaired, self.left) {
            (0, 0) => 0,
            (_, 0) => CORRECTED,
            _ => UNCORRECTED,
        })
    }
}

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let repair = matches.on("repair");
    let checked = match matches.text("data-root") {
        "" => ask(cli, repair).await,
        path => {
            let path = PathBuf::from(path);
            tokio::task::spawn_blocking(move || stopped(path, repair)).await.map_err(std::io::Error::from)?
        }
    };
    checked.map_err(|failure| Failure::status(FAILED, failure.text()))
}

/// Has the running daemon check itself.
async fn ask(cli: &mut Cli, repair: bool) -> Result<u8> {
    let request = cli.client()?.post("/rorqual/system/fsck").query_flag("repair", repair);
    let mut lines = request.send().await?.lines();
    let mut tally = Tally::default();
    while let Some(line) = lines.json::<CheckLine>().await? {
        if let Some(finding) = &line.finding {
            tally.print(finding)?;
        }
        if let Some(error) = line.error {
            return Err(Failure::message(error));
        }
        if let Some(summary) = &line.summary {
            return tally.close(summary);
        }
    }
    Err(Failure::message("the daemon ended before the check"))
}

/// Checks a data root without a daemon.
fn stopped(data_root: PathBuf, repair: bool) -> Result<u8> {
    let mut tally = Tally::default();
    let mut printed = Ok(());
    let mut report = |finding: CheckFinding| {
        let result = tally.print(&finding);
        if printed.is_ok() {
            printed = result;
        }
    };
    let summary = fsck::check(&data_root, repair, &mut report)?;
    printed?;
    tally.close(&summary)
}
