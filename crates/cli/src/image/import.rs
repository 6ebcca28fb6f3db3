//! `import`: an image of one layer from a tar archive.

use crate::{
    args::{Args, Command, Flag, Matches},
    cli::Cli,
    failure::{Failure, Result},
    opts::list_file::io_text,
    print::show_progress,
};

/// `rorqual import`.
pub const COMMAND: Command = Command {
    path: "image import",
    aliases: &["import"],
    operands: "file|URL|- [REPOSITORY[:TAG]]",
    about: "Make an image of one layer from a tar archive",
    args: Args::Between(1, 2),
    flags: &[
        Flag::list("change", "Apply an instruction of a Dockerfile to the image").short('c'),
        Flag::string("message", "Message kept with the image").short('m'),
        Flag::string("platform", "Platform of the image"),
    ],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let source = matches.arg(0);
    let remote = source.contains("://");
    let file = match source {
        "-" => None,
        _ if remote => None,
        path => Some(
            tokio::fs::File::open(path)
                .await
                .map_err(|error| Failure::message(format!("open {path}: {}", io_text(&error))))?,
        ),
    };
    let client = cli.client()?;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut request = client.post("/images/create");
    for change in matches.list("change") {
        request = request.query("changes", change);
    }
    let request = request
        .query("fromSrc", if remote { source } else { "-" })
        .query_some("message", some(matches.text("message")))
        .query_some("platform", some(matches.text("platform")).map(|text| text.to_lowercase()))
        .query_some("repo", some(matches.arg(1)));
    let request = match file {
        Some(file) => request.stream("text/plain", file),
        None if remote => request,
        None => request.stream("text/plain", crate::cli::stdin_file()?),
    };
    show_progress(&mut request.send().await?.lines(), false).await?;
    Ok(0)
}
