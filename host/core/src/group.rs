//! Changes: refs that stand or fall together.
//!
//! Gerrit keeps a change in `refs/changes/NN/NNNN/`: its `/meta`, numbered patch sets and more. A `/meta` without its
//! patch sets, or the other way round, is a broken change at the other site.

use crate::RefName;

/// A ref of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChangeRef<'n> {
    /// `refs/changes/NN/NNNN`: the same for all refs of the change.
    pub change: &'n [u8],
    /// Which of its refs.
    pub part: ChangePart,
}

/// Which ref of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangePart {
    /// `…/meta`.
    Meta,
    /// `…/1`, `…/2`: created, never changed.
    PatchSet,
    /// Anything else, like `…/robot-comments`.
    Other,
}

impl<'n> ChangeRef<'n> {
    /// The change that `name` belongs to, if it is `refs/changes/<two digits>/<digits>/<rest>`.
    pub fn of(name: &'n RefName) -> Option<ChangeRef<'n>> {
        let name = name.as_bytes();
        let rest = name.strip_prefix(b"refs/changes/")?;
        let mut parts = rest.splitn(3, |b| *b == b'/');
        let (shard, number, part) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        if shard.len() != 2 || !digits(shard) || !digits(number) || part.is_empty() {
            return None;
        }
        let change = &name[..name.len() - part.len() - 1];
        let part = match part {
            b"meta" => ChangePart::Meta,
            _ if digits(part) => ChangePart::PatchSet,
            _ => ChangePart::Other,
        };
        Some(ChangeRef { change, part })
    }
}

/// Whether `name` is the `/meta` of a change.
pub fn is_meta(name: &RefName) -> bool {
    ChangeRef::of(name).is_some_and(|c| c.part == ChangePart::Meta)
}

/// The `/meta` of the change that `name` is another ref of; `None` for a `/meta` itself, and for what belongs to no change.
pub fn meta_of(name: &RefName) -> Option<RefName> {
    let change = ChangeRef::of(name).filter(|c| c.part != ChangePart::Meta)?;
    RefName::new([change.change, b"/meta"].concat()).ok()
}

/// Whether `name` is a patch set: an existing other value of it is never accounted for.
pub fn is_patch_set(name: &RefName) -> bool {
    ChangeRef::of(name).is_some_and(|c| c.part == ChangePart::PatchSet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refs_of_changes_have_one() {
        let of = |name: &str| {
            let name = RefName::new(name).unwrap();
            ChangeRef::of(&name).map(|c| (String::from_utf8(c.change.to_vec()).unwrap(), c.part))
        };
        let change = || "refs/changes/12/4512".to_owned();
        assert_eq!(of("refs/changes/12/4512/meta"), Some((change(), ChangePart::Meta)));
        assert_eq!(of("refs/changes/12/4512/3"), Some((change(), ChangePart::PatchSet)));
        assert_eq!(of("refs/changes/12/4512/robot-comments"), Some((change(), ChangePart::Other)));
        for none in [
            "refs/x/meta",
            "refs/changes/meta",
            "refs/changes/1/1/meta",
            "refs/changes/12/ab/1",
            "refs/changes/12/4512",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn the_other_refs_of_a_change_lead_to_its_meta() {
        let meta = |name: &str| meta_of(&RefName::new(name).unwrap()).map(|meta| meta.to_string());
        for other in
            ["refs/changes/12/4512/3", "refs/changes/12/4512/robot-comments", "refs/changes/12/4512/a/b"]
        {
            assert_eq!(meta(other).as_deref(), Some("refs/changes/12/4512/meta"), "{other}");
        }
        for none in ["refs/changes/12/4512/meta", "refs/changes/12/4512", "refs/heads/3"] {
            assert_eq!(meta(none), None, "{none}");
        }
    }
}
