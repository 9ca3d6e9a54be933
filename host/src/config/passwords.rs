//! Passwords that stand where others may read them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Config;

/// Warns of remotes whose address holds a password, and of files with one that others may read.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut out = Vec::new();
    for (name, remote) in &config.remotes {
        let key = format!("remote.{name}.url");
        let Some(user) = remote.url.as_deref().and_then(user_part) else { continue };
        if user.contains(':') {
            out.push(format!(
                "{key} holds a password: leave it out, and let a credential helper of git keep it (`git help credentials`)"
            ));
        }
        let origin = config.effective.iter().find(|one| one.key == key).and_then(|one| one.origin.as_ref());
        let Some(file) = origin.map(|origin| &origin.file) else { continue };
        // The file was read a moment ago; one that is gone now tells nobody anything.
        if fs::metadata(file).is_ok_and(|found| found.mode() & 0o044 != 0) {
            let file = file.display();
            out.push(format!(
                "others than its owner may read `{file}`, and {key} in it says who this site is there: run `chmod 600 {file}`"
            ));
        }
    }
    out
}

/// What an http address says of who one is there. Over ssh a name is no secret, and a password is refused.
fn user_part(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    rest.rfind('@').filter(|_| is_http).map(|at| &rest[..at])
}
