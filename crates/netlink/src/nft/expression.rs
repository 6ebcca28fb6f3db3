//! The steps of a rule: load something into a register, compare it, decide.
//!
//! Registers are numbered as 32-bit ones, `NFT_REG32_00` and up; rules name them by their index.

use crate::message::Message;

/// `NFT_REG_VERDICT`.
const REGISTER_VERDICT: u32 = 0;
/// `NFT_REG32_00`.
const REGISTER_BASE: u32 = 8;

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it pass this hook.
    Accept,
    /// Drop it.
    Drop,
    /// Go on in another chain and come back.
    Jump(String),
    /// Leave this chain.
    Return,
}

/// What can be loaded from a packet's surroundings and headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The name of the link it came by: 16 bytes.
    InLink,
    /// The name of the link it leaves by: 16 bytes.
    OutLink,
    /// The kind of the link it came by (`bridge`): 16 bytes.
    InKind,
    /// The kind of the link it leaves by: 16 bytes.
    OutKind,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`: 1 byte.
    NetworkProtocol,
    /// The transport protocol: 1 byte.
    Transport,
    /// The IPv4 source: 4 bytes.
    Ipv4Source,
    /// The IPv4 destination: 4 bytes.
    Ipv4Destination,
    /// The IPv6 source: 16 bytes.
    Ipv6Source,
    /// The IPv6 destination: 16 bytes.
    Ipv6Destination,
    /// The destination port: 2 bytes.
    DestinationPort,
    /// `NF_CT_STATE_*`: 4 bytes.
    ConnectionState,
    /// `IPS_*`: 4 bytes.
    ConnectionStatus,
    /// What kind of address the destination is here (`RTN_*`): 4 bytes.
    DestinationKind,
}

/// A direction of address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// A translation to the address and port in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which end.
    pub direction: Direction,
    /// `NFPROTO_IPV6` rather than `NFPROTO_IPV4`.
    pub ipv6: bool,
    /// The register with the address.
    pub address: u32,
    /// The register with the port.
    pub port: u32,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads a field into a register.
    Load(Field, u32),
    /// Goes on only where the register equals the bytes (or differs, with `false`).
    Compare(u32, bool, Vec<u8>),
    /// Keeps only the bits of the mask in the register.
    Mask(u32, Vec<u8>),
    /// Looks the registers from this one on up in a set; goes on only where they are there (or not, with `false`).
    InSet(u32, bool, String),
    /// Looks the registers from the first on up in a map; puts the data into registers from the second on.
    Map(u32, String, u32),
    /// Counts packets and bytes.
    Counter,
    /// Decides.
    Verdict(Verdict),
    /// Translates.
    Nat(Nat),
    /// Takes the address of the link the packet leaves by as its source.
    Masquerade,
}

impl Expression {
    /// `name` as the 16 bytes a link's name is compared as.
    pub fn link_name(name: &str) -> Vec<u8> {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes
    }

    pub(crate) fn encode(&self, message: Message) -> Message {
        let with = |name: &str, fill: &dyn Fn(Message) -> Message| {
            // NFTA_EXPR_NAME, NFTA_EXPR_DATA.
            message.clone().text(1, name).nest(2, fill)
        };
        let register = |index: &u32| REGISTER_BASE + index;
        match self {
            Self::Load(field, to) => load(message, *field, register(to)),
            Self::Compare(from, equal, value) => {
                with("cmp", &|m| m.be32(1, register(from)).be32(2, u32::from(!equal)).nest(3, |m| m.attr(1, value)))
            }
            Self::Mask(at, mask) => with("bitwise", &|m| {
                let width = u32::try_from(mask.len()).expect("a mask is at most 16 bytes");
                let zero = vec![0; mask.len()];
                m.be32(1, register(at))
                    .be32(2, register(at))
                    .be32(3, width)
                    .nest(4, |m| m.attr(1, mask))
                    .nest(5, |m| m.attr(1, &zero))
            }),
            Self::InSet(from, found, set) => {
                with("lookup", &|m| m.text(1, set).be32(2, register(from)).be32(5, u32::from(!found)))
            }
            Self::Map(from, map, to) => {
                with("lookup", &|m| m.text(1, map).be32(2, register(from)).be32(3, register(to)))
            }
            Self::Counter => with("counter", &|m| m.be64(1, 0).be64(2, 0)),
            Self::Verdict(verdict) => with("immediate", &|m| {
                m.be32(1, REGISTER_VERDICT).nest(2, |m| m.nest(2, |m| encode_verdict(verdict, m)))
            }),
            Self::Nat(nat) => with("nat", &|m| {
                m.be32(1, u32::from(nat.direction == Direction::Destination))
                    .be32(2, if nat.ipv6 { 10 } else { 2 })
                    .be32(3, register(&nat.address))
                    .be32(5, register(&nat.port))
            }),
            Self::Masquerade => with("masq", &|m| m),
        }
    }
}

fn encode_verdict(verdict: &Verdict, message: Message) -> Message {
    let code = |code: i32| code.to_be_bytes();
    match verdict {
        Verdict::Accept => message.attr(1, &code(1)),
        Verdict::Drop => message.attr(1, &code(0)),
        Verdict::Jump(chain) => message.attr(1, &code(-3)).text(2, chain),
        Verdict::Return => message.attr(1, &code(-5)),
    }
}

fn load(message: Message, field: Field, register: u32) -> Message {
    let meta = |key: u32| message.clone().text(1, "meta").nest(2, |m| m.be32(1, register).be32(2, key));
    // NFTA_CT_DREG, NFTA_CT_KEY.
    let tracked = |key: u32| message.clone().text(1, "ct").nest(2, |m| m.be32(1, register).be32(2, key));
    let payload = |base: u32, offset: u32, length: u32| {
        let fill = |m: Message| m.be32(1, register).be32(2, base).be32(3, offset).be32(4, length);
        message.clone().text(1, "payload").nest(2, fill)
    };
    const NETWORK: u32 = 1;
    const TRANSPORT: u32 = 2;
    match field {
        Field::InLink => meta(6),
        Field::OutLink => meta(7),
        Field::NetworkProtocol => meta(15),
        Field::Transport => meta(16),
        Field::InKind => meta(26),
        Field::OutKind => meta(27),
        Field::Ipv4Source => payload(NETWORK, 12, 4),
        Field::Ipv4Destination => payload(NETWORK, 16, 4),
        Field::Ipv6Source => payload(NETWORK, 8, 16),
        Field::Ipv6Destination => payload(NETWORK, 24, 16),
        Field::DestinationPort => payload(TRANSPORT, 2, 2),
        Field::ConnectionState => tracked(0),
        Field::ConnectionStatus => tracked(2),
        Field::DestinationKind => {
            // NFTA_FIB_DREG, _RESULT (address type), _FLAGS (by destination).
            message.clone().text(1, "fib").nest(2, |m| m.be32(1, register).be32(2, 3).be32(3, 2))
        }
    }
}
