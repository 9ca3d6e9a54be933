//! Changes that move while they are decided, and changes that were deleted.

use super::world::{World, name, oid, shipped};
use crate::table::RemoteValue;
use crate::{Direction, GlobalRef, SiteKind};

const META: &str = "refs/changes/12/4512/meta";
const FIRST: &str = "refs/changes/12/4512/1";
const ROBOTS: &str = "refs/changes/12/4512/robot-comments";

fn said(world: &mut World) -> Vec<String> {
    let decision = world.decide(&[shipped()]);
    let held = world.reasons(&decision);
    let of =
        |name: String| held.iter().find(|(held, _)| *held == name).map_or("keep", |(_, why)| why).to_owned();
    decision.moves.iter().map(|one| of(one.name().to_string())).collect()
}

#[test]
fn a_meta_that_moves_while_it_is_decided_waits_with_its_whole_change() {
    let mut world =
        World::push(&[&format!("{FIRST}=a<-"), &format!("{META}=c<-"), "refs/changes/13/13/meta=c<-"]);
    world.global(META, GlobalRef::At(oid("b")));
    world.local_after_wait(META, Some(oid("b")));
    assert_eq!(said(&mut world), ["outdated-meta host", "group-incomplete host", "keep"]);
    let decision = world.decide(&[shipped()]);
    assert!(decision.moves.get(0).hint().is_none());
}

#[test]
fn what_is_said_of_a_meta_that_moved_is_to_run_again() {
    let mut world = World::push(&[&format!("{META}=c<-")]);
    world.global(META, GlobalRef::At(oid("b")));
    world.local_after_wait(META, Some(oid("b")));
    let decision = world.decide(&[shipped()]);
    assert!(
        decision.moves.get(0).hint().as_ref().is_some_and(|hint| hint.contains("run again")),
        "{decision:?}"
    );
}

#[test]
fn a_meta_that_is_pinned_by_name_has_not_moved() {
    let mut world = World::fetch(&[&format!("{META}=?")]);
    world.global(META, GlobalRef::At(oid("a")));
    assert_eq!(said(&mut world), ["keep"]);
}

#[test]
fn nothing_of_a_deleted_change_is_created() {
    let offers = [format!("{FIRST}=a<-"), format!("{ROBOTS}=a<-"), "refs/changes/13/13/1=a<-".into()];
    for mut world in [
        World::push(&offers.each_ref().map(String::as_str)),
        World::fetch(&[&format!("{FIRST}=a"), &format!("{ROBOTS}=a"), "refs/changes/13/13/1=a"]),
    ] {
        world.global(META, GlobalRef::Deleted);
        world.global(ROBOTS, GlobalRef::At(oid("a")));
        let deleted = "deleted-globally";
        let said: Vec<String> =
            said(&mut world).iter().map(|s| s.split(' ').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(said, [deleted, deleted, "keep"]);
        assert_eq!((world.reads(), world.slept()), (1, vec![]), "known at the first look, by one read");
    }
}

/// The deletion of a whole change; the local patch set is still there.
fn deletion(direction: Direction) -> World {
    let offers = [FIRST, META, ROBOTS];
    let mut world = match direction {
        Direction::Push => {
            World::push(&offers.map(|name| format!("{name}=-<c")).each_ref().map(String::as_str))
        }
        Direction::Fetch => World::fetch(&[]),
    };
    if direction == Direction::Fetch {
        offers.iter().for_each(|name| world.offer(name, Some(oid("c")), RemoteValue::Known(None)));
        offers.iter().for_each(|name| world.local(name, Some(oid("c"))));
    }
    world.local(FIRST, Some(oid("c")));
    world.deleted(META, &[oid("c")]);
    world
}

#[test]
fn a_change_is_deleted_whole() {
    for direction in [Direction::Push, Direction::Fetch] {
        let mut world = deletion(direction);
        let decision = world.decide(&[shipped()]);
        assert_eq!(world.reasons(&decision), [], "{direction:?}");
        assert!(
            decision
                .moves
                .iter()
                .all(|one| one.is_deletion() && one.new().is_none() && one.old() == Some(oid("c")))
        );
    }
}

#[test]
fn a_change_whose_meta_stays_stays() {
    for direction in [Direction::Push, Direction::Fetch] {
        let diverged = if direction == Direction::Push { "remote-diverged" } else { "local-diverged" };
        let mut world = deletion(direction);
        world.deleted(META, &[]);
        assert_eq!(said(&mut world)[0], "outdated-meta host");
        assert!(said(&mut world)[1].starts_with(diverged));
        assert_eq!(said(&mut world)[2], "outdated-meta host");
        let mut world = deletion(direction);
        world.kind = SiteKind::Ungated;
        assert_eq!(said(&mut world)[0], "outdated-meta host", "others write there");
    }
}

#[test]
fn what_is_left_of_a_change_goes_when_its_meta_is_known_to_be_gone() {
    for direction in [Direction::Push, Direction::Fetch] {
        for (there, kind, verdict) in [
            (Some(false), SiteKind::Gated, "keep"),
            (Some(false), SiteKind::Mirror, "keep"),
            (Some(false), SiteKind::Ungated, "diverged"),
            (Some(true), SiteKind::Gated, "outdated-meta"),
            (None, SiteKind::Gated, "outdated-meta"),
        ] {
            let mut world = deletion(direction);
            world.keep_offers(|update| update.name == name(FIRST));
            world.meta_there(there);
            world.kind = kind;
            assert!(said(&mut world)[0].contains(verdict), "{direction:?} {there:?} {kind:?}");
        }
    }
}
