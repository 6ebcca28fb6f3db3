//! How long a start takes: spawn of the shim to the end of `true`, and exec, with memory of idle shims.
//!
//! `RORQUAL_SHIM=…/rorqual-shim cargo run --release -p rorqual-linux-tests --example start_time -- 100`

use rorqual_linux_tests::{Case, Lab};
use std::{fs, time::Instant};

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(50);
    let Some(lab) = Lab::new() else { return };
    for userns in [false, true] {
        let mut steps: Vec<[f64; 4]> = Vec::new();
        for _ in 0..rounds {
            let begin = Instant::now();
            let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
            let case = Case::new(&lab, &["true"]).userns(userns);
            let mut container = case.create().unwrap();
            let created = ms(begin);
            container.go().unwrap();
            let started = ms(begin);
            container.wait();
            let ended = ms(begin);
            container.forget();
            steps.push([created, started, ended, ms(begin)]);
        }
        for (index, name) in ["created", "started", "exited", "forgotten"].iter().enumerate() {
            let mut values: Vec<f64> = steps.iter().map(|step| step[index]).collect();
            values.sort_by(f64::total_cmp);
            println!("userns {userns} {name:>9}: median {:.2} ms, min {:.2}", values[rounds / 2], values[0]);
        }
    }
    let mut idle: Vec<_> = (0..20).map(|_| Case::new(&lab, &["sleep", "1000"]).start().unwrap()).collect();
    let pss = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().split(' ').next()?.parse::<u64>().ok()).unwrap()
    };
    let all: u64 = idle.iter().map(|container| pss(container.spawned.child.id())).sum();
    if std::env::var_os("SMAPS").is_some() {
        print!("{}", fs::read_to_string(format!("/proc/{}/smaps", idle[0].spawned.child.id())).unwrap());
    }
    println!("PSS of an idle shim, 20 running: {} KiB", all / 20);
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        idle[0].exec("true");
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("exec of a shell: median {:.2} ms, min {:.2}", times[rounds / 2], times[0]);
    let all: u64 = idle.iter().map(|container| pss(container.spawned.child.id())).sum();
    println!("PSS of an idle shim, one with execs: {} KiB", all / 20);
    for container in idle {
        container.end();
    }
}
