use super::*;
use serde_json::Value;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("x-json.log")
    }

    fn open(&self, max_size: Option<u64>, max_file: u32) -> Writer {
        Writer::open(Config { path: self.path(), max_size, max_file, attrs: Vec::new() }).unwrap()
    }

    /// The `log` members of a file.
    fn logged(&self, number: u32) -> Vec<String> {
        let path = if number == 0 { self.path() } else { rotated(&self.path(), number) };
        entries(&path).iter().map(|entry| entry["log"].as_str().unwrap().to_owned()).collect()
    }
}

fn entries(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_wait_for_their_newline() {
    let place = Place::new();
    let mut writer = place.open(None, 1);
    writer.write(Stream::Stdout, b"one\ntw");
    writer.write(Stream::Stderr, b"err\n");
    writer.flush().unwrap();
    assert_eq!(place.logged(0), ["one\n", "err\n"]);
    writer.write(Stream::Stdout, b"o\n\nend");
    writer.end(Stream::Stdout);
    writer.end(Stream::Stderr);
    writer.flush().unwrap();
    assert_eq!(place.logged(0), ["one\n", "err\n", "two\n", "\n", "end"]);
}

#[test]
fn long_lines_are_cut_at_16_kib() {
    for (length, expected) in [
        (PARTIAL_BYTES - 1, vec![PARTIAL_BYTES]),
        (PARTIAL_BYTES, vec![PARTIAL_BYTES, 1]),
        (PARTIAL_BYTES + 1, vec![PARTIAL_BYTES, 2]),
        (3 * PARTIAL_BYTES, vec![PARTIAL_BYTES, PARTIAL_BYTES, PARTIAL_BYTES, 1]),
    ] {
        for step in [1000, PARTIAL_BYTES, 1 << 20] {
            let place = Place::new();
            let mut writer = place.open(None, 1);
            let mut line = vec![b'x'; length];
            line.push(b'\n');
            line.chunks(step).for_each(|chunk| writer.write(Stream::Stdout, chunk));
            writer.flush().unwrap();
            let lengths: Vec<usize> = place.logged(0).iter().map(String::len).collect();
            assert_eq!(lengths, expected, "{length} by {step}");
            let times: Vec<Value> = entries(&place.path()).iter().map(|entry| entry["time"].clone()).collect();
            assert!(times.iter().all(|time| *time == times[0]), "one line has one time");
        }
    }
}

#[test]
fn files_rotate() {
    let place = Place::new();
    let mut writer = place.open(Some(100), 3);
    for number in 0..9 {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    writer.flush().unwrap();
    // Entries have 60 to 70 bytes: two fit before the file counts as full.
    assert_eq!(place.logged(0), ["8\n"]);
    assert_eq!(place.logged(1), ["6\n", "7\n"]);
    assert_eq!(place.logged(2), ["4\n", "5\n"]);
    assert!(!rotated(&place.path(), 3).exists());
}

#[test]
fn one_file_starts_afresh() {
    let place = Place::new();
    let mut writer = place.open(Some(100), 1);
    (0..5).for_each(|number| writer.write(Stream::Stdout, format!("{number}\n").as_bytes()));
    drop(writer);
    assert_eq!(place.logged(0), ["4\n"]);
    assert!(!rotated(&place.path(), 1).exists());
}

#[test]
fn a_torn_entry_is_cut_off() {
    let place = Place::new();
    for (before, after) in [("{\"log\":\"a\"}\n{\"lo", "{\"log\":\"a\"}\n"), ("{\"lo", ""), ("{}\n", "{}\n")] {
        fs::write(place.path(), before).unwrap();
        let writer = place.open(None, 1);
        assert_eq!(writer.size, after.len() as u64);
        assert_eq!(fs::read_to_string(place.path()).unwrap(), after);
    }
}

#[test]
fn a_failed_rotation_goes_on_in_the_old_file() {
    let place = Place::new();
    let mut writer = place.open(Some(10), 3);
    fs::create_dir_all(rotated(&place.path(), 1).join("in the way")).unwrap();
    fs::create_dir_all(rotated(&place.path(), 2).join("in the way")).unwrap();
    writer.write(Stream::Stdout, b"a\nb\n");
    assert!(writer.flush().is_err());
    assert!(writer.flush().is_ok());
    assert_eq!(place.logged(0), ["a\n", "b\n"]);
    assert_eq!(writer.lost(), 0);
}

#[test]
fn a_full_disk_loses_entries_and_says_so() {
    let mut writer = Writer::open(Config { path: "/dev/full".into(), ..Config::default() }).unwrap();
    writer.write(Stream::Stdout, b"a\nb\n");
    assert_eq!(writer.flush().unwrap_err().raw_os_error(), Some(28));
    assert_eq!(writer.lost(), 2);
}

/// Not a gate (machines differ): prints the cost with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_line() {
    let place = Place::new();
    let mut writer = place.open(Some(64 << 20), 1);
    let block: Vec<u8> = std::iter::repeat_n([&[b'x'; 99][..], b"\n"].concat(), 640).flatten().collect();
    let started = std::time::Instant::now();
    for _ in 0..3125 {
        writer.write(Stream::Stdout, &block);
        writer.flush().unwrap();
    }
    println!("{} ns per line", started.elapsed().as_nanos() / 2_000_000);
}
