//! `rorqual image`.

mod gc;
mod history;
mod import;
mod inspect;
mod load;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod pull;
mod push;
mod rm;
mod save;
pub(crate) mod search;
mod tag;
mod tree;

use crate::{
    args::Group,
    failure::{Failure, Result},
};
use rorqual_types::Platform;

/// The group.
pub const GROUP: Group = Group {
    name: "image",
    about: "Manage images",
    commands: &[
        &gc::COMMAND,
        &history::COMMAND,
        &import::COMMAND,
        &inspect::COMMAND,
        &load::COMMAND,
        &ls::COMMAND,
        &prune::COMMAND,
        &pull::COMMAND,
        &push::COMMAND,
        &rm::COMMAND,
        &save::COMMAND,
        &tag::COMMAND,
    ],
};

/// `linux/amd64` as the JSON that image routes take; none where it is empty.
pub fn platform_json(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || Failure::message(format!("invalid platform: {text:?}"));
    text.parse::<Platform>().map_err(|_| invalid())?;
    let parts: Vec<&str> = text.split('/').collect();
    let mut fields = Vec::new();
    match parts.as_slice() {
        [os] => fields.push(("os", *os)),
        [os, architecture] => fields.extend([("architecture", *architecture), ("os", *os)]),
        [os, architecture, variant] => {
            fields.extend([("architecture", *architecture), ("os", *os), ("variant", *variant)]);
        }
        _ => return Err(invalid()),
    }
    let map: std::collections::BTreeMap<&str, &str> = fields.into_iter().collect();
    serde_json::to_string(&map).map(Some).map_err(|error| Failure::message(error.to_string()))
}
