//! nf_tables: objects, transactions, and lists of what is there.
//!
//! Only what a bridge with published ports needs. Sets and maps are described by [`Type`], which knows the numbers that
//! let `nft list ruleset` print them.

mod expression;
mod object;

pub use expression::{Direction, Expression, Field, Nat, Verdict};
pub use object::{
    Chain, ChainType, Element, Hook, RuleAt, SetSpec, Table, Type, add_chain, add_elements, add_rule, add_set,
    add_table, delete_elements, delete_rule, delete_table, flush_chain, flush_set,
};

use crate::{
    message::{Attributes, Message},
    socket::{Result, Socket},
};
use rustix::io::Errno;

/// Subsystem 10.
const SUBSYSTEM: u16 = 10 << 8;
const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;
/// Bytes of `struct nfgenmsg`.
const FIXED: usize = 4;

/// An address family of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// All, or none in particular (`NFPROTO_UNSPEC`), in lists.
    Any,
    /// IPv4 and IPv6 together.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }
}

/// A request of this subsystem about objects of a family.
fn message(kind: u16, flags: u16, family: Family) -> Message {
    Message::new(SUBSYSTEM | kind, flags).fixed(&[family.number(), 0, 0, 0])
}

/// Opens a transaction.
pub(crate) fn batch_begin() -> Message {
    // NFNL_MSG_BATCH_BEGIN; the resource is the subsystem.
    Message::new(0x10, 0).fixed(&[0, 0, 0, 10])
}

/// Closes a transaction.
pub(crate) fn batch_end() -> Message {
    Message::new(0x11, 0).fixed(&[0, 0, 0, 10])
}

/// For the message that ends a transaction's report: the process that made it.
pub(crate) fn changed_by(received: &crate::message::Received<'_>) -> Option<u32> {
    const NEWGEN: u16 = 15;
    // NFTA_GEN_PROC_PID.
    (received.kind == SUBSYSTEM | NEWGEN)
        .then(|| Attributes::after(received.payload, FIXED).be32(2).unwrap_or_default())
}

/// A chain as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedChain {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// For a base chain: the hook's number.
    pub hook: Option<u32>,
    /// For a base chain: whether its policy is to drop.
    pub drops: bool,
    /// `filter`, `nat` or `route`.
    pub kind: Option<String>,
}

/// A rule as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// Its number.
    pub handle: u64,
    /// The bytes its maker put with it.
    pub user_data: Vec<u8>,
}

/// The names of the tables of a family.
pub fn list_tables(socket: &mut Socket, family: Family) -> Result<Vec<String>> {
    let mut names = Vec::new();
    socket.dump(&message(GETTABLE, 0, family), |payload| {
        // NFTA_TABLE_NAME.
        names.extend(Attributes::after(payload, FIXED).text(1).map(str::to_owned));
    })?;
    Ok(names)
}

/// The chains of a family.
pub fn list_chains(socket: &mut Socket, family: Family) -> Result<Vec<ListedChain>> {
    let mut chains = Vec::new();
    socket.dump(&message(GETCHAIN, 0, family), |payload| {
        let attributes = Attributes::after(payload, FIXED);
        // NFTA_CHAIN_TABLE, _NAME, _HOOK { HOOKNUM }, _POLICY, _TYPE.
        chains.push(ListedChain {
            table: attributes.text(1).unwrap_or_default().to_owned(),
            name: attributes.text(3).unwrap_or_default().to_owned(),
            hook: attributes.nested(4).be32(1),
            drops: attributes.be32(5) == Some(0),
            kind: attributes.text(7).map(str::to_owned),
        });
    })?;
    Ok(chains)
}

/// The rules of a chain; none where the chain does not exist.
pub fn list_rules(socket: &mut Socket, family: Family, table: &str, chain: &str) -> Result<Vec<ListedRule>> {
    let mut rules = Vec::new();
    let request = message(GETRULE, 0, family).text(1, table).text(2, chain);
    let outcome = socket.dump(&request, |payload| {
        let attributes = Attributes::after(payload, FIXED);
        let here = attributes.text(1) == Some(table) && attributes.text(2) == Some(chain);
        if let (true, Some(handle)) = (here, attributes.be64(3)) {
            rules.push(ListedRule { handle, user_data: attributes.get(7).unwrap_or_default().to_vec() });
        }
    });
    absent_is_empty(outcome).map(|()| rules)
}

/// The keys and data of a set's elements; none where the set does not exist.
pub fn list_elements(socket: &mut Socket, table: &Table<'_>, set: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut elements = Vec::new();
    let request = message(GETSETELEM, 0, table.family).text(1, table.name).text(2, set);
    let outcome = socket.dump(&request, |payload| {
        // NFTA_SET_ELEM_LIST_ELEMENTS { LIST_ELEM { KEY { VALUE }, DATA { VALUE } } }.
        for (_, element) in Attributes::after(payload, FIXED).nested(3) {
            let element = Attributes::new(element);
            let key = element.nested(1).get(1).unwrap_or_default().to_vec();
            elements.push((key, element.nested(2).get(1).unwrap_or_default().to_vec()));
        }
    });
    absent_is_empty(outcome).map(|()| elements)
}

fn absent_is_empty(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(failure) if failure.errno == Errno::NOENT => Ok(()),
        other => other,
    }
}
