//! `save`.

use super::platform_json;
use crate::{
    args::{Args, Command, Flag, Matches},
    attach::tty,
    cli::{Cli, write_all},
    failure::{Failure, Result},
    opts::list_file::io_text,
};
use rorqual_client::Response;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

/// `rorqual save`.
pub const COMMAND: Command = Command {
    path: "image save",
    aliases: &["save"],
    operands: "IMAGE [IMAGE...]",
    about: "Write images into a tar archive, on standard output unless -o names a file",
    args: Args::AtLeast(1),
    flags: &[
        Flag::string("output", "Write the archive to this file").short('o'),
        Flag::string("platform", "Save only this platform of the image (linux/amd64)"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let path = matches.text("output");
    if path.is_empty() && tty::stdout_is_terminal() {
        return Err(Failure::message("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    check_path(path)?;
    let platform = platform_json(matches.text("platform"))?;
    let client = cli.client()?;
    let mut request = client.get("/images/get");
    for name in matches.args() {
        request = request.query("names", name);
    }
    let mut response = request.query_some("platform", platform).send().await?;
    if path.is_empty() {
        while let Some(chunk) = response.chunk().await? {
            write_all(&chunk)?;
        }
    } else {
        to_file(Path::new(path), response).await?;
    }
    Ok(0)
}

fn check_path(path: &str) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    let directory = directory_of(Path::new(path));
    if directory.is_dir() {
        return Ok(());
    }
    let shown = directory.display();
    Err(Failure::message(format!("failed to save image: invalid output path: stat {shown}: no such file or directory")))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Writes beside the file and renames, so that a broken stream leaves no half archive under the name.
async fn to_file(path: &Path, mut response: Response) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = directory_of(path).join(format!(".{name}.{}", std::process::id()));
    let failed = |error: std::io::Error| Failure::message(format!("open {}: {}", path.display(), io_text(&error)));
    // A device or a pipe is written to directly.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let mut file = File::options().write(true).open(path).map_err(failed)?;
        while let Some(chunk) = response.chunk().await? {
            file.write_all(&chunk)?;
        }
        return Ok(());
    }
    let mut file = File::create(&temporary).map_err(failed)?;
    let written = async {
        while let Some(chunk) = response.chunk().await? {
            file.write_all(&chunk)?;
        }
        std::fs::rename(&temporary, path)?;
        Ok(())
    };
    let written: Result<()> = written.await;
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}
