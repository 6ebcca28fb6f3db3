//! How soon the API answers after a start.

use crate::{
    Sample,
    target::{Target, parallel},
};
use anyhow::Result;

/// With 200 stopped containers, then with 100 running ones.
pub(crate) fn once(target: &mut Target) -> Result<Sample> {
    let mut sample = Sample::new();
    parallel(8, 200, |api, _| Target::create(api, "none", &["exit", "0"]).map(drop), target)?;
    let (ping, list) = target.restart(false)?;
    sample.push(("ping after start, 200 stopped, ms".to_owned(), ping * 1e3));
    sample.push(("list after start, 200 stopped, ms".to_owned(), list * 1e3));
    target.clean()?;
    parallel(
        8,
        100,
        |api, _| {
            let id = Target::create(api, "none", &["sleep", "100000"])?;
            Target::call(api, "POST", &format!("/containers/{id}/start"), None).map(drop)
        },
        target,
    )?;
    // an engine that keeps containers only when told to has to be told before it is stopped
    let (ping, list) = target.restart(true)?;
    sample.push(("ping after start, 100 running, ms".to_owned(), ping * 1e3));
    sample.push(("list after start, 100 running, ms".to_owned(), list * 1e3));
    let running = Target::call(&mut target.api(), "GET", "/containers/json", None)?.json();
    sample.push(("of 100 still running".to_owned(), running.as_array().map_or(0.0, |list| list.len() as f64)));
    target.clean()?;
    Ok(sample)
}
