//! Who one is at a remote over http. What an address says of it is nowhere shown, and stands in no command line, which
//! every user of the machine may read: git gets it through its environment, which only this user may.

use std::process::Command;

use crate::command;

/// What git is given in the place of an address. A setting of this call makes the address of it, so that no other rule of
/// `url.*.insteadOf` is applied to it.
pub(super) const ADDRESS: &str = "refgate-remote:";

/// The user part of an address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// As it is written, percent-encoded.
    written: String,
    user: String,
    password: Option<String>,
}

/// Runs in the shell of git's, and takes everything from the environment.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$REFGATE_HTTP_USER" "$REFGATE_HTTP_PASSWORD"; }; f"#;

impl Login {
    /// From what stands before the `@` of an address.
    pub(super) fn parse(written: &str) -> Result<Login, &'static str> {
        let (user, password) = match written.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (written, None),
        };
        let decoded = |text: &str| {
            let text = String::from_utf8(refgate_core::unescape(text));
            let text = text.map_err(|_| "its user or password is not UTF-8 when it is decoded")?;
            match text.chars().any(char::is_control) {
                true => Err("its user or password holds a control character"),
                false => Ok(text),
            }
        };
        Ok(Login {
            user: decoded(user)?,
            password: password.map(decoded).transpose()?.filter(|password| !password.is_empty()),
            written: written.to_owned(),
        })
    }

    /// As it stands in an address.
    pub(super) fn written(&self) -> &str {
        &self.written
    }

    /// Tells `git` who to be at `place`, the scheme and the host of an address. With a password only we are asked, and
    /// nobody else is told the password; without one, git's own credential helpers are.
    pub(super) fn hand_to(&self, git: &mut Command, place: &str) {
        let key = |name: &str| format!("credential.{place}.{name}");
        match &self.password {
            None => command::set(git, &[(key("username"), self.user.clone())]),
            Some(password) => {
                git.env("REFGATE_HTTP_USER", &self.user).env("REFGATE_HTTP_PASSWORD", password);
                command::set(git, &[(key("helper"), String::new()), (key("helper"), HELPER.to_owned())]);
            }
        }
    }

    /// `text` without the password, and without a user that may be a token.
    pub(super) fn hide(&self, text: &str) -> String {
        /// A word of so many letters is no name that occurs by chance.
        const TOKEN: usize = 8;
        let written = self.written.split_once(':');
        let passwords = [self.password.as_deref(), written.map(|(_, password)| password)];
        let users = [Some(self.user.as_str()), Some(written.map_or(&*self.written, |(user, _)| user))];
        let mut secrets: Vec<&str> = passwords.into_iter().flatten().collect();
        if self.password.is_none() {
            secrets.extend(users.into_iter().flatten().filter(|user| user.len() >= TOKEN));
        }
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}
