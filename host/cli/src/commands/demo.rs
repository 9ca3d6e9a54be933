//! `demo`: two sites, one ref-db and real git; the split brain without the gate, and its prevention with it.

mod lab;

use std::path::Path;

use refgate_core::{Project, Reason};
use refgate_host::replicate::{self, Options, Silent};
use refgate_host::{Config, Error, Report, Site, State, open_refdb};
use serde_json::{Value, json};

use self::lab::Lab;
use crate::args::DemoArgs;
use crate::output::{Cell, Output};
use crate::system::system;

/// The one project of the demonstration.
const PROJECT: &str = "app";

/// `refgate demo`. Exit 1 when either part does not come out as it should.
pub async fn run(args: DemoArgs, output: &Output) -> Result<u8, Error> {
    let temporary;
    let dir = match &args.keep {
        Some(dir) => {
            std::fs::create_dir(dir)
                .map_err(|e| Error::usage(format!("cannot create `{}`: {e}", dir.display())))?;
            std::path::absolute(dir).map_err(|e| Error::failed(e.to_string()))?
        }
        None => {
            temporary =
                tempfile::tempdir().map_err(|e| Error::failed(format!("no temporary directory: {e}")))?;
            temporary.path().to_owned()
        }
    };
    let mut story = Story { output, told: Vec::new() };
    let lost = without(&dir.join("without"), &mut story)?;
    let kept = with(&dir.join("with"), &mut story).await?;
    if output.json {
        output.document(&json!({
            "command": "demo", "commit_lost_without_gate": lost, "nothing_lost_with_gate": kept, "steps": story.told,
        }));
    } else if let Some(dir) = &args.keep {
        output.text("");
        output.text(&format!("Both parts are in {}", dir.display()));
    }
    Ok(if lost && kept { 0 } else { 1 })
}

/// Tells what happens, as text at once or as JSON at the end.
struct Story<'o> {
    output: &'o Output,
    told: Vec<Value>,
}

impl Story<'_> {
    fn title(&mut self, text: &str) {
        if !self.output.json {
            self.output.text("");
            self.output.text(text);
        }
    }

    fn tell(&mut self, text: &str) {
        self.told.push(json!(text));
        if !self.output.json {
            self.output.text(&format!("  {text}"));
        }
    }

    fn outcome(&mut self, right: bool, good: &str, bad: &str) {
        let text = if right { good } else { bad };
        self.told.push(json!(text));
        if !self.output.json {
            self.output.line(vec!["  ".into(), if right { Cell::good(text) } else { Cell::bad(text) }]);
        }
    }
}

/// What both parts begin with: equal sites, then `main` moves on at B while A is not looking.
fn story_so_far(dir: &Path, story: &mut Story<'_>) -> Result<Lab, Error> {
    let lab = Lab::new(dir, PROJECT)?;
    lab.commit("site-a", "main", "first")?;
    lab.push_plainly("site-a", "site-b")?;
    story.tell("site-a and site-b both hold main = `first`.");
    Ok(lab)
}

/// Part one: plain `git push --mirror` from a site that is behind.
fn without(dir: &Path, story: &mut Story<'_>) -> Result<bool, Error> {
    story.title("Without the gate");
    let lab = story_so_far(dir, story)?;
    let fix = lab.commit("site-b", "main", "fix")?;
    story.tell("Somebody pushes `fix` to main at site-b; git says it is accepted.");
    lab.commit("site-a", "topic", "topic")?;
    story.tell("Somebody creates topic at site-a, and site-a replicates: git push --mirror site-b.");
    lab.push_plainly("site-a", "site-b")?;
    let lost = !lab.reachable("site-a", &fix)? && !lab.reachable("site-b", &fix)?;
    story.outcome(
        lost,
        "main is back at `first` everywhere: the accepted commit `fix` is lost.",
        "`fix` is still there: this git does not show the problem",
    );
    Ok(lost)
}

/// Part two: the same steps, with every replication through the gate.
async fn with(dir: &Path, story: &mut Story<'_>) -> Result<bool, Error> {
    story.title("With the gate");
    let lab = story_so_far(dir, story)?;
    let a = site(dir, "site-a", "site-b").await?;
    let b = site(dir, "site-b", "site-a").await?;
    lab.seed(&a).await?;
    story.tell("The global ref-db, shared by both, records it.");
    let fix = lab.commit("site-b", "main", "fix")?;
    lab.publish(&b, "main", Some("first"), "fix").await?;
    story.tell("Somebody pushes `fix` to main at site-b; the ref-db records main = `fix`.");
    lab.commit("site-a", "topic", "topic")?;
    lab.publish(&a, "topic", None, "topic").await?;
    story.tell("Somebody creates topic at site-a, and site-a replicates: refgate push app site-b.");

    let project = Project::new(PROJECT)?;
    let options = Options::default();
    let pushed = replicate::push(&a, &project, "site-b", &options, std::sync::Arc::new(Silent)).await?;
    tell_report(&pushed, story);
    let held = has(
        &pushed,
        "refs/heads/main",
        |state| matches!(state, State::Held(held) if held.reason == Reason::NotUpToDate),
    );
    let went = has(&pushed, "refs/heads/topic", |state| *state == State::Done);
    let kept = lab.reachable("site-b", &fix)?;
    story.outcome(
        held && went && kept,
        "The stale main was held back, the fresh topic went, `fix` is safe.",
        "the gate did not do its work",
    );
    story.tell("site-a catches up: refgate fetch app site-b.");
    let fetched = replicate::fetch(&a, &project, "site-b", &options, std::sync::Arc::new(Silent)).await?;
    tell_report(&fetched, story);
    let equal = lab.refs("site-a")? == lab.refs("site-b")? && lab.reachable("site-a", &fix)?;
    story.outcome(equal, "Both sites are equal, and nothing was lost.", "the sites differ");
    Ok(held && went && kept && equal)
}

async fn site(dir: &Path, name: &str, other: &str) -> Result<Site, Error> {
    let config = dir.join(name).join(super::init::FILE);
    lab::write_config(&config, name, other)?;
    let (config, system) = (Config::load(&config)?, system()?);
    open_refdb(&config, true, system.clock.clone()).await?;
    Site::open(config, &system).await
}

fn tell_report(report: &Report, story: &mut Story<'_>) {
    for one in report.decision.moves.iter() {
        let what = match one.held() {
            None => one.state().to_string(),
            Some(held) => format!("held back: {} (by {})", held.reason, held.by),
        };
        story.tell(&format!("    {}  {what}", one.name()));
    }
    for wait in &report.decision.waits {
        story.tell(&format!("    (waited {} ms, once, to let it catch up)", wait.ms));
    }
}

fn has(report: &Report, name: &str, wanted: impl Fn(&State) -> bool) -> bool {
    report.decision.moves.iter().any(|one| one.name().to_string() == name && wanted(one.state()))
}
