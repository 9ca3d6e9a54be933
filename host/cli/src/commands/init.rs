//! `init`: a commented configuration, an empty plugin directory, and a ref-db.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use refgate_host::config::Config;
use refgate_host::projects::{self, is_repository, walk};
use refgate_host::{Error, open_refdb};
use refgate_refdb::{Location, Opened, make_place};
use serde_json::json;

use crate::args::InitArgs;
use crate::output::{Output, note, warn};
use crate::system::system;

/// The name of the file that `init` writes and every other command reads by default.
pub const FILE: &str = "refgate.config";

/// `refgate init`. Overwrites nothing.
pub async fn run(args: InitArgs, output: &Output) -> Result<u8, Error> {
    let remotes = args.remotes.iter().map(|r| remote(r)).collect::<Result<Vec<_>, _>>()?;
    if args.name.is_empty() || args.name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return Err(Error::usage(format!("`{}` is not a name for a site", args.name.escape_debug())));
    }
    let file = args.dir.join(FILE);
    if file.exists() {
        return Err(Error::usage(format!("`{}` exists already", file.display()))
            .hint("edit it, or choose another directory"));
    }
    if let Some((i, _)) = remotes.iter().enumerate().find(|(i, r)| remotes[..*i].iter().any(|s| s.0 == r.0)) {
        return Err(Error::usage(format!("the remote `{}` is given twice", remotes[i].0)));
    }
    let base = Base::of(&args)?;
    let dirs = [args.dir.clone(), args.dir.join("plugins")];
    let dirs: Vec<PathBuf> = dirs.into_iter().chain(base.make.clone()).collect();
    let new: Vec<&PathBuf> = dirs.iter().filter(|dir| !dir.exists()).collect();
    let opened = make(&args, &remotes, &dirs, &base.value, &file).await.inspect_err(|_| {
        // What init made and cannot be used would only stand in the way of the next try. Only empty directories go.
        new.iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
    })?;
    let found = base.look();
    found.problems.iter().for_each(|text| warn(text));
    if output.json {
        let mut document = json!({
            "command": "init", "config": file.display().to_string(), "refdb_created": opened.created,
        });
        if found.projects > 0 || !found.problems.is_empty() {
            document["base_path"] = json!(base.path.display().to_string());
            document["projects"] = json!(found.projects);
            document["problems"] = json!(found.problems);
        }
        output.document(&document);
        return Ok(0);
    }
    output.text(&format!("wrote {}", file.display()));
    if opened.created {
        output.text("created the ref-db");
    }
    if args.refdb.is_none() {
        note(
            "note: the ref-db is a file of this site. All sites must name the same one in `ref-database.url`.",
        );
    }
    next_steps(&base, &found, &args, output);
    Ok(0)
}

/// What to do with the repositories that are there, or where to put some.
fn next_steps(base: &Base, found: &Found, args: &InitArgs, output: &Output) {
    if found.projects == 0 {
        output.text(&format!(
            "next: put bare repositories below {}/, then `refgate refdb seed PROJECT` and `refgate push PROJECT REMOTE`",
            base.value
        ));
        return;
    }
    let count = match found.projects {
        1 => "1 repository".to_owned(),
        n => format!("{n} repositories"),
    };
    output.text(&format!("{count} below {}, such as {}", base.path.display(), found.examples.join(", ")));
    let to = args.remotes.first().and_then(|r| r.split_once('=')).map_or("REMOTE", |(name, _)| name);
    output.text("next, when all sites name the same ref-db:");
    if args.dir != Path::new(".") {
        output.text(&format!("  cd {}", args.dir.display()));
    }
    output.text(
        "  refgate refdb seed --all        # records what is here; what differs at other sites is listed",
    );
    output.text(&format!(
        "  refgate push --all {to} --dry-run    # what would go, and what would be held back"
    ));
    output.text(
        "  refgate hook install --all      # pushes of clients go through the ref-db; see docs/gated-writes.md",
    );
}

/// Where the repositories are.
struct Base {
    /// `site.basePath` as it is written.
    value: String,
    path: PathBuf,
    /// To be made.
    make: Option<PathBuf>,
}

/// What is there.
struct Found {
    projects: usize,
    examples: Vec<String>,
    problems: Vec<String>,
}

impl Base {
    /// What is named; else the directory itself when there are repositories in it, as in a server's own; else `git` below.
    fn of(args: &InitArgs) -> Result<Base, Error> {
        if let Some(path) = &args.base_path {
            if !path.is_dir() {
                return Err(Error::usage(format!("`{}` is not a directory", path.display()))
                    .hint("`--base-path` names the directory of repositories that are there already"));
            }
            // The file is read from another directory, perhaps.
            let whole = fs::canonicalize(path)
                .map_err(|e| Error::failed(format!("cannot find `{}`: {e}", path.display())))?;
            let value = whole.to_str().ok_or_else(|| {
                Error::usage(format!("`{}` is not UTF-8, and the configuration is", path.display()))
            })?;
            return Ok(Base { value: value.to_owned(), path: whole, make: None });
        }
        let git = args.dir.join("git");
        let here = !git.exists()
            && args.dir.is_dir()
            && fs::read_dir(&args.dir).is_ok_and(|mut entries| {
                entries.any(|e| {
                    e.is_ok_and(|e| {
                        e.file_name().as_encoded_bytes().ends_with(b".git")
                            && is_repository(&e.path()).unwrap_or(false)
                    })
                })
            });
        Ok(match here {
            true => Base { value: ".".to_owned(), path: args.dir.clone(), make: None },
            false => Base { value: "git".to_owned(), path: git.clone(), make: Some(git) },
        })
    }

    fn look(&self) -> Found {
        let mut found = Found { projects: 0, examples: Vec::new(), problems: Vec::new() };
        for one in walk(&self.path) {
            match one {
                projects::Found::Project(project) => {
                    found.projects += 1;
                    if found.examples.len() < 3 {
                        found.examples.push(project.to_string());
                    }
                }
                projects::Found::Unnamed(path, why) => {
                    found.problems.push(format!("the repository `{path}` is no project: {why}"));
                }
                projects::Found::Unreadable(path, why) => {
                    found.problems.push(format!("`{path}` cannot be looked at: {why}"));
                }
                projects::Found::Again(_) => {}
            }
        }
        found
    }
}

/// Makes the directories, the file and the ref-db.
async fn make(
    args: &InitArgs,
    remotes: &[(&str, &str)],
    dirs: &[PathBuf],
    base: &str,
    file: &Path,
) -> Result<Opened, Error> {
    let text = config_text(args, remotes, base);
    let io = |what: &str, path: &Path, e: std::io::Error| {
        Error::failed(format!("cannot {what} `{}`: {e}", path.display()))
    };
    // Whatever the umask says: a plugin directory that a group can write would be refused.
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    for dir in dirs {
        builder.create(dir).map_err(|e| io("create", dir, e))?;
    }
    // Whole or not at all: a half-written file would be read as one.
    let mut temporary = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(&args.dir)
        .map_err(|e| io("write in", &args.dir, e))?;
    std::io::Write::write_all(&mut temporary, text.as_bytes()).map_err(|e| io("write", file, e))?;
    temporary.persist_noclobber(file).map_err(|e| io("write", file, e.error))?;
    let opened = async {
        let config = Config::load(file)?;
        if let Some(url) = config.ref_database.url.clone() {
            let place = Location::new(url, config.ref_database.base_dir.clone());
            make_place(&place)?;
        }
        open_refdb(&config, true, system()?.clock).await
    };
    let opened = opened.await;
    opened.inspect_err(|_| drop(fs::remove_file(file)))
}

fn remote(text: &str) -> Result<(&str, &str), Error> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && !url.is_empty() => Ok((name, url)),
        _ => Err(Error::usage(format!("`{text}` is not NAME=URL"))
            .hint("for example --remote 'site-b=ssh://git@b.example/srv/git/${name}.git'")),
    }
}

/// A value as git-config writes it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn config_text(args: &InitArgs, remotes: &[(&str, &str)], base: &str) -> String {
    let mut text = format!(
        "\
# The configuration of one site; docs/configuration.md describes every key.
# Check it with `refgate config check`. Relative paths are relative to this file.

[site]
    name = {name}
    # Project NAME is the bare repository NAME.git below this directory.
    basePath = {base}
    # Who writes here beside replication?
    #   ungated  others do, and the ref-db does not know: only fast-forwards are taken (the safe default)
    #   gated    every write goes through the ref-db
    #   none     nobody: a pure mirror
    writes = ungated

[ref-database]
    # The shared record of the newest value of every ref. All sites must name the same one.
    url = {refdb}

# Which projects replicate: ^regex (Java dialect, whole name), prefix*, or an exact name. None: all.
# A backslash is written twice.
# [projects]
#     pattern = team/*

# How long to wait, once per push or fetch, before refs that are not up to date are looked at again:
# the minimum plus a random part in [0, maxRandom) ms; maxRandom = 0 is no wait.
# [replication \"push-filter\"]
#     minWaitBeforeReloadLocalVersionMs = 1000
#     maxRandomWaitBeforeReloadLocalVersionMs = 1000
# [replication \"fetch-filter\"]
#     minWaitBeforeReloadLocalVersionMs = 1000
#     maxRandomWaitBeforeReloadLocalVersionMs = 1000

[plugins]
    # Filters (*.wasm). The shipped ones take part without a file here.
    directory = plugins
",
        name = quoted(&args.name),
        base = if base == "git" { base.to_owned() } else { quoted(base) },
        refdb = quoted(args.refdb.as_deref().unwrap_or("sqlite:refdb.sqlite")),
    );
    for (name, url) in remotes {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "
[remote {name}]
    url = {url}
    # Who writes there: gated, none or ungated, see above.
    writes = ungated
",
            name = quoted(name),
            url = quoted(url),
        );
    }
    if remotes.is_empty() {
        text.push_str(
            "
# Another site. ${name} stands for the project.
# [remote \"site-b\"]
#     url = ssh://git@b.example/srv/git/${name}.git
#     writes = ungated
",
        );
    }
    text
}
