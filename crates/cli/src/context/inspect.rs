//! `context inspect`.

use super::{
    endpoint,
    store::{DEFAULT, Store, meta_of},
};
use crate::{
    args::{Args, Command, Matches},
    cli::Cli,
    failure::{Failure, Result},
    inspect::{FORMAT, Printer},
    opts::{object, texts_list},
    value::Value,
};

/// `rorqual context inspect`.
pub const COMMAND: Command = Command {
    path: "context inspect",
    aliases: &[],
    operands: "[CONTEXT] [CONTEXT...]",
    about: "Show all that is known of contexts",
    args: Args::Any,
    flags: &[FORMAT],
    flags_first: false,
    run: |cli, matches| Box::pin(run(cli, matches)),
};

async fn run(cli: &mut Cli, matches: &Matches) -> Result<u8> {
    let mut printer = Printer::new(matches.text("format"))?;
    let names = match matches.args() {
        [] => vec![endpoint::current(cli)],
        names => names.to_vec(),
    };
    let mut failures = Vec::new();
    for name in names {
        let added =
            document(cli, &name).and_then(|value| printer.add(value.json().as_bytes()).map_err(Failure::message));
        failures.extend(added.err().map(|failure| failure.text()));
    }
    cli.print(printer.finish())?;
    if failures.is_empty() { Ok(0) } else { Err(Failure::message(failures.join("\n"))) }
}

fn document(cli: &Cli, name: &str) -> Result<Value> {
    let store = Store::of(cli.config.directory());
    let (meta, tls, paths) = if name == DEFAULT {
        let meta = meta_of(DEFAULT, "", &endpoint::default_host(cli), false);
        (meta, Vec::new(), ["<IN MEMORY>".to_owned(), "<IN MEMORY>".to_owned()])
    } else {
        let context = store.get(name)?;
        let paths = [store.meta_directory(name), store.tls_directory(name)];
        (context.meta, store.tls_files(name), paths.map(|path| path.display().to_string()))
    };
    let material = match tls.is_empty() {
        true => object([]),
        false => object([("docker", texts_list(&tls))]),
    };
    let [meta_path, tls_path] = paths;
    let storage = object([("MetadataPath", meta_path.into()), ("TLSPath", tls_path.into())]);
    let mut fields = meta.entries().to_vec();
    fields.push(("TLSMaterial".to_owned(), material));
    fields.push(("Storage".to_owned(), storage));
    Ok(Value::Map(fields))
}
