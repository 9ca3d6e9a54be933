//! `explain`: what a reason means, or why a ref is held back now.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use refgate_core::{Direction, FilterSet, GlobalRef, Lookup, Project, Reason, ReloadWait};
use refgate_host::explain::{At, Explanation, explain};
use refgate_host::{Error, RefName, Site, did_you_mean, filters};
use serde_json::json;

use super::site;
use crate::output::{Cell, Output, hint};
use crate::progress::Spinner;
use crate::system::system;

/// Arguments of `explain`.
#[derive(clap::Args, Debug)]
pub struct ExplainArgs {
    /// A reason; or a project, a full ref name, and a remote of the configuration
    #[arg(required = true, num_args = 1..=3, value_name = "REASON|PROJECT REF REMOTE")]
    pub what: Vec<OsString>,
    /// What a fetch from the remote would do, instead of a push to it
    #[arg(long)]
    pub fetch: bool,
}

/// `refgate explain`.
pub async fn run(file: &Path, args: ExplainArgs, output: &Output) -> Result<u8, Error> {
    match <[OsString; 3]>::try_from(args.what) {
        Ok([project, name, remote]) => {
            let direction = if args.fetch { Direction::Fetch } else { Direction::Push };
            let (project, remote) = (Project::new(text(project)?)?, text(remote)?);
            a_ref(file, &project, name, &remote, direction, output).await
        }
        Err(what) => match <[OsString; 1]>::try_from(what) {
            Ok([name]) if !args.fetch => a_reason(file, &text(name)?, output),
            _ => Err(Error::usage("give one reason, or a project, a full ref name and a remote").hint(
                "`refgate explain not-up-to-date`, or `refgate explain team/app refs/heads/main site-b`",
            )),
        },
    }
}

fn text(argument: OsString) -> Result<String, Error> {
    argument.into_string().map_err(|raw| {
        Error::usage(format!("`{}` is not UTF-8", refgate_core::escape(raw.as_encoded_bytes())))
    })
}

/// What a reason means: one of refgate's own, or of the filters that are loaded.
fn a_reason(file: &Path, name: &str, output: &Output) -> Result<u8, Error> {
    let reason = Reason::from_name(name);
    let meanings: Vec<(Option<String>, String)> = match &reason {
        Reason::Own(own) => {
            let set = loaded(file)?;
            let said =
                set.plugins.iter().filter_map(|p| Some((Some(p.name.clone()), p.reasons.get(own)?.clone())));
            let mut said: Vec<_> = said.collect();
            // A plugin of several worlds says the same in each.
            said.dedup();
            if said.is_empty() {
                return Err(unknown(name, &set));
            }
            said
        }
        ours => vec![(None, ours.meaning().to_owned())],
    };
    if output.json {
        let meanings: Vec<_> =
            meanings.iter().map(|(by, meaning)| json!({"by": by, "meaning": meaning})).collect();
        output.document(&json!({
            "command": "explain", "reason": name, "meanings": meanings, "release": reason.release(),
            "retryable": reason.is_retryable(), "held_back": reason.is_held_back(),
        }));
        return Ok(0);
    }
    output.text(name);
    for (by, meaning) in meanings {
        let by = by.map_or(String::new(), |by| format!(" (filter `{by}`)"));
        output.text(&format!("  means        {meaning}{by}"));
    }
    output.text(&format!("  released by  {}", reason.release()));
    output.text(&format!(
        "  retry        {}",
        match reason.is_retryable() {
            true => "yes: it is held back for now, and goes with a later run",
            false => "no: it is not wanted",
        }
    ));
    Ok(0)
}

/// The filters of the configuration; without a configuration the shipped ones.
fn loaded(file: &Path) -> Result<FilterSet, Error> {
    let config = match file.exists() {
        true => site::config(file)?,
        false => {
            refgate_host::Config::from_items(&[], Path::new(".")).map_err(|e| Error::usage(e.to_string()))?
        }
    };
    filters::Loader::for_config(&system()?, &config)?.load_from(&filters::Source::of(&config), &config)
}

fn unknown(name: &str, set: &FilterSet) -> Error {
    let ours = Reason::ALL.iter().map(Reason::as_str);
    let known: Vec<&str> =
        ours.chain(set.plugins.iter().flat_map(|p| p.reasons.keys().map(String::as_str))).collect();
    let hint = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("refgate's own, and those of the loaded filters: {}", known.join(", ")),
    };
    Error::usage(format!("`{name}` is no reason that refgate or a loaded filter gives")).hint(hint)
}

/// How a ref stands between this site and a remote.
async fn a_ref(
    file: &Path,
    project: &Project,
    name: OsString,
    remote: &str,
    direction: Direction,
    output: &Output,
) -> Result<u8, Error> {
    let name = RefName::new(name.into_vec())?;
    if !name.as_bytes().starts_with(b"refs/") {
        return Err(Error::usage(format!("`{name}` is not a full ref name"))
            .hint(format!("write `refs/heads/{name}`")));
    }
    let mut config = site::config(file)?;
    // It says how things stand now; nothing gets better while somebody reads.
    let none = ReloadWait { min_ms: 0, max_random_ms: 0 };
    (config.push_wait, config.fetch_wait) = (none, none);
    let site = Site::open(config, &system()?).await?;
    let spinner = Spinner::start();
    let explained = explain(&site, project, &name, remote, direction, spinner.clone()).await;
    spinner.stop();
    let explained = explained?;
    match output.json {
        true => output.document(&explained.to_json()),
        false => show(&explained, output),
    }
    Ok(0)
}

fn show(one: &Explanation, output: &Output) {
    let at = |at: &At| match at {
        At::Nothing => "no such ref".to_owned(),
        At::Oid(oid) => oid.to_string(),
        At::Symbolic => "symbolic".to_owned(),
        At::Broken => "cannot be read".to_owned(),
    };
    let way = match one.direction {
        Direction::Push => "push to",
        Direction::Fetch => "fetch from",
    };
    output.text(&format!("{} of {}, {way} {}", one.name, one.project, one.remote));
    if let Some(other) = one.remote_name.as_ref().filter(|other| **other != one.name) {
        output.text(&format!("  name there   {other}"));
    }
    output.text(&format!("  local        {}", at(&one.local)));
    output.text(&format!("  remote       {}", at(&one.there)));
    output.text(&format!("  ref-db       {}", global(one)));
    output.text(&format!("  policy       {} ({})", one.policy.0, one.policy.1));
    match &one.verdict {
        Err(why) => output.text(&format!("  verdict      not on offer: {why}")),
        Ok(decided) => match &decided.held {
            None => output.line(vec!["  verdict      ".into(), Cell::good("it would go")]),
            Some(held) => {
                let cell = Cell::held(format!("held back: {} (by {})", held.reason, held.by));
                output.line(vec!["  verdict      ".into(), cell]);
                decided.meaning.iter().for_each(|text| output.text(&format!("  that is      {text}")));
                decided.release.iter().for_each(|text| output.text(&format!("  released by  {text}")));
                held.hint.iter().for_each(|text| hint(text));
            }
        },
    }
}

fn global(one: &Explanation) -> String {
    match &one.global {
        Ok(Lookup::Entry(entry)) => {
            let value = match entry.value {
                GlobalRef::At(oid) => oid.to_string(),
                GlobalRef::Deleted => "deleted".to_owned(),
                GlobalRef::Untracked => "untracked".to_owned(),
            };
            match entry.superseded.len() {
                0 => value,
                _ => {
                    let listed: Vec<String> = entry.superseded.iter().map(ToString::to_string).collect();
                    format!("{value}, superseded: {}", listed.join(", "))
                }
            }
        }
        Ok(Lookup::Text(_)) => "a text, and no value of a ref".to_owned(),
        Ok(Lookup::Locked) => "locked by another writer".to_owned(),
        Ok(Lookup::Unreadable(why)) | Err(why) => format!("cannot be read: {why}"),
    }
}
