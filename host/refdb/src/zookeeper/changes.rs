//! From what was read and what is wanted to the operations of one atomic write: pure functions.

use refgate_core::refdb::Stored;

use super::codec;
use super::read::{FRAME, Node, Record};

/// One operation of an atomic write. Each names the version that it expects: a write that is late finds another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The node must not be there.
    Create { path: String, data: Vec<u8> },
    /// The node must have this version.
    Set { path: String, data: Vec<u8>, version: i32 },
    /// The node must have this version and no children.
    Delete { path: String, version: i32 },
}

impl Change {
    pub(super) fn path(&self) -> &str {
        match self {
            Change::Create { path, .. } | Change::Set { path, .. } | Change::Delete { path, .. } => path,
        }
    }

    /// Most bytes that it takes in a packet.
    pub(super) fn bytes(&self) -> usize {
        let data = match self {
            Change::Create { data, .. } | Change::Set { data, .. } => data.len(),
            Change::Delete { .. } => 0,
        };
        self.path().len() + data + FRAME
    }
}

/// What keeps the server from removing a value where an empty directory was a moment before.
///
/// The server looks for empty containers now and then, and removes each by its path alone: by then the node may have been
/// made anew, with a value. It only leaves alone what is ephemeral or has children, so this is a child. No ref has such a
/// part, so Gerrit and a scan pass it by.
pub(super) fn guard(path: &str) -> String {
    format!("{path}/:")
}

/// Whether the server may be about to remove what is there: a directory without anything in it.
pub(super) fn is_empty_directory(node: &Node) -> bool {
    node.data.is_empty() && node.children == 0
}

/// The operations that put `stored` in the place of `record` at `nodes`. `was_directory`: an empty directory was there a
/// moment before.
///
/// The value node changes in any case, so that its version guards the list too.
pub(super) fn changes(
    nodes: &(String, String),
    record: &Record,
    stored: Option<&Stored>,
    was_directory: bool,
) -> Vec<Change> {
    let (value, list) = match stored {
        Some(Stored::Entry(entry)) => (codec::value(entry.value), codec::superseded(&entry.superseded)),
        Some(Stored::Text(text)) => (Some(text.clone()), String::new()),
        None => (None, String::new()),
    };
    let mut changes = Vec::with_capacity(2);
    match value {
        Some(data) => {
            put(&nodes.0, record.value.as_ref(), data.into(), &mut changes);
            if record.value.as_ref().map_or(was_directory, is_empty_directory) {
                changes.push(Change::Create { path: guard(&nodes.0), data: Vec::new() });
            }
        }
        None => match &record.value {
            None => {}
            // Others are below it; without data it is a directory.
            Some(node) if node.children > 0 => {
                changes.push(Change::Set { path: nodes.0.clone(), data: Vec::new(), version: node.version });
            }
            Some(node) => changes.push(Change::Delete { path: nodes.0.clone(), version: node.version }),
        },
    }
    match (&record.list, list.is_empty()) {
        (None, true) => {}
        (Some(node), true) => changes.push(Change::Delete { path: nodes.1.clone(), version: node.version }),
        (Some(node), false) if node.data == list.as_bytes() => {}
        (node, false) => put(&nodes.1, node.as_ref(), list.into(), &mut changes),
    }
    changes
}

/// What takes a value away together with its guard, which has this version, where nothing else is below it.
pub(super) fn clear(path: &str, node: &Node, guard_version: i32) -> Vec<Change> {
    vec![
        Change::Delete { path: guard(path), version: guard_version },
        Change::Delete { path: path.to_owned(), version: node.version },
    ]
}

fn put(path: &str, node: Option<&Node>, data: Vec<u8>, changes: &mut Vec<Change>) {
    let path = path.to_owned();
    match node {
        None => changes.push(Change::Create { path, data }),
        // It may be a container, which a client cannot see. Those the server removes once they have lost their last
        // child, with whatever was written into them meanwhile.
        Some(node) if is_empty_directory(node) => {
            changes.push(Change::Delete { path: path.clone(), version: node.version });
            changes.push(Change::Create { path, data });
        }
        Some(node) => changes.push(Change::Set { path, data, version: node.version }),
    }
}

/// What keeps the value of a ref whose name is a directory for another one, when the last ref below it is removed: the
/// server would take away the directory with its value. `above` are the directories, nearest first.
pub(super) fn rescue(above: Vec<(String, Option<Node>)>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (path, node) in above {
        let Some(node) = node.filter(|node| node.children == 1) else { break };
        changes.push(Change::Delete { path: path.clone(), version: node.version });
        if !node.data.is_empty() {
            let guard = Change::Create { path: guard(&path), data: Vec::new() };
            changes.extend([Change::Create { path, data: node.data }, guard]);
            return changes;
        }
    }
    // Nothing there is worth keeping; the server tidies up.
    Vec::new()
}

#[cfg(test)]
mod tests {
    use refgate_core::{Entry, GlobalRef, Oid};

    use super::*;

    fn oid(digit: u8) -> Oid {
        Oid::from_hex(&[digit; 40]).unwrap()
    }

    fn at(digit: u8) -> Option<Stored> {
        entry(digit, Vec::new())
    }

    fn entry(digit: u8, superseded: Vec<Oid>) -> Option<Stored> {
        Some(Stored::Entry(Entry { value: GlobalRef::At(oid(digit)), superseded }))
    }

    fn changed(record: &Record, stored: Option<Stored>, was_directory: bool) -> Vec<Change> {
        changes(&nodes(), record, stored.as_ref(), was_directory)
    }

    fn node(data: &str, version: i32) -> Node {
        Node { data: data.into(), version, children: 0, changed: 0 }
    }

    fn nodes() -> (String, String) {
        ("/r/p/refs/x".to_owned(), "/o/p/refs/x/:".to_owned())
    }

    fn create(path: &str, data: &str) -> Change {
        Change::Create { path: path.into(), data: data.into() }
    }

    fn set(path: &str, data: &str, version: i32) -> Change {
        Change::Set { path: path.into(), data: data.into(), version }
    }

    fn delete(path: &str, version: i32) -> Change {
        Change::Delete { path: path.into(), version }
    }

    #[test]
    fn nothing_is_written_without_a_version() {
        let (value, list) = nodes();
        let a = "a".repeat(40);
        let both = || entry(b'a', vec![oid(b'b')]);
        let lines = format!("{}\n", "b".repeat(40));
        let empty = Record::default();
        assert_eq!(changed(&empty, both(), false), [create(&value, &a), create(&list, &lines)]);
        assert_eq!(changed(&empty, at(b'a'), false), [create(&value, &a)]);
        let full = Record { value: Some(node(&a, 7)), list: Some(node(&lines, 3)) };
        assert_eq!(changed(&full, both(), false), [set(&value, &a, 7)], "the version guards the list too");
        assert_eq!(changed(&full, at(b'a'), false), [set(&value, &a, 7), delete(&list, 3)]);
        assert_eq!(changed(&full, None, false), [delete(&value, 7), delete(&list, 3)]);
        assert_eq!(
            changed(&full, Some(Stored::Text("12".into())), false),
            [set(&value, "12", 7), delete(&list, 3)]
        );
        let list_of_nothing = Record { value: None, list: Some(node(&lines, 3)) };
        assert_eq!(changed(&list_of_nothing, at(b'a'), false), [create(&value, &a), delete(&list, 3)]);
    }

    #[test]
    fn directories_take_values_and_lose_them_again() {
        let (value, _) = nodes();
        let a = "a".repeat(40);
        let of = |children| Record { value: Some(Node { children, ..node("", 2) }), list: None };
        assert_eq!(changed(&of(1), at(b'a'), false), [set(&value, &a, 2)]);
        assert_eq!(
            changed(&of(0), at(b'a'), false),
            [delete(&value, 2), create(&value, &a), create(&format!("{value}/:"), "")],
            "an empty container is about to be removed"
        );
        assert_eq!(
            changed(&Record::default(), at(b'a'), true),
            [create(&value, &a), create(&format!("{value}/:"), "")],
            "it was removed just now, and may be once more"
        );
        assert_eq!(changed(&of(1), None, false), [set(&value, "", 2)]);
    }

    #[test]
    fn a_value_above_the_last_ref_is_rescued() {
        let above = |data: &str, children| Some(Node { children, ..node(data, 1) });
        let full = ("/r/p/refs/a".to_owned(), above("v", 1));
        let dir = ("/r/p/refs/a/b".to_owned(), above("", 1));
        let kept = [delete(&dir.0, 1), delete(&full.0, 1), create(&full.0, "v"), create("/r/p/refs/a/:", "")];
        assert_eq!(rescue(vec![dir.clone(), full.clone()]), kept);
        assert_eq!(rescue(vec![full.clone()]), kept[1..]);
        for stays in [above("v", 2), None] {
            assert_eq!(rescue(vec![dir.clone(), (full.0.clone(), stays)]), []);
        }
        assert_eq!(rescue(vec![dir]), []);
    }
}
