//! `config check`: is the file right, and what does it come to.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use refgate_core::{Clock, Deadline, FilterSet, SiteKind};
use refgate_git::{GitError, GitRepositories};
use refgate_host::known::Known;
use refgate_host::projects::{Found, walk};
use refgate_host::{Config, Error, ErrorKind, exposed_refdb, filters, gated, open_refdb};
use serde_json::{Value, json};

use super::site;
use crate::output::{Cell, Mood, Output, warn};
use crate::system::system;

/// So many repositories that are not gated are named.
const NAMED: usize = 10;

/// `refgate config check`: also compiles the patterns and loads the filters, as a push would.
pub async fn check(file: &Path, output: &Output) -> Result<u8, Error> {
    let config = site::config(file)?;
    let system = system()?;
    let set = filters::Loader::for_config(&system, &config)?.load(&config)?;
    let mut warnings = config.warnings();
    warnings.extend(open_to_everybody(&config.site.base_path));
    warnings.extend(refdb_warnings(&config, system.clock).await?);
    warnings.extend(ungated(&config, &set).await?);
    let unused: Vec<String> =
        config.unused.iter().map(|item| format!("{} ({})", item.full_key(), item.origin)).collect();
    if output.json {
        let values: Vec<Value> = config
            .effective()
            .iter()
            .map(|e| json!({"key": e.key, "value": e.value, "origin": e.origin.as_ref().map(|o| o.to_string())}))
            .collect();
        output.document(&json!({
            "command": "config check",
            "file": file.display().to_string(),
            "values": values,
            "unused": unused,
            "warnings": warnings,
            "filters": set.plugins.iter().map(|p| &p.name).collect::<Vec<_>>(),
        }));
        return Ok(0);
    }
    let rows: Vec<Vec<Cell>> = config
        .effective()
        .iter()
        .map(|e| {
            let origin = match &e.origin {
                Some(origin) => Cell::from(origin.to_string()),
                None => Cell::new("default", Mood::Plain),
            };
            vec![e.key.as_str().into(), e.value.as_str().into(), origin]
        })
        .collect();
    output.table(&["KEY", "VALUE", "FROM"], &rows);
    for key in &unused {
        output.text(&format!("accepted, but not used: {key}"));
    }
    warnings.iter().for_each(|w| warn(w));
    output.text(&format!("{} is valid", file.display()));
    Ok(0)
}

/// Who may put directories beside the repositories, or others in their place, decides what the projects hold. A warning only:
/// whose they are, and which group shares them, is the operator's business.
fn open_to_everybody(base: &Path) -> Option<String> {
    let base = std::fs::canonicalize(base).ok()?;
    let is_open = |dir: &&Path| {
        let mode = std::fs::metadata(dir).map_or(0, |meta| meta.mode());
        // In a sticky directory on the way nobody replaces what is another's.
        mode & 0o002 != 0 && (mode & 0o1000 == 0 || **dir == *base)
    };
    let open = base.ancestors().find(is_open)?;
    let what = if open == base { "which is" } else { "on the way to" };
    Some(format!(
        "everybody on this machine can write `{}`, {what} `site.basePath`, and so make repositories or replace them: run `chmod \
         o-w {0}`",
        open.display()
    ))
}

/// The repositories below `site.basePath` that do not count as gated although the configuration says so, and why: the first
/// ones, and how many more there are.
async fn ungated(config: &Config, set: &FilterSet) -> Result<Vec<String>, Error> {
    if config.site.writes != SiteKind::Gated || !config.ref_database.enabled {
        return Ok(Vec::new());
    }
    let base = config.site.base_path.clone();
    let found = blocking(move || walk(&base).collect::<Vec<Found>>()).await?;
    let (mut out, mut more) = (Vec::new(), 0usize);
    for one in found {
        let why = match one {
            Found::Project(project) if !filters::matches(set, &project).await? => continue,
            Found::Project(project) => {
                let (config, name) = (config.clone(), project.clone());
                let looked = blocking(move || {
                    let repository = GitRepositories::new(config.site.base_path.clone()).repository(&name)?;
                    Ok::<_, GitError>(gated::doubt(&config, &name, &repository))
                });
                match looked.await? {
                    Ok(None) => continue,
                    Ok(Some(doubt)) => doubt.to_string(),
                    Err(e) => format!("the repository of `{project}` cannot be looked at: {}", e.message),
                }
            }
            Found::Unreadable(path, why) => {
                format!("`{path}` below `site.basePath` cannot be looked at: {why}")
            }
            // It is no project, or was looked at under another name.
            Found::Unnamed(..) | Found::Again(_) => continue,
        };
        match out.len() < NAMED {
            true => out.push(why),
            false => more += 1,
        }
    }
    if more > 0 {
        out.push(format!(
            "{more} more repositories count as ungated: `refgate hook status --all` lists them"
        ));
    }
    Ok(out)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|died| Error::failed(format!("a worker thread died: {died}")))
}

/// A ref-db that cannot be opened now, or that one site alone ever used, makes no configuration invalid; one that the
/// configuration does not name as it should does.
async fn refdb_warnings(config: &Config, clock: Arc<dyn Clock>) -> Result<Vec<String>, Error> {
    if !config.ref_database.enabled {
        return Ok(Vec::new());
    }
    let known = Known::of(config);
    let before = known.read();
    let opened = match open_refdb(config, false, clock.clone()).await {
        Ok(opened) => opened,
        Err(e) if e.kind == ErrorKind::Usage => return Err(e),
        Err(e) => return Ok(vec![e.message]),
    };
    let exposed = exposed_refdb(config);
    let deadline = Deadline::after(clock.as_ref(), config.ref_database.timeout);
    let mut warnings = match opened.db.sites(deadline).await.as_deref() {
        Ok(sites) => config.lonely(sites).into_iter().collect(),
        Err(e) => vec![e.message.clone()],
    };
    if let Err(e) = known.check(before, &opened.db) {
        warnings.push(e.hint.iter().fold(e.message.clone(), |text, hint| format!("{text}; {hint}")));
    }
    match opened.db.closed(deadline).await {
        Ok(Some(message)) => warnings.push(format!("the ref-db is closed, and takes no writes: {message}")),
        Ok(None) => {}
        Err(e) => warnings.push(e.message),
    }
    warnings.extend(exposed);
    Ok(warnings)
}
