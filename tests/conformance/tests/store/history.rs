//! A long random history of everything that takes or gives back disk, with the daemon killed in the midst of it.

use crate::{image, load, oracle, rorqual};
use rorqual_testkit::{
    Api, Archive, Daemon, Maker, Options, Registry,
    archive::{Tar, compress},
    command, images,
};
use serde_json::{Value, json};
use std::{io, thread, time::Duration};

/// How often everything is compared.
const COMPARED: u64 = 100;

/// Numbers that look random and can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides.max(1)
    }

    fn one<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.roll(items.len() as u64);
        items.get(usize::try_from(at).unwrap_or_default())
    }
}

/// What there is to load, pull and import.
struct Goods {
    archives: Vec<Vec<u8>>,
    pulls: Vec<String>,
    tars: Vec<Vec<u8>>,
}

impl Goods {
    /// Images that share a layer, in every compression, loaded and in the registry.
    fn new(daemon: &Daemon) -> Self {
        let base = Tar::new().dir("d", 0o755).file("d/base", 0o644, &crate::noise(700_000, 99)).finish();
        let mut goods = Self { archives: Vec::new(), pulls: Vec::new(), tars: Vec::new() };
        for seed in 0..6u64 {
            let own = image("x", 150_000 * (1 + seed as usize), seed + 1).layers.remove(0);
            let name = format!("goods-{seed}:latest");
            let archive = Archive::new(&name, json!({"Cmd": ["/x"]})).layer(base.clone()).layer(own.clone());
            let bytes = match seed % 3 {
                0 => archive.docker_archive(),
                1 => archive.oci_archive(Some("gzip")),
                _ => archive.oci_archive(Some("zstd")),
            };
            load(daemon, &bytes);
            let remote = format!("localhost:5000/goods-{seed}:latest");
            daemon.docker(["tag", &name, &remote]).ok();
            daemon.docker(["push", "-q", &remote]).ok();
            daemon.docker(["rmi", &name, &remote]).ok();
            goods.archives.push(bytes);
            goods.pulls.push(remote);
            goods.tars.push(if seed % 2 == 0 { own } else { compress("gzip", &own) });
        }
        goods
    }
}

fn strings(answer: &Value, list: &str, field: &str) -> Vec<String> {
    let items = if list.is_empty() { answer } else { &answer[list] };
    items.as_array().into_iter().flatten().filter_map(|item| item[field].as_str().map(str::to_owned)).collect()
}

fn tags(api: &mut Api) -> io::Result<Vec<String>> {
    let images = api.try_call("GET", "/images/json", None)?.json();
    let all = images.as_array().into_iter().flatten();
    let tags = all.flat_map(|image| image["RepoTags"].as_array().cloned().unwrap_or_default());
    Ok(tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect())
}

fn encoded(text: &str) -> String {
    text.replace('/', "%2F").replace(':', "%3A")
}

/// One random operation. An error is that the daemon died; that it refuses is its right.
fn operate(api: &mut Api, goods: &Goods, number: u64, dice: &mut Dice) -> io::Result<()> {
    let tar = "application/x-tar";
    match dice.roll(20) {
        0 | 1 => {
            if let Some(archive) = dice.one(&goods.archives) {
                api.send("POST", "/images/load?quiet=1", tar, Some(archive))?;
            }
        }
        2 | 3 => {
            if let Some(name) = dice.one(&goods.pulls) {
                api.try_call("POST", &format!("/images/create?fromImage={}", encoded(name)), None)?;
            }
        }
        4 => {
            if let Some(layer) = dice.one(&goods.tars) {
                let path = format!("/images/create?fromSrc=-&repo=imported-{}", number % 5);
                api.send("POST", &path, tar, Some(layer))?;
            }
        }
        5 => {
            if let Some(tag) = dice.one(&tags(api)?) {
                api.try_call("POST", &format!("/images/{tag}/tag?repo=tag-{}", number % 7), None)?;
            }
        }
        6..=8 => {
            let tags: Vec<String> = tags(api)?.into_iter().filter(|tag| tag != "busybox:latest").collect();
            if let Some(tag) = dice.one(&tags) {
                let force = dice.roll(3) / 2;
                api.try_call("DELETE", &format!("/images/{tag}?force={force}"), None)?;
            }
        }
        9 | 10 => {
            if let Some(tag) = dice.one(&tags(api)?) {
                let binds = if dice.roll(2) == 0 { json!([format!("named-{}:/v", number % 4)]) } else { json!([]) };
                let volumes = if dice.roll(2) == 0 { json!({"/anonymous": {}}) } else { json!({}) };
                let body = json!({"Image": tag, "HostConfig": {"Binds": binds}, "Volumes": volumes});
                api.try_call("POST", "/containers/create", Some(&body))?;
            }
        }
        11..=13 => {
            let (own, volume) = (dice.roll(900_000), dice.roll(400_000));
            let script = format!(
                "mkdir -p /w/x; head -c {own} /dev/urandom >/w/x/f; head -c {volume} /dev/zero >/v/f; ln /w/x/f /w/g; \
                 rm -f /bin/vi; seq 2000"
            );
            let host = json!({"Binds": [format!("named-{}:/v", number % 4)], "NetworkMode": "none",
                "AutoRemove": dice.roll(3) == 0});
            let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host});
            let made = api.try_call("POST", "/containers/create", Some(&body))?.json();
            if let Some(id) = made["Id"].as_str() {
                api.try_call("POST", &format!("/containers/{id}/start"), None)?;
                api.try_call("POST", &format!("/containers/{id}/wait"), None)?;
            }
        }
        14 | 15 => {
            let all = api.try_call("GET", "/containers/json?all=1", None)?.json();
            if let Some(id) = dice.one(&strings(&all, "", "Id")) {
                let volumes = dice.roll(2);
                api.try_call("DELETE", &format!("/containers/{id}?force=1&v={volumes}"), None)?;
            }
        }
        16 => {
            api.try_call("POST", "/volumes/create", Some(&json!({"Name": format!("named-{}", number % 9)})))?;
        }
        17 => {
            let all = api.try_call("GET", "/volumes", None)?.json();
            if let Some(name) = dice.one(&strings(&all, "Volumes", "Name")) {
                api.try_call("DELETE", &format!("/volumes/{name}"), None)?;
            }
        }
        18 => {
            if let Some(tag) = dice.one(&tags(api)?) {
                api.try_call("GET", &format!("/images/{tag}/get"), None)?;
            }
        }
        _ => {
            let what = ["images", "containers", "volumes"];
            if let Some(what) = dice.one(&what) {
                api.try_call("POST", &format!("/{what}/prune"), None)?;
            }
        }
    }
    Ok(())
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn df_is_what_du_says_after_any_history() {
    let operations = number_of("RORQUAL_STORE_OPS").unwrap_or(200);
    let kills = number_of("RORQUAL_STORE_KILLS").unwrap_or(operations / 10);
    let clock =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.subsec_nanos());
    let seed = number_of("RORQUAL_SEED").unwrap_or(clock.into());
    println!("RORQUAL_SEED={seed}");
    let mut dice = Dice(seed | 1);
    let layers = std::env::var("RORQUAL_STORE_LAYERS").map(|kind| format!("layers={kind}"));
    let arguments = layers.map(|option| vec!["--storage-opt".to_owned(), option]).unwrap_or_default();
    let mut daemon = Daemon::start_with("hist", Options { arguments, ..Options::default() });
    daemon.load(&images::busybox());
    let netns = daemon.netns.clone().expect("a network");
    let registry = Registry::start(Maker::Ours, &netns, 5000);
    let goods = Goods::new(&daemon);

    let (mut killed, mut hit) = (0, 0);
    for number in 1..=operations {
        let due = kills * number / operations;
        if killed < due {
            killed += 1;
            let moment = Duration::from_micros(dice.roll(40_000));
            let (goods, host, mut own) = (&goods, daemon.host(), Dice(dice.roll(u64::MAX) | 1));
            let died = thread::scope(|scope| {
                let worker = scope.spawn(move || operate(&mut Api::new(host), goods, number, &mut own).is_err());
                // a kill falls where it falls
                thread::sleep(moment);
                daemon.kill();
                worker.join().expect("the worker does not panic")
            });
            hit += u64::from(died);
            daemon.boot();
        } else {
            operate(&mut daemon.api(), &goods, number, &mut dice).expect("the daemon lives");
        }
        if number % COMPARED == 0 || number == operations {
            let context = || format!("after {number} of {operations} operations, {killed} kills, seed {seed}");
            oracle::df_is_du(&daemon);
            let orphans = oracle::orphans(&daemon);
            assert!(orphans.is_empty(), "{}: {orphans:#?}", context());
            let left = daemon.leftovers();
            assert!(left.is_empty(), "{}: {left:#?}", context());
            let checked = rorqual(&daemon, &["system", "fsck"]);
            assert_eq!(checked.code, 0, "{}: {checked}", context());
            println!("{}: {} bytes; {}", context(), oracle::du(&daemon), checked.stdout.trim().replace('\n', "; "));
        }
    }
    println!("{killed} kills, {hit} in the midst of an operation");
    assert!(kills < 10 || hit * 10 >= killed, "only {hit} of {killed} kills hit an operation");

    let mut api = daemon.api();
    for id in strings(&api.get("/containers/json?all=1"), "", "Id") {
        api.call("DELETE", &format!("/containers/{id}?force=1&v=1"), None).ok();
    }
    api.call("POST", "/volumes/prune?filters=%7B%22all%22%3A%5B%221%22%5D%7D", None).ok();
    api.call("POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D", None).ok();
    assert_eq!(daemon.docker(["images", "-aq"]).ok(), "");
    let empty = oracle::settled_du(&daemon);
    println!("{empty} bytes when all is removed");
    assert!(
        empty < 2 << 20,
        "{empty} bytes stay: {}",
        command::run("du", ["-a", &daemon.data_root().display().to_string()])
    );
    oracle::df_is_du(&daemon);
    drop(registry);
    daemon.finish();
}
