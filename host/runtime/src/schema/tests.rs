//! Conversion, errors, and schemas that are up to no good.

use super::*;
use serde_json::json;

fn fitted(schema: &Value, settings: Value) -> Result<Value, String> {
    let Value::Object(mut settings) = settings else { panic!("no object") };
    fit(schema, &mut settings).map(|()| Value::Object(settings))
}

fn one(of: Value, value: Value) -> Result<Value, String> {
    let schema = json!({"properties": {"a": of}});
    fitted(&schema, json!({ "a": value })).map(|mut settings| settings["a"].take())
}

/// A schema with so many patterns, each compiled to about 600 KB.
fn with_patterns(count: usize) -> Value {
    let all: Map<String, Value> =
        (0..count).map(|i| (format!("x{i}(?:a{{90}}){{90}}"), Value::Bool(true))).collect();
    json!({"patternProperties": all})
}

#[test]
fn patterns_share_what_they_may_take() {
    check(&with_patterns(20)).unwrap();
    let error = check(&with_patterns(200)).unwrap_err();
    assert!(error.contains("pattern"), "{error}");
    let error = check(&with_patterns(257)).unwrap_err();
    assert!(error.contains("more than 256 patterns"), "{error}");
    // Behind a reference they count as often as they are referred to.
    let one = json!({"pattern": "^a$"});
    let many: Vec<Value> = (0..257).map(|_| json!({"$ref": "#/$defs/one"})).collect();
    let error = check(&json!({"$defs": {"one": one}, "allOf": many})).unwrap_err();
    assert!(error.contains("more than 256 patterns"), "{error}");
    // As many as there may be, of the usual size.
    let usual: Map<String, Value> =
        (0..250).map(|i| (format!("^[a-z]{{1,{}}}-x{i}$", i % 9 + 1), json!(true))).collect();
    check(&json!({"patternProperties": usual})).unwrap();
    let error = check(&json!({"description": "x".repeat(600_000)})).unwrap_err();
    assert!(error.contains("600018 bytes, and at most 524288"), "{error}");
}

#[test]
fn texts_become_what_the_schema_says() {
    for (of, text, becomes) in [
        (json!({"type": "integer"}), json!("-42"), json!(-42)),
        (json!({"type": "integer"}), json!(" 18446744073709551615"), json!(u64::MAX)),
        (json!({"type": "integer"}), json!(["1", "2"]), json!(2)),
        (json!({"type": "number"}), json!("0.25"), json!(0.25)),
        (json!({"type": "number"}), json!("3"), json!(3)),
        (json!({"type": "boolean"}), json!("YES"), json!(true)),
        (json!({"type": "boolean"}), json!("0"), json!(false)),
        (json!({"type": "string"}), json!("5"), json!("5")),
        (json!({"type": "string"}), json!(["a", "b"]), json!("b")),
        (json!({"type": ["string", "integer"]}), json!("5"), json!("5")),
        (json!({"type": ["boolean", "integer"]}), json!("5"), json!(5)),
        (json!({"type": "array"}), json!("x"), json!(["x"])),
        (json!({"type": "array", "items": {"type": "integer"}}), json!("7"), json!([7])),
        (json!({"type": "array", "items": {"type": "boolean"}}), json!(["on", "off"]), json!([true, false])),
        (json!({"type": ["string", "array"]}), json!("x"), json!("x")),
        (json!({"type": ["string", "array"]}), json!(["x", "y"]), json!(["x", "y"])),
        (json!({"enum": [1, 2]}), json!("2"), json!(2)),
        (json!({"const": true}), json!("on"), json!(true)),
        (json!({}), json!(["x", "y"]), json!(["x", "y"])),
        (json!({"type": "integer"}), json!(5), json!(5)),
    ] {
        assert_eq!(one(of.clone(), text.clone()), Ok(becomes), "{text} as {of}");
    }
    let schema = json!({
        "$id": "https://example.org/settings", "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"limit": {"type": "integer"}, "same": {"$ref": "#/$defs/limit"}},
        "properties": {"a": {"$ref": "#/$defs/same"}}, "additionalProperties": {"type": "boolean"},
    });
    assert_eq!(fitted(&schema, json!({"a": "1", "b": "no"})), Ok(json!({"a": 1, "b": false})));
}

#[test]
fn every_problem_is_named_with_its_place() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["must/have"],
        "properties": {
            "must/have": {}, "count": {"type": "integer", "minimum": 1}, "mode": {"enum": ["a", "b"]},
            "on": {"type": "boolean"}, "list": {"type": "array", "items": {"pattern": "^refs/"}},
        },
    });
    let settings = json!({"count": "0", "mode": "c", "on": "perhaps", "list": ["refs/x", "x"], "cuont": "1"});
    let error = fitted(&schema, settings.clone()).unwrap_err();
    let mut lines: Vec<_> = error.split("; ").collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "/count: 0 is too small: write at least 1",
            "/cuont: there is no such setting: there are `must/have`, `count`, `mode`, `on`, `list`",
            "/list/1: \"x\" does not match `^refs/`",
            "/mode: \"c\" is not allowed: write one of \"a\", \"b\"",
            "/must~1have: it must be given",
            "/on: \"perhaps\" is not a boolean (`true` or `false`)",
        ]
    );
    let mut kept = settings.as_object().unwrap().clone();
    fit(&schema, &mut kept).unwrap_err();
    assert_eq!(kept.len(), settings.as_object().unwrap().len(), "nothing is lost");
}

#[test]
fn problems_are_bounded_and_stay_in_one_line() {
    let many: Map<String, Value> = (0..500).map(|i| (format!("k{i}"), json!("x"))).collect();
    let error = fitted(&json!({"additionalProperties": {"type": "integer"}}), Value::Object(many.clone()));
    assert_eq!(error.unwrap_err().split("; ").count(), PROBLEMS + 1);
    let error = fitted(&json!({"additionalProperties": false}), Value::Object(many)).unwrap_err();
    assert_eq!(error.split("; ").count(), PROBLEMS + 1);
    let error =
        one(json!({"type": "integer"}), json!(format!("\u{1b}[2J\n{}", "x".repeat(9999)))).unwrap_err();
    assert!(error.len() < 400 && !error.contains(char::is_control), "{error}");
}

#[test]
fn a_schema_from_outside_cannot_keep_the_host_busy() {
    let deep = (0..70).fold(json!({}), |inner, _| json!({ "not": inner }));
    let mut bomb = json!({"$defs": {"d10": {}}, "$ref": "#/$defs/d0"});
    for i in 0..10 {
        let next = format!("#/$defs/d{}", i + 1);
        bomb["$defs"][format!("d{i}")] = json!({"allOf": vec![json!({"$ref": next}); 8]});
    }
    let mut chain = json!({"$defs": {"d9999": {}}, "$ref": "#/$defs/d0"});
    for i in 0..9999 {
        chain["$defs"][format!("d{i}")] = json!({"$ref": format!("#/$defs/d{}", i + 1)});
    }
    for (schema, cause) in [
        (json!([]), "must be an object"),
        (json!({"type": "text"}), "/type: "),
        (json!({"properties": {"a": {"pattern": "("}}}), "/properties/a/pattern"),
        (json!({"properties": {"a": {"pattern": "(?:a{1000}){1000}"}}}), "/properties/a/pattern"),
        (json!({"$ref": "https://example.org/x"}), "leads outside"),
        (json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}), "leads outside"),
        (json!({"$ref": "other.json#/a"}), "leads outside"),
        (json!({"$ref": "#/$defs/none"}), "leads nowhere"),
        (json!({"$ref": "#/%24defs/a", "$defs": {"a": {}}}), "leads nowhere"),
        (json!({"$ref": "#"}), "leads back"),
        (json!({"allOf": [{"$ref": "#"}]}), "leads back"),
        (json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}), "leads back"),
        (json!({"properties": {"a": {"$dynamicRef": "#x"}}}), "`$dynamicRef` is not taken"),
        (json!({"properties": {"a": {"$id": "x"}}}), "only at the top"),
        (deep, "nests more"),
        (bomb, "more than 20000 parts"),
        (chain, "nests more"),
    ] {
        let error = check(&schema).unwrap_err();
        assert!(error.contains(cause), "{error}");
    }
    // Backtracking without end is cut short, and says so.
    let slow = json!({"properties": {"a": {"pattern": "^(?:(a+)+)\\1$"}}});
    let error = fitted(&slow, json!({"a": format!("{}b", "a".repeat(60))})).unwrap_err();
    assert!(error.starts_with("/a: "), "{error}");
}
