//! Where things are in etcd's one flat, sorted space of keys.
//!
//! | key | what |
//! |---|---|
//! | `ROOT/format` | that a ref-db is here, and its format |
//! | `ROOT/identity` | what tells it from every other one |
//! | `ROOT/closed` | why nobody may write, while that is so |
//! | `ROOT/entry/PROJECT//REF` | an entry |
//! | `ROOT/site/NAME` | a site that used it |
//! | `ROOT/lock/PROJECT//REF//ID` | a hold of a lock, or somebody who waits for it |
//! | `ROOT/session/ID` | a client that may write |
//!
//! Neither projects nor refs hold `//`, so the first `//` ends the project: no project sees another one, the keys of a
//! project sort as its refs do, and any bytes of a ref name fit. `ID` is a lease, 16 hexadecimal digits.

use refgate_core::{Project, RefName};

/// The keys below one root.
pub(super) struct Keys {
    root: String,
}

impl Keys {
    pub(super) fn new(root: &str) -> Keys {
        Keys { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &str {
        &self.root
    }

    pub(super) fn format(&self) -> Vec<u8> {
        self.below("format")
    }

    pub(super) fn identity(&self) -> Vec<u8> {
        self.below("identity")
    }

    pub(super) fn closed(&self) -> Vec<u8> {
        self.below("closed")
    }

    /// What all entries begin with; the rest is the project, `//` and the name.
    pub(super) fn all_entries(&self) -> Vec<u8> {
        self.below("entry/")
    }

    /// What all entries of a project begin with; the rest is the name of the ref.
    pub(super) fn entries(&self, project: &Project) -> Vec<u8> {
        self.below(&format!("entry/{project}//"))
    }

    pub(super) fn entry(&self, project: &Project, name: &RefName) -> Vec<u8> {
        [&self.entries(project), name.as_bytes()].concat()
    }

    /// What all who hold or want the lock of a ref begin with.
    pub(super) fn locks(&self, project: &Project, name: &RefName) -> Vec<u8> {
        [&self.below(&format!("lock/{project}//")), name.as_bytes(), b"//"].concat()
    }

    pub(super) fn lock(&self, project: &Project, name: &RefName, lease: i64) -> Vec<u8> {
        [&self.locks(project, name), id(lease).as_bytes()].concat()
    }

    pub(super) fn session(&self, lease: i64) -> Vec<u8> {
        self.below(&format!("session/{}", id(lease)))
    }

    /// What all sites begin with; the rest is the name.
    pub(super) fn sites(&self) -> Vec<u8> {
        self.below("site/")
    }

    pub(super) fn site(&self, name: &str) -> Vec<u8> {
        self.below(&format!("site/{name}"))
    }

    fn below(&self, rest: &str) -> Vec<u8> {
        format!("{}/{rest}", self.root).into_bytes()
    }
}

/// How a lease is written in keys and tokens.
pub(super) fn id(lease: i64) -> String {
    format!("{lease:016x}")
}

/// The lease that [`id`] wrote; nothing else is one.
pub(super) fn lease_of(id_: &str) -> Option<i64> {
    let lease = i64::from_str_radix(id_, 16).ok()?;
    (id(lease) == id_).then_some(lease)
}

/// The first key behind all that begin with `prefix`.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // Not reached: every prefix begins with a root, which is text. This is etcd's own "to the last key".
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str) -> Project {
        Project::new(name).unwrap()
    }

    fn name(name: &[u8]) -> RefName {
        RefName::new(name).unwrap()
    }

    #[test]
    fn keys_byte_by_byte() {
        let keys = Keys::new("gerrit/refs");
        assert_eq!(keys.format(), b"gerrit/refs/format");
        assert_eq!(keys.entry(&project("a/b"), &name(b"refs/\xff")), b"gerrit/refs/entry/a/b//refs/\xff");
        let lock = keys.lock(&project("a"), &name(b"refs/x"), 0x1f);
        assert_eq!(lock, b"gerrit/refs/lock/a//refs/x//000000000000001f");
        assert_eq!(keys.session(-1), b"gerrit/refs/session/ffffffffffffffff");
        assert_eq!(keys.site("\u{fc}"), b"gerrit/refs/site/\xc3\xbc");
    }

    #[test]
    fn no_project_sees_another_one() {
        let keys = Keys::new("r");
        let (from, to) = (keys.entries(&project("p")), end_of(&keys.entries(&project("p"))));
        let inside = |p: &str| {
            let key = keys.entry(&project(p), &name(b"refs/x"));
            from <= key && key < to
        };
        assert!(inside("p"));
        for other in ["p/sub", "p/!", "p/ x", "p2", "p!", "o", "q"] {
            assert!(!inside(other), "{other}");
        }
    }

    #[test]
    fn keys_sort_as_refs_do() {
        let keys = Keys::new("r");
        let mut names =
            [&b"refs/a-b"[..], b"refs/a", b"refs/a/b", b"HEAD", b"refs/a0", b"refs/\xff"].map(name);
        names.sort();
        assert!(names.map(|n| keys.entry(&project("p"), &n)).is_sorted());
    }

    #[test]
    fn only_what_is_a_lease_is_one() {
        for lease in [0, 1, i64::MAX] {
            assert_eq!(lease_of(&id(lease)), Some(lease));
        }
        for other in ["", "1", "+00000000000001f", "000000000000001F", "x//000000000000001f"] {
            assert_eq!(lease_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(end_of(b"a/"), b"a0");
        assert_eq!(end_of(b"a\xff\xff"), b"b");
        assert_eq!(end_of(b"\xff"), b"\0");
    }
}
