//! `refdb …`: the global ref-db by hand.

mod conformance;
mod entries;
mod fill;
mod forget;
mod heal;
mod lock;
mod policy;
mod start_over;
mod store;
mod text;
mod write;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refgate_core::refdb::check_text;
use refgate_core::{
    Clock, Deadline, Edit, Expected, FilterSet, GlobalRef, Lookup, Oid, OidError, Project, RefDb, RefName,
};
use refgate_host::config::Config;
use refgate_host::known::{Known, Record, Standing, mark_of};
use refgate_host::{Error, filters, open_refdb};

use super::many::{self, Place, Several};
use super::site;
use crate::args::RefdbCommand;
use crate::output::{Output, hint, note, warn};
use crate::system::system;

/// `refgate refdb …`.
pub async fn run(file: &Path, command: RefdbCommand, output: &Output) -> Result<u8, Error> {
    match command {
        RefdbCommand::Get { project, refs } => {
            let db = Db::open(file, LOOK).await?;
            entries::get(&db, &parse_recorded(project)?, &parse_names(refs)?, output).await
        }
        RefdbCommand::Ls { project } => {
            let db = Db::open(file, LOOK).await?;
            entries::ls(&db, &parse_recorded(project)?, output).await
        }
        RefdbCommand::Put { project, name, value } => {
            let (project, name) = (parse_project(project)?, parse_name(name)?);
            match Value::parse(&value)? {
                Value::Ref(value) => {
                    write::put(&Db::open(file, MAKE_OR_MEND).await?, &project, &name, value, output).await
                }
                Value::Text(text) => {
                    text::put(&Db::open(file, MAKE_OR_MEND).await?, &project, &name, &text, output).await
                }
            }
        }
        RefdbCommand::Cas { project, name, expected, new, fence } => {
            let (project, name) = (parse_recorded(project)?, parse_name(name)?);
            let expected = match expected.as_str() {
                "absent" => Value::Ref(GlobalRef::Untracked),
                value => Value::parse(value)?,
            };
            let fence = fence.as_deref().map(lock::from_text).transpose()?;
            match (expected, Value::parse(&new)?) {
                (Value::Ref(expected), Value::Ref(new)) => {
                    let mut edit = Edit::new(name, Expected::Exactly(expected), new);
                    edit.fence = fence;
                    write::cas(&Db::open(file, MAKE).await?, &project, edit, expected, output).await
                }
                (_, Value::Text(_)) if fence.is_some() => {
                    Err(Error::usage("a text cannot be written with a fence"))
                }
                (Value::Ref(GlobalRef::Untracked), Value::Text(new)) => {
                    text::cas(&Db::open(file, MAKE).await?, &project, &name, None, &new, output).await
                }
                (Value::Text(old), Value::Text(new)) => {
                    text::cas(&Db::open(file, MAKE).await?, &project, &name, Some(&old), &new, output).await
                }
                _ => Err(Error::usage("a text can only take the place of a text, or of nothing")
                    .hint("`refgate refdb rm` forgets what is there")),
            }
        }
        RefdbCommand::Lock { project, name, wait, lease, command } => {
            let (project, name) = (parse_project(project)?, parse_name(name)?);
            let (wait, lease) = (Duration::from_millis(wait), Duration::from_millis(lease));
            lock::run(&Db::open(file, WRITE).await?, &project, &name, wait, lease, command).await
        }
        RefdbCommand::Policy { project, refs } => {
            policy::run(file, &parse_project(project)?, &parse_names(refs)?, output).await
        }
        RefdbCommand::Rm { project, name, yes } => {
            let project = parse_recorded(project)?;
            let name = name.map(parse_name).transpose()?;
            write::rm(&Db::open(file, MEND).await?, &project, name.as_ref(), yes, output).await
        }
        RefdbCommand::Seed { projects, several, force, yes } => {
            several.check(&projects, "refdb seed PROJECT...")?;
            if force && !yes {
                return Err(Error::usage("`seed --force` overwrites what other sites wrote")
                    .hint("see what differs with `refgate refdb check`, then run it again with --yes"));
            }
            let db = Db::open(file, MAKE).await?;
            let work =
                async |project: &Project, output: &Output| fill::seed(&db, project, force, output).await;
            many::run(output, (&several, &projects), &db.place(&several)?, work).await
        }
        RefdbCommand::Check { projects, several } => {
            several.check(&projects, "refdb check PROJECT...")?;
            let db = Db::open(file, LOOK).await?;
            fill::warn_of_refdb(&db).await?;
            let work = async |project: &Project, output: &Output| fill::check(&db, project, output).await;
            many::run(output, (&several, &projects), &db.place(&several)?, work).await
        }
        RefdbCommand::Publish { project, refs } => {
            let (project, names) = (parse_project(project)?, parse_names(refs)?);
            let db = Db::open(file, MEND).await?;
            db.note_use().await?;
            fill::publish(&db, &project, &names, output).await
        }
        RefdbCommand::Conformance(args) => conformance::run(file, args, output).await,
        RefdbCommand::Forget(args) => forget::run(file, args, output).await,
        RefdbCommand::Heal(args) => heal::run(file, args, output).await,
        RefdbCommand::Accept { yes } => store::accept(file, yes, output).await,
        RefdbCommand::Close { message } => {
            store::set_closed(&Db::open(file, LOOK).await?, Some(&message), output).await
        }
        RefdbCommand::Open => store::set_closed(&Db::open(file, LOOK).await?, None, output).await,
        RefdbCommand::Copy { from, to } => store::copy(from, to, output).await,
        RefdbCommand::StartOver { project, yes, not_new } => {
            let project = parse_project(project)?;
            let db = Db::open(file, WRITE).await?;
            db.note_use().await?;
            start_over::run(&db, &project, (yes, not_new), output).await
        }
    }
}

/// What a command does with the ref-db.
#[derive(Clone, Copy)]
struct Use {
    /// A store that is not there yet is made.
    create: bool,
    in_doubt: InDoubt,
}

/// What happens when the ref-db is not the one that this site knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InDoubt {
    /// The command ends.
    Stop,
    /// It says so and goes on: it only looks.
    Look,
    /// It says so and goes on: operators put things right with it.
    Mend,
}

const LOOK: Use = Use { create: false, in_doubt: InDoubt::Look };
const WRITE: Use = Use { create: false, in_doubt: InDoubt::Stop };
const MAKE: Use = Use { create: true, in_doubt: InDoubt::Stop };
const MEND: Use = Use { create: false, in_doubt: InDoubt::Mend };
const MAKE_OR_MEND: Use = Use { create: true, in_doubt: InDoubt::Mend };

/// The ref-db of the configuration.
pub struct Db {
    config: Config,
    refdb: RefDb,
    clock: Arc<dyn Clock>,
    /// Where what this command wrote is remembered.
    known: Option<Known>,
}

/// A command may end early, and what it has written by then counts.
impl Drop for Db {
    fn drop(&mut self) {
        if let Some(known) = &self.known
            && let Err(e) = known.note(&self.refdb, self.clock.unix_time())
        {
            warn(&format!("this site cannot remember how far its ref-db has come: {}", e.message));
        }
    }
}

impl Db {
    /// Opens it; says so when it makes one.
    async fn open(file: &Path, how: Use) -> Result<Db, Error> {
        let config = site::config(file)?;
        let clock = system()?.clock;
        let known = Known::of(&config);
        let before = known.read();
        let opened = open_refdb(&config, how.create, clock.clone()).await?;
        if opened.created {
            note(&format!("created the ref-db {}", config.ref_database.url.as_deref().unwrap_or_default()));
        }
        if !opened.db.capabilities().durable {
            warn(&format!("the ref-db `{}:` keeps nothing", opened.db.capabilities().name));
        }
        let mut db = Db { refdb: opened.db, config, clock, known: None };
        match (known.check(before.clone(), &db.refdb), how.in_doubt) {
            (Ok(()), InDoubt::Look) => {}
            (Ok(()), _) => db.known = Some(known),
            (Err(e), InDoubt::Stop) => return Err(e),
            (Err(e), InDoubt::Look | InDoubt::Mend) => {
                warn(&e.message);
                e.hint.iter().for_each(|text| hint(text));
                if how.in_doubt == InDoubt::Mend {
                    db.renew_older(before).await?;
                }
            }
        }
        if how.create {
            db.note_use().await?;
        }
        Ok(db)
    }

    /// What is about to be written takes an old copy's revision on, and past what other sites saw: they are to notice all
    /// the same.
    async fn renew_older(&self, before: Result<Option<Record>, Error>) -> Result<(), Error> {
        let (Some(mark), Ok(before)) = (mark_of(&self.refdb), before) else { return Ok(()) };
        if let Standing::Older(_) = Standing::of(before, &mark) {
            self.refdb.renew_identity(self.deadline()).await?;
            note(
                "the ref-db has another identity now, so that every site asks: `refgate refdb accept` there",
            );
        }
        Ok(())
    }

    /// Whoever writes leaves the name of its site.
    async fn note_use(&self) -> Result<(), Error> {
        if let Some(name) = &self.config.site.name {
            self.refdb.note_site(name, self.deadline()).await?;
        }
        Ok(())
    }

    /// Where `--all` looks. Filters say which projects replicate; whoever names projects needs none.
    fn place(&self, several: &Several) -> Result<Place, Error> {
        let set = match several.all {
            true => filters::Loader::for_config(&system()?, &self.config)?.load(&self.config)?,
            false => FilterSet::default(),
        };
        Ok(Place { base: self.config.site.base_path.clone(), filters: Arc::new(set) })
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.clock.as_ref(), self.config.ref_database.timeout)
    }
}

fn parse_project(name: String) -> Result<Project, Error> {
    Ok(Project::new(name)?)
}

/// For commands that look at the ref-db alone: it may hold entries of projects that no repository can be made for.
fn parse_recorded(name: String) -> Result<Project, Error> {
    Ok(Project::recorded(name)?)
}

/// Arguments are raw bytes.
fn parse_name(name: OsString) -> Result<RefName, Error> {
    let name = RefName::new(name.into_vec())?;
    match name.as_bytes().starts_with(b"refs/") {
        true => Ok(name),
        false => Err(Error::usage(format!("`{name}` is not a full ref name"))
            .hint(format!("write `refs/heads/{name}`"))),
    }
}

fn parse_names(names: Vec<OsString>) -> Result<Vec<RefName>, Error> {
    names.into_iter().map(parse_name).collect()
}

/// What can be written: the value of a ref, or a text.
enum Value {
    Ref(GlobalRef),
    Text(String),
}

impl Value {
    fn parse(text: &str) -> Result<Value, Error> {
        match text.strip_prefix("text:") {
            Some(text) => match check_text(text) {
                Ok(()) => Ok(Value::Text(text.to_owned())),
                Err(why) => Err(Error::usage(format!("`text:{text}` cannot be written: {why}"))),
            },
            None => parse_value(text).map(Value::Ref),
        }
    }
}

fn parse_value(text: &str) -> Result<GlobalRef, Error> {
    if text == "deleted" {
        return Ok(GlobalRef::Deleted);
    }
    match Oid::parse_or_zero(text.as_bytes()) {
        Ok(oid) => Ok(GlobalRef::at_or_deleted(oid)),
        Err(e @ OidError::Length(_)) => Err(Error::usage(format!("`{text}` is no value: {e}"))
            .hint("give a whole oid, `deleted`, zeros, or `text:TEXT`")),
        Err(e) => Err(Error::usage(format!("`{text}` is no value: {e}"))),
    }
}

/// How what a read found is shown.
fn show_found(found: &Lookup) -> String {
    match found {
        Lookup::Entry(entry) => show(entry.value),
        Lookup::Text(text) => format!("text:{text}"),
        Lookup::Locked => "locked".into(),
        Lookup::Unreadable(why) => format!("unreadable: {why}"),
    }
}

/// How values are shown.
fn show(value: GlobalRef) -> String {
    match value {
        GlobalRef::Untracked => "untracked".into(),
        GlobalRef::Deleted => "deleted".into(),
        GlobalRef::At(oid) => oid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_names_as_arguments() {
        assert_eq!(parse_value("deleted"), Ok(GlobalRef::Deleted));
        assert_eq!(parse_value(&"0".repeat(40)), Ok(GlobalRef::Deleted));
        assert!(matches!(parse_value(&"A".repeat(40)), Ok(GlobalRef::At(_))));
        assert!(parse_value("abc").is_err());
        assert!(parse_name("main".into()).is_err());
        assert!(parse_name(OsString::from_vec(b"refs/heads/\xff".to_vec())).is_ok());
    }
}
