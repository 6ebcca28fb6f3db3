//! `top`: the processes of a container.

use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::Result,
    print::table_with,
    value::Value,
};

/// `rorqual top`.
pub const COMMAND: Command = Command {
    path: "container top",
    aliases: &["top"],
    operands: "CONTAINER [ps OPTIONS]",
    about: "Show the processes of a container",
    args: Args::AtLeast(1),
    flags: &[],
    flags_first: true,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

/// The least width of a column.
const CELL: usize = 20;

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let options = matches.args()[1..].join(" ");
    let client = cli.client()?;
    let request = client
        .get(format!("/containers/{}/top", matches.arg(0)))
        .query_some("ps_args", Some(options).filter(|options| !options.is_empty()));
    let answer: Value = request.send().await?.json().await?;
    let line = |words: &Value| {
        let words: Vec<&str> = words.items().iter().filter_map(Value::as_str).collect();
        words.join("\t") + "\n"
    };
    let mut text = line(answer.at(&["Titles"]));
    text.extend(answer.at(&["Processes"]).items().iter().map(line));
    cli.print(table_with(&text, CELL))?;
    Ok(0)
}
