//! Key and event time out of a JSON line.
//!
//! Guarantees:
//! 1. A line is only looked into when a field was asked for; then it must be one JSON object.
//! 2. A key is the string's UTF-8 or the text of the number as the line has it; missing or null is none.
//! 3. If a name comes twice in a line, the last one counts.

use std::fmt;

use esker::Timestamp;
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Arguments;
use crate::time;

/// The fields that were asked for.
#[derive(Debug)]
pub(super) struct Fields {
    key: Option<String>,
    time: Option<String>,
}

/// What a line says.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) key: Option<String>,
    pub(super) event_time: Option<Timestamp>,
}

impl Fields {
    pub(super) fn new(arguments: &Arguments) -> Self {
        Self { key: arguments.key_field.clone(), time: arguments.time_field.clone() }
    }

    pub(super) fn find(&self, line: &[u8]) -> Result<Found, String> {
        if self.key.is_none() && self.time.is_none() {
            return Ok(Found::default());
        }
        let not_json = |cause: &dyn fmt::Display| {
            format!("not a JSON object: {cause}; mend it, or import without --key-field and --time-field")
        };
        let text = str::from_utf8(line).map_err(|error| not_json(&error))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let raw = json.deserialize_map(self).map_err(|error| not_json(&error))?;
        json.end().map_err(|error| not_json(&error))?;
        let key = value(self.key.as_deref(), raw.key)?;
        let event_time = match (value(self.time.as_deref(), raw.time)?, &self.time) {
            (Some(text), Some(name)) => Some(time::parse(&text).map_err(|cause| format!("field '{name}': {cause}"))?),
            _ => None,
        };
        Ok(Found { key, event_time })
    }
}

fn value(name: Option<&str>, raw: Option<&RawValue>) -> Result<Option<String>, String> {
    let (Some(name), Some(raw)) = (name, raw) else { return Ok(None) };
    match raw.get().as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'{') => Err(format!("field '{name}' is an object; it must be a string, a number or null")),
        Some(b't' | b'f') => Err(format!("field '{name}' is true or false; it must be a string, a number or null")),
        Some(b'[') => Err(format!("field '{name}' is an array; it must be a string, a number or null")),
        Some(b'"') => serde_json::from_str(raw.get())
            .map(Some)
            .map_err(|error| format!("field '{name}' is no valid text: {error}; mend it")),
        _ => Ok(Some(raw.get().to_owned())),
    }
}

/// Values as the line has them.
#[derive(Default)]
pub(super) struct Raw<'line> {
    key: Option<&'line RawValue>,
    time: Option<&'line RawValue>,
}

impl<'line> Visitor<'line> for &Fields {
    type Value = Raw<'line>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'line>>(self, mut map: A) -> Result<Raw<'line>, A::Error> {
        let mut raw = Raw::default();
        while let Some(asked) = map.next_key_seed(self)? {
            if !asked.key && !asked.time {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = map.next_value()?;
            raw.key = if asked.key { Some(value) } else { raw.key };
            raw.time = if asked.time { Some(value) } else { raw.time };
        }
        Ok(raw)
    }
}

/// For which of the two a field was asked for; one name may serve both.
pub(super) struct Asked {
    key: bool,
    time: bool,
}

impl<'line> DeserializeSeed<'line> for &Fields {
    type Value = Asked;

    fn deserialize<D: serde::Deserializer<'line>>(self, name: D) -> Result<Asked, D::Error> {
        name.deserialize_str(Names(self))
    }
}

struct Names<'fields>(&'fields Fields);

impl Visitor<'_> for Names<'_> {
    type Value = Asked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Asked, E> {
        let is = |asked: &Option<String>| asked.as_deref() == Some(name);
        Ok(Asked { key: is(&self.0.key), time: is(&self.0.time) })
    }
}
