//! A layer's index, made of an archive: read back by hand, it is whole, and shows what the archive's entries make.

use crate::{erofs, tar::repaired};
use rorqual_snapshot::{
    index_alone,
    tar::{Entry, EntryKind, Reader},
};
use std::collections::BTreeMap;

pub(crate) fn run(input: &[u8]) {
    let archive = repaired(input);
    let mut index = Vec::new();
    let Ok(true) = index_alone(archive.as_slice(), &mut index) else { return };
    let found = erofs::walk(&index, &archive);
    let Some(expected) = Model::of(&archive) else { return };
    for (path, number) in &expected.names {
        let node = &expected.nodes[*number];
        let found = found.get(path).unwrap_or_else(|| panic!("{path:?} is missing"));
        let entry = node.entry.as_ref();
        assert_eq!(found.kind, node.kind(), "{path:?}");
        assert_eq!(found.data.as_slice(), node.data.as_slice(), "{path:?}");
        if let Some(entry) = entry {
            let mode = if entry.kind == EntryKind::SymbolicLink { 0o777 } else { entry.mode };
            assert_eq!((found.mode, found.owner), (mode, (entry.uid, entry.gid)), "{path:?}");
            assert_eq!(found.modified, entry.modified, "{path:?}");
        }
    }
    assert_eq!(found.len(), expected.names.len(), "the index has more files than the archive");
}

/// What the entries make, by the plainest rules; archives that need more are not modelled.
struct Model {
    names: BTreeMap<Vec<u8>, usize>,
    nodes: Vec<Node>,
}

struct Node {
    /// `None` for a directory that only the paths of others imply.
    entry: Option<Entry>,
    /// A file's data, or a link's target.
    data: Vec<u8>,
}

impl Node {
    fn kind(&self) -> EntryKind {
        self.entry.as_ref().map_or(EntryKind::Directory, |entry| entry.kind)
    }
}

impl Model {
    fn of(archive: &[u8]) -> Option<Self> {
        let root = Node { entry: None, data: Vec::new() };
        let mut model = Self { names: BTreeMap::from([(Vec::new(), 0)]), nodes: vec![root] };
        let mut reader = Reader::new(archive);
        while let Some(entry) = reader.next_entry().expect("the index was made of it") {
            let data = reader.read_data(archive.len() as u64).expect("the index was made of it");
            model.add(entry, data)?;
        }
        Some(model)
    }

    /// `None` where links on the way, or names that hide others, decide.
    fn add(&mut self, entry: Entry, data: Vec<u8>) -> Option<()> {
        let path = entry.path.clone();
        if path.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh.")) {
            return None;
        }
        self.make_parents(&path)?;
        if entry.kind == EntryKind::HardLink {
            self.make_parents(&entry.link)?;
            let target = *self.names.get(&entry.link)?;
            self.remove(&path);
            self.names.insert(path, target);
            return Some(());
        }
        let data = if entry.kind == EntryKind::SymbolicLink { entry.link.clone() } else { data };
        let old = self.names.get(&path).copied();
        if let Some(number) = old.filter(|number| self.nodes[*number].kind() == EntryKind::Directory)
            && entry.kind == EntryKind::Directory
        {
            self.nodes[number].entry = Some(entry);
            return Some(());
        }
        self.remove(&path);
        self.nodes.push(Node { entry: Some(entry), data });
        self.names.insert(path, self.nodes.len() - 1);
        Some(())
    }

    fn make_parents(&mut self, path: &[u8]) -> Option<()> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for parent in slashes.map(|at| &path[..at]) {
            match self.names.get(parent) {
                Some(number) if self.nodes[*number].kind() == EntryKind::Directory => {}
                Some(_) => return None,
                None => {
                    self.nodes.push(Node { entry: None, data: Vec::new() });
                    self.names.insert(parent.to_vec(), self.nodes.len() - 1);
                }
            }
        }
        Some(())
    }

    /// Removes a name and all below it.
    fn remove(&mut self, path: &[u8]) {
        let below = |name: &[u8]| name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        self.names.retain(|name, _| !below(name));
    }
}
