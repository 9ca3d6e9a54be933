//! Two measurements of filters side by side.

use std::path::Path;

use refgate_host::Error;
use serde_json::{Value, json};

use crate::output::{Cell, Mood, Output};

/// What is compared; less is better for each.
const COMPARED: [&str; 5] = ["ns_per_ref", "fuel_per_ref", "host_calls", "bytes", "memory"];

/// One number then and now.
pub struct Ratio {
    refs: u64,
    stale: Value,
    what: &'static str,
    old: f64,
    new: f64,
    pub worse: bool,
}

impl Ratio {
    fn ratio(&self) -> f64 {
        match self.old > 0.0 {
            true => self.new / self.old,
            false if self.new > 0.0 => f64::INFINITY,
            false => 1.0,
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "refs": self.refs,
            "stale": self.stale,
            "what": self.what,
            "old": self.old,
            "new": self.new,
            "worse": self.worse,
        })
    }
}

/// Reads what `--save` wrote.
pub fn read(file: &Path) -> Result<Value, Error> {
    let shown = file.display();
    let wrong = |e: String| {
        Error::usage(format!("`{shown}` is no measurement: {e}"))
            .hint("write one with `refgate bench --save FILE`")
    };
    let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    let document: Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    match document["batches"].is_array() {
        true => Ok(document),
        false => Err(wrong("it has no `batches`".to_owned())),
    }
}

/// Every number that both have.
pub fn compare(old: &Value, new: &Value, max_ratio: f64) -> Vec<Ratio> {
    let rows = |document: &Value| document["batches"].as_array().cloned().unwrap_or_default();
    let olds = rows(old);
    let mut ratios = Vec::new();
    for row in rows(new) {
        let same = |old: &&Value| {
            old["refs"] == row["refs"] && old["stale"] == row["stale"] && from(old) == from(&row)
        };
        let Some(before) = olds.iter().find(same) else { continue };
        for what in COMPARED {
            let (Some(old), Some(new)) = (before[what].as_f64(), row[what].as_f64()) else { continue };
            let (refs, stale) = (row["refs"].as_u64().unwrap_or_default(), row["stale"].clone());
            let mut ratio = Ratio { refs, stale, what, old, new, worse: false };
            ratio.worse = ratio.ratio() > max_ratio;
            ratios.push(ratio);
        }
    }
    ratios
}

/// Where the refs of a row came from; measurements of before there was a choice do not say.
fn from(row: &Value) -> &str {
    row["from"].as_str().unwrap_or("made")
}

/// Rounded for people, and after it was compared.
fn shown_number(number: f64) -> String {
    match number.fract() == 0.0 {
        true => format!("{number}"),
        false => format!("{number:.2}"),
    }
}

/// Prints the ratios.
pub fn table(ratios: &[Ratio], output: &Output) {
    let rows = ratios.iter().map(|r| {
        let mood = if r.worse { Mood::Bad } else { Mood::Plain };
        let stale = super::stale(&json!({"stale": r.stale}));
        let shown = format!("{:.2}{}", r.ratio(), if r.worse { " worse" } else { "" });
        let (old, new) = (shown_number(r.old), shown_number(r.new));
        vec![
            r.refs.to_string().into(),
            stale.into(),
            r.what.into(),
            old.into(),
            new.into(),
            Cell::new(shown, mood),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    output.table(&["REFS", "STALE", "WHAT", "OLD", "NEW", "RATIO"], &rows);
    let worse = ratios.iter().filter(|r| r.worse).count();
    output.text(&format!("{worse} of {} numbers are worse than allowed", ratios.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grew_too_much_is_worse() {
        let row = |refs: u64, ns: f64, calls: u64| json!({"refs": refs, "stale": true, "ns_per_ref": ns, "host_calls": calls});
        let old = json!({"batches": [row(10, 100.0, 0), row(20, 100.0, 7)]});
        let new = json!({"batches": [row(10, 125.0, 0), row(20, 126.0, 1), row(30, 9.0, 9)]});
        let worse: Vec<bool> = compare(&old, &new, 1.25).iter().map(|r| r.worse).collect();
        assert_eq!(worse, [false, false, true, false]);
        // What rounds to the same is not the same.
        let worse =
            compare(&json!({"batches": [row(10, 0.001, 0)]}), &json!({"batches": [row(10, 0.004, 0)]}), 1.25);
        assert_eq!(worse.iter().map(|r| r.worse).collect::<Vec<_>>(), [true, false]);
        let mut named = row(10, 500.0, 0);
        named["from"] = json!("names");
        assert!(compare(&old, &json!({"batches": [named]}), 1.25).is_empty(), "other refs");
        let from_nothing = compare(&old, &json!({"batches": [row(10, 1.0, 1)]}), 1.25);
        assert_eq!(from_nothing.iter().map(|r| r.worse).collect::<Vec<_>>(), [false, true]);
    }
}
