//! Cases 25 to 31: names are bytes, and no name is in the way of another.

use refgate_core::{Edit, Expected, GlobalRef, Lookup, Outcome, Project, RefDbErrorKind, RefName};

use super::bench::{Client, Run, at, ref_name};
use super::check::{Checked, ensure, failed, same};
use super::{Case, case};

pub(super) const CASES: &[Case] = &[
    case(25, "a ref below the name of another can be created, before and after its deletion", |run| {
        Box::pin(directory_and_file(run))
    }),
    case(26, "a ref is not mistaken for one whose name it begins", |run| Box::pin(prefixes(run))),
    case(27, "a project sees nothing of a project below it", |run| Box::pin(nested(run))),
    case(28, "the same ref in two projects is two refs", |run| Box::pin(two_projects(run))),
    case(29, "project names are taken as they are", |run| Box::pin(project_names(run))),
    case(30, "a name that the store cannot hold is refused and writes nothing", |run| Box::pin(refused(run))),
    case(31, "ref names are bytes: no case folding, no normal form", |run| Box::pin(bytes(run))),
];

async fn directory_and_file(run: &Run) -> Checked {
    let client = run.client("p")?;
    for (first, second) in [("refs/heads/a", "refs/heads/a/b"), ("refs/heads/c/d", "refs/heads/c")] {
        same(first, client.cas(first, Expected::Absent, at(1)).await?, Outcome::Applied)?;
        same("what was not created yet", client.value(second).await?, GlobalRef::Untracked)?;
        same(second, client.cas(second, Expected::Absent, at(2)).await?, Outcome::Applied)?;
        same(
            "the deletion",
            client.cas(first, Expected::Exactly(at(1)), GlobalRef::Deleted).await?,
            Outcome::Applied,
        )?;
        same("both", client.values(&[first, second]).await?, [GlobalRef::Deleted, at(2)])?;
        same("forgotten", client.remove_ref(second).await?, true)?;
        same("both", client.values(&[first, second]).await?, [GlobalRef::Deleted, GlobalRef::Untracked])?;
        same("again", client.cas(second, Expected::Absent, at(3)).await?, Outcome::Applied)?;
        same("back", client.cas(first, Expected::AbsentOrDeleted, at(4)).await?, Outcome::Applied)?;
        same("both", client.values(&[first, second]).await?, [at(4), at(3)])?;
    }
    Ok(())
}

async fn prefixes(run: &Run) -> Checked {
    let client = run.client("p")?;
    let refs = ["refs/heads/x", "refs/heads/xy", "refs/heads/x/y", "refs/heads/x-", "refs/heads"];
    for (i, name) in refs.iter().enumerate().skip(1) {
        client.put(name, at(i as u64)).await?;
        same(format!("after `{name}`"), client.value(refs[0]).await?, GlobalRef::Untracked)?;
    }
    client.put(refs[0], at(0)).await?;
    same("forgotten", client.remove_ref(refs[0]).await?, true)?;
    same("the others", client.values(&refs[1..]).await?, [at(1), at(2), at(3), at(4)])
}

async fn nested(run: &Run) -> Checked {
    let outer = run.client("p")?;
    // The refs of `p/refs` could stand where refs of `p` do; a store that cannot tell them apart may refuse it.
    let mut inner = vec!["p/sub", "p2", "p/sub/sub"];
    for odd in ["p/refs", "p/refs/heads", "p/heads/a"] {
        if outer.at(odd)?.holds("refs/heads/a").await? {
            inner.push(odd);
        }
    }
    for (i, project) in inner.iter().enumerate() {
        outer.at(project)?.put("refs/heads/a", at(i as u64)).await?;
    }
    same("the outer project", outer.scan("", 100).await?, Vec::<String>::new())?;
    outer.put("refs/heads/a", at(100)).await?;
    outer.put("refs/heads/b", at(101)).await?;
    for (i, project) in inner.iter().enumerate() {
        let client = outer.at(project)?;
        same(*project, client.scan("", 100).await?, ["refs/heads/a"])?;
        same(*project, client.value("refs/heads/a").await?, at(i as u64))?;
    }
    same("the outer project", outer.scan("", 100).await?, ["refs/heads/a", "refs/heads/b"])
}

async fn two_projects(run: &Run) -> Checked {
    let (p, q) = (run.client("p")?, run.client("q")?);
    same("in one", p.cas("refs/heads/a", Expected::Absent, at(1)).await?, Outcome::Applied)?;
    same("in the other", q.value("refs/heads/a").await?, GlobalRef::Untracked)?;
    same("in the other", q.cas("refs/heads/a", Expected::Absent, at(2)).await?, Outcome::Applied)?;
    same("in one", p.remove_ref("refs/heads/a").await?, true)?;
    same("in the other", q.value("refs/heads/a").await?, at(2))
}

async fn project_names(run: &Run) -> Checked {
    let long = "x".repeat(255);
    let odd = [
        "日本", "a b", "a+b", "a%2Fb", "a/b", "%", "A", "a", "é", "e\u{301}", "locks", "a:b", "a&=?#", &long,
    ];
    for (i, project) in odd.iter().enumerate() {
        run.client(project)?.put("refs/heads/a", at(i as u64)).await?;
    }
    for (i, project) in odd.iter().enumerate() {
        let client = run.client(project)?;
        same(format!("`{project}`"), client.value("refs/heads/a").await?, at(i as u64))?;
        same(format!("`{project}`"), client.scan("", 9).await?, ["refs/heads/a"])?;
    }
    Ok(())
}

/// Legal for git, and trouble for one store or another. Some take them; none may take one and lose it.
async fn refused(run: &Run) -> Checked {
    let client = run.client("p")?;
    let refs = [
        "refs/heads/\u{e000}",
        "refs/heads/\u{ffff}",
        "refs/heads/\u{fff0}",
        "refs/heads/\u{10ffff}",
        "refs/heads/%FF",
        "refs/heads/%ED%A0%80",
        "refs/heads/zookeeper",
        "refs/heads/%C2%80",
        "refs/heads/%EF%BF%BD",
    ];
    for name in refs {
        whole_or_refused(run, &client, &ref_name(name)?).await?;
    }
    let projects = ["\u{e000}", "\u{fff0}", "zookeeper", &"y".repeat(300)];
    for project in projects {
        whole_or_refused(run, &client.at(project)?, &ref_name("refs/heads/a")?).await?;
    }
    let long = format!("refs/heads/{}", "x".repeat(5_000));
    whole_or_refused(run, &client, &ref_name(&long)?).await
}

async fn whole_or_refused(run: &Run, client: &Client<'_>, name: &RefName) -> Checked {
    let what = format!("`{}…` in `{}…`", start(&name.to_string()), start(client.project.as_str()));
    let edit = Edit::new(name.clone(), Expected::Absent, at(1));
    match client.try_edits(&[edit], refgate_core::Atomicity::Each).await {
        Ok(outcome) => {
            same(format!("{what}: a write"), outcome, [Outcome::Applied])?;
            let found =
                client.db.get_many(&client.project, std::slice::from_ref(name), run.deadline()).await?;
            let value = found.first().and_then(|f| f.entry()).map(|entry| entry.value);
            same(format!("{what}: what is read"), value, Some(at(1)))?;
            let page = client.db.scan(&client.project, name.as_bytes(), None, 9, run.deadline()).await?;
            let found: Vec<&RefName> = page.rows.iter().map(|(name, _)| name).collect();
            same(format!("{what}: what is listed"), found, [name])
        }
        Err(e) if e.kind == RefDbErrorKind::InvalidName => {
            match client.db.get_many(&client.project, std::slice::from_ref(name), run.deadline()).await {
                Ok(found) => ensure(found.iter().all(nothing), || {
                    format!("{what}: refused for writing, and yet a read gives {found:?}")
                }),
                Err(e) if e.kind == RefDbErrorKind::InvalidName => Ok(()),
                Err(e) => failed(format!("{what}: a read gives {:?}: {e}", e.kind)),
            }
        }
        Err(e) => failed(format!("{what}: expected InvalidName or a write, seen {:?}: {e}", e.kind)),
    }
}

/// Nothing is stored, or the store says of this ref alone that it cannot hold it.
fn nothing(found: &Lookup) -> bool {
    matches!(found, Lookup::Unreadable(_)) || !found.exists()
}

fn start(text: &str) -> String {
    text.chars().take(60).collect()
}

async fn bytes(run: &Run) -> Checked {
    let client = run.client("p")?;
    let odd = ["refs/é", "refs/e%CC%81", "refs/A", "refs/a", "refs/100%25", "refs/+", "HEAD"];
    for (i, name) in odd.iter().enumerate() {
        client.put(name, at(i as u64)).await?;
    }
    for (i, name) in odd.iter().enumerate() {
        same(*name, client.value(name).await?, at(i as u64))?;
    }
    same("the number of refs", client.scan("", 99).await?.len(), odd.len())?;
    // Illegal names cannot even be asked for.
    for name in ["refs/../x", "refs/a b", "refs/a\u{7}", "refs//a", ""] {
        ensure(RefName::new(name).is_err(), || format!("`{name}` is taken as a ref name"))?;
    }
    for name in ["a/../b", "/a", "a//b", "-a", "a\u{7}", ""] {
        ensure(Project::new(name).is_err(), || format!("`{name}` is taken as a project name"))?;
    }
    Ok(())
}
