//! The shape of a case file, and what makes one unreadable.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use refgate_core::{Oid, RefName};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A case file: JSON or the same structure in TOML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// In the order in which they run.
    pub cases: Vec<Case>,
}

/// One situation and what should come out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence that says what is shown.
    pub name: String,
    /// Which kind of filter is asked.
    pub direction: CaseDirection,
    /// The project's name; an illegal one is an `error` to expect.
    pub project: String,
    /// The remote whose keys in `config` count; without it a gated one.
    #[serde(default)]
    pub remote: Option<String>,
    /// The time of day at the first look; the second one is as much later as the wait is long.
    #[serde(default)]
    pub now: Moment,
    /// Configuration keys as `section.subsection.key`, each with its values.
    #[serde(default)]
    pub config: BTreeMap<String, OneOrMany>,
    /// `missing` makes the local repository unreadable.
    #[serde(default)]
    pub repository: Option<RepositoryState>,
    /// Local refs.
    #[serde(default)]
    pub local: BTreeMap<Name, Option<Value>>,
    /// What the reload finds instead; `null` is gone.
    #[serde(default)]
    pub local_after_wait: BTreeMap<Name, Option<Value>>,
    /// The ref-db.
    #[serde(default)]
    pub refdb: BTreeMap<Name, EntryAnswers>,
    /// The ref updates.
    #[serde(default)]
    pub offer: Vec<Offer>,
    /// What is checked; what is left out is not.
    pub expect: Expect,
}

/// Which kind of filter a case asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseDirection {
    /// Push filters.
    Push,
    /// Fetch filters.
    Fetch,
    /// Project matchers.
    Project,
}

/// A repository that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepositoryState {
    /// It cannot be read.
    Missing,
    /// It is as it should be; the same as leaving it out.
    Present,
}

/// A configuration key's values.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One value.
    One(String),
    /// Several, in the order of the file.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All values.
    pub fn values(&self) -> &[String] {
        match self {
            OneOrMany::One(value) => std::slice::from_ref(value),
            OneOrMany::Many(values) => values,
        }
    }
}

/// One offered update.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The local name.
    #[serde(rename = "ref")]
    pub name: Name,
    /// Push: the value on offer. Fetch: the remote's. `null` is a deletion.
    #[serde(default, deserialize_with = "present")]
    pub new: Option<Option<Value>>,
    /// Push: the remote's value. Fetch: ignored, the local one is in `local`.
    #[serde(default, deserialize_with = "present")]
    pub old: Option<Option<Value>>,
    /// Fetch: the remote's value at the second listing.
    #[serde(default, deserialize_with = "present")]
    pub new_after_wait: Option<Option<Value>>,
    /// The remote's name of the ref; the same when left out.
    #[serde(default)]
    pub remote_ref: Option<Name>,
    /// Whether the refspec has a `+`; the remote's refspecs say so when left out.
    #[serde(default)]
    pub force: Option<bool>,
    /// The value to be overwritten is not accounted for.
    #[serde(default)]
    pub diverged: bool,
    /// The value to be overwritten is accounted for only because the ref-db lists it.
    #[serde(default)]
    pub superseded: bool,
}

/// What a case expects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The kept refs, in the order of the offers.
    #[serde(default)]
    pub keep: Option<Vec<Kept>>,
    /// The others, in any order.
    #[serde(default)]
    pub discard: Option<Vec<Discarded>>,
    /// How many waits.
    #[serde(default)]
    pub waits: Option<usize>,
    /// Bounds of every wait in milliseconds, both inclusive.
    #[serde(default)]
    pub wait_ms: Option<(u64, u64)>,
    /// Part of a configuration error.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether the project replicates.
    #[serde(default, rename = "match")]
    pub matches: Option<bool>,
}

/// A ref that should be kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The local name.
    #[serde(rename = "ref")]
    pub name: Name,
    /// The value that should go; not checked when left out.
    #[serde(default, deserialize_with = "present")]
    pub new: Option<Option<Value>>,
}

/// A ref that should be discarded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discarded {
    /// The local name.
    #[serde(rename = "ref")]
    pub name: Name,
    /// Why; not checked when left out.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What the ref-db answers at the first and at the second look.
#[derive(Clone, Debug)]
pub struct EntryAnswers {
    /// At the first look.
    pub first: EntryAnswer,
    /// At the second.
    pub second: EntryAnswer,
}

/// One answer of the ref-db.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Option<String>")]
pub enum EntryAnswer {
    /// `null`.
    Untracked,
    /// The zero oid.
    Deleted,
    /// An oid.
    At(Oid),
    /// `"!locked"`.
    Locked,
    /// `"!unavailable"`.
    Unavailable,
}

/// By hand, so that an error says which text is wrong and not only that nothing fits.
impl<'de> Deserialize<'de> for EntryAnswers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EntryAnswers, D::Error> {
        struct Looks;

        impl<'de> Visitor<'de> for Looks {
            type Value = EntryAnswers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an oid, null, `!locked`, `!unavailable`, or a list of one or two of them")
            }

            fn visit_unit<E: de::Error>(self) -> Result<EntryAnswers, E> {
                let first = EntryAnswer::Untracked;
                Ok(EntryAnswers { first, second: first })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<EntryAnswers, E> {
                let first = EntryAnswer::try_from(Some(text.to_owned())).map_err(E::custom)?;
                Ok(EntryAnswers { first, second: first })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut looks: A) -> Result<EntryAnswers, A::Error> {
                let first = looks.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let second = looks.next_element()?.unwrap_or(first);
                match looks.next_element::<EntryAnswer>()? {
                    Some(_) => Err(de::Error::invalid_length(3, &self)),
                    None => Ok(EntryAnswers { first, second }),
                }
            }
        }

        deserializer.deserialize_any(Looks)
    }
}

impl TryFrom<Option<String>> for EntryAnswer {
    type Error = String;
    fn try_from(text: Option<String>) -> Result<EntryAnswer, String> {
        match text.as_deref() {
            None => Ok(EntryAnswer::Untracked),
            Some("!locked") => Ok(EntryAnswer::Locked),
            Some("!unavailable") => Ok(EntryAnswer::Unavailable),
            Some(hex) => Ok(match parse_oid(hex)? {
                None => EntryAnswer::Deleted,
                Some(oid) => EntryAnswer::At(oid),
            }),
        }
    }
}

/// An object id; all zeros is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Value(pub Option<Oid>);

impl TryFrom<String> for Value {
    type Error = String;
    fn try_from(text: String) -> Result<Value, String> {
        parse_oid(&text).map(Value)
    }
}

fn parse_oid(text: &str) -> Result<Option<Oid>, String> {
    Oid::parse_or_zero(text.as_bytes()).map_err(|e| format!("`{text}`: {e}"))
}

/// A time of day, as the time since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(pub Duration);

/// 2026-01-01T00:00:00Z, a Thursday.
impl Default for Moment {
    fn default() -> Moment {
        Moment(Duration::from_secs(1_767_225_600))
    }
}

impl TryFrom<String> for Moment {
    type Error = String;
    fn try_from(text: String) -> Result<Moment, String> {
        let moment: Timestamp =
            text.parse().map_err(|e| format!("`{text}` is no time like `2026-12-24T18:00:00Z`: {e}"))?;
        let since = u64::try_from(moment.as_millisecond()).map_err(|_| format!("`{text}` is before 1970"))?;
        Ok(Moment(Duration::from_millis(since)))
    }
}

/// A ref name, with `%XX` for bytes that are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(pub RefName);

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(text: String) -> Result<Name, String> {
        RefName::from_escaped(&text).map(Name).map_err(|e| e.to_string())
    }
}

/// Tells a key that is `null` from one that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Value>>, D::Error> {
    Option::<Value>::deserialize(deserializer).map(Some)
}

impl CaseFile {
    /// Reads a file's text; `toml` says that it is TOML and not JSON.
    pub fn parse(text: &str, toml: bool) -> Result<CaseFile, String> {
        match toml {
            true => toml::from_str(text).map_err(|e| e.to_string()),
            false => serde_json::from_str(text).map_err(|e| e.to_string()),
        }
    }
}
