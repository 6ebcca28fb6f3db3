//! Scenarios: files of command lines and of what dockerd 28.5 printed for them.
//!
//! ```text
//! # a remark
//! $ docker run --rm hello exit 3
//! ? 3
//! $ docker run --rm busybox sh -c 'echo out; echo err >&2'
//! out
//! ! err
//! ```
//!
//! `$` starts a command (`>` continues it), `!` is a line of standard error, `?` an exit code other than 0; all
//! else is standard output. A line that begins with one of these signs, or is empty, has a backslash before it.
//! `known/NAME.txt` holds, in the same form, the answers in which our daemon differs from dockerd and has not been
//! mended yet, or cannot be: the list is there to become shorter. `RORQUAL_KNOWN=1` writes it anew.
//!
//! Each command is a shell of its own in the scenario's directory, with `docker`, `api METHOD PATH [JSON]`,
//! `inside` and `outside` (the daemon's network and the neighbour's) and `terminal LINE` (on a terminal) at hand.

use crate::{Engine, normal::normal};
use rorqual_testkit::{Finished, command, daemon, places};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(90);

/// One command and what came or should come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    /// Remarks and empty lines before it, kept when recording.
    before: Vec<String>,
    command: String,
    stdout: Vec<String>,
    stderr: Vec<String>,
    code: i32,
}

/// Plays the scenario `name` against `engine`, or records it.
///
/// # Panics
/// With every difference between what was expected and what happened.
#[track_caller]
pub fn play(engine: &Engine, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    let steps = parse(&text);
    let stage = Stage::new(engine, name);
    stage.clear();
    let known_path = path.with_file_name(format!("../known/{name}.txt"));
    let known = if ours(engine) {
        fs::read_to_string(&known_path).map(|text| parse(&text)).unwrap_or_default()
    } else {
        Vec::new()
    };
    let mut played = Vec::new();
    let mut differing = Vec::new();
    let mut wrong = String::new();
    for step in steps {
        let found = stage.play(&step);
        if found != step {
            differing.push(Step { before: Vec::new(), ..found.clone() });
        }
        let is_known = known.iter().any(|known| known.same_answer(&found));
        if found != step && !is_known {
            let (expected, found) = (print(&step, false), print(&found, false));
            wrong.push_str(&format!("--- expected\n{expected}--- found\n{found}\n"));
        }
        played.push(found);
    }
    stage.clear();
    if env::var_os("RORQUAL_RECORD").is_some() {
        let text: String = played.iter().map(|step| print(step, true)).collect();
        fs::write(&path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        return;
    }
    if env::var_os("RORQUAL_KNOWN").is_some() {
        let text: String = differing.iter().map(|step| print(step, true)).collect();
        fs::write(&known_path, text).unwrap_or_else(|error| panic!("write {}: {error}", known_path.display()));
        return;
    }
    assert!(wrong.is_empty(), "{name}: {} differs\n{wrong}", path.display());
}

impl Step {
    /// Whether both are the same command with the same outcome.
    fn same_answer(&self, other: &Self) -> bool {
        self.command == other.command
            && self.stdout == other.stdout
            && self.stderr == other.stderr
            && self.code == other.code
    }
}

/// Whether the daemon is ours: only then may it differ where we know that it does.
fn ours(engine: &Engine) -> bool {
    engine.api().get("/version")["Platform"]["Name"].as_str().is_some_and(|name| name.contains("Rorqual"))
}

/// Where a scenario is played: its directory and the programs at hand.
struct Stage<'engine> {
    engine: &'engine Engine,
    name: String,
    dir: tempfile::TempDir,
}

impl<'engine> Stage<'engine> {
    fn new(engine: &'engine Engine, name: &str) -> Self {
        // somewhere else where the daemon does not see this machine's /tmp: the lab's dockerd has a root of its own
        let base = env::var_os("RORQUAL_TEST_WORK").map_or_else(env::temp_dir, PathBuf::from);
        let dir = tempfile::tempdir_in(base).expect("a temporary directory");
        let this = Self { engine, name: name.to_owned(), dir };
        fs::create_dir_all(this.work()).expect("make the scenario's directory");
        let socket = engine.host.trim_start_matches("unix://");
        this.program("docker", &format!("exec {} \"$@\"", places::docker().display()));
        this.program(
            "api",
            &format!(
                "m=$1 p=$2; shift 2\ncase ${{1--}} in -*) ;; *) set -- -H 'Content-Type: application/json' -d \"$@\";; esac\n\
                 exec curl -sS --max-time 60 --unix-socket {socket} -X \"$m\" \"http://docker$p\" \"$@\""
            ),
        );
        // a terminal whose keyboard stays silent: nothing is ever written to the pipe, and it has no end
        this.program("terminal", "mkfifo quiet$$; exec script -qec \"$1\" /dev/null <>quiet$$");
        for (program, netns) in
            engine.netns.iter().flat_map(|netns| [("inside", &netns.name), ("outside", &netns.client)])
        {
            this.program(program, &format!("exec nsenter --net=/run/netns/{netns} \"$@\""));
        }
        this
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("write a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it one");
    }

    /// Removes what a former run may have left: containers, volumes and images with the scenario's name in front.
    fn clear(&self) {
        let name = &self.name;
        self.shell(&format!(
            "c=$(docker ps -aq --filter name=^{name}-); [ -z \"$c\" ] || docker rm -f -v $c
             v=$(docker volume ls -q --filter name=^{name}-); [ -z \"$v\" ] || docker volume rm -f $v
             i=$(docker images --filter reference='{name}-*' --format '{{{{.Repository}}}}:{{{{.Tag}}}}')
             [ -z \"$i\" ] || docker rmi -f $i"
        ));
    }

    fn shell(&self, line: &str) -> Finished {
        let path = env::var("PATH").unwrap_or_default();
        let mut command = daemon::docker_command(&self.engine.host);
        let settings: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
        command = std::process::Command::new("sh");
        for (name, value) in settings {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("PATH", format!("{}:{path}", self.dir.path().display())).env("LC_ALL", "C").env("TZ", "UTC");
        command.env("IMAGES", places::cache()).env("PWD", self.work());
        command.env("HELLO", places::binary("rorqual-hello")).current_dir(self.work()).args(["-c", line]);
        command::finish(&mut command, b"", DEADLINE)
    }

    fn play(&self, step: &Step) -> Step {
        let done = self.shell(&step.command);
        let work = self.work().display().to_string();
        let lines = |text: &str| normal(text, &work).lines().map(str::to_owned).collect();
        Step {
            before: step.before.clone(),
            command: step.command.clone(),
            stdout: lines(&done.stdout),
            stderr: lines(&done.stderr),
            code: done.code,
        }
    }
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut before = Vec::new();
    for line in text.lines() {
        let (sign, rest) = match line.split_at_checked(2) {
            Some((sign, rest)) => (sign.trim_end(), rest),
            None => (line, ""),
        };
        match (sign, steps.last_mut()) {
            ("$", _) => {
                let before = std::mem::take(&mut before);
                steps.push(Step { before, command: rest.to_owned(), ..Step::default() });
            }
            ("#", _) => before.push(line.to_owned()),
            ("", _) if line.is_empty() => before.push(String::new()),
            (">", Some(step)) => step.command = format!("{}\n{rest}", step.command),
            ("!", Some(step)) => step.stderr.push(rest.to_owned()),
            ("?", Some(step)) => step.code = rest.trim().parse().expect("an exit code after ?"),
            (_, Some(step)) => step.stdout.push(line.strip_prefix('\\').unwrap_or(line).to_owned()),
            (_, None) => panic!("output before the first command: {line:?}"),
        }
    }
    steps
}

fn print(step: &Step, remarks: bool) -> String {
    let mut out = String::new();
    let mut push = |line: &str| {
        out.push_str(line.trim_end());
        out.push('\n');
    };
    if remarks {
        step.before.iter().for_each(|line| push(line));
    }
    push(&format!("$ {}", step.command.replace('\n', "\n> ")));
    for line in &step.stdout {
        let sign = line.is_empty() || line.trim_start().is_empty() || line.starts_with(['$', '>', '!', '?', '#', '\\']);
        push(&if sign { format!("\\{line}") } else { line.clone() });
    }
    step.stderr.iter().for_each(|line| push(&format!("! {line}")));
    if step.code != 0 {
        push(&format!("? {}", step.code));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{parse, print};

    #[test]
    fn a_recorded_scenario_reads_back_as_it_was() {
        let text = "# one\n$ echo a\na\n\n$ sh -c 'x\n> y'\n\\\n\\# not a remark\n\\\\$ money\nout\n! err\n!\n? 3\n";
        let again: String = parse(text).iter().map(|step| print(step, true)).collect();
        assert_eq!(again, text);
        let steps = parse(text);
        assert_eq!(steps[1].command, "sh -c 'x\ny'");
        assert_eq!(steps[1].stdout, ["", "# not a remark", "\\$ money", "out"]);
        assert_eq!(steps[1].stderr, ["err", ""]);
        assert_eq!(steps[1].code, 3);
    }
}
