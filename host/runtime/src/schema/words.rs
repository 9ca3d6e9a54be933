//! What is wrong with a setting, in one line each, with what is allowed.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::{Map, Value};

use crate::log::{cut, printable};

/// Bytes that are shown of a value or of a list of what is allowed.
const SHOWN: usize = 200;

/// Adds the lines for one error: one, or one for every key that does not belong there.
pub(super) fn put(error: &ValidationError<'_>, schema: &Value, settings: &Value, lines: &mut Vec<String>) {
    let place = error.instance_path().as_str();
    let value = || shown(error.instance());
    let what = match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = if place.is_empty() { known(schema) } else { String::new() };
            lines.extend(
                unexpected
                    .iter()
                    .map(|key| line(&format!("{place}/{}: there is no such setting{known}", escaped(key)))),
            );
            return;
        }
        // How a schema without properties refuses every key.
        Kind::FalseSchema if place.is_empty() => {
            let keys = settings.as_object().into_iter().flat_map(Map::keys);
            lines.extend(
                keys.map(|key| {
                    line(&format!("/{}: there is no such setting{}", escaped(key), known(schema)))
                }),
            );
            return;
        }
        Kind::FalseSchema => "it is not allowed".to_owned(),
        Kind::Required { property } => {
            let key = escaped(property.as_str().unwrap_or_default());
            lines.push(line(&format!("{place}/{key}: it must be given")));
            return;
        }
        Kind::Type { kind: TypeKind::Single(wanted) } => {
            format!("{} is not {}", value(), noun(wanted.as_str()))
        }
        Kind::Type { kind: TypeKind::Multiple(wanted) } => {
            let wanted: Vec<_> = wanted.iter().map(|t| noun(t.as_str())).collect();
            format!("{} is not {}", value(), wanted.join(" or "))
        }
        Kind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let options: Vec<_> = options.iter().map(Value::to_string).collect();
            format!("{} is not allowed: write one of {}", value(), cut(&options.join(", "), SHOWN))
        }
        Kind::Constant { expected_value } => format!("{} is not allowed: write {expected_value}", value()),
        Kind::Minimum { limit } => format!("{} is too small: write at least {limit}", value()),
        Kind::Maximum { limit } => format!("{} is too large: write at most {limit}", value()),
        Kind::ExclusiveMinimum { limit } => format!("{} is too small: write more than {limit}", value()),
        Kind::ExclusiveMaximum { limit } => format!("{} is too large: write less than {limit}", value()),
        Kind::MinLength { limit } => format!("{} is too short: write at least {limit} characters", value()),
        Kind::MaxLength { limit } => format!("{} is too long: write at most {limit} characters", value()),
        Kind::MinItems { limit } => format!("it has too few values: give at least {limit}"),
        Kind::MaxItems { limit } => format!("it has too many values: give at most {limit}"),
        Kind::UniqueItems => "a value is given twice".to_owned(),
        Kind::Pattern { pattern } => format!("{} does not match `{}`", value(), cut(pattern, SHOWN)),
        _ => cut(&error.to_string(), 2 * SHOWN).to_owned(),
    };
    lines.push(line(&format!("{place}: {what}")));
}

/// One line that cannot pass for another one.
pub(super) fn line(text: &str) -> String {
    printable(cut(text, 4 * SHOWN))
}

fn noun(json_type: &str) -> &'static str {
    match json_type {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "a boolean (`true` or `false`)",
        "string" => "a text",
        "array" => "a list",
        "object" => "an object",
        _ => "null",
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let kept = cut(&text, SHOWN);
    if kept.len() < text.len() { format!("{kept}…") } else { text }
}

/// The settings that a schema names.
fn known(schema: &Value) -> String {
    match schema.get("properties").and_then(Value::as_object) {
        Some(properties) if !properties.is_empty() => {
            let names: Vec<_> = properties.keys().map(|key| format!("`{key}`")).collect();
            format!(": there are {}", cut(&names.join(", "), SHOWN))
        }
        _ => ": the plugin takes none".to_owned(),
    }
}

/// A key as a step of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
