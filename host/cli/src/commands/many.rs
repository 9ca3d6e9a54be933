//! One command for several projects: at most so many at once, a line for each as it ends, one document, the worst exit
//! code. What goes wrong with one project stops no other.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use refgate_core::{FilterSet, Project};
use refgate_host::projects::{Found, walk};
use refgate_host::{Error, Site, filters};
use serde_json::{Value, json};

use crate::output::{Cell, Held, Output, about, error_json, indented, tell_error, told_in, warn};
use crate::progress::Spinner;

/// Options of commands that take several projects.
#[derive(clap::Args, Clone, Debug)]
pub struct Several {
    /// All projects below site.basePath that replicate
    #[arg(long)]
    pub all: bool,
    /// How many projects at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Print only what was held back, differs or failed
    #[arg(long, short)]
    pub quiet: bool,
}

/// Where the projects of `--all` are, and which of them replicate.
pub struct Place {
    /// `site.basePath`.
    pub base: PathBuf,
    /// The matchers.
    pub filters: Arc<FilterSet>,
}

impl Place {
    /// That of an open site.
    pub fn of(site: &Site) -> Place {
        Place { base: site.gate.config().site.base_path.clone(), filters: site.gate.filters() }
    }
}

impl Several {
    /// Whether the projects named and this mean one project alone.
    pub fn is_one(&self, names: &[String]) -> bool {
        !self.all && names.len() == 1
    }

    /// How many threads more than for one project may be wanted at once.
    pub fn more_threads(&self, names: &[String]) -> usize {
        if self.is_one(names) { 0 } else { 6 * usize::from(self.jobs - 1) }
    }

    /// Projects are named, or all are meant, and not both.
    ///
    /// # Errors
    /// Neither, or both.
    pub fn check(&self, names: &[String], usage: &str) -> Result<(), Error> {
        match (self.all, names.is_empty()) {
            (true, false) => Err(Error::usage(format!(
                "`--all` takes every project, and `{}` names some",
                names.join(" ")
            ))),
            (false, true) => Err(Error::usage("no project is given")),
            _ => return Ok(()),
        }
        .map_err(|e| e.hint(format!("`refgate {usage}`: name projects, or say `--all`")))
    }
}

/// What came out of everything.
#[derive(Default)]
struct Totals {
    codes: [usize; 4],
    not_replicated: usize,
    unnamed: Vec<(String, String)>,
    unreadable: Vec<(String, String)>,
    again: Vec<String>,
    documents: Vec<Value>,
}

/// One project that has ended. `None`: it does not replicate.
struct Ended {
    name: String,
    result: Option<Result<u8, Error>>,
    held: Held,
}

/// Does `work` for the projects. One alone is done as if there were no others.
///
/// # Errors
/// Of one project alone, its own. Of several only that the command line makes no sense.
pub async fn run(
    output: &Output,
    (several, names): (&Several, &[String]),
    place: &Place,
    work: impl AsyncFn(&Project, &Output) -> Result<u8, Error>,
) -> Result<u8, Error> {
    if let ([name], false) = (names, several.all) {
        return one(output, several, name, work).await;
    }
    let mut totals = Totals::default();
    let mut source: Box<dyn Iterator<Item = Result<Project, (String, Error)>>> = match several.all {
        // Named twice is meant once.
        false => Box::new(
            names
                .iter()
                .enumerate()
                .filter(|(i, name)| !names[..*i].contains(name))
                .map(|(_, name)| Project::new(name.clone()).map_err(|e| (name.clone(), Error::from(e)))),
        ),
        true => Box::new(std::iter::empty()),
    };
    let mut found = several.all.then(|| walk(&place.base));
    let mut running: Vec<Pin<Box<dyn Future<Output = Ended> + '_>>> = Vec::new();
    let spinner = Spinner::start();
    let mut done = 0;
    loop {
        while running.len() < usize::from(several.jobs) {
            let next = match &mut found {
                None => source.next(),
                Some(found) => totals.next(found, several.quiet).map(Ok),
            };
            match next {
                None => break,
                Some(Ok(project)) => running.push(Box::pin(job(output, several, place, project, &work))),
                Some(Err((name, error))) => {
                    let result = Some(Err(error));
                    totals.take(output, several, Ended { name, result, held: Held::default() });
                }
            }
        }
        if running.is_empty() {
            break;
        }
        spinner.show(&format!("{done} done, {} running", running.len()));
        let ended = poll_fn(|context| {
            for at in 0..running.len() {
                if let Poll::Ready(ended) = running[at].as_mut().poll(context) {
                    drop(running.swap_remove(at));
                    return Poll::Ready(ended);
                }
            }
            Poll::Pending
        })
        .await;
        done += 1;
        spinner.aside(|| totals.take(output, several, ended));
    }
    spinner.stop();
    Ok(totals.finish(output, several))
}

/// One project alone.
async fn one(
    output: &Output,
    several: &Several,
    name: &str,
    work: impl AsyncFn(&Project, &Output) -> Result<u8, Error>,
) -> Result<u8, Error> {
    let project = Project::new(name)?;
    if !several.quiet || output.json {
        return work(&project, output).await;
    }
    let holding = output.holding();
    let code = work(&project, &holding).await?;
    if code != 0 {
        let held = holding.into_held();
        held.subject.iter().for_each(|text| output.text(text));
        held.lines.into_iter().for_each(|line| output.line(line));
        held.summary.iter().for_each(|text| output.text(text));
    }
    Ok(code)
}

async fn job(
    output: &Output,
    several: &Several,
    place: &Place,
    project: Project,
    work: &impl AsyncFn(&Project, &Output) -> Result<u8, Error>,
) -> Ended {
    let holding = output.holding();
    let name = project.to_string();
    let result = about(&name, async {
        // Who names a project wants to be told that it does not replicate.
        if several.all && !filters::matches(&place.filters, &project).await? {
            return Ok(None);
        }
        work(&project, &holding).await.map(Some)
    });
    let result = result.await.transpose();
    Ended { name, result, held: holding.into_held() }
}

impl Totals {
    /// The next project of a walk; what is none is noted.
    fn next(&mut self, found: &mut impl Iterator<Item = Found>, quiet: bool) -> Option<Project> {
        let mention = |text: &str| {
            // What is so at every run is no news.
            if !quiet {
                warn(text);
            }
        };
        loop {
            match found.next()? {
                Found::Project(project) => return Some(project),
                Found::Unnamed(path, why) => {
                    mention(&format!("the repository `{path}` is no project: {why}"));
                    self.unnamed.push((path, why));
                }
                Found::Unreadable(path, why) => {
                    warn(&format!("`{path}` cannot be looked at, and projects in it are left out: {why}"));
                    self.unreadable.push((path, why));
                }
                Found::Again(path) => {
                    mention(&format!("the link `{path}` leads to what is taken under another name already"));
                    self.again.push(path);
                }
            }
        }
    }

    /// Counts and shows what has ended.
    fn take(&mut self, output: &Output, several: &Several, ended: Ended) {
        let Ended { name, result, held } = ended;
        let (code, failed) = match result {
            None => {
                self.not_replicated += 1;
                return;
            }
            Some(Ok(code)) => (code, None),
            Some(Err(error)) => {
                let told = Error { message: format!("{name}: {}", error.message), ..error.clone() };
                (tell_error(&told), Some(error))
            }
        };
        self.codes[usize::from(code.min(3))] += 1;
        if output.json {
            self.documents.push(match &failed {
                Some(e) => json!({"command": output.command(), "project": name, "error": error_json(e)}),
                None => {
                    held.document.unwrap_or_else(|| json!({"command": output.command(), "project": name}))
                }
            });
            return;
        }
        if code == 0 && several.quiet {
            return;
        }
        let subject = held.subject.unwrap_or(name);
        let summary = match failed {
            Some(e) => Cell::bad(format!("failed: {}", e.message)),
            None => {
                held.summary.unwrap_or_else(|| if code == 0 { "done" } else { "see below" }.into()).into()
            }
        };
        output.line(vec![format!("{subject}: ").into(), summary]);
        if code != 0 {
            held.lines.into_iter().for_each(|line| output.line(indented("    ", line)));
        }
    }

    fn finish(self, output: &Output, several: &Several) -> u8 {
        let code = worst(&self.codes, !self.unreadable.is_empty());
        let count: usize = self.codes.iter().sum();
        if output.json {
            let pair = |(path, why): &(String, String)| told_in(&json!({"path": path, "why": why}));
            let codes: serde_json::Map<String, Value> =
                self.codes.iter().enumerate().map(|(code, n)| (code.to_string(), json!(n))).collect();
            // The documents of the projects are as they would be alone.
            output.exact_document(&json!({
                "command": output.command(), "projects": self.documents,
                "summary": {
                    "projects": count, "exit_code": code, "exit_codes": codes,
                    "not_replicated": self.not_replicated,
                    "unnamed": self.unnamed.iter().map(pair).collect::<Vec<_>>(),
                    "unreadable": self.unreadable.iter().map(pair).collect::<Vec<_>>(),
                    "again": told_in(&json!(self.again)),
                },
            }));
            return code;
        }
        if several.quiet && code == 0 {
            return code;
        }
        let [fine, failed, refused, left] = self.codes;
        let mut line = format!("{count} {}: {fine} done", if count == 1 { "project" } else { "projects" });
        for (n, what) in [(left, "to look at"), (failed, "failed"), (refused, "refused")] {
            if n > 0 {
                line.push_str(&format!(", {n} {what}"));
            }
        }
        for (n, what) in [
            (self.not_replicated, "not replicated"),
            (self.unnamed.len(), "no projects by their names"),
            (self.unreadable.len(), "not readable"),
        ] {
            if n > 0 {
                line.push_str(&format!("; {n} {what}"));
            }
        }
        output.text(&line);
        code
    }
}

/// The exit code of all: usage before failure before something to look at. What could not be looked at is a failure.
fn worst(codes: &[usize; 4], unreadable: bool) -> u8 {
    match codes {
        [_, _, refused, _] if *refused > 0 => 2,
        [_, failed, ..] if *failed > 0 || unreadable => 1,
        [.., left] if *left > 0 => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::worst;

    #[test]
    fn the_worst_exit_code_counts() {
        assert_eq!(worst(&[1, 1, 1, 1], true), 2);
        assert_eq!(worst(&[1, 1, 0, 1], false), 1);
        assert_eq!(worst(&[1, 0, 0, 1], true), 1);
        assert_eq!(worst(&[1, 0, 0, 1], false), 3);
        assert_eq!(worst(&[0, 0, 0, 0], false), 0);
    }
}
