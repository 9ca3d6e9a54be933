//! `init`: a commented configuration, an empty plugin directory, and a ref-db.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use refgate_host::config::Config;
use refgate_host::{Error, open_refdb};
use refgate_refdb::Opened;
use serde_json::json;

use crate::args::InitArgs;
use crate::output::{Output, note};
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
    let dirs = [args.dir.clone(), args.dir.join("git"), args.dir.join("plugins")];
    let new: Vec<&PathBuf> = dirs.iter().filter(|dir| !dir.exists()).collect();
    let opened = make(&args, &remotes, &dirs, &file).await.inspect_err(|_| {
        // What init made and cannot be used would only stand in the way of the next try. Only empty directories go.
        new.iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
    })?;
    if output.json {
        output.document(&json!({
            "command": "init", "config": file.display().to_string(), "refdb_created": opened.created,
        }));
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
    output.text("next: put bare repositories below git/, then `refgate refdb seed PROJECT` and `refgate push PROJECT REMOTE`");
    Ok(0)
}

/// Makes the directories, the file and the ref-db.
async fn make(
    args: &InitArgs,
    remotes: &[(&str, &str)],
    dirs: &[PathBuf],
    file: &Path,
) -> Result<Opened, Error> {
    let text = config_text(args, remotes);
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
    let opened = async { open_refdb(&Config::load(file)?, true, system()?.clock).await }.await;
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

fn config_text(args: &InitArgs, remotes: &[(&str, &str)]) -> String {
    let mut text = format!(
        "\
# The configuration of one site; docs/configuration.md describes every key.
# Check it with `refgate config check`. Relative paths are relative to this file.

[site]
    name = {name}
    # Project NAME is the bare repository git/NAME.git.
    basePath = git
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
