//! The program in the built-in image: hello, and small verbs that tests run inside a container.
//!
//! Statically linked and alone in its image, so it must need nothing around it: no shell, no `/proc`, no
//! `/etc`. Every verb prints what it saw and ends with 0, 1 when the thing it tried failed, 2 on wrong use.

#![forbid(unsafe_code)]

mod attempt;
mod files;
mod ids;
mod net;
mod process;

use std::{io, process::ExitCode};

/// What a verb ends with: the exit code, or what went wrong.
type Outcome = Result<u8, Failure>;

/// Why a verb did not do its work.
#[derive(Debug)]
enum Failure {
    /// The words on the command line make no sense.
    Usage,
    /// The system said no.
    System(String, io::Error),
}

/// Names what was attempted in a failure of the system.
trait During<T> {
    fn during(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::System(what.to_owned(), error.into()))
    }
}

const HELLO: &str = "\
Hello from Rorqual!

You see this because the whole way works: the client spoke to the daemon, the
daemon made a container out of an image, a supervisor of its own started this
program in it, and what it printed came back to you.

Try next:
  docker run hello ids        who am I in here?
  docker run hello mounts     what is mounted?
  docker run hello help       everything else this program can do
";

const HELP: &str = "\
hello                          this greeting's text
echo WORD..., err WORD...      print to standard output, to standard error
args WORD...                   print every argument on a line of its own
env [NAME]                     print the environment, or one variable
pwd, hostname, tty             where, under which name, on which terminal
sleep SECONDS                  wait (fractions allowed)
exit CODE                      end with CODE
cat [FILE...]                  print files, or standard input
ls [DIR], stat FILE...         list names; type, mode, owner, size, device
write FILE TEXT, append FILE TEXT, mkdir DIR, rm FILE, touch FILE
mounts, ids, limits, fds       what this process can see of itself
tcp|udp|http listen ADDR [TEXT]
tcp|udp|http get ADDR [TEXT]   ADDR is HOST:PORT; http takes HOST:PORT/PATH
burn cpu SECONDS, burn memory MIB [SECONDS]
trap [--ignore] [--exit CODE] [SIGNAL...]
                               print signals as they come; TERM ends with CODE
count [MILLISECONDS [LAST]]    print 1, 2, 3, ... one line per tick
lines NUMBER [LENGTH]          print NUMBER lines at once
children NUMBER SECONDS        start children that sleep
orphan SECONDS                 leave a sleeping grandchild behind, then sleep
try WHAT [WORD...]             attempt something that may be forbidden
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Usage) => {
            eprintln!("hello: these words are not understood; `help` lists the verbs");
            ExitCode::from(2)
        }
        Err(Failure::System(what, error)) => {
            eprintln!("hello: {what}: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(words: &[&str]) -> Outcome {
    let Some((verb, rest)) = words.split_first() else {
        print!("{HELLO}");
        return Ok(0);
    };
    match *verb {
        "hello" => files::print(HELLO),
        "help" => files::print(HELP),
        "cat" | "ls" | "stat" | "write" | "append" | "mkdir" | "rm" | "touch" | "mounts" => files::run(verb, rest),
        "ids" | "limits" | "fds" => ids::run(verb, rest),
        "tcp" | "udp" | "http" => net::run(verb, rest),
        "try" => attempt::run(rest),
        _ => process::run(verb, rest),
    }
}
