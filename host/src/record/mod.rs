//! Recordings: what filters were asked and what they said, kept in a file, and asked again with other filters.

mod format;
mod read;
mod replay;
mod write;

pub use format::{FORMAT, VERSION};
pub use read::{RecordedLook, Recording};
pub use replay::{Changed, Replayed, replay};
pub use write::{DEFAULT_MAX, Note, Recorder};

#[cfg(test)]
mod tests;
