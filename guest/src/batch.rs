//! What a filter sees of the refs on their way: whole selections, or ref by ref over windows of packed columns.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::{Column, OidColumn, RefSource, state};

/// Refs per window. Reading a window costs one host call per column and about 1 MB of memory; larger ones are no faster.
const WINDOW: u32 = 16_384;

/// The refs of one pass, their facts, and how to pick among them. Refs are known by their index, `0..len`.
///
/// Prefer [`select`](Batch::select) and [`select_prefix`](Batch::select_prefix) where they do: the host picks, and
/// nothing is copied for the refs that are not picked.
pub struct Batch<'a> {
    source: &'a dyn RefSource,
}

impl<'a> Batch<'a> {
    /// A view of `source`; filters receive theirs ready-made.
    pub fn new(source: &'a dyn RefSource) -> Batch<'a> {
        Batch { source }
    }

    /// The project.
    pub fn project(&self) -> String {
        self.source.project()
    }

    /// The site that the refs go to or come from; empty when not known.
    pub fn peer(&self) -> String {
        self.source.peer()
    }

    /// How many refs there are.
    pub fn len(&self) -> u32 {
        self.source.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes per object id: 20 for SHA-1, 32 for SHA-256.
    pub fn oid_len(&self) -> u32 {
        self.source.oid_len()
    }

    /// 0 in the first pass, 1 after the wait and the reload.
    pub fn attempt(&self) -> u32 {
        self.source.attempt()
    }

    /// Ascending indices of the refs with `state & mask == value`, see [`state`].
    pub fn select(&self, mask: u32, value: u32) -> Vec<u32> {
        self.source.select(mask, value)
    }

    /// Ascending indices of the refs that may not go as they stand. Usually few or none.
    pub fn stale(&self) -> Vec<u32> {
        self.select(state::MAY_GO, 0)
    }

    /// Ascending indices of the refs whose name starts with `prefix`, byte for byte.
    pub fn select_prefix(&self, prefix: &[u8]) -> Vec<u32> {
        self.source.select_prefix(prefix)
    }

    /// The names of `indices`, in their order, in one host call. For a few refs; [`refs`](Batch::refs) is for all.
    pub fn names_at(&self, indices: &[u32]) -> Column {
        self.source.names_at(indices)
    }

    /// All refs in order.
    pub fn refs(&self) -> Refs<'a, std::ops::Range<u32>> {
        self.refs_at(0..self.len())
    }

    /// The refs of `indices`, in their order; ascending ones read every window once.
    pub fn refs_at<I: IntoIterator<Item = u32>>(&self, indices: I) -> Refs<'a, I::IntoIter> {
        Refs { source: self.source, len: self.len(), indices: indices.into_iter(), window: None }
    }
}

/// Iterator over refs: reads a window of a column when the first ref of the window asks for that column.
///
/// One window is held at a time; it is freed before the next one is read, unless a [`Ref`] of it is still around.
pub struct Refs<'a, I> {
    source: &'a dyn RefSource,
    len: u32,
    indices: I,
    window: Option<Rc<Window<'a>>>,
}

impl<'a, I: Iterator<Item = u32>> Iterator for Refs<'a, I> {
    type Item = Ref<'a>;

    fn next(&mut self) -> Option<Ref<'a>> {
        let index = self.indices.next()?;
        let window = match self.window.take() {
            Some(window) if (window.start..window.end).contains(&index) => window,
            _ => {
                let start = index - index % WINDOW;
                Rc::new(Window::new(self.source, start, start.saturating_add(WINDOW).min(self.len)))
            }
        };
        self.window = Some(window.clone());
        Some(Ref { index, window })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indices.size_hint()
    }
}

/// One ref of a batch.
pub struct Ref<'a> {
    index: u32,
    window: Rc<Window<'a>>,
}

impl Ref<'_> {
    /// The index by which verdicts name the ref.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The full name as bytes: not always UTF-8, never with a NUL or a line feed.
    pub fn name(&self) -> &[u8] {
        let w = &self.window;
        w.names.get_or_init(|| w.source.names(w.start, w.end)).get(self.offset())
    }

    /// The state word, see [`state`].
    pub fn state(&self) -> u32 {
        let w = &self.window;
        w.states.get_or_init(|| w.source.states(w.start, w.end))[self.offset()]
    }

    /// Whether all `bits` of the state are set.
    pub fn is(&self, bits: u32) -> bool {
        self.state() & bits == bits
    }

    /// What would be at the destination afterwards; `None` for a deletion.
    pub fn new_oid(&self) -> Option<&[u8]> {
        self.oid(OidColumn::New)
    }

    /// What would be overwritten at the destination; `None` when nothing.
    pub fn old_oid(&self) -> Option<&[u8]> {
        self.oid(OidColumn::Old)
    }

    /// The local value.
    pub fn local_oid(&self) -> Option<&[u8]> {
        self.oid(OidColumn::Local)
    }

    /// The global ref-db's value; the state tells untracked and deleted apart.
    pub fn global_oid(&self) -> Option<&[u8]> {
        self.oid(OidColumn::Global)
    }

    /// The number that refs share which stand or fall together.
    pub fn group(&self) -> u32 {
        let w = &self.window;
        w.groups.get_or_init(|| w.source.groups(w.start, w.end))[self.offset()]
    }

    fn oid(&self, which: OidColumn) -> Option<&[u8]> {
        let w = &self.window;
        let column = w.oids[which as usize].get_or_init(|| w.source.oids(which, w.start, w.end));
        let len = column.len() / (w.end - w.start) as usize;
        let oid = &column[self.offset() * len..][..len];
        oid.iter().any(|b| *b != 0).then_some(oid)
    }

    fn offset(&self) -> usize {
        (self.index - self.window.start) as usize
    }
}

/// The columns of the refs `start..end`, each read when first asked for.
struct Window<'a> {
    source: &'a dyn RefSource,
    start: u32,
    end: u32,
    states: OnceCell<Vec<u32>>,
    names: OnceCell<Column>,
    oids: [OnceCell<Vec<u8>>; 4],
    groups: OnceCell<Vec<u32>>,
}

impl<'a> Window<'a> {
    fn new(source: &'a dyn RefSource, start: u32, end: u32) -> Window<'a> {
        Window {
            source,
            start,
            end,
            states: OnceCell::new(),
            names: OnceCell::new(),
            oids: Default::default(),
            groups: OnceCell::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBatch;

    #[test]
    fn windows_join_without_a_gap() {
        let mut batch = TestBatch::push("app");
        let n = 2 * WINDOW + 3;
        for i in 0..n {
            batch = batch.with(format!("refs/heads/{i}"), if i % 2 == 0 { state::MAY_GO } else { 0 });
        }
        let view = Batch::new(&batch);
        for (i, r) in (0..).zip(view.refs()) {
            assert_eq!(r.index(), i);
            assert_eq!(r.name(), format!("refs/heads/{i}").as_bytes());
            assert_eq!(r.is(state::MAY_GO), i % 2 == 0);
        }
        assert_eq!(view.refs().count() as u32, n);
        let picked = [5, WINDOW, WINDOW + 1, n - 1];
        let names: Vec<_> = view.refs_at(picked).map(|r| r.name().to_vec()).collect();
        assert_eq!(names, view.names_at(&picked).iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
    }

    #[test]
    fn oids_of_both_lengths_and_none() {
        for len in [20, 32] {
            let batch = TestBatch::push("app")
                .with("refs/heads/a", 0)
                .new_oid(&vec![1; len])
                .with("refs/heads/b", 0)
                .global_oid(&vec![2; len]);
            let view = Batch::new(&batch);
            let refs: Vec<_> = view.refs().collect();
            assert_eq!(refs[0].new_oid(), Some(&vec![1; len][..]));
            assert_eq!(refs[0].global_oid(), None);
            assert_eq!(refs[1].global_oid(), Some(&vec![2; len][..]));
            assert_eq!(view.oid_len() as usize, len);
        }
    }
}
