//! Settings against the JSON Schema of a manifest: texts become what the schema says, and everything wrong is named.

mod shape;
mod words;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Number, Value};

/// Problems that are named at once.
const PROBLEMS: usize = 20;

/// Steps of one pattern on one text: a schema comes from outside, and must not keep the host busy.
const PATTERN_STEPS: usize = 10_000;

/// Bytes of one compiled pattern.
const PATTERN_BYTES: usize = 1 << 20;

/// Bytes of all compiled patterns of a schema. Each may take its share, and none more than [`PATTERN_BYTES`].
const PATTERNS_BYTES: usize = 32 << 20;

/// Bytes of a schema as compact JSON.
const SCHEMA_BYTES: usize = 512 << 10;

/// Makes `settings` what `schema` says, and validates them.
///
/// Settings of a configuration file are texts, or lists of texts where a key is given several times. A text becomes a
/// number or a boolean where the schema wants one; where it wants a list, a single value is a list of one, and where it
/// wants a single value, the last of several counts. What cannot be converted stays, and is then named as wrong.
///
/// # Errors
/// The problems, `JSON-POINTER: what is wrong`, 20 at most, in one line.
pub(crate) fn fit(schema: &Value, settings: &mut Map<String, Value>) -> Result<(), String> {
    let validator = compile(schema)?;
    for (key, value) in settings.iter_mut() {
        if let Some(wanted) = shape::of_setting(schema, key) {
            become_wanted(schema, wanted, value);
        }
    }
    let mut instance = Value::Object(std::mem::take(settings));
    let mut lines = Vec::new();
    for error in validator.iter_errors(&instance) {
        words::put(&error, schema, &instance, &mut lines);
        if lines.len() > PROBLEMS {
            break;
        }
    }
    if let Value::Object(taken) = instance.take() {
        *settings = taken;
    }
    if lines.is_empty() {
        return Ok(());
    }
    if lines.len() > PROBLEMS {
        lines.truncate(PROBLEMS);
        lines.push("and more".to_owned());
    }
    Err(lines.join("; "))
}

/// Whether `schema` is a JSON Schema that [`fit`] takes.
pub(crate) fn check(schema: &Value) -> Result<(), String> {
    compile(schema).map(drop)
}

fn compile(schema: &Value) -> Result<Validator, String> {
    if !schema.is_object() {
        return Err("it must be an object".to_owned());
    }
    let bytes = schema.to_string().len();
    if bytes > SCHEMA_BYTES {
        return Err(format!("it has {bytes} bytes, and at most {SCHEMA_BYTES} are taken: make it simpler"));
    }
    let patterns = shape::check(schema)?;
    let most = PATTERN_BYTES.min(PATTERNS_BYTES / patterns.max(1));
    jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(PATTERN_STEPS).size_limit(most))
        .build(schema)
        .map_err(|e| match e.instance_path().as_str() {
            "" => words::line(&e.to_string()),
            place => format!("{place}: {}", words::line(&e.to_string())),
        })
}

fn become_wanted(root: &Value, wanted: &Value, value: &mut Value) {
    let types = shape::types(root, wanted);
    let list = types.contains(&"array");
    match value {
        Value::Array(items) if list => {
            if let Some(of) = shape::items(root, wanted) {
                items.iter_mut().for_each(|item| become_single(root, of, item));
            }
        }
        // As git has it: of several values the last one counts.
        Value::Array(items) if !types.is_empty() && items.iter().all(Value::is_string) => {
            if let Some(last) = items.pop() {
                *value = last;
                become_single(root, wanted, value);
            }
        }
        Value::String(_) => {
            become_single(root, wanted, value);
            if list && value.is_string() && !types.contains(&"string") {
                let mut one = value.take();
                if let Some(of) = shape::items(root, wanted) {
                    become_single(root, of, &mut one);
                }
                *value = Value::Array(vec![one]);
            }
        }
        _ => {}
    }
}

/// A text becomes the first of the types that it can be; it stays a text where that is allowed or nothing else fits.
fn become_single(root: &Value, wanted: &Value, value: &mut Value) {
    let types = shape::types(root, wanted);
    let Value::String(text) = &*value else { return };
    if types.contains(&"string") {
        return;
    }
    let becomes = types.iter().find_map(|wanted| match *wanted {
        "integer" => integer(text.trim()).map(Value::Number),
        "number" => integer(text.trim()).or_else(|| number(text.trim())).map(Value::Number),
        "boolean" => boolean(text).map(Value::Bool),
        _ => None,
    });
    if let Some(becomes) = becomes {
        *value = becomes;
    }
}

fn integer(text: &str) -> Option<Number> {
    let unsigned = text.parse::<u64>().map(Number::from);
    unsigned.or_else(|_| text.parse::<i64>().map(Number::from)).ok()
}

fn number(text: &str) -> Option<Number> {
    Number::from_f64(text.parse().ok()?)
}

/// The words that git and the SDK take.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
