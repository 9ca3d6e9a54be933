//! What a schema says of one setting, and the bounds within which a schema from outside is taken at all.

use serde_json::Value;

/// Nested levels, references followed. It bounds the stack.
const DEPTH: usize = 64;

/// Parts of a schema, references followed as often as they stand there. It bounds time and memory.
const PARTS: usize = 20_000;

/// References that are followed in a row.
const HOPS: usize = 8;

/// Patterns of a schema, those behind references as often as they are referred to.
const PATTERNS: usize = 256;

/// Refuses what could make validation endless or large: references to outside, references in a circle, schemas that
/// grow when their references are followed. How many patterns it has, those behind references as often as they count.
pub(super) fn check(schema: &Value) -> Result<usize, String> {
    let mut walk = Walk { root: schema, parts: PARTS, patterns: 0 };
    for (key, value) in schema.as_object().into_iter().flatten() {
        match key.as_str() {
            // Its own name, which nothing in it may refer to.
            "$id" | "$schema" => {}
            _ => walk.member(key, value, 1)?,
        }
    }
    Ok(walk.patterns)
}

struct Walk<'a> {
    root: &'a Value,
    parts: usize,
    patterns: usize,
}

impl<'a> Walk<'a> {
    fn member(&mut self, key: &str, value: &'a Value, depth: usize) -> Result<(), String> {
        self.patterns += match (key, value) {
            ("pattern", Value::String(_)) => 1,
            ("patternProperties", Value::Object(by_pattern)) => by_pattern.len(),
            _ => 0,
        };
        if self.patterns > PATTERNS {
            return Err(format!(
                "it has more than {PATTERNS} patterns when its references are followed: make it simpler"
            ));
        }
        match (key, value) {
            ("$ref", Value::String(target)) => {
                let to = follow(self.root, target)?;
                self.value(to, depth + 1)
            }
            ("$id" | "id" | "$anchor" | "$dynamicAnchor" | "$recursiveAnchor", Value::String(_)) => {
                Err(format!("`{key}` is taken only at the top: refer to parts by `#/$defs/NAME`"))
            }
            ("$dynamicRef" | "$recursiveRef", _) => {
                Err(format!("`{key}` is not taken: refer to parts by `\"$ref\": \"#/$defs/NAME\"`"))
            }
            _ => self.value(value, depth),
        }
    }

    fn value(&mut self, value: &'a Value, depth: usize) -> Result<(), String> {
        if depth > DEPTH {
            return Err(format!(
                "it nests more than {DEPTH} levels, or a `$ref` leads back to where it stands"
            ));
        }
        self.parts = self.parts.checked_sub(1).ok_or_else(|| {
            format!("it has more than {PARTS} parts when its references are followed: make it simpler")
        })?;
        match value {
            Value::Object(members) => {
                members.iter().try_for_each(|(key, value)| self.member(key, value, depth + 1))
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.value(item, depth + 1)),
            _ => Ok(()),
        }
    }
}

/// What a reference within the schema refers to.
fn follow<'a>(root: &'a Value, target: &str) -> Result<&'a Value, String> {
    let Some(pointer) = target.strip_prefix('#') else {
        return Err(format!("`$ref` to `{target}` leads outside of it: put that part below `$defs`"));
    };
    // Only the spelling that every reader follows alike.
    let plain = !pointer.contains('%');
    root.pointer(pointer)
        .filter(|_| plain)
        .ok_or_else(|| format!("`$ref` to `{target}` leads nowhere: write it as `#/$defs/NAME`"))
}

/// The part of `schema` that is about the setting `key`.
pub(super) fn of_setting<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let schema = resolve(schema, schema);
    let named = schema.get("properties").and_then(|properties| properties.get(key));
    named.or_else(|| schema.get("additionalProperties")).filter(|wanted| wanted.is_object())
}

/// The JSON types that `wanted` allows; empty when it does not say.
pub(super) fn types<'a>(root: &'a Value, wanted: &'a Value) -> Vec<&'a str> {
    let wanted = resolve(root, wanted);
    match wanted.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => {
            // Without a type the values that are allowed have one.
            let allowed = wanted.get("enum").and_then(Value::as_array).map(Vec::as_slice);
            let allowed = allowed.or_else(|| wanted.get("const").map(std::slice::from_ref));
            allowed.unwrap_or_default().iter().map(type_of).collect()
        }
    }
}

/// What `wanted` says of the items of a list.
pub(super) fn items<'a>(root: &'a Value, wanted: &'a Value) -> Option<&'a Value> {
    resolve(root, wanted).get("items").filter(|items| items.is_object())
}

fn resolve<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..HOPS {
        let Some(target) = schema.get("$ref").and_then(Value::as_str) else { break };
        let Ok(to) = follow(root, target) else { break };
        schema = to;
    }
    schema
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
