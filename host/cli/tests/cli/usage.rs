//! Wrong command lines.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use crate::common::{Lab, PROJECT};

#[test]
fn clap_errors_are_documents_too() {
    let lab = Lab::new();
    for (args, command, message, hint) in [
        (
            &["pusch"] as &[&str],
            Value::Null,
            "unrecognized subcommand 'pusch'",
            json!("a similar subcommand exists: 'push'"),
        ),
        (&["push"], json!("push"), "required arguments were not provided: <PROJECT... REMOTE>", Value::Null),
        (
            &["push", "x"],
            json!("push"),
            "no project is given",
            json!("`refgate push PROJECT... REMOTE`: name projects, or say `--all`"),
        ),
        (
            &["refdb", "get", "--nope", "x"],
            json!("refdb get"),
            "unexpected argument '--nope'",
            json!("to pass '--nope' as a value, use '-- --nope'"),
        ),
        (&["refdb"], json!("refdb"), "requires a subcommand", Value::Null),
        (&["plugins", "inspect"], json!("plugins inspect"), "<PLUGIN>", Value::Null),
        (
            &["test", "--plugins", "a", "--filter", "b", "c"],
            json!("test"),
            "'--plugins <DIR>' cannot be used",
            Value::Null,
        ),
    ] {
        let mut args = args.to_vec();
        let plain = lab.run("a", &args);
        assert_eq!(plain.exits(2), "");
        args.push("--json");
        let ran = lab.run("a", &args);
        let got = ran.json(2);
        assert_eq!(got["command"], command, "{args:?}");
        assert!(got["error"]["message"].as_str().unwrap().contains(message), "{got}");
        assert_eq!(got["error"].get("hint"), Some(&hint), "{got}");
        assert!(!ran.err.is_empty());
    }
    assert_eq!(lab.run("a", &["--json", "refdb"]).json(2)["error"]["message"], "no command is given");
    let help = lab.run("a", &["--help"]);
    assert!(help.ok().contains("Usage: refgate"), "{}", help.out);
    assert!(lab.run("a", &["--version"]).ok().starts_with("refgate "));
}

#[test]
fn arguments_that_are_not_utf8_are_refused_where_they_cannot_be_meant() {
    let lab = Lab::new();
    let bad = OsStr::from_bytes(b"te\xffam");
    lab.run("a", &[OsStr::new("push"), bad, OsStr::new("b")]).fails(2, &["invalid UTF-8"]);
    let glob = ["push", PROJECT, "b", "--ref"].map(OsStr::new);
    lab.run("a", &[glob.as_slice(), &[bad]].concat()).fails(2, &["`te%FFam` is not UTF-8", "`?`"]);
    // Ref names are bytes.
    let name = OsStr::from_bytes(b"refs/heads/\xff%");
    let oid = "a".repeat(40);
    let put = ["refdb", "put", PROJECT].map(OsStr::new);
    let ran = lab.run("a", &[put.as_slice(), &[name, OsStr::new(&oid)]].concat());
    assert_eq!(ran.ok(), format!("refs/heads/%FF%25 is now {oid}\n"));
    assert_eq!(
        lab.run("a", &["--json", "refdb", "ls", PROJECT]).json(0)["refs"][0]["ref"],
        "refs/heads/%FF%25"
    );
}

#[test]
fn illegal_project_names_are_refused_by_every_command() {
    let (lab, _) = Lab::seeded();
    for name in ["", "..", "a/../b", "./a", "/etc", "a/", "a//b", "app.git", "-x", "a/-x", "a\nb", "a\x7fb"] {
        for args in [
            &["push", "--", name, "b"] as &[&str],
            &["fetch", "--create", "--", name, "b"],
            &["refdb", "ls", "--", name],
            &["refdb", "seed", "--", name],
            &["refdb", "put", "--", name, "refs/heads/x", "deleted"],
            &["project", "match", "--", name],
        ] {
            lab.run("a", args).fails(2, &["is not a legal name"]);
        }
    }
    // As they are: no URL decoding, no stripping.
    lab.run("a", &["push", "team%2Fapp", "b"]).fails(2, &["unknown project `team%2Fapp`"]);
}

#[test]
fn unknown_things_are_named_with_what_is_known() {
    let (lab, _) = Lab::seeded();
    lab.run("a", &["push", "none", "b"]).fails(2, &["unknown project `none`", "git/none.git", "hint: "]);
    lab.run("a", &["refdb", "seed", "none"]).fails(2, &["unknown project `none`"]);
    lab.run("a", &["push", PROJECT, "c"]).fails(2, &["unknown remote `c`", "`b`"]);
    lab.run("a", &["push", PROJECT, "b", "--ref", "["]).fails(2, &["`[` is not a glob"]);
    let got = lab.run("a", &["push", "none", "b", "--json"]).json(2);
    assert_eq!(got["command"], "push");
    assert!(got["error"]["message"].as_str().unwrap().starts_with("unknown project `none`"));
}
