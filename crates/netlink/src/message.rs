//! The wire format all of netlink shares: a header, a fixed part, and attributes (type, length, value) padded to four
//! bytes.
//!
//! Reading is total: a length that does not fit ends the iteration.

/// `NLM_F_REQUEST`: set on everything we send.
pub const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`: the kernel answers with an error number, 0 for success.
pub const ACK: u16 = 0x04;
/// `NLM_F_ECHO`: the kernel sends back what it made.
pub const ECHO: u16 = 0x08;
/// `NLM_F_DUMP`: all objects.
pub const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: fail where the object exists.
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`: make the object.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: add at the end.
pub const APPEND: u16 = 0x800;
/// `NLM_F_REPLACE`: change the object where it exists.
pub const REPLACE: u16 = 0x100;

/// `NLMSG_ERROR`.
pub(crate) const TYPE_ERROR: u16 = 2;
/// `NLMSG_DONE`.
pub(crate) const TYPE_DONE: u16 = 3;
/// Bytes of a netlink header.
pub(crate) const HEADER: usize = 16;
/// `NLM_F_DUMP_INTR`: the objects changed while they were listed.
pub(crate) const FLAG_DUMP_INTERRUPTED: u16 = 0x10;

/// Set on the type of an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// Mask of the two flag bits of an attribute's type.
const TYPE_MASK: u16 = 0x3fff;

/// One request under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// An empty request of `kind`; [`REQUEST`] is added to `flags`.
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes }
    }

    /// Appends raw bytes: the fixed part that follows the header.
    #[must_use]
    pub fn fixed(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    #[must_use]
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.put(kind, value);
        self
    }

    /// Appends a NUL-terminated text attribute.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Appends a number in the machine's byte order, as rtnetlink wants.
    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends a number in network byte order, as nfnetlink wants.
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a number in network byte order, as nfnetlink wants.
    #[must_use]
    pub fn be64(self, kind: u16, value: u64) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends an attribute whose value is what `fill` appends.
    #[must_use]
    pub fn nest(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.nest_raw(kind | NESTED, fill)
    }

    /// As [`Message::nest`], without the flag that says so: some old attributes are refused with it.
    #[must_use]
    pub fn nest_raw(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - start).expect("a nest stays below 64 KiB: its callers chunk");
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// The finished request with its sequence number.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("a request is small");
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing follows the header.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= HEADER
    }

    /// The same request with more flags.
    #[must_use]
    pub fn with_flags(mut self, flags: u16) -> Self {
        self.add_flags(flags);
        self
    }

    /// Adds flags after the fact.
    pub(crate) fn add_flags(&mut self, flags: u16) {
        let old = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        self.bytes[6..8].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("an attribute is below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let payload = bytes.get(HEADER..length)?;
        let received = Received {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(received)
    })
}

/// The attributes of a message or of another attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads what follows a fixed part of `fixed` bytes.
    pub fn after(bytes: &'a [u8], fixed: usize) -> Self {
        Self(bytes.get(fixed..).unwrap_or_default())
    }

    /// The value of the first attribute of `kind`.
    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    /// The attributes inside the first attribute of `kind`; none where it is absent.
    pub fn nested(self, kind: u16) -> Self {
        Self(self.get(kind).unwrap_or_default())
    }

    /// A text, up to its NUL.
    pub fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        std::str::from_utf8(value.split(|b| *b == 0).next()?).ok()
    }

    /// A number in the machine's byte order.
    pub fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A number in network byte order.
    pub fn be16(self, kind: u16) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A number in network byte order.
    pub fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A number in network byte order.
    pub fn be64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// An IP address, by its length.
    pub fn ip(self, kind: u16) -> Option<std::net::IpAddr> {
        ip_from(self.get(kind)?)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK, value))
    }
}

/// An address from 4 or 16 bytes.
pub(crate) fn ip_from(bytes: &[u8]) -> Option<std::net::IpAddr> {
    <[u8; 4]>::try_from(bytes).map(Into::into).or_else(|_| <[u8; 16]>::try_from(bytes).map(Into::into)).ok()
}

/// The bytes of an address, in network order.
pub(crate) fn ip_bytes(ip: std::net::IpAddr) -> Vec<u8> {
    match ip {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// `AF_INET` or `AF_INET6`.
pub(crate) fn family_of(ip: std::net::IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// `AF_INET`.
pub(crate) const AF_INET: u8 = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = Message::new(16, ACK)
            .fixed(&[1, 2, 3])
            .text(3, "eth0")
            .nest(18, |m| m.be32(1, 7).nest(2, |m| m.attr(1, &[9])))
            .finish(5);
        let message = messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (16, ACK | REQUEST, 5));
        let attributes = Attributes::after(message.payload, 4);
        assert_eq!(attributes.text(3), Some("eth0"));
        assert_eq!(attributes.nested(18).be32(1), Some(7));
        assert_eq!(attributes.nested(18).nested(2).get(1), Some(&[9][..]));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_lying_length_ends_the_reading() {
        assert_eq!(Attributes::new(&[255, 0, 1, 0, 1]).count(), 0);
        assert_eq!(Attributes::new(&[2, 0, 1, 0, 1]).count(), 0);
        assert_eq!(messages(&[255; 20]).count(), 0);
        assert_eq!(messages(&[0; 20]).count(), 0);
    }
}
