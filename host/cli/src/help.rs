//! Help texts that list many commands: grouped by who needs them and what for, with examples and exit codes.

use clap::{Command, CommandFactory, FromArgMatches};

use crate::args::Args;

/// A heading and the commands below it.
type Group = (&'static str, &'static [&'static str]);

const ALL: &[Group] = &[
    (
        "Commands for operators",
        &[
            "demo", "init", "config", "push", "fetch", "explain", "project", "refdb", "hook", "plugins",
            "verify",
        ],
    ),
    ("Commands for authors of filters", &["new", "build", "test", "bench", "replay", "sign", "wit"]),
];

const REFDB: &[Group] = &[
    ("Commands that look", &["ls", "get", "policy", "check"]),
    ("Commands that fill", &["seed", "publish"]),
    ("Commands that repair", &["heal", "forget", "start-over"]),
    ("Commands that write by hand", &["cas", "put", "rm", "lock"]),
    ("Commands that move or judge a store", &["copy", "close", "open", "accept", "conformance"]),
];

const EXAMPLES: &str = "  refgate demo                              see what it is for
  refgate init site-a --name site-a --remote 'site-b=/srv/site-b/git/${name}.git'
  refgate refdb seed team/app               record what is here as the newest values
  refgate push team/app site-b --dry-run    what would go, and why the rest would not
  refgate new my-policy                     begin a filter of your own";

const EXIT_CODES: &str = "  0  done, and nothing was held back
  1  failed, or the destination rejected a ref that was kept
  2  usage or configuration
  3  done, but something was held back, or differs";

/// Reads the command line.
pub fn parse() -> Result<Args, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Args::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
}

fn command() -> Command {
    let command = Args::command();
    let title = |heading: &str| titled(&command, heading);
    let end = format!("{}\n{EXAMPLES}\n\n{}\n{EXIT_CODES}", title("Examples"), title("Exit codes"));
    grouped(command.mut_subcommand("refdb", |refdb| grouped(refdb, REFDB)), ALL).after_help(end)
}

/// A heading as clap shows its own.
fn titled(command: &Command, heading: &str) -> String {
    let style = command.get_styles().get_header();
    format!("{}{heading}:{}", style.render(), style.render_reset())
}

/// The command with its subcommands under the headings of `groups`; what is in none of them comes last.
fn grouped(command: Command, groups: &[Group]) -> Command {
    let visible = || command.get_subcommands().filter(|c| !c.is_hide_set());
    let width = visible().map(|c| c.get_name().len()).max().unwrap_or_default();
    let literal = command.get_styles().get_literal();
    let line = |sub: &Command| {
        let about = sub.get_about().map(|about| about.to_string()).unwrap_or_default();
        format!("\n  {}{:<width$}{}  {about}", literal.render(), sub.get_name(), literal.render_reset())
    };
    let mut list = String::new();
    for (heading, names) in groups {
        list += &format!("\n{}", titled(&command, heading));
        list.extend(names.iter().filter_map(|name| command.find_subcommand(name)).map(line));
        list.push('\n');
    }
    let left: String = visible().filter(|c| !is_in(groups, c.get_name())).map(line).collect();
    if !left.is_empty() {
        list += &format!("\n{}{left}\n", titled(&command, "Commands"));
    }
    let options = titled(&command, "Options");
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{list}\n{options}\n{{options}}{{after-help}}"
    ))
}

fn is_in(groups: &[Group], name: &str) -> bool {
    groups.iter().any(|(_, names)| names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_exactly_one_group() {
        let all = Args::command();
        for (command, groups) in [(&all, ALL), (all.find_subcommand("refdb").unwrap(), REFDB)] {
            let visible = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
            let mut names: Vec<&str> = visible.map(Command::get_name).collect();
            let mut grouped: Vec<&str> = groups.iter().flat_map(|(_, names)| names.iter().copied()).collect();
            names.sort_unstable();
            grouped.sort_unstable();
            assert_eq!(names, grouped, "the groups of `{}` in help.rs", command.get_name());
        }
    }

    #[test]
    fn examples_and_exit_codes_stand_in_a_column() {
        assert!([EXAMPLES, EXIT_CODES].iter().all(|text| text.lines().all(|line| line.starts_with("  "))));
        let help = command().render_help().to_string();
        assert!(
            help.contains("\nExamples:\n  refgate demo") && help.contains("\nExit codes:\n  0  done"),
            "{help}"
        );
    }

    #[test]
    fn every_example_is_a_command_line() {
        for line in EXAMPLES.lines() {
            // What follows two blanks is about it.
            let words =
                line.trim().split("  ").next().unwrap().split_whitespace().map(|w| w.trim_matches('\''));
            let parsed = command().try_get_matches_from(words);
            assert!(parsed.is_ok_and(|m| Args::from_arg_matches(&m).is_ok()), "{line}");
        }
    }
}
