//! The `.keep` files with which git holds a pack until somebody's refs lead to it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, gethostname};

/// Removes those that `git fetch-pack` made and that no process needs any more. It leaves that to its caller, and one that
/// was killed had no time for it; a pack that is held is never packed anew.
///
/// What cannot be removed keeps nothing from going on; the lines that come back name it.
pub(super) fn remove_left_over(git_dir: &Path) -> Vec<String> {
    let packs = common_dir(git_dir).join("objects/pack");
    let mut stays = Vec::new();
    let Ok(entries) = fs::read_dir(&packs) else {
        return stays;
    };
    let here = gethostname().unwrap_or_default();
    for path in entries.flatten().map(|entry| entry.path()) {
        let left_over = path.extension().is_some_and(|e| e == "keep")
            && fs::read_to_string(&path).is_ok_and(|note| is_left_over(&note, &here.to_string_lossy()));
        if left_over
            && let Err(e) = fs::remove_file(&path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            stays.push(format!(
                "`{}` keeps a pack for a git that has ended, and cannot be removed: {e}",
                path.display()
            ));
        }
    }
    stays
}

/// Whether `note` is that of a `git fetch-pack` that has ended on this machine.
fn is_left_over(note: &str, here: &str) -> bool {
    let words: Vec<&str> = note.split_whitespace().collect();
    let ["fetch-pack", pid, "on", host] = words[..] else {
        return false;
    };
    let pid = pid.parse::<i32>().ok().filter(|pid| *pid > 0);
    host == here && pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

/// Where the objects of a linked work tree are.
fn common_dir(git_dir: &Path) -> PathBuf {
    match fs::read_to_string(git_dir.join("commondir")) {
        Ok(named) => git_dir.join(named.trim_end()),
        Err(_) => git_dir.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_of_this_machine_are_gone() {
        let me = std::process::id();
        for (note, gone) in [
            ("fetch-pack 2147483000 on here\n".to_owned(), true),
            (format!("fetch-pack {me} on here"), false),
            ("fetch-pack 2147483000 on elsewhere".to_owned(), false),
            ("receive-pack 2147483000 on here".to_owned(), false),
            ("kept by hand".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_left_over(&note, "here"), gone, "{note}");
        }
    }
}
