//! What others wrote: it is shown where it is printed, in one line, and steers no terminal. One test per kind of author.

use std::fs;
use std::path::Path;

use refgate_filters::build::{Request, component};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::common::{Lab, PROJECT, Ran, mode, root};

/// Sets the title of a terminal, begins a line that looks like one of ours, and turns the direction of writing.
const EVIL: &str = "\u{1b}]0;PWNED\u{7}\nforged: line\u{202e}\u{9b}2J\u{7f}";
/// The beginning of it, as it is shown.
const SHOWN: &str = "\\u{1b}]0;PWNED\\u{7}";

/// Panics unless `ran` tells it, and what it tells is harmless.
fn tells(ran: &Ran) {
    harmless(ran);
    assert!(format!("{}{}", ran.out, ran.err).contains(SHOWN), "{}\n{}", ran.out, ran.err);
}

fn harmless(ran: &Ran) {
    for text in [&ran.out, &ran.err] {
        assert!(!text.contains(|c| refgate_core::is_unseen(c) && c != '\n'), "{text:?}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("forged")), "{text}");
    }
}

/// Panics unless some text of the document tells it, and no text and no key does anything.
fn tells_in(document: &Value) {
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(all) => all.iter().for_each(|one| texts(one, found)),
            Value::Object(all) => all.iter().for_each(|(key, one)| {
                found.push(key.clone());
                texts(one, found);
            }),
            _ => {}
        }
    }
    let mut all = Vec::new();
    texts(document, &mut all);
    assert!(!all.iter().any(|text| text.contains(refgate_core::is_unseen)), "{all:?}");
    assert!(all.iter().any(|text| text.contains(SHOWN)), "{all:?}");
}

/// Length and bytes, as wasm has texts and sections; shorter than 16 KiB.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = [(bytes.len() % 128) as u8 | 0x80, (bytes.len() / 128) as u8];
    [&size, bytes].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], sized(content)].concat()
}

fn embedded(name: &str) -> Vec<u8> {
    refgate_filters::EMBEDDED.iter().find(|e| e.name == name).unwrap().wasm.to_vec()
}

#[test]
fn what_a_remote_says_of_itself() {
    let (lab, first) = Lab::seeded();
    lab.commit("a", "refs/heads/more", &[&first]);
    lab.configure("a", "[remote \"evil\"]\n    url = ssh://h/${name}");
    let caps = format!("{first} refs/heads/main\0report-status delete-refs atomic object-format={EVIL}\n");
    let answer = format!("{:04x}{caps}0000", caps.len() + 4);
    lab.write("answer", answer);
    lab.write("ssh", format!("#!/bin/sh\ncat '{}'\n", lab.path("answer").display()));
    mode(&lab.path("ssh"), 0o755);
    let push = |args: &[&str]| {
        Ran::of(
            lab.command("a")
                .args(args)
                .env("GIT_SSH_COMMAND", lab.path("ssh"))
                .env("GIT_SSH_VARIANT", "simple"),
        )
    };
    let ran = push(&["push", PROJECT, "evil"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    tells(&ran);
    let ran = push(&["--json", "push", PROJECT, "evil"]);
    tells(&ran);
    tells_in(&serde_json::from_str(&ran.out).unwrap());
    // What is not the protocol at all is quoted, too.
    lab.write("answer", format!("{:04x}ERR {EVIL}", EVIL.len() + 8));
    tells(&push(&["push", PROJECT, "evil"]));
}

#[test]
fn what_a_plugin_says_when_it_fails_and_when_it_refuses_its_settings() {
    let (lab, first) = Lab::seeded();
    lab.commit("a", "refs/heads/more", &[&first]);
    let hostile = component(&Request {
        manifest: &root().join("Cargo.toml"),
        package: "refgate-hostile",
        profile: "filter",
        target_dir: &Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile"),
        locked: true,
    });
    lab.write("a/plugins/hostile.wasm", hostile.unwrap());
    lab.write("a/plugins/hostile.toml", "[settings]\ndeed = 'error'\n");
    let ran = lab.run("a", &["push", PROJECT, "b"]);
    assert!(ran.err.contains("it reports an error: nothing works"), "{}", ran.err);
    tells(&ran);
    let json = lab.run("a", &["--json", "push", PROJECT, "b"]);
    tells(&json);
    // Its settings come from somewhere, too.
    fs::remove_file(lab.path("a/plugins/hostile.wasm")).unwrap();
    fs::remove_file(lab.path("a/plugins/hostile.toml")).unwrap();
    let pattern: String = EVIL.chars().map(|c| format!("\\u{:04X}", u32::from(c))).collect();
    lab.write("a/plugins/project-matcher.toml", format!("[settings]\npattern = [\"^({pattern}\"]\n"));
    for args in [&["config", "check"][..], &["plugins", "list"], &["push", PROJECT, "b"]] {
        let ran = lab.run("a", args);
        assert_ne!(ran.code, 0, "{args:?}");
        tells(&ran);
    }
    tells_in(&lab.run("a", &["--json", "config", "check"]).json(2));
}

#[test]
fn what_a_file_holds_that_nobody_has_run() {
    let lab = Lab::new();
    // The type of a function without arguments and results, and one that is imported under a URL.
    let url = format!("url=<https://x/{EVIL}>");
    let import = [&[1, 0][..], &sized(url.as_bytes()), &[1, 0]].concat();
    let wasm = [embedded("push"), section(7, &[1, 0x40, 0, 1, 0]), section(10, &import)].concat();
    lab.write("odd.wasm", wasm);
    harmless(&lab.run("", &["plugins", "inspect", "odd.wasm"]));
    // A core module within, with an import that the compiler names.
    let evil = sized(EVIL.as_bytes());
    let import = [&[1][..], &evil, &evil, &[0, 9]].concat();
    let module = [b"\0asm\x01\0\0\0".to_vec(), section(1, &[1, 0x60, 0, 0]), section(2, &import)].concat();
    let wasm = [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat();
    lab.write("core.wasm", wasm);
    for args in [&["plugins", "inspect", "core.wasm"][..], &["plugins", "check", "core.wasm"]] {
        let ran = lab.run("", args);
        assert_ne!(ran.code, 0, "{args:?}");
        harmless(&ran);
    }
    // What it says of itself: a schema that refers to something.
    let manifest = json!({"name": "odd", "settings": {"properties": {"x": {"$ref": format!("#/{EVIL}")}}}});
    let said = [&sized(b"refgate:manifest")[..], manifest.to_string().as_bytes()].concat();
    lab.write("ref.wasm", [embedded("push"), section(0, &said)].concat());
    lab.write("name.wasm", embedded("push"));
    for file in ["ref.wasm", "name.wasm"] {
        harmless(&lab.run("", &["plugins", "inspect", file]));
    }
}

/// As in the files of ssh.
fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let all = part.iter().fold(0u32, |all, b| all << 8 | u32::from(*b)) << (8 * (3 - part.len()));
        for i in 0..4 {
            let digit = DIGITS[(all >> (18 - 6 * i)) as usize % 64] as char;
            out.push(if i <= part.len() { digit } else { '=' });
        }
    }
    out
}

#[test]
fn what_a_signature_says_of_its_key() {
    let lab = Lab::new();
    let key = [text(format!("ssh-{EVIL}").as_bytes()), text(&[7; 32])].concat();
    let sig = [text(b"ssh-ed25519"), text(&[7; 64])].concat();
    let parts = [text(&key), text(b"refgate-plugin"), text(b""), text(b"sha512"), text(&sig)].concat();
    let whole = base64(&[b"SSHSIG\0\0\0\x01", &parts[..]].concat());
    let lines: Vec<&str> = whole.as_bytes().chunks(70).map(|c| std::str::from_utf8(c).unwrap()).collect();
    let armoured =
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"));
    lab.write("p.wasm", embedded("push"));
    lab.write("p.wasm.sig", armoured);
    lab.write("signers", "");
    tells(&lab.run("", &["verify", "p.wasm", "--signers", "signers"]));
    tells(&lab.run("", &["plugins", "inspect", "p.wasm"]));
    tells_in(&lab.run("", &["--json", "plugins", "inspect", "p.wasm"]).json(0));
}

#[test]
fn what_stands_in_the_ref_db() {
    let (lab, _) = Lab::seeded();
    let refdb = Connection::open(lab.path("refdb.sqlite")).unwrap();
    refdb.execute("INSERT INTO site (name) VALUES (?1)", [EVIL]).unwrap();
    for args in [&["refdb", "check", PROJECT][..], &["refdb", "forget", PROJECT], &["config", "check"]] {
        harmless(&lab.run("a", args));
        let json = lab.run("a", &[&["--json"], args].concat());
        harmless(&json);
    }
    tells(&lab.run("a", &["refdb", "forget", PROJECT]));
    refdb.execute("DELETE FROM site WHERE name = ?1", [EVIL]).unwrap();
    // Whoever can write the file can name things in it.
    let raise =
        format!("CREATE TRIGGER \"{EVIL}\" BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, '{EVIL}'); END");
    refdb.execute_batch(&raise).unwrap();
    lab.commit("a", "refs/heads/more", &[]);
    let ran = lab.run("a", &["refdb", "seed", PROJECT]);
    harmless(&ran);
    assert!(ran.err.contains("%1B]0;PWNED%07"), "{}", ran.err);
}

#[test]
fn what_a_script_passes_on_as_an_argument() {
    let (lab, _) = Lab::seeded();
    for args in
        [&[EVIL][..], &["push", EVIL, "b"], &["push", PROJECT, EVIL], &["refdb", "get", PROJECT, EVIL]]
    {
        let ran = lab.run("a", args);
        assert_ne!(ran.code, 0, "{args:?}: {}", ran.err);
        harmless(&ran);
        // What clap quotes it has shortened by itself.
        assert!(args == [EVIL] || ran.err.contains("]0;PWNED"), "{args:?}: {}", ran.err);
        let ran = lab.run("a", &[&["--json"], args].concat());
        assert!(!ran.out.contains(|c| refgate_core::is_unseen(c) && c != '\n'), "{}", ran.out);
    }
}
