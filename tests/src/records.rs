//! What the sites of the laboratory write to their ref-db, as gated writes and operators do.

use std::time::Duration;

use refgate_core::{
    Atomicity, Deadline, Edit, Entry, Expected, GlobalRef, Lookup, Oid, Outcome, RefDb, RefName,
};

use crate::lab::project;
use crate::{Lab, full_name};

impl Lab {
    /// Records a new value if `old` is there, as `refdb cas` does at a site. `false` when it is not.
    pub async fn record(&self, site: &str, name: &str, old: GlobalRef, new: GlobalRef) -> bool {
        let fast_forward = match (old, new) {
            (GlobalRef::At(old), GlobalRef::At(new)) => self.repo(site).is_ancestor(old, new),
            _ => false,
        };
        let edit = Edit::new(ref_name(name), Expected::Exactly(old), new).fast_forward(fast_forward);
        self.record_all(site, &[edit]).await == [Outcome::Applied]
    }

    /// Records many values at once.
    pub async fn record_all(&self, site: &str, edits: &[Edit]) -> Vec<Outcome> {
        let refdb = self.refdb(site).await;
        let written = refdb.compare_and_put(&project(), edits, Atomicity::Each, self.deadline()).await;
        written.expect("the ref-db can be written")
    }

    /// A gated write: the ref-db first, then the ref. `false`, and nothing is written, when the site is stale.
    pub async fn write(&self, site: &str, name: &str, new: Option<Oid>) -> bool {
        let repo = self.repo(site);
        let global = self.entry(site, name).await.value;
        let here = repo.get(name);
        if global.oid() != here {
            return false;
        }
        let recorded = self.record(site, name, global, GlobalRef::at_or_deleted(new)).await;
        match new {
            _ if !recorded => {}
            Some(oid) => repo.set(name, oid),
            None => repo.delete(name),
        }
        recorded
    }

    /// Commits on top of a ref by a gated write, which must be accepted.
    pub async fn commit(&self, site: &str, name: &str, message: &str) -> Oid {
        let repo = self.repo(site);
        let parents: Vec<Oid> = repo.get(name).into_iter().collect();
        let oid = repo.commit(&parents, message);
        assert!(self.write(site, name, Some(oid)).await, "{site} is stale at {name}");
        oid
    }

    /// Records all refs of a site that the ref-db does not know, as `refdb seed` does.
    pub async fn seed(&self, site: &str) {
        let edit =
            |(name, oid): (&String, &Oid)| Edit::new(ref_name(name), Expected::Absent, GlobalRef::At(*oid));
        let edits: Vec<Edit> = self.repo(site).refs().iter().map(edit).collect();
        self.record_all(site, &edits).await;
    }

    /// What the ref-db holds.
    pub async fn entry(&self, site: &str, name: &str) -> Entry {
        let refdb = self.refdb(site).await;
        let found = refdb.get_many(&project(), &[ref_name(name)], self.deadline()).await;
        match found.expect("the ref-db can be read").as_slice() {
            [Lookup::Entry(entry)] => entry.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The ref-db as a site opens it.
    pub async fn refdb(&self, site: &str) -> RefDb {
        self.open(site).await.expect("a site").gate.refdb().clone()
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.clock().as_ref(), Duration::from_secs(600))
    }
}

/// Short or full, and `%XX` for a byte that is not UTF-8.
fn ref_name(name: &str) -> RefName {
    RefName::from_escaped(&full_name(name)).expect("a legal name")
}
