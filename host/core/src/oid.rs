//! Object ids of both formats that git knows.

use std::fmt;
use std::str::FromStr;

/// How a repository names its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectFormat {
    /// 20 bytes, git's default.
    Sha1,
    /// 32 bytes (`extensions.objectFormat = sha256`).
    Sha256,
}

impl ObjectFormat {
    /// Length of an object id in bytes: 20 or 32.
    pub const fn oid_len(self) -> usize {
        match self {
            ObjectFormat::Sha1 => 20,
            ObjectFormat::Sha256 => 32,
        }
    }

    /// The name git uses in its configuration and protocol: `sha1` or `sha256`.
    pub const fn name(self) -> &'static str {
        match self {
            ObjectFormat::Sha1 => "sha1",
            ObjectFormat::Sha256 => "sha256",
        }
    }

    /// All zeros in hex, which git and Gerrit write for "no object".
    pub fn zero_hex(self) -> String {
        "0".repeat(self.oid_len() * 2)
    }

    /// The format that `name` stands for, or `None` when git has no such format today.
    pub fn from_name(name: &str) -> Option<ObjectFormat> {
        [ObjectFormat::Sha1, ObjectFormat::Sha256].into_iter().find(|f| f.name() == name)
    }
}

/// The id of an existing object. Never all zeros: absence is `Option::None`, deletion is
/// [`GlobalRef::Deleted`](crate::GlobalRef::Deleted).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid {
    format: ObjectFormat,
    bytes: [u8; 32],
}

impl Oid {
    /// From raw bytes, 20 or 32 of them and not all zero.
    pub fn from_bytes(raw: &[u8]) -> Result<Oid, OidError> {
        let format = match raw.len() {
            20 => ObjectFormat::Sha1,
            32 => ObjectFormat::Sha256,
            n => return Err(OidError::Length(n * 2)),
        };
        if raw.iter().all(|b| *b == 0) {
            return Err(OidError::Zero);
        }
        let mut bytes = [0; 32];
        bytes[..raw.len()].copy_from_slice(raw);
        Ok(Oid { format, bytes })
    }

    /// From 40 or 64 hex digits in either case; all zeros is `Ok(None)`.
    pub fn parse_or_zero(hex: &[u8]) -> Result<Option<Oid>, OidError> {
        if hex.len() != 40 && hex.len() != 64 {
            return Err(OidError::Length(hex.len()));
        }
        let mut raw = [0u8; 32];
        for (i, pair) in hex.chunks_exact(2).enumerate() {
            let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
            match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => raw[i] = high << 4 | low,
                _ => return Err(OidError::NotHex),
            }
        }
        match Oid::from_bytes(&raw[..hex.len() / 2]) {
            Ok(oid) => Ok(Some(oid)),
            Err(OidError::Zero) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// From 40 or 64 hex digits that are not all zeros.
    pub fn from_hex(hex: &[u8]) -> Result<Oid, OidError> {
        Oid::parse_or_zero(hex)?.ok_or(OidError::Zero)
    }

    /// The raw bytes: 20 or 32.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.format.oid_len()]
    }

    /// The format this id belongs to.
    pub fn format(&self) -> ObjectFormat {
        self.format
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

impl FromStr for Oid {
    type Err = OidError;
    fn from_str(s: &str) -> Result<Oid, OidError> {
        Oid::from_hex(s.as_bytes())
    }
}

/// Why a text or a byte string is not an object id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidError {
    /// Neither 40 nor 64 digits.
    #[error("an object id has 40 or 64 hex digits, this has {0}")]
    Length(usize),
    /// A character that is not a hex digit.
    #[error("an object id holds only hex digits")]
    NotHex,
    /// All zeros, which stands for "no object" and is never an id.
    #[error("all zeros stands for no object")]
    Zero,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_in_either_case_and_both_lengths() {
        for len in [40, 64] {
            let lower = "ab".repeat(len / 2);
            let oid = Oid::from_hex(lower.to_uppercase().as_bytes()).unwrap();
            assert_eq!(oid.to_string(), lower);
            assert_eq!(oid.as_bytes().len(), len / 2);
            assert_eq!(Oid::from_bytes(oid.as_bytes()), Ok(oid));
        }
    }

    #[test]
    fn zeros_and_wrong_text_are_told_apart() {
        assert_eq!(Oid::parse_or_zero(&[b'0'; 40]), Ok(None));
        assert_eq!(Oid::parse_or_zero(&[b'0'; 64]), Ok(None));
        assert_eq!(Oid::from_hex(&[b'0'; 40]), Err(OidError::Zero));
        assert_eq!(Oid::from_hex(&[b'a'; 39]), Err(OidError::Length(39)));
        assert_eq!(Oid::from_hex(&[b'g'; 40]), Err(OidError::NotHex));
    }
}
