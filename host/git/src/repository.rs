//! Opening and creating a repository: is it one, whose is it, and which of our readers may read it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refgate_core::{ObjectFormat, RefName};

use crate::command::{git, git_in, run, run_ok};
use crate::files::owner;
use crate::{Files, GitError, GitErrorKind};

/// The extensions of `extensions.*` that leave the files backend as it is. With any other one, git reads the refs.
const HARMLESS: [&str; 6] =
    ["objectformat", "noop", "noop-v1", "preciousobjects", "partialclone", "compatobjectformat"];

/// A repository on this machine, checked by git. Cheap to clone.
///
/// It holds what does not change while the repository lives (its place, object format and kind of ref storage) and no
/// ref: every read goes to the disk.
#[derive(Clone, Debug)]
pub struct Repository(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    git_dir: PathBuf,
    common_dir: PathBuf,
    format: ObjectFormat,
    files_backend: bool,
    files: Files,
}

impl Repository {
    /// Opens the repository at `path`: a bare one, a `.git`, or a directory that holds a `.git`.
    ///
    /// # Errors
    /// [`GitErrorKind::Missing`], [`NotARepository`](GitErrorKind::NotARepository),
    /// [`DubiousOwnership`](GitErrorKind::DubiousOwnership) and [`Denied`](GitErrorKind::Denied) are told
    /// apart.
    pub fn open(path: &Path) -> Result<Repository, GitError> {
        Repository::open_with(path, None)
    }

    fn open_with(path: &Path, setting: Option<&str>) -> Result<Repository, GitError> {
        let meta = fs::metadata(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                GitError::new(format!("there is no repository at `{}`", path.display()))
                    .kind(GitErrorKind::Missing)
            }
            _ => GitError::io("open the repository", path, &e),
        })?;
        let inside = match meta.is_dir() {
            true => path,
            // A worktree's `.git` is a file that says where the repository is.
            false => path.parent().unwrap_or(path),
        };
        // Not with `--git-dir`, which tells git to trust the directory whoever owns it. That it was named by its path
        // is as explicit as `safe.bareRepository = explicit` asks for.
        let mut command = git();
        if let Some(setting) = setting {
            command.args(["-c", setting]);
        }
        command.args(["-c", "safe.bareRepository=all", "-C"]).arg(inside);
        command.args(["rev-parse", "--show-object-format=storage", "--show-ref-format"]);
        command.args(["--path-format=absolute", "--git-dir", "--git-common-dir"]);
        let output = run(command, Vec::new())?;
        if !output.status.success() {
            return Err(refused(path, &output.stderr));
        }
        let (object_format, rest) = line(&output.stdout);
        let (ref_format, dirs) = line(rest);
        let (git_dir, common_dir) = two_paths(dirs);
        // git looks in the directories above, too, and would find somebody else's repository there.
        if meta.is_dir() && !path.join(".git").is_file() && !is_one_of(&git_dir, [path, &path.join(".git")]) {
            let message = format!("`{}` is not a git repository", path.display());
            let hint = format!("it is a directory inside the repository `{}`", git_dir.display());
            return Err(GitError::new(message).hint(hint).kind(GitErrorKind::NotARepository));
        }
        let name = String::from_utf8_lossy(object_format);
        let format = ObjectFormat::from_name(&name).ok_or_else(|| {
            let message =
                format!("`{}` names its objects by `{name}`, which refgate does not know", path.display());
            GitError::new(message).hint("use a repository with the object format sha1 or sha256")
        })?;
        // A git that does not know the option prints it; such a git opens repositories of the files backend only.
        let files_backend = matches!(ref_format, b"files" | b"--show-ref-format")
            && git_dir == common_dir
            && only_harmless_extensions(&git_dir.join("config"))?;
        let files = Files::below(&common_dir);
        Ok(Repository(Arc::new(Inner { git_dir, common_dir, format, files_backend, files })))
    }

    /// Makes a new bare repository at `path`, parents included. `ref_format` is `files` or `reftable`, `head` the branch
    /// that `HEAD` names; `None` leaves the choice to git.
    ///
    /// # Errors
    /// When there is something at `path` already, except an empty directory, and when it lies inside another repository.
    pub fn create(
        path: &Path,
        format: ObjectFormat,
        ref_format: Option<&str>,
        head: Option<&RefName>,
    ) -> Result<Repository, GitError> {
        match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("cannot create a repository at `{}`: it is not empty", path.display());
                return Err(GitError::new(message).hint("choose another place, or move away what is there"));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(GitError::io("create a repository at", path, &e)),
        }
        if let Some(around) = around(path) {
            let message = format!(
                "cannot create a repository at `{}`: that is inside the repository `{}`",
                path.display(),
                around.display()
            );
            return Err(
                GitError::new(message).hint("give the project another name, or move that repository away")
            );
        }
        let mut command = git();
        command.args(["init", "--quiet", "--bare"]).arg(format!("--object-format={}", format.name()));
        if let Some(name) = ref_format {
            command.arg(format!("--ref-format={name}"));
        }
        // Under another name first: a maker that fails or dies leaves no half repository behind.
        let io = |e: io::Error| GitError::io("create a repository at", path, &e);
        let path = &std::path::absolute(path).map_err(io)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let owner = owner::make_dirs(parent).map_err(io)?;
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.new", std::process::id()));
        let half = parent.join(name);
        command.arg("--").arg(&half);
        if let Some(owner) = owner {
            owner.run(&mut command);
        }
        let made = run_ok(command, Vec::new())
            .and_then(|_| head.map_or(Ok(()), |head| point_head(&half, head)))
            .and_then(|()| fs::rename(&half, path).map_err(io));
        if made.is_err() {
            // What cannot be removed is hidden, and no project.
            let _ = fs::remove_dir_all(&half);
        }
        made?;
        // Whoever it was made for, nobody else has had a hand in it yet.
        Repository::open_with(path, Some(&format!("safe.directory={}", path.display())))
    }

    /// The git directory, absolute.
    pub fn git_dir(&self) -> &Path {
        &self.0.git_dir
    }

    /// Where refs and objects are; another place than [`git_dir`](Self::git_dir) for a linked worktree only.
    pub fn common_dir(&self) -> &Path {
        &self.0.common_dir
    }

    /// Makes files and directories below [`common_dir`](Self::common_dir).
    pub fn files(&self) -> &Files {
        &self.0.files
    }

    /// How objects are named here.
    pub fn object_format(&self) -> ObjectFormat {
        self.0.format
    }

    /// Whether refs are files that our own reader may read; else only git reads them.
    pub fn has_files_backend(&self) -> bool {
        self.0.files_backend
    }
}

/// As git tells a git directory before it looks closer: `HEAD`, `objects` and `refs` are there.
///
/// # Errors
/// A directory that cannot be looked into.
pub fn looks_like_repository(path: &Path) -> io::Result<bool> {
    for name in ["HEAD", "objects", "refs"] {
        match fs::symlink_metadata(path.join(name)) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// The git directory that `path`, which need not be there, lies in, whatever links lead to it. What is made in one is a ref,
/// a hook or an object to git, and damages it.
fn around(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().skip(1).find_map(|above| fs::canonicalize(above).ok())?;
    // Where nobody may look, nothing can be made, either.
    there.ancestors().find(|above| looks_like_repository(above).unwrap_or(false)).map(Path::to_owned)
}

/// Points `HEAD` to a branch, which need not be there.
fn point_head(git_dir: &Path, branch: &RefName) -> Result<(), GitError> {
    let mut command = git_in(git_dir);
    command.args(["symbolic-ref", "HEAD"]).arg(std::ffi::OsStr::from_bytes(branch.as_bytes()));
    run_ok(command, Vec::new()).map(drop)
}

/// The first line without its end, and what follows it.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', text) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, b""),
    }
}

/// Two paths that git printed, each with a line end. They are nearly always the same, which also tells where a path
/// with a line end in its name ends.
fn two_paths(text: &[u8]) -> (PathBuf, PathBuf) {
    let path =
        |raw: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(raw.strip_suffix(b"\n").unwrap_or(raw)));
    let (first, second) = text.split_at(text.len() / 2);
    if first == second {
        return (path(first), path(second));
    }
    let (first, second) = line(text);
    (path(first), path(second))
}

fn is_one_of(git_dir: &Path, candidates: [&Path; 2]) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    candidates.into_iter().any(|c| real(c).is_some_and(|c| real(git_dir).is_some_and(|g| g == c)))
}

/// Why git did not take the directory for a repository it may read.
fn refused(path: &Path, stderr: &[u8]) -> GitError {
    let said = |text: &str| memchr::memmem::find(stderr, text.as_bytes()).is_some();
    let shown = path.display();
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if said("dubious ownership") {
        return GitError::new(format!(
            "the repository `{shown}` belongs to another user, so git does not trust it"
        ))
        .hint(format!("if you do: `git config --global --add safe.directory {}`", whole.display()))
        .kind(GitErrorKind::DubiousOwnership);
    }
    // A HEAD that may not be read makes git say that there is no repository.
    let denied = [path.to_path_buf(), path.join("HEAD"), path.join("config"), path.join("objects")]
        .into_iter()
        .find_map(|p| {
            fs::File::open(&p).err().filter(|e| e.kind() == io::ErrorKind::PermissionDenied).map(|e| (p, e))
        });
    if let Some((denied, e)) = denied {
        return GitError::io("read", &denied, &e);
    }
    if said("not a git repository") {
        return GitError::new(format!("`{shown}` is not a git repository"))
            .hint(
                "it may be damaged: `git fsck` there tells more; `git init --bare` makes a new one elsewhere",
            )
            .kind(GitErrorKind::NotARepository);
    }
    let words = String::from_utf8_lossy(stderr);
    GitError::new(format!("git cannot read the repository `{shown}`: {}", words.trim()))
        .hint("repair it by hand; refgate changes nothing in a repository that git cannot read")
        .kind(GitErrorKind::NotARepository)
}

/// Whether the configuration of the repository has no `extensions.*` that could keep refs in another place or format.
fn only_harmless_extensions(config: &Path) -> Result<bool, GitError> {
    let text = fs::read(config).map_err(|e| GitError::io("read", config, &e))?;
    // Most repositories have none, and need no further process.
    if !text.to_ascii_lowercase().windows(10).any(|w| w == b"extensions") {
        return Ok(true);
    }
    let mut command = git();
    command.args(["config", "--no-includes", "--file"]).arg(config).args(["--list", "-z"]);
    let listed = run_ok(command, Vec::new())?;
    Ok(listed.split(|b| *b == 0).all(|entry| {
        let (key, value) = line(entry);
        let key = key.to_ascii_lowercase();
        match key.strip_prefix(b"extensions.") {
            None => true,
            Some(b"refstorage") => value == b"files",
            Some(name) => HARMLESS.iter().any(|known| known.as_bytes() == name),
        }
    }))
}
