//! `sign`, `verify`, and `build` of what another toolchain made.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::common::Lab;

/// A lab with `p.wasm` and a new key, `KEY` and `KEY.pub`, protected by `passphrase`.
fn lab(passphrase: &str) -> Lab {
    let lab = Lab::new();
    let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
    lab.write("p.wasm", push.wasm);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f"])
        .arg(lab.path("KEY"))
        .output()
        .expect("ssh-keygen is installed (package openssh-client)");
    assert!(made.status.success(), "{made:?}");
    let public = fs::read_to_string(lab.path("KEY.pub")).unwrap();
    lab.write("signers", format!("# who may\nalice@example.org {public}"));
    lab
}

const VERIFY: [&str; 4] = ["verify", "p.wasm", "--signers", "signers"];

#[test]
fn what_is_signed_is_verified_and_shown() {
    let lab = lab("");
    lab.run("", &VERIFY).fails(1, &["`p.wasm` is refused", "no `p.wasm.sig`", "refgate sign"]);
    let signed = lab.run("", &["sign", "p.wasm", "--key", "KEY"]);
    assert!(signed.ok().starts_with("p.wasm.sig: written, by the key SHA256:"), "{}", signed.out);
    let verified = lab.run("", &VERIFY);
    assert!(verified.ok().starts_with("p.wasm: signed by alice@example.org (SHA256:"), "{}", verified.out);
    let got = lab.run("", &["--json", "verify", "p.wasm", "--signers", "signers"]).json(0);
    assert_eq!(
        (&got["command"], &got["signer"]["principals"]),
        (&json!("verify"), &json!("alice@example.org"))
    );
    let shown = lab.run("", &["plugins", "inspect", "p.wasm"]);
    assert!(
        shown.ok().contains("signature: by SHA256:") && shown.out.contains("not a known signer"),
        "{}",
        shown.out
    );
    // The configuration may name the list.
    lab.configure("a", "[plugins]\n    signers = ../signers");
    assert_eq!(lab.run("a", &["verify", "../p.wasm"]).ok().replace("../p.wasm", "p.wasm"), verified.out);
    let shown = lab.run("a", &["plugins", "inspect", "../p.wasm"]);
    assert!(shown.ok().contains("signature: by alice@example.org (SHA256:"), "{}", shown.out);
    // The same bytes again are no other signature, and others are.
    let again = lab.run("", &["--json", "sign", "p.wasm", "--key", "KEY"]).json(0);
    assert_eq!((&again["replaced"], &again["key"]), (&json!(false), &got["signer"]["key"]));
    lab.write("p.wasm.sig", "of something else");
    lab.run("", &VERIFY).fails(1, &["is damaged"]);
    let shown = lab.run("", &["--json", "plugins", "inspect", "p.wasm"]).json(0);
    assert_eq!(shown["signature"]["state"], "bad");
    let shipped = lab.run("", &["--json", "plugins", "inspect", "push"]).json(0);
    assert_eq!(
        (&shipped["manifest"]["name"], &shipped["signature"]["state"]),
        (&json!("push"), &json!("none"))
    );
    let again = lab.run("", &["sign", "p.wasm", "--key", "KEY"]);
    assert!(again.ok().contains("in the place of another signature"), "{}", again.out);
    lab.run("", &VERIFY).ok();
}

#[test]
fn what_does_not_count_is_exit_1_and_mistakes_are_exit_2() {
    let lab = lab("");
    lab.run("", &["sign", "p.wasm", "--key", "KEY"]).ok();
    let fetch = refgate_filters::EMBEDDED.iter().find(|e| e.name == "fetch").unwrap();
    lab.write("q.wasm", fetch.wasm);
    fs::copy(lab.path("p.wasm.sig"), lab.path("q.wasm.sig")).unwrap();
    lab.run("", &["verify", "q.wasm", "--signers", "signers"])
        .fails(1, &["of other bytes", "alice@example.org"]);
    lab.run("", &["verify", "none.wasm", "--signers", "signers"]).fails(2, &["none.wasm"]);
    lab.write("signers", "# nobody\n");
    lab.run("", &VERIFY).fails(1, &["unknown key, SHA256:"]);
    lab.write("signers", "alice cert-authority ssh-ed25519 AAAA\n");
    lab.run("", &VERIFY).fails(2, &["`signers`", "line 1"]);
    lab.run("", &["verify", "p.wasm"]).fails(2, &["no list of signers", "--signers"]);
    lab.run("a", &["verify", "../p.wasm"]).fails(2, &["no list of signers", "plugins.signers"]);
    lab.run("", &["sign", "KEY", "--key", "KEY"]).fails(2, &["`KEY` is no filter"]);
    lab.run("", &["sign", "p.wasm", "--key", "KEY.pub"]).fails(2, &["others can read the key"]);
    fs::set_permissions(lab.path("KEY.pub"), Permissions::from_mode(0o600)).unwrap();
    lab.run("", &["sign", "p.wasm", "--key", "KEY.pub"])
        .fails(2, &["OpenSSH's format", "ssh-keygen -t ed25519"]);
}

#[test]
fn a_list_of_signers_that_others_can_write_verifies_nothing() {
    let lab = lab("");
    lab.run("", &["sign", "p.wasm", "--key", "KEY"]).ok();
    lab.run("", &VERIFY).ok();
    for (place, open, closed) in [("signers", 0o666, 0o644), ("signers", 0o664, 0o644), ("", 0o777, 0o755)] {
        fs::set_permissions(lab.path(place), Permissions::from_mode(open)).unwrap();
        lab.run("", &VERIFY).fails(2, &["the list of signers", "cannot be used", "chmod"]);
        fs::set_permissions(lab.path(place), Permissions::from_mode(closed)).unwrap();
        lab.run("", &VERIFY).ok();
    }
}

#[test]
fn where_signatures_are_demanded_a_plugin_is_the_one_that_its_file_is_called_after() {
    let lab = lab("");
    let built = |name: &str, version: &str| {
        let manifest = refgate_runtime::Manifest {
            name: Some(name.into()),
            version: Some(version.into()),
            ..refgate_runtime::Manifest::default()
        };
        let push = refgate_filters::EMBEDDED.iter().find(|e| e.name == "push").unwrap();
        lab.write("a/plugins/strict.wasm", manifest.embed(push.wasm).unwrap());
        let _ = fs::remove_file(lab.path("a/plugins/strict.wasm.sig"));
        lab.run("", &["sign", "a/plugins/strict.wasm", "--key", "KEY"]).ok();
    };
    lab.configure("a", "[plugins]\n    verify = signature\n    signers = ../signers");
    built("strict", "2");
    lab.run("a", &["config", "check"]).ok();
    // Signed by the same author, and put there under another name.
    built("lenient", "2");
    lab.run("a", &["config", "check"])
        .fails(2, &["strict.wasm", "it calls itself `lenient`, not `strict`", "`plugin = \"lenient\"`"]);
    lab.write("a/plugins/strict.toml", "plugin = \"lenient\"\n");
    lab.run("a", &["config", "check"]).ok();
    built("strict", "2");
    lab.run("a", &["config", "check"]).fails(2, &["it calls itself `strict`, not `lenient`"]);
    // Without a demand the name of the file is all that there is.
    lab.configure("a", "[plugins]\n    verify = none");
    lab.run("a", &["config", "check"]).ok();
}

#[test]
fn a_key_with_a_passphrase_is_for_ssh_keygen() {
    let lab = lab("a secret");
    let command = "ssh-keygen -Y sign -n refgate-plugin -f KEY p.wasm";
    lab.run("", &["sign", "p.wasm", "--key", "KEY"]).fails(2, &["protected by a passphrase", command]);
    assert!(!lab.path("p.wasm.sig").exists());
}

#[test]
fn a_component_of_another_toolchain_gets_a_manifest() {
    let lab = lab("");
    lab.write(
        "filter.toml",
        "name = \"theirs\"\nversion = \"2.0.0\"\ndescription = \"What it is for.\"\nminimum-host = \"0.1.0\"\n\
         cases = [\"cases.toml\"]\n[reasons]\ntoo-late = \"after hours\"\n\
         [settings.properties.limit]\ntype = \"integer\"\ndescription = \"How many.\"\n",
    );
    let case = "[[cases]]\nname = \"a case\"\ndirection = \"push\"\nproject = \"team/app\"\nexpect = {}\n";
    lab.write("cases.toml", case);
    let build = ["build", "p.wasm", "--manifest", "filter.toml", "-o", "out.wasm"];
    let built = lab.run("", &build);
    for line in [
        "manifest: theirs 2.0.0\n",
        "    What it is for.\n",
        "    needs refgate 0.1.0\n",
        "    reason too-late: after hours\n",
        "    setting limit: How many.\n",
        "    1 cases of its own\n",
    ] {
        assert!(built.ok().contains(line), "{line:?} in {}", built.out);
    }
    let got = lab.run("", &["--json", "plugins", "inspect", "out.wasm"]).json(0);
    let manifest = &got["manifest"];
    assert_eq!((&manifest["name"], &manifest["worlds"]), (&json!("theirs"), &json!(["push-filter"])));
    assert_eq!(manifest["cases"][0]["cases"][0]["name"], "a case");
    assert_eq!(got["size"], json!(fs::metadata(lab.path("out.wasm")).unwrap().len()));
    assert_eq!(got["wit"]["host"], json!(refgate_runtime::WIT_VERSION));
    // The default name is the manifest's; what is there already stays when no other is given.
    lab.run("", &["build", "p.wasm", "--manifest", "filter.toml"]).ok();
    assert_eq!(fs::read(lab.path("theirs.wasm")).unwrap(), fs::read(lab.path("out.wasm")).unwrap());

    lab.run("", &["build", "p.wasm"]).fails(2, &["a component already", "--manifest"]);
    lab.run("", &["build", "p.wasm", "--manifest", "filter.toml", "-o", "p.wasm"])
        .fails(2, &["take the place"]);
    lab.write("cases.toml", case.replace("direction", "dirction"));
    lab.run("", &build).fails(2, &["`cases.toml` is not a case file", "dirction"]);
    lab.write("filter.toml", "descripton = \"x\"\n");
    lab.run("", &build).fails(2, &["`filter.toml`", "descripton"]);
    lab.write("core.wasm", b"\0asm\x01\0\0\0");
    lab.run("", &["build", "core.wasm", "-o", "x.wasm"]).fails(1, &["would not load"]);
    assert!(!lab.path("x.wasm").exists());
}
