//! Going through the tree of a project: what a scan finds, and what removing a project takes away.

use std::collections::BTreeSet;

use refgate_core::{Cursor, Page, Project, RefDbError, RefName};
use zookeeper_client::Error;

use super::changes::Change;
use super::ensemble::{Ensemble, WriteInFlight};
use super::layout::{Place, decode, is_pseudo_ref};
use super::link::Link;
use super::read::{Answer, Ask, Node};

impl Ensemble {
    /// All entries whose name begins with `prefix`, after `cursor`.
    pub(super) async fn scan(
        &self,
        link: &Link,
        place: &Place,
        prefix: &[u8],
        cursor: Option<&Cursor>,
    ) -> Result<Page, Error> {
        let mut paths = self.pseudo_refs(link, place, self.settings.sync).await?;
        if let Some(dir) = place.directory(prefix) {
            paths.extend(self.walk(link, dir, false).await?);
        }
        let names: BTreeSet<RefName> = paths
            .iter()
            .filter_map(|path| place.name_of(path))
            .filter(|name| name.as_bytes().starts_with(prefix))
            .filter(|name| cursor.is_none_or(|cursor| *name > cursor.after))
            .collect();
        let nodes: Vec<(String, String)> = names.iter().filter_map(|name| place.nodes(name).ok()).collect();
        let records = self.records(link, &nodes, false).await?;
        let rows = names.into_iter().zip(records.iter().map(|record| record.lookup()));
        Ok(Page { rows: rows.filter(|(_, found)| found.exists()).collect(), next: None })
    }

    /// The nodes of refs like `HEAD`, beside the directory `refs`.
    async fn pseudo_refs(&self, link: &Link, place: &Place, sync: bool) -> Result<Vec<String>, Error> {
        let answers = self.ask(link, &[Ask::Children(&place.values)], sync).await?;
        let children = answers.into_iter().flat_map(Answer::children);
        let pseudo = children.filter(|name| is_pseudo_ref(name));
        Ok(pseudo.map(|name| format!("{}/{name}", place.values)).collect())
    }

    /// Every node from `top` downwards, level by level.
    async fn walk(&self, link: &Link, top: String, sync: bool) -> Result<Vec<String>, Error> {
        let mut all = Vec::new();
        let mut level = vec![top];
        let mut sync = sync;
        while !level.is_empty() {
            let asks: Vec<Ask<'_>> = level.iter().map(|path| Ask::Children(path)).collect();
            let answers = self.ask(link, &asks, sync).await?;
            let mut next = Vec::new();
            for (path, answer) in level.iter().zip(answers) {
                next.extend(answer.children().into_iter().map(|child| format!("{path}/{child}")));
            }
            all.append(&mut level);
            level = next;
            sync = false;
        }
        Ok(all)
    }

    /// Removes every ref of a project, and nothing of a project whose name begins with its name and a slash.
    pub(super) async fn remove(&self, place: &Place, in_flight: &WriteInFlight) -> Result<u64, RefDbError> {
        let mut removed = 0;
        loop {
            let link = self.writer().await?;
            let failed = |e: Error| self.set_aside(&link, &e);
            let values = self.walk(&link, format!("{}/refs", place.values), true).await.map_err(failed)?;
            let pseudo = self.pseudo_refs(&link, place, false).await.map_err(failed)?;
            let pseudo = self.nodes(&link, pseudo).await.map_err(failed)?;
            let values = self.nodes(&link, values).await.map_err(failed)?;
            let lists = self.lists(&link, place).await.map_err(failed)?;
            // Values first: a value without its list would be held back everywhere, a list alone does nothing.
            let mut deletions: Vec<(Change, bool)> = pseudo.into_iter().filter_map(clear).collect();
            deletions.extend(deepest_first(values));
            deletions.extend(deepest_first(lists).into_iter().map(|(change, _)| (change, false)));
            if deletions.is_empty() {
                return Ok(removed);
            }
            let (changes, entries): (Vec<Change>, Vec<bool>) = deletions.into_iter().unzip();
            let done = self.delete_all(&changes, in_flight).await?;
            removed += entries[..done].iter().filter(|entry| **entry).count() as u64;
        }
    }

    /// The superseded lists of a project.
    async fn lists(&self, link: &Link, place: &Place) -> Result<Vec<(String, Node)>, Error> {
        let mut paths = self.walk(link, format!("{}/refs", place.lists), false).await?;
        let top = self.ask(link, &[Ask::Children(&place.lists)], false).await?;
        for name in top.into_iter().flat_map(Answer::children).filter(|name| is_pseudo_ref(name)) {
            paths.extend(self.walk(link, format!("{}/{name}", place.lists), false).await?);
        }
        paths.retain(|path| path.ends_with("/:"));
        self.nodes(link, paths).await
    }

    async fn nodes(&self, link: &Link, paths: Vec<String>) -> Result<Vec<(String, Node)>, Error> {
        let asks: Vec<Ask<'_>> = paths.iter().map(|path| Ask::Data(path)).collect();
        let answers = self.ask(link, &asks, false).await?;
        let nodes = answers.into_iter().map(Answer::node);
        Ok(paths.into_iter().zip(nodes).filter_map(|(path, node)| Some((path, node?))).collect())
    }

    /// The sites that ever used this store. Every session asks for them, so the mark comes along; and a member of the
    /// ensemble that is behind would look like a store that went back, so this always catches up first.
    pub(super) async fn sites(&self, link: &Link) -> Result<Vec<String>, Error> {
        let layout = &self.settings.layout;
        let (dir, identity, revision) = (layout.sites(), layout.identity(), layout.revision());
        let asks = [Ask::Data(&identity), Ask::Data(&revision), Ask::Children(&dir)];
        let mut answers = self.ask(link, &asks, true).await?.into_iter();
        let mut node = || answers.next().and_then(Answer::node);
        self.note(node().as_ref(), node().as_ref());
        let nodes = answers.flat_map(Answer::children);
        let mut sites: Vec<String> = nodes.filter_map(|node| decode(&node)).collect();
        sites.sort_unstable();
        Ok(sites)
    }

    /// The projects whose directories hold refs, or did until lately, in byte order of their nodes; only those behind the
    /// node `after`.
    pub(super) async fn projects(&self, link: &Link, after: Option<&str>) -> Result<Vec<Project>, Error> {
        let root = self.settings.layout.root.as_str();
        let (mut found, mut level, mut sync) = (Vec::new(), vec![root.to_owned()], self.settings.sync);
        while !level.is_empty() {
            let asks: Vec<Ask<'_>> = level.iter().map(|path| Ask::Children(path)).collect();
            let answers = self.ask(link, &asks, sync).await?;
            let mut next = Vec::new();
            for (path, answer) in level.iter().zip(answers) {
                let is_ref = |child: &str| path != root && (child == "refs" || is_pseudo_ref(child));
                let children = answer.children();
                if children.iter().any(|child| is_ref(child)) {
                    found.push(path.clone());
                }
                // Beside the projects are Gerrit's locks.
                let below = |child: &&String| !(is_ref(child) || path == root && *child == "locks");
                next.extend(children.iter().filter(below).map(|child| format!("{path}/{child}")));
            }
            level = next;
            sync = false;
        }
        found.retain(|path| after.is_none_or(|after| path.as_str() > after));
        found.sort_unstable();
        let name = |path: &String| decode(path.strip_prefix(root)?.strip_prefix('/')?);
        Ok(found.iter().filter_map(name).filter_map(|name| Project::recorded(name).ok()).collect())
    }
}

/// What deletes `nodes`, children before their parents, and whether it was an entry.
fn deepest_first(mut nodes: Vec<(String, Node)>) -> Vec<(Change, bool)> {
    nodes.sort_by(|(a, _), (b, _)| b.cmp(a));
    let delete = |(path, node): (String, Node)| {
        let entry = !node.data.is_empty();
        (Change::Delete { path, version: node.version }, entry)
    };
    nodes.into_iter().map(delete).collect()
}

/// What takes the value out of a node beside `refs`, which may be the directory of another project, too.
fn clear((path, node): (String, Node)) -> Option<(Change, bool)> {
    let version = node.version;
    match (node.data.is_empty(), node.children) {
        (true, _) => None,
        (false, 0) => Some((Change::Delete { path, version }, true)),
        (false, _) => Some((Change::Set { path, data: Vec::new(), version }, true)),
    }
}
