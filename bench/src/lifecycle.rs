//! The life of a tiny container, and execs in one.

use crate::{
    Sample,
    target::{IMAGE, Target, parallel},
};
use anyhow::{Context as _, Result, ensure};
use rorqual_testkit::Api;
use serde_json::json;
use std::{sync::Mutex, time::Instant};

/// Milliseconds of create, start, wait and remove.
type Steps = [f64; 4];

/// One life over the API.
pub(crate) fn life(api: &mut Api, network: &str) -> Result<Steps> {
    let begin = Instant::now();
    let id = Target::create(api, network, &["exit", "0"])?;
    let created = Instant::now();
    Target::call(api, "POST", &format!("/containers/{id}/start"), None)?;
    let started = Instant::now();
    Target::call(api, "POST", &format!("/containers/{id}/wait"), None)?;
    let ended = Instant::now();
    Target::call(api, "DELETE", &format!("/containers/{id}"), None)?;
    let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
    Ok([ms(begin, created), ms(created, started), ms(started, ended), ms(ended, Instant::now())])
}

/// The middle of a list.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Both networks, three numbers in flight.
pub(crate) fn api(target: &mut Target) -> Result<Sample> {
    let mut sample = Sample::new();
    for network in ["none", "bridge"] {
        for (width, count) in [(1, 20), (8, 64), (32, 128)] {
            let lives: Mutex<Vec<Steps>> = Mutex::new(Vec::new());
            let took = parallel(
                width,
                count,
                |api, _| {
                    let steps = life(api, network)?;
                    lives.lock().expect("no worker panics").push(steps);
                    Ok(())
                },
                target,
            )?;
            let lives = lives.into_inner().expect("no worker panics");
            let mut whole: Vec<f64> = lives.iter().map(|steps| steps.iter().sum()).collect();
            sample.push((format!("{network}, {width} in flight, p50 ms"), median(&mut whole)));
            sample.push((format!("{network}, {width} in flight, containers/s"), count as f64 / took));
            if width == 1 {
                for (index, step) in ["create", "start", "wait", "remove"].iter().enumerate() {
                    let mut times: Vec<f64> = lives.iter().map(|steps| steps[index]).collect();
                    sample.push((format!("  {network}, {step}, p50 ms"), median(&mut times)));
                }
            }
        }
    }
    Ok(sample)
}

/// Through the docker client.
pub(crate) fn client(target: &mut Target) -> Result<Sample> {
    let mut sample = Sample::new();
    for network in ["none", "bridge"] {
        let begin = Instant::now();
        target.docker(&["run", "--rm", "--network", network, IMAGE, "exit", "0"])?;
        sample.push((format!("docker run --rm --network {network}, ms"), begin.elapsed().as_secs_f64() * 1e3));
    }
    Ok(sample)
}

/// One exec over the API, its output read to the end and its code asked for.
pub(crate) fn one_exec(api: &mut Api, id: &str) -> Result<()> {
    let body = json!({"Cmd": ["/hello", "exit", "0"], "AttachStdout": true, "AttachStderr": true});
    let exec = Target::call(api, "POST", &format!("/containers/{id}/exec"), Some(&body))?.json();
    let exec = exec["Id"].as_str().context("an id")?;
    Target::call(api, "POST", &format!("/exec/{exec}/start"), Some(&json!({"Detach": false, "Tty": false})))?;
    let state = Target::call(api, "GET", &format!("/exec/{exec}/json"), None)?.json();
    ensure!(state["ExitCode"] == 0, "exec ended with {}", state["ExitCode"]);
    Ok(())
}

/// Twenty execs in a row, then the client.
pub(crate) fn exec(target: &mut Target) -> Result<Sample> {
    let mut api = target.api();
    let id = Target::create(&mut api, "none", &["sleep", "100000"])?;
    Target::call(&mut api, "POST", &format!("/containers/{id}/start"), None)?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        one_exec(&mut api, &id)?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let begin = Instant::now();
    target.docker(&["exec", &id, "/hello", "exit", "0"])?;
    let through_client = begin.elapsed().as_secs_f64() * 1e3;
    Ok(vec![
        ("exec over the API, p50 ms".to_owned(), median(&mut times)),
        ("docker exec, ms".to_owned(), through_client),
    ])
}
