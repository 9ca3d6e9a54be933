//! Where requests and replies begin and end in a stream of bytes.

/// What the bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Frames after four bytes with their length. Each of the client is a request, but pings (xid -2).
    ZooKeeper,
    /// HTTP/2 in clear, as gRPC uses it: HEADERS of the client begin a request, HEADERS of the server the reply.
    Http2,
    /// Anything else, such as TLS: nothing is a request.
    Raw,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Bytes that are passed on together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) bytes: Vec<u8>,
    /// The number that a request and its reply have in common; `None` for what is neither.
    pub(super) id: Option<u64>,
}

/// The first frame of a ZooKeeper connection has no xid.
const CONNECT: u64 = u64::MAX;
const PREFACE: usize = 24;
/// ZooKeeper's largest packet is 1 MB; what claims more is no frame, but a command of four letters.
const LARGEST: usize = 64 << 20;

/// Cuts one direction of a connection into units.
pub(super) struct Splitter {
    protocol: Protocol,
    side: Side,
    waiting: Vec<u8>,
    first: bool,
}

impl Splitter {
    pub(super) fn new(protocol: Protocol, side: Side) -> Splitter {
        Splitter { protocol, side, waiting: Vec::new(), first: true }
    }

    /// The units that `bytes` complete.
    pub(super) fn split(&mut self, bytes: &[u8]) -> Vec<Unit> {
        self.waiting.extend_from_slice(bytes);
        let mut units = Vec::new();
        while let Some(len) = self.next_len() {
            let bytes: Vec<u8> = self.waiting.drain(..len).collect();
            let id = self.id(&bytes);
            self.first = false;
            units.push(Unit { bytes, id });
        }
        units
    }

    /// The length of the next unit, when it is there as a whole.
    fn next_len(&mut self) -> Option<usize> {
        let have = self.waiting.len();
        let len = match self.protocol {
            Protocol::Raw => have,
            Protocol::ZooKeeper => {
                let len = u32::from_be_bytes(*self.waiting.first_chunk()?) as usize + 4;
                if len > LARGEST {
                    self.protocol = Protocol::Raw;
                    return Some(have);
                }
                len
            }
            Protocol::Http2 if self.first && self.side == Side::Client => PREFACE,
            Protocol::Http2 => {
                let [a, b, c] = *self.waiting.first_chunk()?;
                9 + u32::from_be_bytes([0, a, b, c]) as usize
            }
        };
        (len > 0 && have >= len).then_some(len)
    }

    fn id(&self, bytes: &[u8]) -> Option<u64> {
        match self.protocol {
            Protocol::Raw => None,
            Protocol::ZooKeeper if self.first => Some(CONNECT),
            Protocol::ZooKeeper => {
                let xid = i32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
                // Pings, and from the server what a watch has seen.
                (xid != -2 && !(xid == -1 && self.side == Side::Server)).then_some(xid as u32 as u64)
            }
            Protocol::Http2 if self.first && self.side == Side::Client => None,
            Protocol::Http2 => {
                const HEADERS: u8 = 1;
                const RST_STREAM: u8 = 3;
                let stream = u32::from_be_bytes(bytes.get(5..9)?.try_into().ok()?) & 0x7fff_ffff;
                let counts = bytes[3] == HEADERS || bytes[3] == RST_STREAM && self.side == Side::Server;
                counts.then_some(u64::from(stream))
            }
        }
    }
}
