use crate::{Durability, Store, Table};
use std::{collections::BTreeMap, fs::OpenOptions, os::unix::fs::FileExt, path::Path, process::Command, time::Instant};

fn table(store: &Store) -> Table<String, String> {
    store.table("t")
}

fn all(store: &Store) -> Vec<(String, String)> {
    table(store).list().unwrap()
}

fn journal(directory: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("journal."))
        .collect();
    files.sort();
    files.pop().unwrap()
}

fn filled(directory: &Path, records: usize) {
    let store = Store::open(directory).unwrap();
    for n in 0..records {
        table(&store).put(&format!("{n:04}"), &"v".repeat(50), Durability::Grouped).unwrap();
        if n == records / 2 {
            store.sync().unwrap();
        }
    }
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let store = Store::open(directory.path()).unwrap();
        let table = table(&store);
        table.put(&format!("k{round}"), &"one".into(), Durability::Grouped).unwrap();
        table.put(&"same".into(), &round.to_string(), Durability::Synced).unwrap();
        table.delete(&"k0".into(), Durability::Grouped).unwrap();
        if round == 2 {
            store.fold().unwrap();
        }
        assert_eq!(table.get(&"same".into()).unwrap(), Some(round.to_string()));
    }
    let store = Store::open(directory.path()).unwrap();
    let keys: Vec<_> = all(&store).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["k1", "k2", "k3", "same"]);
    assert_eq!(table(&store).get(&"k0".into()).unwrap(), None);
}

#[test]
fn tables_do_not_see_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (a, ab): (Table<String, u32>, Table<String, u32>) = (store.table("a"), store.table("ab"));
    a.put(&"x".into(), &1, Durability::Grouped).unwrap();
    ab.put(&"y".into(), &2, Durability::Grouped).unwrap();
    for _ in 0..2 {
        assert_eq!(a.list().unwrap(), [("x".to_owned(), 1)]);
        assert_eq!(ab.list().unwrap(), [("y".to_owned(), 2)]);
        store.fold().unwrap();
    }
}

#[test]
fn a_second_opener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _store = Store::open(directory.path()).unwrap();
    let error = Store::open(directory.path()).unwrap_err();
    assert_eq!(error.kind(), rorqual_error::Kind::Conflict, "{error}");
}

#[test]
fn a_torn_tail_is_cut_at_any_byte() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3);
    let whole = std::fs::read(journal(directory.path())).unwrap();
    let record = (whole.len() - 16) / 3;
    for length in [whole.len() - 1, whole.len() - record + 1, whole.len() - record, whole.len() - record - 1] {
        std::fs::write(journal(directory.path()), &whole[..length]).unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(all(&store).len(), (length - 16) / record);
        table(&store).put(&"new".into(), &"v".into(), Durability::Synced).unwrap();
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        assert!(table(&store).get(&"new".into()).unwrap().is_some());
    }
}

#[test]
fn damage_before_the_end_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 20);
    let path = journal(directory.path());
    let before = std::fs::read(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"damage", 16 + 60).unwrap();
    let damaged = std::fs::read(&path).unwrap();
    let error = Store::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("is damaged at byte 16"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), damaged);
    std::fs::write(&path, before).unwrap();
    assert_eq!(all(&Store::open(directory.path()).unwrap()).len(), 20);
}

#[test]
fn a_hole_in_the_unsynced_tail_is_a_torn_tail() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing is synced between the records, so a power cut may keep a later page and lose an earlier one.
    let mut bytes = std::fs::read({
        let store = Store::open(directory.path()).unwrap();
        let table = table(&store);
        table.put(&"kept".into(), &"v".into(), Durability::Synced).unwrap();
        let mut transaction = store.begin();
        transaction.put(&table, &"lost".into(), &"v".repeat(4000)).unwrap();
        transaction.commit(Durability::Grouped).unwrap();
        table.put(&"later".into(), &"v".into(), Durability::Grouped).unwrap();
        journal(directory.path())
    })
    .unwrap();
    let hole = bytes.len() - 3000;
    bytes[hole..hole + 512].fill(0);
    std::fs::write(journal(directory.path()), &bytes).unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(all(&store), [("kept".to_owned(), "v".to_owned())]);
}

#[test]
fn another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1);
    let file = OpenOptions::new().write(true).open(journal(directory.path())).unwrap();
    file.write_all_at(&9u32.to_le_bytes(), 8).unwrap();
    let error = Store::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("format 9"), "{error}");
}

#[test]
fn a_transaction_over_the_limit_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let table = table(&store);
    assert!(table.put(&"big".into(), &"v".repeat(4 << 20), Durability::Grouped).is_err());
    assert!(all(&store).is_empty());
    table.put(&"fits".into(), &"v".repeat((4 << 20) - 100), Durability::Grouped).unwrap();
    assert_eq!(all(&store).len(), 1);
}

#[test]
fn a_long_journal_is_folded_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let table = table(&store);
    let mut expected = BTreeMap::new();
    for n in 0..3000u32 {
        let (key, value) = ((n % 700).to_string(), n.to_string().repeat(1000));
        table.put(&key, &value, Durability::Grouped).unwrap();
        expected.insert(key, value);
    }
    assert!(table.list().unwrap().into_iter().eq(expected.clone()));
    store.close().unwrap();
    assert!(table.put(&"late".into(), &"v".into(), Durability::Grouped).is_err());
    drop((table, store));
    let store = Store::open(directory.path()).unwrap();
    assert!(self::table(&store).list().unwrap().into_iter().eq(expected));
}

/// Not a test by itself: what [`killed_at_any_point_nothing_acknowledged_is_lost`] runs and kills.
#[test]
fn victim() {
    let Ok(directory) = std::env::var("METADATA_VICTIM") else { return };
    let directory = Path::new(&directory);
    let acknowledged = std::fs::File::options().append(true).create(true).open(directory.join("acknowledged")).unwrap();
    let store = Store::open(&directory.join("meta")).unwrap();
    let (data, pair): (Table<u64, String>, Table<u64, u64>) = (store.table("data"), store.table("pair"));
    let first = data.list().unwrap().last().map_or(0, |(n, _)| n + 1);
    for n in first..first + 10_000 {
        let mut transaction = store.begin();
        transaction.put(&data, &n, &"x".repeat(2000)).unwrap();
        transaction.put(&pair, &n, &n).unwrap();
        if n >= 500 {
            transaction.delete(&data, &(n - 500));
            transaction.delete(&pair, &(n - 500));
        }
        transaction.commit(if n % 50 == 0 { Durability::Synced } else { Durability::Grouped }).unwrap();
        std::io::Write::write_all(&mut &acknowledged, &n.to_le_bytes()).unwrap();
    }
}

#[test]
fn killed_at_any_point_nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let points =
        ["metadata.created=kill", "metadata.append=kill@70", "metadata.appended=kill@70", "metadata.synced=kill@3"]
            .into_iter()
            .chain(["metadata.rotate=kill", "metadata.folded=kill", "metadata.rotate=kill@2", "metadata.folded=kill@2"])
            .map(str::to_owned)
            .chain((0..8).map(|_| String::new()));
    for (round, point) in points.enumerate() {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::victim", "--nocapture"])
            .env("METADATA_VICTIM", directory.path())
            .env(crate::failpoint::VARIABLE, &point)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        if point.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(20 + 37 * round as u64));
            let _ = victim.kill();
        }
        let status = victim.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}");

        let acknowledged = std::fs::read(directory.path().join("acknowledged")).unwrap_or_default();
        let last = acknowledged.chunks_exact(8).next_back().map(|n| u64::from_le_bytes(n.try_into().unwrap()));
        let store = Store::open(&directory.path().join("meta")).unwrap();
        let (data, pair): (Table<u64, String>, Table<u64, u64>) = (store.table("data"), store.table("pair"));
        let there: Vec<u64> = pair.list().unwrap().into_iter().map(|(n, _)| n).collect();
        assert!(
            data.list().unwrap().iter().map(|(n, _)| *n).eq(there.iter().copied()),
            "halves of a transaction: {point}"
        );
        if let Some(last) = last {
            let newest = *there.last().unwrap();
            assert!(newest == last || newest == last + 1, "{point}: {newest} after {last}");
            let oldest = newest.saturating_sub(499);
            assert!(there.iter().copied().eq(oldest..=newest), "{point}");
        }
    }
}

/// Prints, and fails only when far off: the commit's cost is part of every container start.
#[test]
fn a_grouped_commit_is_cheap() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (table, value) = (table(&store), "x".repeat(4096));
    let mut times: Vec<_> = (0..500)
        .map(|n| {
            let begin = Instant::now();
            table.put(&format!("key{}", n % 200), &value, Durability::Grouped).unwrap();
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("grouped commit of 4 KiB: median {:?}, 90 % {:?}, max {:?}", times[250], times[450], times[499]);
    assert!(times[250].as_millis() < 5, "{:?}", times[250]);
}

#[test]
fn pages_are_the_list_in_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let records = table(&store);
    for n in 0..60_u32 {
        records.put(&format!("a/{n:02}"), &n.to_string(), Durability::Grouped).unwrap();
        records.put(&format!("b/{n:02}"), &n.to_string(), Durability::Grouped).unwrap();
    }
    store.fold().unwrap();
    // In memory over the database: removals, additions between the stored ones and after them.
    for n in 0..30_u32 {
        records.delete(&format!("a/{:02}", n * 2), Durability::Grouped).unwrap();
        records.put(&format!("a/{n:02}x"), &"new".to_owned(), Durability::Grouped).unwrap();
    }
    records.put(&"a/99".to_owned(), &"last".to_owned(), Durability::Grouped).unwrap();
    let prefix = "a/".to_owned();
    let wanted: Vec<_> = all(&store).into_iter().filter(|(key, _)| key.starts_with("a/")).collect();
    for limit in [1, 2, 7, 30, 31, 1000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = records.page(&prefix, after.as_ref(), limit).unwrap();
            let Some((last, _)) = page.last() else { break };
            assert!(page.len() <= limit);
            after = Some(last.clone());
            found.extend(page);
        }
        assert_eq!(found, wanted, "{limit}");
    }
    assert_eq!(records.page(&prefix, Some(&"A".to_owned()), 1).unwrap(), wanted[..1]);
}

#[test]
fn a_database_that_was_emptied_gives_its_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let keys: Vec<String> = (0..200).map(|number| format!("{number:04}")).collect();
    for key in &keys {
        table(&store).put(key, &"v".repeat(40_000), Durability::Grouped).unwrap();
    }
    store.tidy().unwrap();
    let length = || std::fs::metadata(directory.path().join("records.redb")).unwrap().len();
    assert!(length() > 8_000_000, "{}", length());
    assert_eq!(all(&store).len(), keys.len());
    for key in &keys[1..] {
        table(&store).delete(key, Durability::Grouped).unwrap();
    }
    store.tidy().unwrap();
    assert!(length() < 1 << 20, "{}", length());
    assert_eq!(all(&store).len(), 1);
    drop(store);
    assert_eq!(all(&Store::open(directory.path()).unwrap()).len(), 1);
}
