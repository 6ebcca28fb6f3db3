//! Ids and names of containers: exact, by prefix, and reserved while a container is being made.

use rorqual_error::{Error, Result};
use rorqual_types::{ContainerId, ContainerName};
use std::collections::{BTreeMap, HashMap};

/// Which container a text means. `T` is what is kept for each.
#[derive(Debug)]
pub struct Index<T> {
    by_id: BTreeMap<ContainerId, T>,
    by_name: HashMap<ContainerName, ContainerId>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), by_name: HashMap::new() }
    }
}

impl<T> Index<T> {
    /// Takes `name` for `id`, before the container itself is there.
    pub fn reserve(&mut self, name: &ContainerName, id: &ContainerId) -> Result<()> {
        match self.by_name.get(name) {
            Some(owner) if owner != id => Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or \
                 rename) that container to be able to reuse that name."
            ))),
            Some(_) | None => {
                self.by_name.insert(name.clone(), id.clone());
                Ok(())
            }
        }
    }

    /// Gives up `name` where it belongs to `id`.
    pub fn release(&mut self, name: &ContainerName, id: &ContainerId) {
        if self.by_name.get(name) == Some(id) {
            self.by_name.remove(name);
        }
    }

    /// Whether someone has `name`.
    pub fn is_taken(&self, name: &ContainerName) -> bool {
        self.by_name.contains_key(name)
    }

    /// Adds a container under its reserved name.
    pub fn insert(&mut self, id: ContainerId, value: T) {
        self.by_id.insert(id, value);
    }

    /// Takes a container and all its names out.
    pub fn remove(&mut self, id: &ContainerId) -> Option<T> {
        self.by_name.retain(|_, owner| owner != id);
        self.by_id.remove(id)
    }

    /// The container that `text` means: its id, else its name, else a prefix of its id that no other has.
    pub fn find(&self, text: &str) -> Result<&T> {
        if let Some(found) = self.by_id.get(text) {
            return Ok(found);
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(found) = self.by_name.get(name).and_then(|id| self.by_id.get(id)) {
            return Ok(found);
        }
        self.by_prefix(text)
    }

    fn by_prefix(&self, text: &str) -> Result<&T> {
        let shown = || text.chars().take(256).collect::<String>();
        let missing = || Error::not_found(format!("No such container: {}", shown()));
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let from = (std::ops::Bound::Included(text), std::ops::Bound::Unbounded);
        let mut matches = self.by_id.range::<str, _>(from).take_while(|(id, _)| id.as_str().starts_with(text));
        let first = matches.next().ok_or_else(missing)?;
        match matches.next() {
            None => Ok(first.1),
            Some(_) => Err(Error::invalid(format!("multiple IDs found with provided prefix: {}", shown()))),
        }
    }

    /// All of them, by id.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.by_id.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digits: &str) -> ContainerId {
        format!("{digits:0<64}").parse().unwrap()
    }

    fn index() -> Index<&'static str> {
        let mut index = Index::default();
        for (digits, name) in [("abc1", "web"), ("abc2", "data"), ("f00", "abc")] {
            index.reserve(&name.parse().unwrap(), &id(digits)).unwrap();
            index.insert(id(digits), name);
        }
        index
    }

    #[test]
    fn a_container_is_found_by_id_name_and_prefix() {
        let index = index();
        for (text, found) in [("web", "web"), ("/web", "web"), ("abc1", "web"), ("f", "abc"), ("abc", "abc")] {
            assert_eq!(*index.find(text).unwrap(), found, "{text}");
        }
        assert_eq!(*index.find(id("abc2").as_str()).unwrap(), "data");
    }

    #[test]
    fn a_prefix_of_two_is_ambiguous() {
        assert_eq!(index().find("ab").unwrap_err().to_string(), "multiple IDs found with provided prefix: ab");
        assert_eq!(index().find("zz").unwrap_err().to_string(), "No such container: zz");
    }

    #[test]
    fn a_name_in_use_is_refused_in_dockerds_words() {
        let error = index().reserve(&"web".parse().unwrap(), &id("1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "Conflict. The container name \"/web\" is already in use by container \"{}\". You have to remove (or rename) \
                 that container to be able to reuse that name.",
                id("abc1")
            )
        );
    }

    #[test]
    fn a_removed_containers_name_is_free() {
        let mut index = index();
        index.remove(&id("abc1"));
        assert!(index.reserve(&"web".parse().unwrap(), &id("2")).is_ok());
    }
}
