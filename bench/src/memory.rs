//! What the engine's processes cost in memory, each page counted once among those who share it.

use crate::{
    Sample,
    target::{Target, parallel},
};
use anyhow::Result;
use std::{fs, thread, time::Duration};

/// Proportional set size of all processes, in MiB.
pub(crate) fn pss(target: &Target) -> Result<f64> {
    let mut kib = 0.0;
    for pid in target.processes()? {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        kib += line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(kib / 1024.0)
}

/// Idle, then with 50 and 200 containers that sleep.
pub(crate) fn once(target: &mut Target) -> Result<Sample> {
    thread::sleep(Duration::from_secs(1));
    let idle = pss(target)?;
    let mut sample = vec![("engine idle, PSS MiB".to_owned(), idle)];
    let mut running = 0;
    for wanted in [50_u32, 200] {
        parallel(
            8,
            (wanted - running) as usize,
            |api, _| {
                let id = Target::create(api, "none", &["sleep", "100000"])?;
                Target::call(api, "POST", &format!("/containers/{id}/start"), None).map(drop)
            },
            target,
        )?;
        running = wanted;
        thread::sleep(Duration::from_secs(2));
        let now = pss(target)?;
        sample.push((format!("PSS MiB per container at {wanted}"), (now - idle) / f64::from(wanted)));
        sample.push((format!("engine at {wanted}, PSS MiB"), now));
    }
    Ok(sample)
}
