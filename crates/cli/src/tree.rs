//! From words to a command: groups, names at the top, help, and the flags before the command.

use crate::{
    PROGRAM, adopt,
    args::{self, Command, Flag, Group, Matches, Node},
    attach::{signals, tty},
    cli::Cli,
    completion, container, context,
    failure::{Failure, Result},
    image, inspect, limits, man, manifest, network, registry, system, volume,
};

/// The flags before the command.
pub(crate) const GLOBALS: &[Flag] = &[
    Flag::string("config", "Directory of the configuration").default("~/.docker"),
    Flag::string("context", "Name of the context that says which daemon to call").short('c'),
    Flag::switch("debug", "Print more about what goes wrong").short('D'),
    Flag::switch("help", "Print this help").hidden().short('h'),
    Flag::list("host", "Socket or address of the daemon").short('H'),
    Flag::string("log-level", "How much to log (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")")
        .short('l')
        .default("info"),
    Flag::switch("tls", "Use TLS; implied by --tlsverify"),
    Flag::string("tlscacert", "Trust certificates signed by this CA only").default("~/.docker/ca.pem"),
    Flag::string("tlscert", "Our certificate").default("~/.docker/cert.pem"),
    Flag::string("tlskey", "The key of our certificate").default("~/.docker/key.pem"),
    Flag::switch("tlsverify", "Use TLS and verify the daemon"),
    Flag::switch("version", "Print the version").short('v'),
];

/// The groups.
pub(crate) const GROUPS: &[&Group] = &[
    &container::GROUP,
    &context::GROUP,
    &image::GROUP,
    &manifest::GROUP,
    &network::GROUP,
    &registry::GROUP,
    &system::GROUP,
    &volume::GROUP,
];

/// Commands that stand in no group.
pub(crate) const ALONE: &[&Command] = &[
    &adopt::COMMAND,
    &completion::COMMAND,
    &inspect::COMMAND,
    &image::search::COMMAND,
    &system::login::COMMAND,
    &system::logout::COMMAND,
    &system::version::COMMAND,
];

/// Commands that stand in no group and in no list.
const HIDDEN: &[&Command] = &[&man::COMMAND];

/// Every command with the short names it has at the top.
pub(crate) fn top() -> Vec<(&'static str, &'static Command)> {
    let mut all: Vec<(&str, &Command)> = ALONE.iter().map(|command| (command.name(), *command)).collect();
    for command in GROUPS.iter().flat_map(|group| group.commands) {
        all.extend(command.aliases.iter().filter(|alias| !alias.contains(' ')).map(|alias| (*alias, *command)));
    }
    all.sort_by_key(|(name, _)| *name);
    all
}

/// What a word at the top names.
fn find(word: &str) -> Option<Node> {
    if let Some(group) = GROUPS.iter().find(|group| group.name == word) {
        return Some(Node::Group(group));
    }
    let alone = ALONE.iter().chain(HIDDEN).find(|command| command.path == word);
    let aliased = || GROUPS.iter().flat_map(|group| group.commands).find(|command| command.aliases.contains(&word));
    alone.or_else(aliased).map(|command| Node::Command(command))
}

fn find_in(group: &'static Group, word: &str) -> Option<&'static Command> {
    let other = format!("{} {word}", group.name);
    group.commands.iter().find(|command| command.path == other || command.aliases.contains(&other.as_str())).copied()
}

/// Runs a command line and prints why it failed, if it did.
pub(crate) fn run(argv: &[String]) -> u8 {
    match dispatch(argv) {
        Ok(status) => status,
        Err(failure) => {
            tty::restore();
            let text = failure.shown();
            if !text.is_empty() {
                eprintln!("{text}");
            }
            failure.exit_status()
        }
    }
}

fn dispatch(argv: &[String]) -> Result<u8> {
    let globals = args::parse_globals(GLOBALS, argv).map_err(|message| {
        let usage = format!("Usage:  {PROGRAM} [OPTIONS] COMMAND [ARG...]");
        Failure::status(125, format!("{message}\n\n{usage}\n\nRun '{PROGRAM} --help' for more information"))
    })?;
    if globals.on("version") {
        crate::cli::print(&format!("Rorqual version {}\n", system::version::VERSION))?;
        return Ok(0);
    }
    let level = globals.last("log-level").unwrap_or("info");
    if !matches!(level, "trace" | "debug" | "info" | "warn" | "warning" | "error" | "fatal" | "panic") {
        return Err(Failure::message(format!("Unable to parse logging level: {level}")));
    }
    let words: Vec<String> = globals.args().to_vec();
    let Some((first, rest)) = words.split_first() else { return help(&[]) };
    if globals.on("help") {
        return help(&words);
    }
    if first == "help" {
        return help(rest);
    }
    match find(first) {
        Some(Node::Command(command)) => execute(globals, command, first, rest),
        Some(Node::Group(group)) => in_group(globals, group, rest),
        None => Err(Failure::message(format!(
            "{PROGRAM}: unknown command: {PROGRAM} {first}\n\nRun '{PROGRAM} --help' for more information"
        ))),
    }
}

fn in_group(globals: Matches, group: &'static Group, words: &[String]) -> Result<u8> {
    let Some((first, rest)) = words.split_first() else {
        eprint!("{}", args::group_help(group));
        return Ok(0);
    };
    let name = group.name;
    match find_in(group, first) {
        Some(command) => execute(globals, command, &format!("{name} {first}"), rest),
        None if is_help(first) => help(&[name.to_owned()]),
        None if first == "help" => help(&[&[name.to_owned()], rest].concat()),
        None if first.starts_with('-') => {
            let what = match first.strip_prefix("--") {
                Some(long) => format!("unknown flag: --{}", long.split('=').next().unwrap_or(long)),
                None => format!("unknown shorthand flag: '{}' in {first}", first.chars().nth(1).unwrap_or('-')),
            };
            Err(Failure::status(
                125,
                format!(
                    "{what}\n\nUsage:  {PROGRAM} {name} COMMAND\n\nRun '{PROGRAM} {name} --help' for more information"
                ),
            ))
        }
        None => Err(Failure::message(format!(
            "{PROGRAM}: unknown command: {PROGRAM} {name} {first}\n\nUsage:  {PROGRAM} {name}\n\nRun '{PROGRAM} {name} --help' for more information"
        ))),
    }
}

fn is_help(word: &str) -> bool {
    word == "--help" || word == "-h"
}

fn execute(globals: Matches, command: &'static Command, called: &str, words: &[String]) -> Result<u8> {
    if asks_for_help(command, words) {
        crate::cli::print(&args::command_help(command, called, help_width()))?;
        return Ok(0);
    }
    let matches = args::parse(command, called, words)?;
    let mut cli = Cli::new(globals);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            biased;
            outcome = (command.run)(&mut cli, &matches) => outcome,
            status = signals::ended() => Err(Failure::silent(status)),
        }
    });
    // A thread that waits for input must not keep us.
    runtime.shutdown_background();
    outcome
}

/// Whether `--help`, or `-h` where it means nothing else, stands where a flag may stand.
fn asks_for_help(command: &Command, words: &[String]) -> bool {
    let takes_h = command.flags.iter().any(|flag| flag.short == Some('h'));
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--" => return false,
            "--help" => return true,
            "-h" if !takes_h => return true,
            // A value that follows its flag is no flag.
            word if takes_next(command, word) => drop(rest.next()),
            word if word.starts_with('-') && word.len() > 1 => {}
            _ if command.flags_first => return false,
            _ => {}
        }
    }
    false
}

/// Whether `word` is a flag whose value is the next word.
fn takes_next(command: &Command, word: &str) -> bool {
    if !word.starts_with('-') {
        return false;
    }
    let takes = |flag: &Flag| !matches!(flag.kind, args::Kind::Switch);
    if let Some(long) = word.strip_prefix("--") {
        return !long.contains('=')
            && command.flags.iter().any(|flag| takes(flag) && (flag.long == long || flag.alias == Some(long)));
    }
    // The first letter of a cluster that takes a value takes the rest of it, or the next word.
    let letters: Vec<char> = word.chars().skip(1).collect();
    for (index, letter) in letters.iter().enumerate() {
        let Some(flag) = command.flags.iter().find(|flag| flag.short == Some(*letter)) else { return false };
        if takes(flag) {
            return index + 1 == letters.len();
        }
    }
    false
}

fn help_width() -> usize {
    tty::stdin_width().unwrap_or(limits::HELP_WIDTH) - 1
}

/// `help`, `help run`, `help container run`.
fn help(words: &[String]) -> Result<u8> {
    let unknown = || Failure::message(format!("unknown help topic: {}", words.join(" ")));
    let text = match words {
        [] => args::root_help(GLOBALS, GROUPS, &top(), help_width()),
        [first, rest @ ..] => match (find(first), rest) {
            (Some(Node::Command(command)), _) => args::command_help(command, first, help_width()),
            (Some(Node::Group(group)), []) => args::group_help(group),
            (Some(Node::Group(group)), [second, ..]) => {
                let command = find_in(group, second).ok_or_else(unknown)?;
                args::command_help(command, &format!("{first} {second}"), help_width())
            }
            (None, _) => return Err(unknown()),
        },
    };
    crate::cli::print(&text)?;
    Ok(0)
}

/// The whole tree as clap knows it, for completions and man pages.
pub(crate) fn whole() -> clap::Command {
    let leaf = |name: &'static str, command: &Command| {
        args::clap_command(name, command.flags, command.flags_first)
            .no_binary_name(false)
            .about(command.about)
            .override_usage(args::usage_line(command, command.path).trim_start_matches("Usage:  ").to_owned())
    };
    let mut root = args::clap_command(PROGRAM, GLOBALS, true)
        .no_binary_name(false)
        .about("Runs and manages containers")
        .version(system::version::VERSION)
        .override_usage(format!("{PROGRAM} [OPTIONS] COMMAND"));
    for group in GROUPS {
        let mut node = clap::Command::new(group.name).about(group.about).disable_help_subcommand(true);
        for command in group.commands {
            node = node.subcommand(leaf(command.name(), command));
        }
        root = root.subcommand(node);
    }
    for (name, command) in top() {
        root = root.subcommand(leaf(name, command));
    }
    root.disable_help_subcommand(true)
}
