//! Where a batch comes from: the host's resource in a component, plain memory in tests and native hosts.

/// Byte strings back to back: item `i` is `bytes[ends[i - 1]..ends[i]]`, where `ends[-1]` is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// All items, one after the other.
    pub bytes: Vec<u8>,
    /// Exclusive end of each item in `bytes`.
    pub ends: Vec<u32>,
}

impl Column {
    /// Item `i`.
    ///
    /// # Panics
    /// When there is no item `i`.
    pub fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|i| self.get(i))
    }
}

/// Which object ids of a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OidColumn {
    /// What would be at the destination afterwards.
    New,
    /// What would be overwritten at the destination.
    Old,
    /// The local value.
    Local,
    /// The global ref-db's value.
    Global,
}

/// The facts of a batch, column by column. Authors of filters use [`Batch`](crate::Batch); a host that runs filters
/// natively implements this for its own batch.
///
/// Ranges are half open with `start <= end <= len`, indices are below `len`; anything else is a bug of the filter, and an
/// implementation panics.
pub trait RefSource {
    /// The project.
    fn project(&self) -> String;
    /// The site at the other end; empty when not known.
    fn peer(&self) -> String;
    /// How many refs there are.
    fn len(&self) -> u32;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes per object id: 20 or 32.
    fn oid_len(&self) -> u32;
    /// 0 in the first pass, 1 after the wait and the reload.
    fn attempt(&self) -> u32;
    /// Ascending indices of the refs with `state & mask == value`.
    fn select(&self, mask: u32, value: u32) -> Vec<u32>;
    /// Ascending indices of the refs whose name starts with `prefix`.
    fn select_prefix(&self, prefix: &[u8]) -> Vec<u32>;
    /// State words.
    fn states(&self, start: u32, end: u32) -> Vec<u32>;
    /// Full ref names.
    fn names(&self, start: u32, end: u32) -> Column;
    /// Full ref names of single refs.
    fn names_at(&self, indices: &[u32]) -> Column;
    /// Object ids back to back, all zero where there is none.
    fn oids(&self, which: OidColumn, start: u32, end: u32) -> Vec<u8>;
    /// Equal numbers for refs that stand or fall together.
    fn groups(&self, start: u32, end: u32) -> Vec<u32>;
}

#[cfg(target_arch = "wasm32")]
impl RefSource for crate::bindings::RefBatch {
    fn project(&self) -> String {
        Self::project(self)
    }
    fn peer(&self) -> String {
        Self::peer(self)
    }
    fn len(&self) -> u32 {
        Self::len(self)
    }
    fn oid_len(&self) -> u32 {
        Self::oid_len(self)
    }
    fn attempt(&self) -> u32 {
        Self::attempt(self)
    }
    fn select(&self, mask: u32, value: u32) -> Vec<u32> {
        Self::select(self, mask, value)
    }
    fn select_prefix(&self, prefix: &[u8]) -> Vec<u32> {
        Self::select_prefix(self, prefix)
    }
    fn states(&self, start: u32, end: u32) -> Vec<u32> {
        Self::states(self, start, end)
    }
    fn names(&self, start: u32, end: u32) -> Column {
        let column = Self::names(self, start, end);
        Column { bytes: column.bytes, ends: column.ends }
    }
    fn names_at(&self, indices: &[u32]) -> Column {
        let column = Self::names_at(self, indices);
        Column { bytes: column.bytes, ends: column.ends }
    }
    fn oids(&self, which: OidColumn, start: u32, end: u32) -> Vec<u8> {
        match which {
            OidColumn::New => self.new_oids(start, end),
            OidColumn::Old => self.old_oids(start, end),
            OidColumn::Local => self.local_oids(start, end),
            OidColumn::Global => self.global_oids(start, end),
        }
    }
    fn groups(&self, start: u32, end: u32) -> Vec<u32> {
        Self::groups(self, start, end)
    }
}
