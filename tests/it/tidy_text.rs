//! Text for people leaves in one place only: there what others wrote is made harmless.

use crate::tree::{nothing, sources};

/// Ways to print. `bar.println` and `set_message` are those of a progress bar.
const WAYS: [&str; 9] = [
    "stdout()",
    "stderr()",
    "println!",
    "print!(",
    "dbg!",
    ".print()",
    ".println(",
    ".set_message(",
    "/dev/tty",
];

/// Who may, and why: all other code hands its text to the first of them.
const MAY: [&str; 5] = [
    // It escapes.
    "host/cli/src/output.rs",
    // A progress bar prints by itself, and is given what was escaped.
    "host/cli/src/progress.rs",
    // Not for people: git's protocol with its hook.
    "host/cli/src/commands/hook/push.rs",
    // Not for people: compiled code, for the process that asked for it.
    "host/runtime/src/compile/child.rs",
    // The words of the repository's own hook, as git would hand them on.
    "host/git/src/receive/hooks.rs",
];

#[test]
fn text_for_people_is_printed_in_one_place() {
    // What runs for people: the crates below `host`, without their tests, examples and benches.
    let is_product = |path: &str| path.starts_with("host/") && path.contains("/src/");
    let (mut found, mut seen) = (Vec::new(), 0);
    for (name, text) in sources().filter(|(path, _)| is_product(path)) {
        // Tests stand at the end of a file, or in one of their own.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in lines {
            let Some(way) = WAYS.iter().find(|way| line.contains(**way)) else { continue };
            match MAY.contains(&name.as_str()) {
                true => seen += 1,
                // What a child has printed, not where we print.
                false if line.contains("self.stdout()") => {}
                false => found.push(format!("{name}:{}: `{way}`", number + 1)),
            }
        }
    }
    assert!(seen > 5, "the search finds nothing");
    nothing(found, "hand the text to `output`");
}
