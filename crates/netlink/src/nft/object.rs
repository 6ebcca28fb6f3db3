//! Tables, chains, rules, sets and their elements, as requests.

use super::{Expression, Family, message};
use crate::limits::ELEMENTS_PER_MESSAGE;
use crate::message::{ACK, APPEND, CREATE, Message};

const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
/// `NFTA_LIST_ELEM`.
const LIST_ELEM: u16 = 1;
/// `NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST`.
const OWNER_PERSIST: u32 = 2 | 4;

/// Names a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: &'a str,
}

impl Table<'_> {
    fn message(&self, kind: u16, flags: u16) -> Message {
        message(kind, flags, self.family).text(1, self.name)
    }
}

/// Makes a table where there is none. An `owned` one can be changed by no other socket, survives a foreign `flush
/// ruleset`, and stays when its owner is gone until the next one takes it over (Linux 6.9).
pub fn add_table(table: Table<'_>, owned: bool) -> Message {
    let message = table.message(NEWTABLE, CREATE);
    if owned { message.be32(2, OWNER_PERSIST) } else { message }
}

/// Removes a table with all that is in it.
pub fn delete_table(table: Table<'_>) -> Message {
    table.message(DELTABLE, 0)
}

/// Where a base chain sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// For this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
}

impl Hook {
    /// The kernel's number.
    pub fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// What a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    /// Accept and drop.
    Filter,
    /// Change addresses.
    Nat,
}

/// A chain to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its table.
    pub table: Table<'a>,
    /// Its name.
    pub name: &'a str,
    /// For a base chain: what, where, and its priority. Its policy is to accept.
    pub base: Option<(ChainType, Hook, i32)>,
}

/// Makes a chain where there is none.
pub fn add_chain(chain: &Chain<'_>) -> Message {
    let message = chain.table.message(NEWCHAIN, CREATE).text(3, chain.name);
    match chain.base {
        None => message,
        Some((kind, hook, priority)) => message
            .nest(4, |m| m.be32(1, hook.number()).attr(2, &priority.to_be_bytes()))
            .be32(5, 1)
            .text(7, if kind == ChainType::Nat { "nat" } else { "filter" }),
    }
}

/// Removes all rules of a chain.
pub fn flush_chain(table: Table<'_>, chain: &str) -> Message {
    table.message(DELRULE, 0).text(2, chain)
}

/// Where a rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAt {
    /// Before all others.
    Start,
    /// After all others.
    End,
}

/// Adds a rule with bytes of our own beside it (empty for none).
pub fn add_rule(table: Table<'_>, chain: &str, at: RuleAt, expressions: &[Expression], user_data: &[u8]) -> Message {
    let flags = if at == RuleAt::End { CREATE | APPEND } else { CREATE };
    let message = table
        .message(NEWRULE, flags)
        .text(2, chain)
        .nest(4, |m| expressions.iter().fold(m, |m, expression| m.nest(LIST_ELEM, |m| expression.encode(m))));
    if user_data.is_empty() { message } else { message.attr(7, user_data) }
}

/// Removes one rule.
pub fn delete_rule(table: Table<'_>, chain: &str, handle: u64) -> Message {
    table.message(DELRULE, ACK).text(2, chain).be64(3, handle)
}

/// A part of a set's key or data, with the numbers and widths that `nft` knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A transport protocol's number.
    Protocol,
    /// A port.
    Port,
    /// The name of a link.
    LinkName,
}

impl Type {
    fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::LinkName => 41,
        }
    }

    fn width(self) -> u32 {
        match self {
            Self::Ipv4 => 4,
            Self::Ipv6 | Self::LinkName => 16,
            Self::Protocol => 1,
            Self::Port => 2,
        }
    }

    /// The number and width of several in a row: each begins on a register of four bytes.
    fn concatenated(parts: &[Self]) -> (u32, u32) {
        let number = parts.iter().fold(0, |number, part| (number << 6) | part.number());
        let width = match parts {
            [one] => one.width(),
            several => several.iter().map(|part| part.width().next_multiple_of(4)).sum(),
        };
        (number, width)
    }
}

/// A set, or a map where it has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetSpec<'a> {
    /// Its table.
    pub table: Table<'a>,
    /// Its name.
    pub name: &'a str,
    /// What its keys are.
    pub key: &'a [Type],
    /// What its data are; empty for a set.
    pub data: &'a [Type],
}

/// Makes a set or map where there is none. `id` is any number that no other set of the transaction has.
pub fn add_set(set: &SetSpec<'_>, id: u32) -> Message {
    const FLAG_MAP: u32 = 8;
    const FLAG_CONCATENATED: u32 = 0x80;
    let (key_type, key_width) = Type::concatenated(set.key);
    let (data_type, data_width) = Type::concatenated(set.data);
    let map = if set.data.is_empty() { 0 } else { FLAG_MAP };
    let flags = map | if set.key.len() > 1 { FLAG_CONCATENATED } else { 0 };
    let message =
        set.table.message(NEWSET, CREATE).text(2, set.name).be32(3, flags).be32(4, key_type).be32(5, key_width);
    let message = if set.data.is_empty() { message } else { message.be32(6, data_type).be32(7, data_width) };
    let concatenation = |m: Message| {
        // NFTA_SET_DESC_CONCAT { LIST_ELEM { NFTA_SET_FIELD_LEN } }: kernels use it, `nft` needs it to print.
        m.nest(2, |m| set.key.iter().fold(m, |m, part| m.nest(LIST_ELEM, |m| m.be32(1, part.width()))))
    };
    let message = message.be32(10, id);
    if set.key.len() > 1 { message.nest(9, concatenation) } else { message }
}

/// Removes all elements of a set.
pub fn flush_set(table: Table<'_>, set: &str) -> Message {
    table.message(DELSETELEM, 0).text(2, set)
}

/// An element: parts of the key and of the data, each in network byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    key: Vec<u8>,
    data: Vec<u8>,
}

impl Element {
    /// An element of these parts; `data` is empty in a set.
    pub fn new(key: &[&[u8]], data: &[&[u8]]) -> Self {
        Self { key: concatenate(key), data: concatenate(data) }
    }

    /// The key as the kernel lists it.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The data as the kernel lists it.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The element the kernel listed.
    pub fn from_listed((key, data): (Vec<u8>, Vec<u8>)) -> Self {
        Self { key, data }
    }
}

/// Parts one after another, each padded to a register where there are several.
fn concatenate(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part);
        if parts.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// Adds elements; those that are there stay.
pub fn add_elements(table: Table<'_>, set: &str, elements: &[Element]) -> Vec<Message> {
    list(table, set, NEWSETELEM, CREATE, elements)
}

/// Removes elements, which must be there.
pub fn delete_elements(table: Table<'_>, set: &str, elements: &[Element]) -> Vec<Message> {
    list(table, set, DELSETELEM, 0, elements)
}

fn list(table: Table<'_>, set: &str, kind: u16, flags: u16, elements: &[Element]) -> Vec<Message> {
    let one = |m: Message, element: &Element| {
        m.nest(LIST_ELEM, |m| {
            let m = m.nest(1, |m| m.attr(1, &element.key));
            if element.data.is_empty() { m } else { m.nest(2, |m| m.attr(1, &element.data)) }
        })
    };
    let chunks = elements.chunks(ELEMENTS_PER_MESSAGE);
    chunks.map(|chunk| table.message(kind, flags).text(2, set).nest(3, |m| chunk.iter().fold(m, one))).collect()
}
