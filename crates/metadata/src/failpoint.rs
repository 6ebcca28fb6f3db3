//! Named places where a test can kill, fail or delay the process.
//!
//! `RORQUAL_FAILPOINTS="journal.appended=kill;layer.renamed=kill@3;blob.written=error;net.veth=sleep:200"`:
//! `@N` acts on the N-th passage only. Without the variable a passage costs one relaxed load.

use rorqual_error::{Error, Result};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

/// The environment variable that arms fail points.
pub const VARIABLE: &str = "RORQUAL_FAILPOINTS";

const UNREAD: u8 = 0;
const OFF: u8 = 1;
const ARMED: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(UNREAD);
static POINTS: OnceLock<Mutex<BTreeMap<String, Point>>> = OnceLock::new();

struct Point {
    action: Action,
    /// Acts on this passage only; `None` acts on each.
    at: Option<u64>,
    passed: u64,
}

#[derive(Clone, Copy)]
enum Action {
    Kill,
    Error,
    Sleep(Duration),
}

/// Passes the place `name`; the macro [`failpoint!`](crate::failpoint!) is the usual way.
#[inline]
pub fn pass(name: &str) -> Result<()> {
    match STATE.load(Ordering::Relaxed) {
        OFF => Ok(()),
        _ => pass_slowly(name),
    }
}

#[cold]
fn pass_slowly(name: &str) -> Result<()> {
    let points = POINTS.get_or_init(|| {
        let points = std::env::var(VARIABLE).map(|text| parse(&text)).unwrap_or_default();
        STATE.store(if points.is_empty() { OFF } else { ARMED }, Ordering::Relaxed);
        Mutex::new(points)
    });
    let action = {
        let mut points = points.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(point) = points.get_mut(name) else { return Ok(()) };
        point.passed += 1;
        if point.at.is_some_and(|at| at != point.passed) {
            return Ok(());
        }
        point.action
    };
    match action {
        Action::Kill => loop {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::thread::sleep(Duration::from_secs(1));
        },
        Action::Error => Err(Error::internal(format!("fail point {name}"))),
        Action::Sleep(time) => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

fn parse(text: &str) -> BTreeMap<String, Point> {
    let mut points = BTreeMap::new();
    for item in text.split(';').filter(|item| !item.trim().is_empty()) {
        let Some((name, action)) = item.trim().split_once('=') else { continue };
        let (action, at) = match action.split_once('@') {
            Some((action, at)) => (action, at.parse().ok()),
            None => (action, None),
        };
        let action = match action.split_once(':') {
            Some(("sleep", ms)) => Action::Sleep(Duration::from_millis(ms.parse().unwrap_or(100))),
            None if action == "kill" => Action::Kill,
            None if action == "error" => Action::Error,
            _ => continue,
        };
        points.insert(name.to_owned(), Point { action, at, passed: 0 });
    }
    points
}

/// Passes a named place. In a function that returns `rorqual_error::Result`, `failpoint!("name")?` may also fail there.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint::pass($name)
    };
}
