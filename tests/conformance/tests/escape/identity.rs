//! V13: who a process is, by every way to say it.

use crate::{daemon, docker};

fn ids(output: &str, name: &str) -> String {
    let line = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or("").to_owned()
}

fn groups(words: &[&str], user: &str) -> (String, String, Vec<u32>) {
    let mut all = vec!["run", "--rm", "--network", "none", "-u", user];
    all.extend(words);
    all.extend(["busybox", "sh", "-c", "grep -E '^(Uid|Gid|Groups)' /proc/self/status"]);
    let done = daemon().docker(all).ok();
    let line = |name: &str| {
        let line = done.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut list: Vec<u32> = line("Groups:").iter().filter_map(|word| word.parse().ok()).collect();
    list.sort_unstable();
    list.dedup();
    (line("Uid:")[1].clone(), line("Gid:")[1].clone(), list)
}

/// V13: twelve forms of a user, and the groups each is in.
#[test]
fn conf_groups() {
    // the image's alice is 1000:1000, also in wheel (10) and video (44)
    for (user, words, uid, gid, list) in [
        ("", &[][..], "0", "0", &[0][..]),
        ("root", &[], "0", "0", &[0]),
        ("0", &[], "0", "0", &[0]),
        ("alice", &[], "1000", "1000", &[10, 44, 1000]),
        ("1000", &[], "1000", "1000", &[10, 44, 1000]),
        ("alice:wheel", &[], "1000", "10", &[10]),
        ("alice:44", &[], "1000", "44", &[44]),
        ("1000:1000", &[], "1000", "1000", &[1000]),
        ("4000", &[], "4000", "0", &[0]),
        ("4000:5000", &[], "4000", "5000", &[5000]),
        (":44", &[], "0", "44", &[44]),
        ("alice", &["--group-add", "6000", "--group-add", "daemon"], "1000", "1000", &[1, 10, 44, 1000, 6000]),
    ] {
        for mode in [&[][..], &["--userns", "host"]] {
            let words: Vec<&str> = words.iter().chain(mode).copied().collect();
            let found = groups(&words, user);
            assert_eq!(found, (uid.to_owned(), gid.to_owned(), list.to_vec()), "user {user:?} with {words:?}");
        }
    }
}

/// V13: the five sets, and none of them in force on the host.
#[test]
fn conf_caps() {
    const DEFAULT: &str = "00000000a80425fb";
    const NONE: &str = "0000000000000000";
    for (flags, effective, bounding) in [
        ("", DEFAULT, DEFAULT),
        ("-u 1000", NONE, DEFAULT),
        ("--cap-drop ALL", NONE, NONE),
        ("--cap-drop ALL --cap-add CHOWN", "0000000000000001", "0000000000000001"),
        ("--cap-drop all --cap-add cap_chown -u 1000", NONE, "0000000000000001"),
        ("--userns host", DEFAULT, DEFAULT),
        ("--init", DEFAULT, DEFAULT),
        ("--security-opt no-new-privileges", DEFAULT, DEFAULT),
    ] {
        let done = docker(&format!("run --rm --network none {flags} hello ids")).ok();
        assert_eq!(ids(&done, "cap_inheritable"), NONE, "{flags}");
        assert_eq!(ids(&done, "cap_ambient"), NONE, "{flags}");
        assert_eq!(ids(&done, "cap_effective"), effective, "{flags}");
        assert_eq!(ids(&done, "cap_permitted"), effective, "{flags}");
        assert_eq!(ids(&done, "cap_bounding"), bounding, "{flags}");
    }
    docker("run -d --name conf-caps hello sleep 1000").ok();
    let inside = docker("exec conf-caps /hello ids").ok();
    assert_eq!((ids(&inside, "cap_inheritable"), ids(&inside, "cap_effective")), (NONE.to_owned(), DEFAULT.to_owned()));
    let pid = docker("inspect -f {{.State.Pid}} conf-caps").ok();
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", pid.trim())).expect("its map");
    let host = std::fs::read_to_string("/proc/self/uid_map").expect("ours");
    assert_ne!(
        map.split_whitespace().collect::<Vec<_>>(),
        host.split_whitespace().collect::<Vec<_>>(),
        "no user namespace of its own"
    );
    assert!(
        map.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok()).is_some_and(|first| first >= 65536),
        "{map}"
    );
    docker("rm -f conf-caps").ok();
}

/// V13: two containers have no id of the host in common.
#[test]
fn conf_ranges() {
    let mut ranges = Vec::new();
    for name in ["conf-range-a", "conf-range-b"] {
        docker(&format!("run -d --name {name} hello sleep 1000")).ok();
        let pid = docker(&format!("inspect -f {{{{.State.Pid}}}} {name}")).ok();
        let map = std::fs::read_to_string(format!("/proc/{}/uid_map", pid.trim())).expect("its map");
        let numbers: Vec<u64> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        ranges.push((numbers[1], numbers[1] + numbers[2]));
    }
    docker("rm -f conf-range-a conf-range-b").ok();
    assert!(ranges[0].1 <= ranges[1].0 || ranges[1].1 <= ranges[0].0, "{ranges:?} overlap");
}

/// V13: a string either names exactly the id it shows, or is refused; nothing becomes root by mistake.
#[test]
fn prop_user() {
    let refused = [
        "-1",
        "4294967295",
        "4294967296",
        "2147483648",
        "18446744073709551616",
        "99999999999999999999",
        "0x0",
        "1e3",
        "+1",
        "0:-1",
        "0:4294967296",
        "1000:nosuch",
        "nosuch",
        "nosuch:0",
        "root:nosuch",
        "alice:-5",
        "0b0",
        "٠",
        "0,0",
        "1.0",
    ];
    for user in refused {
        let done = daemon().docker(["run", "--rm", "--network", "none", "-u", user, "busybox", "id", "-u"]);
        assert!(done.code == 125 || done.code == 126, "user {user:?} was accepted: {done}");
    }
    for number in [0_u32, 1, 10, 999, 1000, 65533, 65534, 65535] {
        for text in [number.to_string(), format!("{number}:{number}")] {
            let done = daemon().docker(["run", "--rm", "--network", "none", "-u", &text, "busybox", "id", "-u"]);
            assert_eq!(done.ok().trim(), number.to_string(), "user {text}");
        }
    }
    // beyond the container's range: refused or honoured, never something else
    for number in [65536_u32, 100_000, 2_147_483_647] {
        let done =
            daemon().docker(["run", "--rm", "--network", "none", "-u", &number.to_string(), "busybox", "id", "-u"]);
        assert!(done.code != 0 || done.stdout.trim() == number.to_string(), "user {number}: {done}");
    }
}
