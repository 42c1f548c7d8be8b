//! Who goes next: pairs are given out, held while they are claimed, and taken back.

use std::collections::VecDeque;
use std::time::Instant;

use super::Index;
use crate::daemon::intake::group::{Members, State, Unit, bad_piece, names, pieces, ready_pair, stem};
use crate::daemon::intake::verdict::{BadReason, PairVerdict, ReadyPair, WaitingReason};
use crate::job::name::told_apart;
use crate::job::{FileName, Folder, PairName};

/// One grouping that waits.
#[derive(Clone, Debug)]
pub(in crate::daemon::intake) struct Standing {
    pub(in crate::daemon::intake) pair: PairName,
    pub(in crate::daemon::intake) reason: WaitingReason,
    pub(in crate::daemon::intake) since: Instant,
}

impl Index {
    /// The next pair that may be sent; it is held until [`Index::claim_ended`].
    pub(in crate::daemon::intake) fn take(&mut self) -> Option<ReadyPair> {
        while let Some((key, sidecar)) = self.order.pop() {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let unit = group.units.iter_mut().find(|unit| unit.members.sidecars() == [sidecar]);
            let Some(unit) = unit else { continue };
            match std::mem::replace(&mut unit.state, State::Held) {
                State::Ready { priority, picture, .. } => {
                    self.counts.ready -= 1;
                    self.counts.held += 1;
                    let completed_at = unit.since;
                    let members = unit.members.clone();
                    let pair = ready_pair(&key, group, &members, PairVerdict::Good { priority, picture }, completed_at);
                    group.claimed.extend(pair.files().cloned());
                    return Some(pair);
                }
                other => unit.state = other,
            }
        }
        None
    }

    /// The next pair that is to be rejected; it is held until [`Index::claim_ended`].
    pub(in crate::daemon::intake) fn take_bad(&mut self) -> Option<ReadyPair> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(piece);
        }
        while let Some((key, members)) = self.bad.pop_front() {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let Some(unit) = group.units.iter_mut().find(|unit| unit.members == members) else { continue };
            match std::mem::replace(&mut unit.state, State::Held) {
                State::Bad(bad) => {
                    self.counts.bad -= 1;
                    self.counts.held += 1;
                    let since = unit.since;
                    let pair = |piece: &Members| match bad.reason {
                        BadReason::AmbiguousPair => bad_piece(&key, group, piece, (*bad).clone(), since),
                        BadReason::InvalidSidecar
                        | BadReason::InvalidPicture
                        | BadReason::Orphan
                        | BadReason::Poison => ready_pair(&key, group, piece, PairVerdict::Bad((*bad).clone()), since),
                    };
                    let mut pieces: VecDeque<ReadyPair> = pieces(&members).iter().map(pair).collect();
                    // All at once: what is left of an ambiguity must not pair up while its first piece is on its way.
                    group.claimed.extend(pieces.iter().flat_map(ReadyPair::files).cloned());
                    let first = pieces.pop_front();
                    self.pieces.append(&mut pieces);
                    if first.is_some() {
                        return first;
                    }
                }
                other => unit.state = other,
            }
        }
        None
    }

    /// The claim of what was taken is over: its files are gone from the inbox, or still (or again) there and must rest anew.
    /// The names must be looked at again in either case, for others may lie there by now.
    pub(in crate::daemon::intake) fn claim_ended(
        &mut self,
        pair: &ReadyPair,
        gone: bool,
        now: Instant,
    ) -> Vec<(Folder, FileName)> {
        let mut again = Vec::new();
        for seen in pair.files() {
            let key = self.key(&pair.name.folder, &seen.name);
            let next = self.versions + 1;
            let Some(group) = self.groups.get_mut(&key) else { continue };
            group.claimed.retain(|claimed| claimed != seen);
            if gone {
                group.files.retain(|file| file.name != seen.name || !file.rest.identity.same_file(&seen.identity));
            } else if let Some(file) = group.files.iter_mut().find(|file| file.name == seen.name) {
                file.rest.start_again(now);
                file.version = next;
                self.versions = next;
            }
            again.push((pair.name.folder.clone(), seen.name.clone()));
            self.regroup(&key, now);
        }
        again
    }

    /// The inbox does not let go what was taken: it is stuck, until a full scan has it judged again or its files change.
    pub(in crate::daemon::intake) fn claim_refused(
        &mut self,
        pair: &ReadyPair,
        reason: WaitingReason,
        now: Instant,
    ) -> Vec<(Folder, FileName)> {
        let again = self.claim_ended(pair, false, now);
        let Some(seen) = pair.files().next() else { return again };
        let key = self.key(&pair.name.folder, &seen.name);
        let Some(mut group) = self.groups.remove(&key) else { return again };
        let version = group.files.iter().find(|file| file.name == seen.name).map(|file| file.version);
        let of_the_pair = |unit: &Unit| version.is_some_and(|version| unit.members.all().any(|one| one == version));
        if let Some(at) = group.units.iter().position(of_the_pair)
            && !matches!(group.units[at].state, State::Held)
        {
            self.change(&key, &mut group.units[at], State::Stuck(reason), false, now);
        }
        self.put_back(&key, group);
        again
    }

    /// Everything that waits, by folder and name.
    pub(in crate::daemon::intake) fn listing(&self) -> impl Iterator<Item = Standing> + '_ {
        self.groups.iter().flat_map(|(key, group)| {
            group.units.iter().filter_map(|unit| {
                let names = names(&unit.members, &group.files);
                let empty = || group.rests(&unit.members).iter().any(|(rest, _)| rest.identity.size == 0);
                let reason = match &unit.state {
                    State::Settling { .. } | State::Judging { .. } | State::Unfinished { .. } if empty() => {
                        WaitingReason::Empty
                    }
                    State::Settling { .. } | State::Judging { .. } | State::Unfinished { .. } => {
                        WaitingReason::Settling
                    }
                    // Only a look at the whole folder could give a hint.
                    State::Half { .. } => WaitingReason::Half { hint: None },
                    State::Ambiguous { .. } => WaitingReason::Ambiguous { candidates: told_apart(&names) },
                    State::Stuck(reason) => reason.clone(),
                    State::Ready { .. } | State::Bad(_) => WaitingReason::Turn,
                    State::Held => return None,
                };
                let pair = PairName { folder: key.folder.clone(), stem: stem(&unit.members, &group.files)? };
                Some(Standing { pair, reason, since: unit.since })
            })
        })
    }
}
