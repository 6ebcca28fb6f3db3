//! The disk budget: the least recently used images go, those in use and pinned stay.

use crate::{image, load, oracle, rorqual};
use rorqual_testkit::{Daemon, Options, command};
use std::collections::BTreeSet;

fn names(daemon: &Daemon) -> BTreeSet<String> {
    daemon.docker(["images", "--format", "{{.Repository}}"]).ok().lines().map(str::to_owned).collect()
}

fn set(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn images_go_by_last_use_when_the_budget_is_full() {
    let mut daemon = Daemon::prepare("budg", Options::default());
    let budget = r#"{"image-gc": {"high-mark": "9m", "low-mark": "7m", "minimum-age": "0s", "pinned": ["pinned:*"]}}"#;
    std::fs::write(daemon.root.join("daemon.json"), budget).expect("write the configuration");
    daemon.boot();
    for (seed, name) in ["pinned:1", "used:1", "oldest:1", "older:1"].iter().enumerate() {
        load(&daemon, &image(name, 2 << 20, seed as u64 + 10).docker_archive());
    }
    let container = daemon.docker(["create", "used:1"]).ok();
    assert_eq!(names(&daemon), set("pinned used oldest older"), "8 MiB are within the budget");
    // The last use of an image ends with its last container.
    let other = daemon.docker(["create", "oldest:1"]).ok();
    daemon.docker(["rm", other.trim()]).ok();

    let dry = rorqual(&daemon, &["image", "gc", "--dry-run"]).ok();
    assert!(dry.contains("older:1") && !dry.contains("oldest:1") && dry.contains("Would reclaim: 2.1"), "{dry}");
    load(&daemon, &image("newest:1", 2 << 20, 20).docker_archive());
    command::wait_for("the budget to be kept", || (names(&daemon) == set("pinned used newest")).then_some(()));
    oracle::df_is_du(&daemon);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs() + 1;
    let events = daemon.api().call("GET", &format!("/events?since=1&until={now}"), None).ok().text();
    let told = |action: &str| events.lines().filter(|line| line.contains(&format!("\"Action\":\"{action}\""))).count();
    assert_eq!((told("untag"), told("delete")), (2, 2), "{events}");

    let all = rorqual(&daemon, &["image", "gc", "--target", "1"]);
    assert!(all.code == 0 && all.stdout.contains("newest:1") && all.stderr.contains("more stay"), "{all}");
    assert_eq!(names(&daemon), set("pinned used"));
    daemon.docker(["rm", container.trim()]).ok();
    rorqual(&daemon, &["image", "gc", "--target", "1"]).ok();
    assert_eq!(names(&daemon), set("pinned"));
    daemon.finish();
}

#[test]
fn without_a_budget_images_stay_until_asked() {
    let daemon = Daemon::start("nobu");
    load(&daemon, &image("young:1", 1 << 20, 30).docker_archive());
    let refused = rorqual(&daemon, &["image", "gc"]);
    assert!(refused.code == 1 && refused.stderr.contains("no disk budget is configured"), "{refused}");
    let young = rorqual(&daemon, &["image", "gc", "--target", "0"]);
    assert!(young.code == 0 && young.stderr.contains("more stay"), "what was loaded a moment ago stays: {young}");
    assert_eq!(names(&daemon), set("young"));
    daemon.finish();
}
