//! What is known of every name in the inbox, and when it is worth another thought. Pure: every moment is an argument.
//!
//! Names that may have to do with each other form a group; a change of one name regroups that group alone. A grouping that has
//! not changed keeps its state, one that has starts again. Every grouping is in exactly one [`State`], and each state that can
//! end by itself has a timer or a place in a queue: nothing waits for an event that may never come.
//!
//! A grouping that is being claimed is held: whatever is seen of its names meanwhile is noted and considered only when the
//! claim has ended, so nothing is offered twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::group::{
    Counts, File, Group, GroupKey, Members, State, Unit, Version, files_of, hot, members, names, orphan_problem,
};
use super::order::Order;
use super::verdict::{Bad, BadReason, ReadyPair};
use crate::job::{FileName, Folder};
use crate::spool::judge::too_large;
use crate::spool::pairing;
use crate::spool::scan::Identity;
use crate::spool::settle::{self, Evidence, FileRest, Hint, Rests};

mod judging;
mod taking;

pub(super) use judging::ToJudge;

/// How long things may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Times {
    pub(super) rests: Rests,
    pub(super) orphan_after: Option<Duration>,
}

/// Everything known of the inbox.
#[derive(Debug)]
pub(super) struct Index {
    times: Times,
    /// Boxed, for the tree keeps room for as many again as it holds.
    groups: BTreeMap<Arc<GroupKey>, Box<Group>>,
    timers: BTreeSet<(Instant, Arc<GroupKey>)>,
    /// To be judged soon: their last news came by an event. Entries may be stale.
    urgent: VecDeque<(Arc<GroupKey>, Members)>,
    /// To be judged when nothing is urgent. Entries may be stale.
    patient: VecDeque<(Arc<GroupKey>, Members)>,
    order: Order<(Arc<GroupKey>, Version)>,
    /// To be rejected. Entries may be stale.
    bad: VecDeque<(Arc<GroupKey>, Members)>,
    /// Pieces of an ambiguity of which the first has been taken.
    pieces: VecDeque<ReadyPair>,
    counts: Counts,
    versions: Version,
    generation: u32,
}

impl Index {
    pub(super) fn new(times: Times) -> Self {
        Self {
            times,
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            urgent: VecDeque::new(),
            patient: VecDeque::new(),
            order: Order::new(),
            bad: VecDeque::new(),
            pieces: VecDeque::new(),
            counts: Counts::default(),
            versions: 0,
            generation: 0,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    // ---- what is seen ----

    /// A look after a hint found a file with a picture's or a sidecar's name. `at` is when the hint came.
    pub(super) fn saw(
        &mut self,
        folder: &Folder,
        name: &FileName,
        hint: Option<Hint>,
        identity: Identity,
        at: Instant,
        now: Instant,
    ) {
        let key = self.key(folder, name);
        let generation = self.generation;
        let next = self.versions + 1;
        let group = self.groups.entry(Arc::clone(&key)).or_default();
        match group.files.iter_mut().find(|file| file.name == *name) {
            Some(file) => {
                file.generation = generation;
                let replaced = !identity.same_file(&file.rest.identity);
                if !file.rest.look(hint, identity, at) {
                    return;
                }
                file.version = next;
                if replaced {
                    file.first_seen = at;
                }
            }
            None => {
                let rest = FileRest::first(hint, identity, at);
                group.files.reserve_exact(1);
                group.files.push(File { name: name.clone(), rest, first_seen: at, version: next, generation });
            }
        }
        self.versions = next;
        self.regroup(&key, now);
    }

    /// A scan found a file. `first_seen` counts for the order of what a scan finds together. `false`: it is not what was
    /// known, and a fresh look must say what it is by now, for the scan's own may be older than the last event's.
    #[must_use]
    pub(super) fn scanned(
        &mut self,
        folder: &Folder,
        name: &FileName,
        identity: Identity,
        first_seen: Instant,
        now: Instant,
    ) -> bool {
        let key = self.key(folder, name);
        let generation = self.generation;
        let next = self.versions + 1;
        let group = self.groups.entry(Arc::clone(&key)).or_default();
        if let Some(file) = group.files.iter_mut().find(|file| file.name == *name) {
            file.generation = generation;
            return file.rest.identity == identity;
        }
        let rest = FileRest::first(None, identity, now);
        group.files.reserve_exact(1);
        group.files.push(File { name: name.clone(), rest, first_seen, version: next, generation });
        self.versions = next;
        self.regroup(&key, now);
        true
    }

    /// A look found no file under that name.
    pub(super) fn lost(&mut self, folder: &Folder, name: &FileName, now: Instant) {
        let key = self.key(folder, name);
        if let Some(group) = self.groups.get_mut(&key) {
            group.files.retain(|file| file.name != *name);
            self.regroup(&key, now);
        }
    }

    /// A folder is no longer there, nor anything beneath it.
    pub(super) fn lost_folder(&mut self, folder: &Folder, now: Instant) {
        let own = GroupKey { folder: folder.clone(), key: Box::default() };
        let mut beneath = folder.as_bytes().to_vec();
        beneath.push(b'/');
        // The smallest name there is: what lies beneath sorts from here on.
        let first = FileName::new(&b"\x01"[..]).expect("the literal is a name");
        let first = GroupKey { folder: folder.join(&first), key: Box::default() };
        let keys: Vec<Arc<GroupKey>> = self
            .groups
            .range(own..)
            .map(|(key, _)| key)
            .take_while(|key| key.folder == *folder)
            .chain(
                self.groups
                    .range(first..)
                    .map(|(key, _)| key)
                    .take_while(|key| key.folder.as_bytes().starts_with(&beneath)),
            )
            .cloned()
            .collect();
        for key in keys {
            if let Some(group) = self.groups.get_mut(&key) {
                group.files.clear();
            }
            self.regroup(&key, now);
        }
    }

    /// Events were lost: a file that was being written may have been closed unheard, so it rests as one that a scan found.
    pub(super) fn events_lost(&mut self, now: Instant) {
        let mut changed = Vec::new();
        for (key, group) in &mut self.groups {
            for file in group.files.iter_mut().filter(|file| file.rest.evidence == Evidence::Writing) {
                file.rest.start_again(now);
                self.versions += 1;
                file.version = self.versions;
                changed.push(Arc::clone(key));
            }
        }
        for key in changed {
            self.regroup(&key, now);
        }
    }

    /// A full scan begins: what is seen from now on is of its generation.
    pub(super) fn begin_scan(&mut self) {
        self.generation += 1;
    }

    /// The full scan has ended: what it did not see is gone, and what could not be read or moved is tried again.
    pub(super) fn end_scan(&mut self, now: Instant) {
        let generation = self.generation;
        let mut changed = Vec::new();
        for (key, group) in &mut self.groups {
            let before = group.files.len();
            group.files.retain(|file| file.generation == generation);
            if group.files.len() < before {
                changed.push(Arc::clone(key));
            }
            for unit in group.units.iter_mut().filter(|unit| matches!(unit.state, State::Stuck(_))) {
                *self.counts.of(&unit.state) -= 1;
                unit.state = State::Judging { started: false };
                *self.counts.of(&unit.state) += 1;
                self.patient.push_back((Arc::clone(key), unit.members.clone()));
            }
        }
        for key in changed {
            self.regroup(&key, now);
        }
    }

    /// Forgets everything but what is being claimed.
    pub(super) fn clear(&mut self, now: Instant) {
        for key in self.groups.keys().cloned().collect::<Vec<_>>() {
            if let Some(group) = self.groups.get_mut(&key) {
                group.files.clear();
            }
            self.regroup(&key, now);
        }
    }

    /// Takes new times and judges everything again.
    pub(super) fn reload(&mut self, times: Times, now: Instant) {
        self.times = times;
        for key in self.groups.keys().cloned().collect::<Vec<_>>() {
            if let Some(group) = self.groups.get_mut(&key) {
                for file in &mut group.files {
                    self.versions += 1;
                    file.version = self.versions;
                }
            }
            self.regroup(&key, now);
        }
    }

    // ---- time ----

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        while let Some((due, key)) = self.timers.first().cloned() {
            if due > now {
                break;
            }
            self.timers.pop_first();
            let Some(mut group) = self.groups.remove(&key) else { continue };
            group.due = None;
            for unit in &mut group.units {
                if unit.state.due().is_some_and(|due| due <= now) {
                    let next = match &unit.state {
                        State::Half { .. } => State::Bad(Box::new(Bad {
                            reason: BadReason::Orphan,
                            problems: vec![orphan_problem(&unit.members)],
                        })),
                        State::Ambiguous { .. } => State::Bad(Box::new(Bad {
                            reason: BadReason::AmbiguousPair,
                            problems: vec![pairing::ambiguity(&names(&unit.members, &group.files))],
                        })),
                        State::Settling { .. }
                        | State::Unfinished { .. }
                        | State::Judging { .. }
                        | State::Stuck(_)
                        | State::Ready { .. }
                        | State::Bad(_)
                        | State::Held => State::Judging { started: false },
                    };
                    let urgent = hot(&unit.members, &group.files);
                    self.change(&key, unit, next, urgent, now);
                }
            }
            self.put_back(&key, group);
        }
    }

    // ---- the group ----

    fn key(&self, folder: &Folder, name: &FileName) -> Arc<GroupKey> {
        let key = GroupKey { folder: folder.clone(), key: pairing::group_key(name).into_owned().into() };
        match self.groups.get_key_value(&key) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(key),
        }
    }

    /// Makes the groupings of one group anew; those that have not changed keep their state.
    fn regroup(&mut self, key: &Arc<GroupKey>, now: Instant) {
        let Some(mut group) = self.groups.remove(key) else { return };
        let old = std::mem::take(&mut group.units).into_iter().map(|unit| (unit.members.clone(), unit));
        let mut old: BTreeMap<Members, Unit> = old.collect();
        let mut units = Vec::new();
        for members in members(&group.files) {
            let is_kept = old.get(&members).is_some_and(|unit| !matches!(unit.state, State::Held));
            match is_kept.then(|| old.remove(&members)).flatten() {
                Some(unit) => units.push(unit),
                None => {
                    let state = self.first_state(&group, &members, now);
                    let urgent = hot(&members, &group.files);
                    let unit = Unit { members, state, since: now };
                    self.enter(key, &unit, urgent);
                    units.push(unit);
                }
            }
        }
        for unit in old.values() {
            self.leave(key, unit);
        }
        units.shrink_to_fit();
        group.units = units;
        self.put_back(key, group);
    }

    fn first_state(&self, group: &Group, members: &Members, now: Instant) -> State {
        let is_claimed = |file: &File| group.claimed.iter().any(|claimed| claimed.name == file.name);
        let claimed = !group.claimed.is_empty() && files_of(members, &group.files).any(is_claimed);
        match members {
            _ if claimed => State::Held,
            Members::PictureAlone { .. } => State::Half { due: self.orphan_at(group, members) },
            Members::Ambiguous { .. } => State::Ambiguous { due: self.orphan_at(group, members) },
            Members::Pair { .. } | Members::SidecarAlone { .. } => {
                match settle::settled_at(&group.rests(members), &self.times.rests) {
                    Some(due) if due > now => State::Settling { due },
                    Some(_) | None => State::Judging { started: false },
                }
            }
        }
    }

    fn orphan_at(&self, group: &Group, members: &Members) -> Option<Instant> {
        let orphan_after = self.times.orphan_after?;
        // What is not even read stays where it is.
        if files_of(members, &group.files).any(|file| too_large(file.rest.identity.size).is_some()) {
            return None;
        }
        let last = files_of(members, &group.files).map(|file| file.rest.changed_at).max()?;
        last.checked_add(orphan_after)
    }

    fn change(&mut self, key: &Arc<GroupKey>, unit: &mut Unit, next: State, urgent: bool, now: Instant) {
        self.leave(key, unit);
        // Coming to rest is one thing to whoever waits for it, however often it is judged.
        if !next.is_settling() || !unit.state.is_settling() {
            unit.since = now;
        }
        unit.state = next;
        self.enter(key, unit, urgent);
    }

    /// Books a state: its place in a queue and in the counts. Timers are [`Index::put_back`]'s.
    fn enter(&mut self, key: &Arc<GroupKey>, unit: &Unit, urgent: bool) {
        *self.counts.of(&unit.state) += 1;
        match &unit.state {
            State::Judging { started: false } if urgent => {
                self.urgent.push_back((Arc::clone(key), unit.members.clone()));
            }
            State::Judging { started: false } => self.patient.push_back((Arc::clone(key), unit.members.clone())),
            State::Ready { age, priority, .. } => {
                let place = key.place(*priority, *age);
                for sidecar in unit.members.sidecars() {
                    self.order.insert(&place, (Arc::clone(key), *sidecar));
                }
            }
            State::Bad(_) => self.bad.push_back((Arc::clone(key), unit.members.clone())),
            State::Settling { .. }
            | State::Judging { started: true }
            | State::Unfinished { .. }
            | State::Half { .. }
            | State::Ambiguous { .. }
            | State::Stuck(_)
            | State::Held => {}
        }
    }

    /// Unbooks a state. Entries of the queues go stale and are passed over.
    fn leave(&mut self, key: &Arc<GroupKey>, unit: &Unit) {
        *self.counts.of(&unit.state) -= 1;
        if let State::Ready { age, priority, .. } = &unit.state {
            let place = key.place(*priority, *age);
            for sidecar in unit.members.sidecars() {
                self.order.remove(&place, (Arc::clone(key), *sidecar));
            }
        }
    }

    /// Puts a group back with its timer, or drops it if there is nothing left of it.
    fn put_back(&mut self, key: &Arc<GroupKey>, mut group: Box<Group>) {
        let due = group.units.iter().filter_map(|unit| unit.state.due()).min();
        if group.due != due {
            if let Some(old) = group.due {
                self.timers.remove(&(old, Arc::clone(key)));
            }
            if let Some(new) = due {
                self.timers.insert((new, Arc::clone(key)));
            }
            group.due = due;
        }
        if !group.files.is_empty() || !group.claimed.is_empty() {
            self.groups.insert(Arc::clone(key), group);
        }
    }
}

#[cfg(test)]
mod tests;
