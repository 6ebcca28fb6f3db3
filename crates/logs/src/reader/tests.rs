use super::*;
use crate::{Config, Writer, limits::TAIL_BLOCK_BYTES};
use std::{fs, thread, time::Duration};

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("x-json.log")
    }

    fn writer(&self, max_size: Option<u64>, max_file: u32) -> Writer {
        Writer::open(Config { path: self.path(), max_size, max_file, attrs: Vec::new() }).unwrap()
    }

    fn reader(&self, query: Query) -> Reader {
        Reader::open(&self.path(), Query { stdout: true, stderr: true, ..query }).unwrap()
    }

    fn read(&self, query: Query) -> Vec<String> {
        rest(self.reader(query))
    }
}

fn rest(mut reader: Reader) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        lines.push(String::from_utf8(entry.line).unwrap().trim_end().to_owned());
    }
    lines
}

fn put(writer: &mut Writer, range: std::ops::Range<u32>) {
    for number in range {
        writer.write(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    writer.flush().unwrap();
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn a_missing_log_is_empty() {
    assert!(Place::new().read(Query::default()).is_empty());
}

#[test]
fn tails_of_every_length_over_rotated_files() {
    let place = Place::new();
    put(&mut place.writer(Some(300), 5), 0..20);
    assert!(place.path().with_extension("log.3").exists());
    for tail in 0..25 {
        let expected = numbers(20u32.saturating_sub(tail)..20);
        assert_eq!(place.read(Query { tail: Some(tail.into()), ..Query::default() }), expected, "{tail}");
    }
    assert_eq!(place.read(Query::default()), numbers(0..20));
}

#[test]
fn a_tail_longer_than_a_block() {
    let place = Place::new();
    put(&mut place.writer(None, 1), 0..5000);
    assert!(fs::metadata(place.path()).unwrap().len() > 4 * TAIL_BLOCK_BYTES as u64);
    assert_eq!(place.read(Query { tail: Some(4000), ..Query::default() }), numbers(1000..5000));
}

#[test]
fn streams_and_times() {
    let place = Place::new();
    let entry = |stream: &str, second: u32| {
        format!(
            "{{\"log\":\"{stream}{second}\\n\",\"stream\":\"{stream}\",\"time\":\"1970-01-01T00:00:{second:02}Z\"}}\n"
        )
    };
    let text: String = (1..=6).map(|second| entry(if second % 2 == 0 { "stderr" } else { "stdout" }, second)).collect();
    fs::write(place.path(), text).unwrap();
    let second = 1_000_000_000;
    let only = |stdout, stderr, query: Query| {
        rest(Reader::open(&place.path(), Query { stdout, stderr, ..query }).unwrap()).join(" ")
    };
    assert_eq!(only(true, false, Query::default()), "stdout1 stdout3 stdout5");
    assert_eq!(only(false, true, Query { tail: Some(3), ..Query::default() }), "stderr4 stderr6");
    let query = Query { since: Some(2 * second), until: Some(4 * second), ..Query::default() };
    assert_eq!(only(true, true, query), "stderr2 stdout3 stderr4");
    let query = Query { until: Some(second), follow: true, ..Query::default() };
    assert_eq!(only(true, true, query), "stdout1");
}

#[test]
fn damage_is_skipped_and_a_torn_end_waited_for() {
    let place = Place::new();
    put(&mut place.writer(None, 1), 0..2);
    let whole = fs::read_to_string(place.path()).unwrap();
    let long = "x".repeat(3 * crate::limits::ENTRY_MAX_BYTES);
    let torn = &whole[..20];
    fs::write(place.path(), format!("{whole}garbage\n\u{0}\n{long}\n{whole}{torn}")).unwrap();
    assert_eq!(place.read(Query::default()), ["0", "1", "0", "1"]);
    assert_eq!(place.read(Query { tail: Some(1), ..Query::default() }), ["1"]);
}

#[test]
fn followers_see_what_comes_and_end_with_the_container() {
    let place = Place::new();
    // Before the log exists.
    let reader = place.reader(Query { follow: true, ..Query::default() });
    let handle = reader.handle();
    let follower = thread::spawn(move || rest(reader));
    let mut writer = place.writer(None, 1);
    for number in 0..200 {
        put(&mut writer, number..number + 1);
    }
    writer.write(Stream::Stderr, b"last");
    writer.end(Stream::Stderr);
    writer.flush().unwrap();
    handle.finish();
    let mut expected = numbers(0..200);
    expected.push("last".into());
    assert_eq!(follower.join().unwrap(), expected);
}

#[test]
fn followers_lose_nothing_to_rotation() {
    for (size, files) in [(2000, 100), (300, 400)] {
        let place = Place::new();
        let mut writer = place.writer(Some(size), files);
        put(&mut writer, 0..10);
        let reader = place.reader(Query { follow: true, tail: Some(5), ..Query::default() });
        let handle = reader.handle();
        let follower = thread::spawn(move || rest(reader));
        for number in 10..1000 {
            put(&mut writer, number..number + 1);
            if number % 50 == 0 {
                thread::yield_now();
            }
        }
        handle.finish();
        assert_eq!(follower.join().unwrap(), numbers(5..1000), "{size} {files}");
    }
}

#[test]
fn a_follower_too_slow_for_the_files_kept_goes_on_with_the_oldest() {
    let place = Place::new();
    let mut writer = place.writer(Some(300), 2);
    put(&mut writer, 0..2);
    let mut reader = place.reader(Query { follow: true, ..Query::default() });
    assert_eq!(reader.next_entry().unwrap().unwrap().line, b"0\n");
    put(&mut writer, 2..40);
    reader.handle().finish();
    let seen = rest(reader);
    assert_eq!(seen[..1], ["1"]);
    assert_eq!(seen.last().unwrap(), "39");
    let numbers: Vec<u32> = seen.iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.len() < 40);
}

#[test]
fn one_file_kept_is_followed_too() {
    let place = Place::new();
    let mut writer = place.writer(Some(500), 1);
    let mut reader = place.reader(Query { follow: true, ..Query::default() });
    for number in 0..100 {
        put(&mut writer, number..number + 1);
        assert_eq!(reader.next_entry().unwrap().unwrap().line, format!("{number}\n").into_bytes());
    }
}

#[test]
fn a_file_cut_by_another_program_is_read_from_its_start() {
    let place = Place::new();
    put(&mut place.writer(None, 1), 0..3);
    let mut reader = place.reader(Query { follow: true, ..Query::default() });
    (0..3).for_each(|_| drop(reader.next_entry().unwrap().unwrap()));
    fs::write(place.path(), "").unwrap();
    put(&mut place.writer(None, 1), 7..8);
    assert_eq!(reader.next_entry().unwrap().unwrap().line, b"7\n");
}

#[test]
fn cancelled_and_removed_followers_end() {
    let place = Place::new();
    put(&mut place.writer(None, 1), 0..1);
    let mut reader = place.reader(Query { follow: true, ..Query::default() });
    assert!(reader.next_entry().unwrap().is_some());
    let handle = reader.handle();
    let follower = thread::spawn(move || rest(reader));
    thread::sleep(Duration::from_millis(5));
    handle.cancel();
    assert!(follower.join().unwrap().is_empty());

    let reader = place.reader(Query { follow: true, tail: Some(0), ..Query::default() });
    let follower = thread::spawn(move || rest(reader));
    thread::sleep(Duration::from_millis(5));
    drop(place);
    assert!(follower.join().unwrap().is_empty());
}
