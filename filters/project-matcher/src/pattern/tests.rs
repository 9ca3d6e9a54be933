//! Tests of the pattern module, among them a table of answers recorded from Java 17.

use super::{BACKTRACK_LIMIT, Pattern};

/// First line: `names`, then the names. Every other line: a pattern, then `error` or one bit per name, the first name in
/// the highest bit of the first hexadecimal digit. `%hh` is a byte of pattern or name.
const JAVA17: &str = include_str!("java17.tsv");

/// Patterns of the table that Java accepts and that are refused here: the coverage must not shrink unnoticed.
const REFUSED: &str = include_str!("java17-refused.txt");

fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        decoded.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        decoded.push_str(&part[2..]);
    }
    decoded
}

#[test]
fn answers_are_those_of_java_17() {
    let mut lines = JAVA17.lines();
    let names: Vec<String> = lines.next().unwrap().split('\t').skip(1).map(decode).collect();
    let mut refused = Vec::new();
    let mut rows = 0;
    for line in lines {
        rows += 1;
        let (encoded, answers) = line.split_once('\t').unwrap();
        let compiled = Pattern::new(&decode(encoded));
        if answers == "error" {
            assert!(compiled.is_err(), "Java rejects `{encoded}`");
            continue;
        }
        let Ok(pattern) = compiled else {
            refused.push(encoded);
            continue;
        };
        for (index, name) in names.iter().enumerate() {
            let digit = u8::from_str_radix(&answers[index / 4..=index / 4], 16).unwrap();
            let java = digit >> (3 - index % 4) & 1 == 1;
            // An answer that is withheld is logged by the caller, so it is no silent difference.
            if let Ok(ours) = pattern.matches(name) {
                assert_eq!(ours, java, "`{encoded}` on {name:?}");
            } else {
                assert!(!name.is_ascii(), "`{encoded}` on {name:?} is not decided");
            }
        }
    }
    assert!(rows >= 150 && names.len() >= 25, "{rows} rows, {} names", names.len());
    assert_eq!(refused, REFUSED.lines().collect::<Vec<_>>());
}

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).unwrap().matches(name).unwrap()
}

#[test]
fn a_final_star_makes_a_prefix() {
    for (pattern, name, expected) in [
        ("*", "anything", true),
        ("foo/b*", "foo/b", true),
        ("foo/b*", "foo/bar/baz", true),
        ("foo/b*", "foobar", false),
        ("foo/b*", "bar/foo/baz", false),
        ("foo/b*", "Foo/bar", false),
        ("foo[1]*", "foo[1]x", true),
        ("foo[1]*", "foo1x", false),
        ("a?b*", "a?bc", true),
        ("a?b*", "axbc", false),
        ("a**", "a*b", true),
        ("a**", "ab", false),
        ("(?i)^foo*", "foo", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn anything_else_is_a_name() {
    assert!(matches("foo*bar", "foo*bar"));
    assert!(!matches("foo*bar", "fooxbar"));
    assert!(!matches("foo", "foobar"));
    assert!(!matches("foo", "FOO"));
    assert!(matches("(?i)^foo", "(?i)^foo"));
    assert_eq!(
        Pattern::new("").unwrap_err().to_string(),
        "pattern ``: an empty pattern matches nothing; remove it or write `*`"
    );
}

#[test]
fn a_regular_expression_matches_whole_names() {
    for (pattern, name, expected) in [
        ("^foo", "foo", true),
        ("^foo", "foobar", false),
        ("^foo|bar", "bar", true),
        ("^foo|bar", "foobar", false),
        ("^foo*", "fooo", true),
        ("^(?i)foo", "FOO", true),
        ("^.*+x", "x", false),
        ("^.*+x", "aax", false),
        ("^(?:(?!team/secret).)*$", "team/app", true),
        ("^(?:(?!team/secret).)*$", "team/secret/app", false),
        ("^(?:(?!team/secret).)*$", "my/team/secret", false),
        ("^(?x)foo # a comment", "foo", true),
        ("^(?x)foo # a comment", "foobar", false),
        ("^[[:alpha:]]", ":", true),
        ("^[[:alpha:]]", "b", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn errors_name_construct_and_position() {
    let message = |pattern: &str| Pattern::new(pattern).unwrap_err().to_string();
    let unsupported = message(r"^a\p{javaLowerCase}");
    assert!(
        unsupported
            .starts_with(r"pattern `^a\p{javaLowerCase}`: `\p{javaLowerCase}` at byte 2 is not supported: "),
        "{unsupported}"
    );
    assert_eq!(message("^é)"), "pattern `^é)`: `)` at byte 3 is not valid: there is no group to close");
    assert_eq!(message("^(a"), "pattern `^(a`: `(` at byte 1 is not valid: the group is not closed");
    assert_eq!(message("^a\\"), "pattern `^a\\`: `\\` at byte 2 is not valid: nothing follows the backslash");
    assert!(message(&format!("^{}", "(".repeat(10_000))).contains("levels of nesting"));
    assert!(message("^(?:[a-z]{1000}){1000}").contains("cannot be compiled"));
}

#[test]
fn a_catastrophic_pattern_reaches_the_step_limit() {
    let pattern = Pattern::new(r"^(?=(a+)+b)(\w)\2.*").unwrap();
    let name = "a".repeat(40);
    // The linear engine decides this one, whatever its shape.
    assert_eq!(Pattern::new("^(a+)+b").unwrap().matches(&name), Ok(false));
    assert_eq!(pattern.matches(&name), Ok(false));
    let stuck = Pattern::new(r"^(?:(?!x)a|(?!y)a|aa)*b").unwrap().matches(&name).unwrap_err();
    assert!(
        stuck.to_string().contains(&format!("gave up after {BACKTRACK_LIMIT} backtracking steps")),
        "{stuck}"
    );
}

#[test]
fn names_that_need_unicode_tables_are_reported() {
    let boundary = Pattern::new(r"^.*\bapp").unwrap();
    assert_eq!(boundary.matches("équipe/app"), Ok(true));
    assert!(boundary.matches("e\u{301}/app").is_err());
    let behind = Pattern::new("^.*(?<=[^a].)b").unwrap();
    assert_eq!(behind.matches("日本b"), Ok(true));
    assert!(behind.matches("x😀b").is_err());
}
