//! Reads a configuration file and those that it includes. Never writes one.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigErrors, Origin};
use super::parse::{Item, parse};

/// How deep files may include one another, as in git.
const MAX_DEPTH: usize = 10;

/// Reads `path` and the files that it includes, in the order in which their entries count.
pub(super) fn read_file(path: &Path) -> Result<Vec<Item>, ConfigErrors> {
    let mut out = Vec::new();
    let start = Origin::new(path, 0);
    read_into(path, &start, &mut Vec::new(), &mut out)?;
    Ok(out)
}

fn read_into(
    path: &Path,
    named_at: &Origin,
    stack: &mut Vec<PathBuf>,
    out: &mut Vec<Item>,
) -> Result<(), ConfigErrors> {
    let text = read_trusted(path, named_at)?;
    let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if stack.contains(&canonical) {
        let message = format!("`{}` includes itself", path.display());
        return Err(ConfigError::new(named_at, message, "take the include out").into());
    }
    if stack.len() > MAX_DEPTH {
        let message = format!("includes are nested more than {MAX_DEPTH} deep");
        return Err(ConfigError::new(named_at, message, "include the files from one place").into());
    }
    stack.push(canonical);
    let mut errors = Vec::new();
    for item in parse(&text, path)? {
        match (item.section.as_str(), item.key.as_str()) {
            ("includeif", _) => errors.push(ConfigError::new(
                &item.origin,
                "`includeIf` is not supported",
                "use `[include] path = FILE`, which always counts",
            )),
            ("include", "path") if item.subsection.is_none() => {
                let wanted = item.value.as_deref().unwrap_or_default();
                if wanted.is_empty() || wanted.starts_with('~') {
                    let hint = "write a path, absolute or relative to this file";
                    errors.push(ConfigError::new(&item.origin, "`include.path` names no file", hint));
                    continue;
                }
                let file = path.parent().unwrap_or(Path::new("")).join(wanted);
                if let Err(e) = read_into(&file, &item.origin, stack, out) {
                    errors.extend(e.0);
                }
            }
            ("include", _) => errors.push(ConfigError::new(
                &item.origin,
                format!("unknown key `{}`", item.full_key()),
                "write `[include] path = FILE`",
            )),
            _ => out.push(item),
        }
    }
    stack.pop();
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

/// The bytes of a file that nobody but this user and root can change, nor put another one in its place: whoever can choose
/// the configuration can open the gate. So the way to it counts as for plugins, before and after every link.
fn read_trusted(path: &Path, named_at: &Origin) -> Result<Vec<u8>, ConfigError> {
    let refuse = |why: String, hint: &str| {
        let message = match named_at.line {
            // The place of the error is the file itself.
            0 => format!("cannot use this configuration: {why}"),
            _ => format!("cannot use `{}`: {why}", path.display()),
        };
        ConfigError::new(named_at, message, hint)
    };
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => refuse(
            "no such file".into(),
            "name another with --config or $REFGATE_CONFIG, or write one with `refgate init`",
        ),
        _ => refuse(e.to_string(), "make it readable for this user"),
    };
    // Before it is opened: opening a pipe would wait for ever.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(refuse("it is not a regular file".into(), "name a file in git-config syntax"));
    }
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    refgate_runtime::check_file_place(path, &metadata).map_err(|e| refuse(e.why, &e.cure))?;
    // After it was opened: who could have led it elsewhere before still can.
    refgate_runtime::check_place(path).map_err(|why| refuse(why, ""))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}
