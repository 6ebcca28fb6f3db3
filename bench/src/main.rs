//! Measures container engines side by side through the Docker API: anything that answers at a `DOCKER_HOST`.
//!
//! Each benchmark takes one sample of every target in turn, in reversed order every other round, so that the noise
//! of the machine hits all of them alike.

#![forbid(unsafe_code)]

mod arguments;
mod cpu;
mod distribution;
mod lifecycle;
mod load;
mod memory;
mod report;
mod startup;
mod target;

use anyhow::{Context as _, Result, bail};
use arguments::Arguments;
use report::Report;
use std::process::ExitCode;
use target::Target;

/// Metrics of one sample, by name. A name that ends in `/s` is better high, others low.
type Sample = Vec<(String, f64)>;

/// One benchmark.
struct Bench {
    name: &'static str,
    about: &'static str,
    rounds: u32,
    once: fn(&mut Target) -> Result<Sample>,
}

const ALL: [Bench; 8] = [
    Bench {
        name: "lifecycle",
        about: "create, start, wait, remove over the API: none, bridge; 1, 8, 32 in flight",
        rounds: 3,
        once: lifecycle::api,
    },
    Bench { name: "client", about: "docker run --rm IMAGE exit 0", rounds: 10, once: lifecycle::client },
    Bench { name: "exec", about: "exec over the API and through the docker client", rounds: 5, once: lifecycle::exec },
    Bench {
        name: "cpu",
        about: "CPU time of everything on the engine's side per container and per exec",
        rounds: 3,
        once: cpu::once,
    },
    Bench {
        name: "memory",
        about: "PSS of the engine: idle, and per idle container at 50 and 200",
        rounds: 2,
        once: memory::once,
    },
    Bench { name: "load", about: "load of an image of 400 MB", rounds: 3, once: load::once },
    Bench {
        name: "distribution",
        about: "pull, save and push of the same image, gzip and zstd, with docker-registry on loopback",
        rounds: 3,
        once: distribution::once,
    },
    Bench {
        name: "startup",
        about: "ready with 200 stopped and with 100 running containers (needs --ctl or --ours)",
        rounds: 3,
        once: startup::once,
    },
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(arguments) = Arguments::read(std::env::args().skip(1))? else {
        print!("{}", arguments::HELP);
        for bench in ALL {
            println!("  {:10} {}", bench.name, bench.about);
        }
        return Ok(());
    };
    let chosen: Vec<Bench> = ALL.into_iter().filter(|bench| arguments.wants(bench.name)).collect();
    if chosen.is_empty() {
        bail!("no benchmark of this name; `bench --help` lists them");
    }
    let mut targets = arguments.open_targets()?;
    let mut report = Report::new(&mut targets)?;
    for bench in chosen {
        println!("\n## {}: {} (load {})", bench.name, bench.about, report::load_average());
        let rounds = arguments.rounds.unwrap_or(bench.rounds);
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..targets.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let target = &mut targets[index];
                match (bench.once)(target).with_context(|| format!("{} on {}", bench.name, target.label)) {
                    Ok(sample) => report.add(bench.name, index, sample),
                    Err(error) => println!("skipped: {error:#}"),
                }
                target.clean()?;
            }
        }
        report.print(bench.name, &targets);
    }
    if let Some(path) = &arguments.json {
        report.save(path, &targets)?;
    }
    Ok(())
}
