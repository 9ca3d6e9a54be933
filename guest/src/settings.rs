//! Settings of a plugin, read through serde.
//!
//! The host hands over the `[plugin "NAME"]` section as a JSON object whose values are strings, or lists of strings where
//! a key is given several times. The fields of a settings type say what they are to be read as:
//!
//! | field | from |
//! |---|---|
//! | `String`, `char`, an enum of unit variants | the text |
//! | integers, floats | decimal digits |
//! | [`Glob`](crate::Glob) | a glob over names |
//! | `bool` | `true yes on 1`, `false no off 0`, as in git |
//! | `Vec<…>` | every value; one value is a list of one |
//! | `Option<…>`, `#[serde(default)]` | may be left out |
//!
//! A single-valued field takes the last value, as git does. Use `#[serde(deny_unknown_fields)]`: a misspelt key must not
//! go unnoticed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::json::{self, Setting};
use crate::problem::{Problem, Problems, pointer};

/// For plugins without settings: every key is a problem.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Settings from the host's JSON; what is wrong is named by its JSON pointer.
pub(crate) fn read<S: DeserializeOwned>(json: &str) -> Result<S, Problems> {
    let values = json::object(json)?;
    let wrong: Vec<_> = values
        .iter()
        .filter(|(_, value)| value.wrong)
        .map(|(key, _)| Problem::new(key, "must be a string or a list of strings"))
        .collect();
    if !wrong.is_empty() {
        return Err(wrong.into());
    }
    let place = RefCell::new(String::new());
    S::deserialize(Object { values: &values, place: &place })
        .map_err(|e| Problem { pointer: place.take(), message: e.to_string() }.into())
}

/// The settings as a serde map; `place` follows along, so that an error can say where it is.
struct Object<'a> {
    values: &'a BTreeMap<String, Setting>,
    place: &'a RefCell<String>,
}

impl<'de> Deserializer<'de> for Object<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Entries { rest: self.values.iter(), value: None, place: self.place })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Entries<'a> {
    rest: std::collections::btree_map::Iter<'a, String, Setting>,
    value: Option<(&'a str, &'a Setting)>,
    place: &'a RefCell<String>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else {
            // What fails from here on (a missing key) is about the settings as a whole.
            self.place.take();
            return Ok(None);
        };
        self.place.replace(pointer(key, None));
        self.value = Some((key, value));
        let key: StrDeserializer<Error> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, value) =
            self.value.take().ok_or_else(|| de::Error::custom("a value was asked for without a key"))?;
        seed.deserialize(Values { key, texts: &value.texts, is_list: value.is_list, place: self.place })
    }
}

/// The values of one key.
struct Values<'a> {
    key: &'a str,
    texts: &'a [String],
    is_list: bool,
    place: &'a RefCell<String>,
}

impl Values<'_> {
    fn last(&self) -> Result<&str, Error> {
        self.texts.last().map(String::as_str).ok_or_else(|| de::Error::custom("has no value"))
    }

    fn parse<T: std::str::FromStr>(&self, what: &str) -> Result<T, Error> {
        let text = self.last()?;
        text.trim().parse().map_err(|_| de::Error::custom(format!("`{text}` is not {what}")))
    }

    fn boolean(&self) -> Result<bool, Error> {
        let text = self.last()?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(de::Error::custom(format!("`{text}` is not a boolean: write `true` or `false`"))),
        }
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $what:literal)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.parse($what)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Error;

    parsed! {
        deserialize_i8 visit_i8 "a whole number from -128 to 127"
        deserialize_i16 visit_i16 "a whole number from -32768 to 32767"
        deserialize_i32 visit_i32 "a whole number of at most 32 bits"
        deserialize_i64 visit_i64 "a whole number of at most 64 bits"
        deserialize_i128 visit_i128 "a whole number of at most 128 bits"
        deserialize_u8 visit_u8 "a whole number from 0 to 255"
        deserialize_u16 visit_u16 "a whole number from 0 to 65535"
        deserialize_u32 visit_u32 "a whole number from 0 to 4294967295"
        deserialize_u64 visit_u64 "a whole number of at most 64 bits, 0 or more"
        deserialize_u128 visit_u128 "a whole number of at most 128 bits, 0 or more"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
        deserialize_char visit_char "a single character"
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_list { self.deserialize_seq(visitor) } else { visitor.visit_str(self.last()?) }
    }
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.boolean()?)
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.last()?)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items { values: self, next: 0 })
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text: StrDeserializer<Error> = self.last()?.into_deserializer();
        visitor.visit_enum(text)
    }

    forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    values: Values<'a>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Values { key, texts, is_list, place } = self.values;
        if self.next == texts.len() {
            return Ok(None);
        }
        let at = self.next;
        self.next += 1;
        place.replace(pointer(key, is_list.then_some(at)));
        seed.deserialize(Values { key, texts: &texts[at..=at], is_list: false, place }).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        Strict,
        VeryLax,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Sample {
        limit: u32,
        #[serde(default)]
        prefix: Vec<String>,
        dry_run: Option<bool>,
        mode: Option<Mode>,
        #[serde(default)]
        sizes: Vec<i64>,
    }

    fn problem(json: &str) -> String {
        read::<Sample>(json).unwrap_err().to_string()
    }

    #[test]
    fn text_becomes_what_the_field_is() {
        let json =
            r#"{"limit":["1","20"],"prefix":"a","dry-run":"Yes","mode":"very-lax","sizes":["-1","2"]}"#;
        let expected = Sample {
            limit: 20,
            prefix: vec!["a".into()],
            dry_run: Some(true),
            mode: Some(Mode::VeryLax),
            sizes: vec![-1, 2],
        };
        assert_eq!(read::<Sample>(json), Ok(expected));
        let json = r#"{"limit":7,"prefix":["a","b"],"dry-run":false}"#;
        let sample = read::<Sample>(json).unwrap();
        assert_eq!((sample.limit, sample.prefix.len(), sample.dry_run), (7, 2, Some(false)));
    }

    #[test]
    fn problems_say_where() {
        assert_eq!(problem(r#"{"limit":"x"}"#), "/limit: `x` is not a whole number from 0 to 4294967295");
        assert!(problem(r#"{"limit":"1","sizes":["1","z"]}"#).starts_with("/sizes/1: `z` is not"));
        assert!(problem(r#"{"limit":"1","sizes":"z"}"#).starts_with("/sizes: `z` is not"));
        assert!(problem(r#"{"limit":"1","a/b~":"z"}"#).starts_with("/a~1b~0: unknown field `a/b~`"));
        assert_eq!(problem("{}"), ": missing field `limit`");
        assert_eq!(problem(r#"{"limit":{}}"#), "/limit: must be a string or a list of strings");
        assert_eq!(problem(r#"{"limit":[]}"#), "/limit: has no value");
        assert!(
            problem(r#"{"limit":"1","dry-run":"maybe"}"#).starts_with("/dry-run: `maybe` is not a boolean")
        );
        assert!(problem(r#"{"limit":"1","mode":"odd"}"#).starts_with("/mode: unknown variant `odd`"));
        assert!(problem("[]").starts_with(": the settings are not a JSON object"));
    }

    #[test]
    fn no_settings_means_none() {
        assert!(read::<NoSettings>("{}").is_ok());
        let problems = read::<NoSettings>(r#"{"x":"1"}"#).unwrap_err();
        assert!(problems.to_string().starts_with("/x: unknown field `x`"), "{problems}");
    }
}
