//! The operations of a [`RefDb`](super::RefDb), for messages and counters.

use super::{RefDbError, RefDbErrorKind};

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The operations of a [`RefDb`](super::RefDb), each the method of that name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Operation {
            $($(#[$doc])* $variant,)*
        }

        impl Operation {
            /// All of them, in the order of their declaration.
            pub const ALL: [Operation; [$($name),*].len()] = [$(Operation::$variant),*];

            /// The name of the method.
            pub fn name(self) -> &'static str {
                match self {
                    $(Operation::$variant => $name,)*
                }
            }
        }
    };
}

operations! {
    /// Reads entries.
    GetMany = "get_many",
    /// Lists entries.
    Scan = "scan",
    /// Writes values.
    CompareAndPut = "compare_and_put",
    /// Settles writes in doubt.
    Resolve = "resolve",
    /// Writes one value whatever is there.
    Put = "put",
    /// Exchanges one entry.
    SwapEntry = "swap_entry",
    /// Forgets one ref.
    RemoveRef = "remove_ref",
    /// Forgets the refs of a project.
    RemoveProject = "remove_project",
    /// Reads a text.
    GetText = "get_text",
    /// Writes a text.
    CompareAndPutText = "compare_and_put_text",
    /// Takes a lock.
    Lock = "lock",
    /// Records a site.
    NoteSite = "note_site",
    /// Lists the sites.
    Sites = "sites",
    /// Gives the store another identity.
    RenewIdentity = "renew_identity",
    /// Closes or opens the store.
    SetClosed = "set_closed",
    /// Reads why the store is closed.
    Closed = "closed",
    /// Lists the projects.
    Projects = "projects",
}

impl Operation {
    /// Whether it changes nothing, so that repeating it is harmless whatever became of the first attempt.
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Operation::GetMany
                | Operation::Scan
                | Operation::Resolve
                | Operation::GetText
                | Operation::Sites
                | Operation::Closed
                | Operation::Projects
        )
    }

    /// Whether a call that did not answer may have changed what the store holds. Not so for a lock: one that nobody got is
    /// given back.
    pub fn is_write(self) -> bool {
        !self.is_read() && self != Operation::Lock
    }
}

/// The answers of one call, if there are as many as it has `asked` for: callers lay them beside their questions, and one
/// answer too few would leave the last question without any.
///
/// # Errors
/// [`RefDbErrorKind::Indeterminate`] after a write, which may have been applied; else [`RefDbErrorKind::Corrupt`].
pub fn whole<T>(
    operation: Operation,
    asked: usize,
    answers: Result<Vec<T>, RefDbError>,
) -> Result<Vec<T>, RefDbError> {
    let answers = answers?;
    if answers.len() == asked {
        return Ok(answers);
    }
    let kind = match operation.is_write() {
        true => RefDbErrorKind::Indeterminate,
        false => RefDbErrorKind::Corrupt,
    };
    let what = format!(
        "the ref-db gave {} answers to `{}` of {asked} refs: none of them counts; the store is faulty, report it to its \
         maintainer",
        answers.len(),
        operation.name()
    );
    Err(RefDbError::new(kind, what))
}
