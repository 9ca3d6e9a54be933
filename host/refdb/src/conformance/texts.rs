//! Cases 4 and 88 to 90: texts that are no object ids, such as the counter that Gerrit keeps beside the refs.

use refgate_core::refdb::MAX_TEXT;
use refgate_core::{Expected, GlobalRef, Lookup, RefDbErrorKind, TextOutcome};

use super::bench::{Run, at, edit, oid};
use super::check::{self, Checked, ensure, same};
use super::{Case, case};

const NAME: &str = "refs/multi-site/version/value";

pub(super) const CASES: &[Case] = &[
    case(4, "a text that is no object id is read back", |run| Box::pin(round_trip(run))),
    case(88, "a text is written only over the one that was expected", |run| Box::pin(expected(run))),
    case(89, "a text in the place of a value stops edits and is not overwritten", |run| {
        Box::pin(in_the_way(run))
    }),
    case(90, "a value is read as a text, and what would be read as a value is refused", |run| {
        Box::pin(values(run))
    }),
];

fn there(text: &str) -> TextOutcome {
    TextOutcome::Mismatch { actual: Some(text.to_owned()) }
}

async fn round_trip(run: &Run) -> Checked {
    let client = run.client("p")?;
    for text in ["1793707205", " ~", &"x".repeat(MAX_TEXT)] {
        let before = client.text(NAME).await?;
        same("a write", client.cas_text(NAME, before.as_deref(), text).await?, TextOutcome::Applied)?;
        same("as a text", client.text(NAME).await?.as_deref(), Some(text))?;
        same("as an entry", client.lookups(&[NAME]).await?, [Lookup::Text(text.to_owned())])?;
        let page = client.page("refs/", None, 9).await?;
        let found = page.rows.first().map(|(_, found)| found.clone());
        same("in a scan", found, Some(Lookup::Text(text.to_owned())))?;
    }
    same("another", client.text("refs/multi-site/version").await?, None)?;
    same("removed", client.remove_ref(NAME).await?, true)?;
    same("afterwards", client.text(NAME).await?, None)
}

async fn expected(run: &Run) -> Checked {
    let client = run.client("p")?;
    let none = TextOutcome::Mismatch { actual: None };
    same("of nothing", client.cas_text(NAME, Some("1"), "2").await?, none)?;
    same("from nothing", client.cas_text(NAME, None, "1").await?, TextOutcome::Applied)?;
    same("from nothing again", client.cas_text(NAME, None, "2").await?, there("1"))?;
    same("of another", client.cas_text(NAME, Some("01"), "2").await?, there("1"))?;
    same("of what is there", client.cas_text(NAME, Some("1"), "2").await?, TextOutcome::Applied)?;
    same("at the end", client.text(NAME).await?.as_deref(), Some("2"))
}

async fn in_the_way(run: &Run) -> Checked {
    let client = run.client("p")?;
    same("a write", client.cas_text(NAME, None, "12").await?, TextOutcome::Applied)?;
    let edits = [edit("refs/a", Expected::Absent, at(1))?, edit(NAME, Expected::Absent, at(2))?];
    let result = client.try_edits(&edits[1..], refgate_core::Atomicity::Each).await;
    check::refused("an edit", result, RefDbErrorKind::Corrupt)?;
    if run.promises().atomic_edits >= 2 {
        let result = client.try_edits(&edits, refgate_core::Atomicity::AllOrNothing).await;
        check::refused("all or nothing", result, RefDbErrorKind::Corrupt)?;
        same("nothing is half done", client.value("refs/a").await?, GlobalRef::Untracked)?;
    }
    same("the text", client.text(NAME).await?.as_deref(), Some("12"))?;
    let found = client.lookups(&[NAME]).await?;
    ensure(found[0].exists() && found[0].entry().is_none(), || {
        "a text is up to date with nothing".to_owned()
    })?;
    // An administrator may.
    client.put(NAME, at(3)).await?;
    same("after put", client.value(NAME).await?, at(3))
}

async fn values(run: &Run) -> Checked {
    let client = run.client("p")?;
    client.put("refs/a", at(1)).await?;
    client.put("refs/b", GlobalRef::Deleted).await?;
    same("a value", client.text("refs/a").await?, Some(oid(1).to_string()))?;
    same("a deletion", client.text("refs/b").await?, Some("0".repeat(40)))?;
    same("nothing", client.text("refs/c").await?, None)?;
    same("not what is there", client.cas_text("refs/a", None, "12").await?, there(&oid(1).to_string()))?;
    let long = "x".repeat(MAX_TEXT + 1);
    for bad in ["", "tab\t", "é", &"a".repeat(40), &"0".repeat(64), &long] {
        let result = client.try_cas_text("refs/c", None, bad).await?;
        check::refused(format!("`{bad:.20}`"), result, RefDbErrorKind::InvalidName)?;
    }
    same("nothing was written", client.scan("", 9).await?, ["refs/a", "refs/b"])
}
