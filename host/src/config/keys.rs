//! What can be said about a key, and what a value of each kind must look like.

use super::values;
use refgate_core::{Refspec, SiteKind, shown_address};
use refgate_runtime::Require;

/// What refgate knows about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The section, in lower case.
    pub section: &'static str,
    /// What stands in the quotes after it.
    pub subsection: Subsection,
    /// The key as the documentation writes it; `*` is any key.
    pub key: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What counts when it is left out; empty when nothing does.
    pub default: &'static str,
    /// Whether all values count; otherwise the last one does.
    pub multi: bool,
    /// Whether refgate acts on it. Keys of Gerrit's `multi-site.config` that it does not use are accepted.
    pub used: bool,
    /// One line for people.
    pub doc: &'static str,
}

/// The part of a section header in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsection {
    /// `[section]`
    None,
    /// `[section "this"]`
    Named(&'static str),
    /// `[section "NAME"]`
    Any,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// yes/true/on/1 or no/false/off/0; a key without `=` is true.
    Boolean,
    /// Whole milliseconds, 0 or more, with `k`, `m`, `g` for powers of 1024.
    Millis,
    /// Whole milliseconds, 1 or more.
    PositiveMillis,
    /// Whole hours, 1 or more.
    Hours,
    /// A whole number, 0 or more.
    Count,
    /// Whole MiB, 64 or more.
    Mebibytes,
    /// 0 to 100, with decimals.
    Percent,
    /// `none`, `checksum` or `signature`.
    Verify,
    /// A number and a unit, as in `30 s`; a bare number is milliseconds.
    Time,
    /// The same, more than nothing; a bare number is seconds.
    Seconds,
    /// A path, relative to the file that says it.
    Path,
    /// `gated`, `none` or `ungated`.
    Writes,
    /// `[+]SOURCE[:DESTINATION]` or `^SOURCE`.
    Refspec,
    /// The repository of a remote: a path or a URL, with `${name}` for the project.
    RemoteUrl,
    /// `project:ref`; either may be left out.
    Rule,
}

impl Kind {
    /// What the value is, for the reference.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Boolean => "true or false",
            Kind::Millis | Kind::PositiveMillis => "milliseconds",
            Kind::Hours => "hours",
            Kind::Count => "number",
            Kind::Mebibytes => "MiB",
            Kind::Percent => "percent",
            Kind::Verify => "none, checksum or signature",
            Kind::Time => "time",
            Kind::Seconds => "seconds",
            Kind::Path => "path",
            Kind::Writes => "gated, none or ungated",
            Kind::Refspec => "refspec",
            Kind::RemoteUrl => "path or URL",
            Kind::Rule => "project:ref",
        }
    }

    /// What is wrong with `value` and what to write; `None` is a key without `=`.
    pub(super) fn check(self, value: Option<&str>) -> Result<(), String> {
        let text = match value {
            None if self == Kind::Boolean => return Ok(()),
            None => return Err("it has no value; write `key = value`".to_owned()),
            Some("") => return Err("its value is empty; write one, or take the line out".to_owned()),
            Some(text) => text,
        };
        match self {
            Kind::Text | Kind::Path | Kind::Rule => Ok(()),
            Kind::Boolean => values::boolean(text).map(drop),
            Kind::Millis => values::millis(text).map(drop),
            Kind::PositiveMillis => match values::millis(text)? {
                0 => Err(format!("`{text}` leaves no time to answer; write 1 or more")),
                _ => Ok(()),
            },
            Kind::Hours => values::hours(text).map(drop),
            Kind::Count => values::count(text).map(drop),
            Kind::Mebibytes => values::mebibytes(text).map(drop),
            Kind::Percent => values::percent(text).map(drop),
            Kind::Verify => match Require::from_name(text) {
                Some(_) => Ok(()),
                None => Err(format!("`{text}` is not known; write `none`, `checksum` or `signature`")),
            },
            Kind::Time => values::time(text).map(drop),
            Kind::Seconds => values::seconds(text).map(drop),
            Kind::Writes => match SiteKind::from_name(text) {
                Some(_) => Ok(()),
                None => Err(format!("`{text}` is not a kind of site; write `gated`, `none` or `ungated`")),
            },
            Kind::Refspec => Refspec::parse(text)
                .map(drop)
                .map_err(|e| format!("{e}; write one like `+refs/heads/*:refs/heads/*`")),
            Kind::RemoteUrl => remote_url(text),
        }
    }
}

/// Whether `url` is a path rather than a URL or `host:path`.
pub(super) fn is_path(url: &str) -> bool {
    // As in git: a colon before the first slash makes it `host:path`.
    !url.contains("://") && !url.split('/').next().unwrap_or_default().contains(':')
}

fn remote_url(url: &str) -> Result<(), String> {
    const KNOWN: [&str; 5] = ["file", "ssh", "git", "http", "https"];
    let use_one = "use a path, or a file, ssh, git, http or https URL";
    match url.split_once("://") {
        _ if url.starts_with('-') => {
            Err(format!("`{}` would be read as an option; {use_one}", shown_address(url)))
        }
        Some((scheme, _)) if !KNOWN.contains(&scheme) => {
            Err(format!("`{scheme}` URLs are not supported; {use_one}"))
        }
        // `helper::address` makes git run a program of that name.
        None if !is_path(url) && url.contains("::") => {
            Err(format!("remote helpers are not supported; {use_one}"))
        }
        _ => Ok(()),
    }
}

impl KeyDoc {
    pub(super) fn subsection_fits(&self, subsection: Option<&str>) -> bool {
        match self.subsection {
            Subsection::None => subsection.is_none(),
            Subsection::Named(name) => subsection == Some(name),
            Subsection::Any => subsection.is_some_and(|name| !name.is_empty()),
        }
    }

    /// `[section "subsection"]` for people.
    pub(super) fn header(&self) -> String {
        match self.subsection {
            Subsection::None => format!("[{}]", self.section),
            Subsection::Named(name) => format!("[{} \"{name}\"]", self.section),
            Subsection::Any => format!("[{} \"NAME\"]", self.section),
        }
    }
}
