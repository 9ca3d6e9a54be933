//! The refs of one push on their way through the steps, and which of them stand or fall together.

use std::collections::{BTreeMap, HashMap, HashSet};

use refgate_core::{ChangeRef, Class, Entry, GlobalRef, Oid, Project, RefName, Rules, is_meta, meta_of};
use refgate_git::receive::Command;
use refgate_git::{EditOutcome, RefEdit};

use super::why::Why;

/// One ref of a push.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub name: RefName,
    /// What the client believes to be here.
    pub old: Option<Oid>,
    pub new: Option<Oid>,
    pub class: Class,
    /// Refs with the same number stand or fall together.
    pub group: Option<u32>,
    /// No command of the client: it goes with the `/meta` of its change.
    pub added: bool,
    /// The client's old value is contained in the new one.
    pub fast_forward: bool,
    /// What the ref-db held under the lock; untracked for what it does not record.
    pub entry: Entry,
    /// `None` while nothing speaks against it.
    pub refused: Option<Why>,
}

impl Row {
    pub(super) fn is_open(&self) -> bool {
        self.refused.is_none()
    }

    /// Whether the ref-db records this ref.
    pub(super) fn is_tracked(&self) -> bool {
        self.class == Class::Checked
    }

    /// Neither the ref nor the ref-db has to move.
    pub(super) fn is_noop(&self) -> bool {
        self.old == self.new
    }

    pub(super) fn edit(&self) -> RefEdit {
        RefEdit { name: self.name.clone(), old: self.old, new: self.new, group: self.group }
    }
}

/// All refs of one push.
pub(super) struct Rows {
    pub rows: Vec<Row>,
    pub atomic: bool,
    /// Sent by replication.
    pub replication: bool,
    /// Per command of the client: its row, or why there is none.
    places: Vec<Result<usize, Why>>,
}

impl Rows {
    /// From what the client sent. Without `gate`, the ref-db records nothing.
    pub(super) fn new(
        commands: &[Command],
        atomic: bool,
        gate: bool,
        project: &Project,
        rules: &Rules,
    ) -> Rows {
        let mut times: HashMap<&[u8], usize> = HashMap::new();
        commands.iter().for_each(|c| *times.entry(&c.name).or_default() += 1);
        let mut changes: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        let mut spoiled: HashMap<Vec<u8>, String> = HashMap::new();
        let mut rows = Vec::new();
        let mut places = Vec::with_capacity(commands.len());
        // git reads what is said of a name with a space as said of the name up to the space.
        let up_to_space = |name: &'_ [u8]| name.iter().position(|b| *b == b' ');
        let answerless: HashMap<&[u8], &[u8]> = commands
            .iter()
            .filter_map(|c| Some((&c.name[..up_to_space(&c.name)?], c.name.as_slice())))
            .collect();
        for command in commands {
            let name = RefName::new(command.name.clone()).ok();
            let Some(name) = name.filter(|n| n.as_bytes().starts_with(b"refs/")) else {
                places.push(Err(Why::FunnyName));
                continue;
            };
            let lost = answerless.get(command.name.as_slice());
            let lost = lost.map(|other| Why::AnswerLost(refgate_core::escape(other)));
            let twice = Some(Why::NamedTwice).filter(|_| times[command.name.as_slice()] > 1);
            if let Some(why) = lost.or(twice) {
                places.push(Err(why));
                spoiled.extend(ChangeRef::of(&name).map(|of| (of.change.to_vec(), name.to_string())));
                continue;
            }
            let next = changes.len() as u32;
            let group = match ChangeRef::of(&name) {
                _ if atomic => Some(0),
                Some(of) => Some(*changes.entry(of.change.to_vec()).or_insert(next)),
                None => None,
            };
            let class = if gate { Class::of(project, &name, rules) } else { Class::Exempt };
            places.push(Ok(rows.len()));
            let (old, new) = (command.old, command.new);
            let (entry, fast_forward, added) = (Entry::default(), false, false);
            rows.push(Row { name, old, new, class, group, added, fast_forward, entry, refused: None });
        }
        let mut rows = Rows { rows, atomic, replication: false, places };
        if atomic && let Some(bad) = rows.places.iter().position(Result::is_err) {
            let other = refgate_core::escape(&commands[bad].name);
            rows.refuse_open(&Why::With { other, atomic });
        }
        // A ref that has no row stands or falls with its change all the same.
        for row in rows.open_mut().filter(|_| !spoiled.is_empty()) {
            let other = ChangeRef::of(&row.name).and_then(|of| spoiled.get(of.change));
            row.refused = other.map(|other| Why::With { other: other.clone(), atomic: false });
        }
        rows
    }

    /// Adds what else is here of the changes whose `/meta` is deleted: a change goes whole.
    pub(super) fn take_along(
        &mut self,
        here: impl IntoIterator<Item = (RefName, Oid)>,
        project: &Project,
        rules: &Rules,
    ) {
        let named: HashSet<RefName> = self.rows.iter().map(|row| row.name.clone()).collect();
        let groups: HashMap<RefName, Option<u32>> =
            self.doomed().map(|row| (row.name.clone(), row.group)).collect();
        for (name, oid) in here.into_iter().filter(|(name, _)| !named.contains(name)) {
            let Some(group) = meta_of(&name).and_then(|meta| groups.get(&meta).copied()) else { continue };
            let class = Class::of(project, &name, rules);
            let (entry, old, fast_forward) = (Entry::default(), Some(oid), false);
            let (new, added, refused) = (None, true, None);
            self.rows.push(Row { name, old, new, class, group, added, fast_forward, entry, refused });
        }
    }

    /// The `/meta` rows that delete their change.
    pub(super) fn doomed(&self) -> impl Iterator<Item = &Row> {
        self.open().filter(|row| row.new.is_none() && row.is_tracked() && is_meta(&row.name))
    }

    /// Whether the ref-db is to record what is pushed to `row`. What replication brings it holds, but for what it does not
    /// know at all.
    pub(super) fn is_put(&self, row: &Row) -> bool {
        let claims = row.entry.value == GlobalRef::Untracked && row.new.is_some();
        row.is_tracked() && !row.is_noop() && (claims || !self.replication)
    }

    /// Whether `row` is written down before anything moves: it is put, or stands or falls with one that is.
    pub(super) fn recorded(&self) -> impl Fn(&Row) -> bool + use<> {
        let put = self.rows.iter().filter(|row| row.is_open() && self.is_put(row));
        let (groups, names): (HashSet<Option<u32>>, HashSet<RefName>) =
            put.map(|row| (row.group, row.name.clone())).unzip();
        move |row| names.contains(&row.name) || (row.group.is_some() && groups.contains(&row.group))
    }

    /// The places of the open rows, cut where nothing stands or falls together, in parts of about `size`.
    pub(super) fn parts(&self, size: usize) -> Vec<Vec<usize>> {
        let mut units: Vec<Vec<usize>> = Vec::new();
        let mut of_group: HashMap<u32, usize> = HashMap::new();
        for place in (0..self.rows.len()).filter(|i| self.rows[*i].is_open()) {
            let next = units.len();
            let unit = self.rows[place].group.map_or(next, |group| *of_group.entry(group).or_insert(next));
            if unit == next {
                units.push(Vec::new());
            }
            units[unit].push(place);
        }
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for unit in units {
            match parts.last_mut().filter(|part| part.len() < size) {
                Some(part) => part.extend(unit),
                None => parts.push(unit),
            }
        }
        parts
    }

    /// The places of the open rows that stand or fall with more than `size` others and themselves.
    pub(super) fn larger_than(&self, size: usize) -> Vec<usize> {
        let mut sizes: HashMap<u32, usize> = HashMap::new();
        self.open().filter_map(|row| row.group).for_each(|group| *sizes.entry(group).or_default() += 1);
        let large = |row: &Row| row.is_open() && row.group.is_some_and(|group| sizes[&group] > size);
        (0..self.rows.len()).filter(|i| large(&self.rows[*i])).collect()
    }

    /// The rows at `places` by themselves, for as long as they are worked on.
    pub(super) fn part(&self, places: &[usize]) -> Rows {
        let rows = places.iter().map(|i| self.rows[*i].clone()).collect();
        Rows { rows, atomic: self.atomic, replication: self.replication, places: Vec::new() }
    }

    /// Takes back what [`part`](Rows::part) gave.
    pub(super) fn put_back(&mut self, places: &[usize], part: Rows) {
        places.iter().zip(part.rows).for_each(|(i, row)| self.rows[*i] = row);
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.is_open())
    }

    pub(super) fn open_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows.iter_mut().filter(|row| row.is_open())
    }

    /// The places of the open rows, patch sets and the like first, `/meta` last.
    pub(super) fn open_places(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.rows.len()).filter(|i| self.rows[*i].is_open()).collect();
        places.sort_by_key(|i| is_meta(&self.rows[*i].name));
        places
    }

    pub(super) fn names(&self) -> Vec<RefName> {
        self.open().map(|row| row.name.clone()).collect()
    }

    pub(super) fn refuse_open(&mut self, why: &Why) {
        self.open_mut().for_each(|row| row.refused = Some(why.clone()));
    }

    /// Refuses what stands or falls with a refused ref.
    pub(super) fn settle(&mut self) {
        let mut broken: HashMap<u32, (String, bool)> = HashMap::new();
        for row in self.rows.iter().filter(|row| !row.is_open()) {
            // Who does not know what became of one ref does not know it of the others.
            let unknown = matches!(row.refused, Some(Why::Unknown(_)));
            if let Some(group) = row.group {
                let known = broken.entry(group).or_insert_with(|| (row.name.to_string(), unknown));
                known.1 |= unknown;
            }
        }
        let atomic = self.atomic;
        for row in self.open_mut() {
            if let Some((other, unknown)) = row.group.and_then(|group| broken.get(&group)) {
                row.refused = Some(match unknown {
                    true => Why::Unknown(format!("it goes with `{other}`")),
                    false => Why::With { other: other.clone(), atomic },
                });
            }
        }
    }

    /// After the ref-db has moved: where one of a group is not known to be here, this is said of the whole group.
    pub(super) fn agree(&mut self) {
        let mut answers: HashMap<u32, Why> = HashMap::new();
        for row in &self.rows {
            let (Some(group), Some(why)) = (row.group, &row.refused) else { continue };
            let with = |words: &str| format!("it goes with `{}`: {words}", row.name);
            match why {
                Why::Unknown(words) => drop(answers.insert(group, Why::Unknown(with(words)))),
                Why::Kept(words) => drop(answers.entry(group).or_insert_with(|| Why::Kept(with(words)))),
                _ => {}
            }
        }
        for row in &mut self.rows {
            let Some(why) = row.group.and_then(|group| answers.get(&group)) else { continue };
            match (&row.refused, why) {
                (None, _) | (Some(Why::Kept(_)), Why::Unknown(_)) => row.refused = Some(why.clone()),
                _ => {}
            }
        }
    }

    /// What git said about the edits of the rows at `places`.
    pub(super) fn refuse_rejected(&mut self, places: &[usize], outcomes: Vec<EditOutcome>) {
        for (place, outcome) in places.iter().zip(outcomes) {
            if let EditOutcome::Rejected(why) = outcome {
                self.rows[*place].refused = Some(Why::Failed(why));
            }
        }
    }

    /// Per command of the client: why it was refused, if it was.
    pub(super) fn verdicts(&self) -> Vec<Option<Why>> {
        self.places
            .iter()
            .map(|place| match place {
                Ok(row) => self.rows[*row].refused.clone(),
                Err(why) => Some(why.clone()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(names: &[&str], atomic: bool) -> Rows {
        let new = Oid::from_hex(&[b'a'; 40]).ok();
        let command = |name: &&str| Command { name: name.as_bytes().to_vec(), old: None, new };
        let commands: Vec<Command> = names.iter().map(command).collect();
        Rows::new(&commands, atomic, true, &Project::new("p").unwrap(), &Rules::default())
    }

    fn refused(rows: &Rows) -> Vec<bool> {
        rows.verdicts().iter().map(Option::is_some).collect()
    }

    const NAMES: [&str; 4] =
        ["refs/changes/12/4512/meta", "refs/heads/x", "refs/changes/12/4512/1", "refs/changes/13/13/1"];

    #[test]
    fn a_change_stands_or_falls_together_and_meta_comes_last() {
        let mut rows = rows(&NAMES, false);
        assert_eq!(rows.open_places(), [1, 2, 3, 0]);
        rows.rows[2].refused = Some(Why::PatchSet);
        rows.settle();
        assert_eq!(refused(&rows), [true, false, true, false]);
        assert_eq!(
            rows.rows[0].refused,
            Some(Why::With { other: "refs/changes/12/4512/1".into(), atomic: false })
        );
    }

    #[test]
    fn a_push_is_cut_where_nothing_stands_or_falls_together() {
        let names = [
            "refs/changes/12/4512/1",
            "refs/heads/a",
            "refs/heads/b",
            "refs/changes/12/4512/meta",
            "refs/heads/c",
            "refs/changes/12/4512/2",
        ];
        let some = rows(&names, false);
        assert_eq!(some.parts(1), [vec![0, 3, 5], vec![1], vec![2], vec![4]]);
        assert_eq!(some.parts(2), [vec![0, 3, 5], vec![1, 2], vec![4]]);
        assert_eq!(some.parts(9), [vec![0, 3, 5, 1, 2, 4]]);
        assert_eq!(rows(&names, true).parts(1), [(0..6).collect::<Vec<_>>()]);
        assert_eq!(rows(&names, false).larger_than(2), [0, 3, 5]);
        assert!(rows(&names, false).larger_than(3).is_empty());
        let mut some = rows(&names, false);
        some.rows[1].refused = Some(Why::Busy);
        let mut part = some.part(&[2, 4]);
        part.refuse_open(&Why::Untracked);
        some.put_back(&[2, 4], part);
        assert_eq!(refused(&some), [false, true, true, false, true, false]);
    }

    #[test]
    fn a_ref_of_a_change_that_is_named_twice_is_refused_with_its_change() {
        let rows = rows(&["refs/changes/12/4512/1", NAMES[2], NAMES[0], NAMES[1], NAMES[3]], false);
        assert_eq!(refused(&rows), [true, true, true, false, false]);
    }

    #[test]
    fn one_change_has_one_answer() {
        let kept = || Some(Why::Kept("full".into()));
        for (one, other, answer) in [
            (kept(), None, "recorded for all sites"),
            (kept(), Some(Why::Unknown("gone".into())), "outcome unknown"),
            (None, Some(Why::Unknown("gone".into())), "outcome unknown"),
        ] {
            let mut rows = rows(&NAMES, false);
            (rows.rows[2].refused, rows.rows[0].refused) = (one, other);
            rows.agree();
            let project = Project::new("p").unwrap();
            let said: Vec<_> =
                rows.verdicts().into_iter().map(|why| why.map(|why| why.reason(&project))).collect();
            for place in [0, 2] {
                assert!(said[place].as_ref().is_some_and(|said| said.contains(answer)), "{said:?}");
            }
            assert_eq!((&said[1], &said[3]), (&None, &None), "others have nothing to do with it");
        }
    }

    #[test]
    fn an_atomic_push_is_one_group() {
        let mut some = rows(&NAMES, true);
        some.rows[1].refused = Some(Why::Unknown("x".into()));
        some.settle();
        assert_eq!(refused(&some), [true; 4]);
        assert!(matches!(some.rows[0].refused, Some(Why::Unknown(_))), "nobody knows of the others, either");
        let bad = rows(&["refs/heads/a", "refs/heads/a..b"], true);
        assert_eq!(refused(&bad), [true, true]);
    }

    #[test]
    fn names_that_are_none_and_names_twice_are_refused() {
        let rows = rows(&["refs/heads/a", "HEAD", "refs/heads/a", "refs/heads/b", "refs/x y"], false);
        assert_eq!(refused(&rows), [true, true, true, false, true]);
    }
}
