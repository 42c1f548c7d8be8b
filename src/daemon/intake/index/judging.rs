//! The judgements: which grouping is next, and what follows from a finding.

use std::sync::Arc;
use std::time::Instant;

use super::Index;
use crate::daemon::intake::group::{Group, GroupKey, Members, State, Unit};
use crate::daemon::intake::verdict::{FileSeen, Finding};
use crate::job::{FileName, Folder};
use crate::spool::settle;

/// A grouping that is to be judged.
#[derive(Clone, Debug)]
pub(in crate::daemon::intake) struct ToJudge {
    pub(in crate::daemon::intake) group: Arc<GroupKey>,
    pub(in crate::daemon::intake) members: Members,
    pub(in crate::daemon::intake) picture: Option<FileSeen>,
    pub(in crate::daemon::intake) sidecar: FileSeen,
}

impl ToJudge {
    pub(in crate::daemon::intake) fn folder(&self) -> &Folder {
        &self.group.folder
    }
}

impl Index {
    /// The next grouping to judge; each is given out once for each change of its files.
    pub(in crate::daemon::intake) fn next_to_judge(&mut self) -> Option<ToJudge> {
        while let Some((key, members)) = self.urgent.pop_front().or_else(|| self.patient.pop_front()) {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let Some(at) = group.units.iter().position(|unit| unit.members == members) else { continue };
            if !matches!(group.units[at].state, State::Judging { started: false }) {
                continue;
            }
            let sidecar = members.sidecars().first().and_then(|version| group.seen(*version));
            let picture = members.pictures().first().and_then(|version| group.seen(*version));
            let Some(sidecar) = sidecar else { continue };
            group.units[at].state = State::Judging { started: true };
            return Some(ToJudge { group: key, members, picture, sidecar });
        }
        // A backlog's queue is as large as the backlog; there is no use in keeping the room.
        self.patient.shrink_to_fit();
        None
    }

    /// Takes a finding. The names that must be looked at again, if the files were not what was to be judged.
    pub(in crate::daemon::intake) fn judged(
        &mut self,
        asked: &ToJudge,
        finding: Finding,
        now: Instant,
    ) -> Vec<(Folder, FileName)> {
        let Some(mut group) = self.groups.remove(&asked.group) else { return Vec::new() };
        let mut again = Vec::new();
        let asked_about =
            |unit: &Unit| unit.members == asked.members && matches!(unit.state, State::Judging { started: true });
        if let Some(at) = group.units.iter().position(asked_about) {
            let next = self.after_judging(asked, &group, finding, &mut again, now);
            self.change(&asked.group, &mut group.units[at], next, false, now);
        }
        self.put_back(&asked.group, group);
        again
    }

    fn after_judging(
        &self,
        asked: &ToJudge,
        group: &Group,
        finding: Finding,
        again: &mut Vec<(Folder, FileName)>,
        now: Instant,
    ) -> State {
        match finding {
            Finding::Good { priority, picture } => {
                let ages = asked.members.all().filter_map(|version| group.file(version)).map(|file| file.first_seen);
                State::Ready { age: ages.max().unwrap_or(now), priority, picture }
            }
            Finding::Bad(bad) => State::Bad(Box::new(bad)),
            Finding::Unfinished { picture, sidecar, bad } => {
                let mut rests = group.rests(&asked.members);
                let pictures = asked.members.pictures().len();
                for (place, (_, shape)) in rests.iter_mut().enumerate() {
                    *shape = if place < pictures { picture } else { sidecar };
                }
                match settle::settled_at(&rests, &self.times.rests) {
                    Some(due) if due > now => State::Unfinished { due },
                    Some(_) | None => State::Bad(Box::new(bad)),
                }
            }
            Finding::Half => State::Half { due: self.orphan_at(group, &asked.members) },
            Finding::Stuck(reason) => State::Stuck(reason),
            Finding::Panicked => State::Settling { due: now + self.times.rests.settle },
            Finding::Changed => {
                let folder = &asked.group.folder;
                again.extend(asked.picture.iter().chain([&asked.sidecar]).map(|f| (folder.clone(), f.name.clone())));
                // The look will most likely start it anew; if it does not, it is judged again.
                State::Settling { due: now + self.times.rests.settle }
            }
        }
    }
}
