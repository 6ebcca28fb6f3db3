//! What is remembered of each network across restarts.

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use rorqual_error::{Context, Result};
use rorqual_metadata::{Durability, Store, Table};
use rorqual_types::Digest;
use serde::{Deserialize, Serialize};

/// One network's record, kept under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    /// The subnet that was chosen, so that it stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subnet_v4: Option<Ipv4Net>,
    /// The unique local prefix of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subnet_v6: Option<Ipv6Net>,
    /// The boot in which we turned the host's forwarding on, for this bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) opened_forwarding: Option<String>,
}

/// The records of all networks.
#[derive(Debug)]
pub(crate) struct Records {
    table: Table<String, Record>,
}

impl Records {
    pub(crate) fn new(store: &Store) -> Self {
        Self { table: store.table("networks") }
    }

    /// The record of `name`, made where there is none.
    pub(crate) fn ensure(&self, name: &str) -> Result<Record> {
        if let Some(record) = self.table.get(&name.to_owned())? {
            return Ok(record);
        }
        let record = Record {
            id: random_id()?,
            created: Timestamp::now(),
            subnet_v4: None,
            subnet_v6: None,
            opened_forwarding: None,
        };
        self.put(name, &record)?;
        Ok(record)
    }

    pub(crate) fn put(&self, name: &str, record: &Record) -> Result<()> {
        self.table.put(&name.to_owned(), record, Durability::Synced)
    }
}

/// 64 random hexadecimal digits.
pub(crate) fn random_id() -> Result<String> {
    Ok(Digest::from_bytes(random::<32>()?).hex())
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    filled.context("get random bytes")?;
    Ok(bytes)
}
