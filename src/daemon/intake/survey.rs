//! The inbox as `status` sees it from outside, without the history of events.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::beside::{self, Beside};
use super::effects::Settings;
use super::verdict::WaitingReason;
use super::{IntakeError, Waiting};
use crate::job::name::told_apart;
use crate::job::{FileName, Folder, PairName};
use crate::spool::judge;
use crate::spool::pairing::{self, Grouping};
use crate::spool::scan::{Identity, Inbox, Sight};

/// Everything that lies in the inbox and does not move, ordered by folder and name as far as folders go. Complete pairs wait for
/// their turn, unless their files changed less than `inbox.settle` ago by the wall clock.
///
/// # Errors
/// The inbox is not there, or `inbox.ignore` holds what is no glob.
pub fn survey(settings: &Settings) -> Result<Vec<Waiting>, IntakeError> {
    let rules = settings.rules()?;
    let inbox = Inbox::open(&settings.inbox)?;
    let now = Timestamp::now();
    let mut waiting = Vec::new();
    let mut folder = Seen::default();
    inbox.scan(&Folder::root(), &rules, &mut |found| {
        if found.folder != folder.folder {
            let seen = std::mem::replace(&mut folder, Seen { folder: found.folder.clone(), ..Seen::default() });
            seen.report(&inbox, settings, now, &mut waiting);
        }
        let aside = |reason| Waiting {
            pair: PairName { folder: found.folder.clone(), stem: found.name.clone() },
            reason,
            since: now,
        };
        match found.sight {
            Sight::Member(identity) => {
                let key = pairing::group_key(&found.name).into_owned().into();
                folder.groups.entry(key).or_default().push((found.name, identity));
            }
            Sight::Ignored(rule) => {
                folder.beside.ignores(&found.name, &rule);
                waiting.push(aside(WaitingReason::Ignored { rule }));
            }
            Sight::Unreadable(why) => waiting.push(aside(WaitingReason::Unreadable { why })),
        }
        true
    })?;
    folder.report(&inbox, settings, now, &mut waiting);
    waiting.sort_by(|a, b| a.pair.cmp(&b.pair));
    Ok(waiting)
}

/// What was seen in one folder.
#[derive(Default)]
struct Seen {
    folder: Folder,
    /// Its names by their group.
    groups: BTreeMap<Box<[u8]>, Vec<(FileName, Identity)>>,
    beside: Beside,
}

impl Seen {
    /// Tells what waits in the folder.
    fn report(mut self, inbox: &Inbox, settings: &Settings, now: Timestamp, waiting: &mut Vec<Waiting>) {
        let rights = inbox.rights(&self.folder);
        let groupings: Vec<Vec<Grouping<'_>>> =
            self.groups.values().map(|members| pairing::pair(members.iter().map(|(name, _)| name))).collect();
        groupings.iter().flatten().for_each(|grouping| self.beside.has(grouping));
        for (members, groupings) in self.groups.values().zip(groupings) {
            for grouping in groupings {
                let names = grouping.members();
                let wanted: BTreeSet<&FileName> = names.iter().copied().collect();
                let files: Vec<&Identity> =
                    members.iter().filter(|(name, _)| wanted.contains(name)).map(|(_, identity)| identity).collect();
                let changed_ns = files.iter().map(|identity| identity.ctime_ns).max().unwrap_or(0);
                let changed = Timestamp::from_nanosecond(changed_ns.into()).unwrap_or(now).min(now);
                let fresh = now.duration_since(changed).unsigned_abs() < settings.watching.settle;
                let empty = files.iter().any(|identity| identity.size == 0);
                let too_large = || files.iter().find_map(|identity| judge::too_large(identity.size));
                let unreadable = || names.iter().find_map(|name| rights.unreadable(name)).or_else(too_large);
                let unmovable = || names.iter().find_map(|name| rights.unmovable(name));
                let hindrance = || {
                    let unreadable = unreadable().map(|why| WaitingReason::Unreadable { why });
                    unreadable.or_else(|| unmovable().map(|why| WaitingReason::Unmovable { why }))
                };
                let complete = || match hindrance() {
                    Some(reason) => reason,
                    None if empty => WaitingReason::Empty,
                    None if fresh => WaitingReason::Settling,
                    None => WaitingReason::Turn,
                };
                // Where what is left over goes to `error/` in the end, it matters whether it can.
                let left_over = |reason| match settings.watching.orphan_after {
                    Some(_) => hindrance().unwrap_or(reason),
                    None => reason,
                };
                let half = || {
                    left_over(WaitingReason::Half {
                        hint: self.beside.hint(&grouping).or_else(|| beside::missing(&grouping)),
                    })
                };
                let reason = match &grouping {
                    Grouping::Pair { .. } => complete(),
                    Grouping::SidecarAlone { sidecar } => match rights.unreadable(sidecar) {
                        // It may be a whole job, and nobody can tell.
                        Some(why) => WaitingReason::Unreadable { why },
                        None if names_address(inbox, settings, &self.folder, sidecar) => complete(),
                        None => half(),
                    },
                    Grouping::PictureAlone { .. } => half(),
                    Grouping::Ambiguous { .. } => {
                        left_over(WaitingReason::Ambiguous { candidates: told_apart(&names) })
                    }
                };
                waiting.push(Waiting { pair: pairing::pair_name(&self.folder, &grouping), reason, since: changed });
            }
        }
    }
}

/// Whether a sidecar is a job by itself. What has vanished is not.
fn names_address(inbox: &Inbox, settings: &Settings, folder: &Folder, sidecar: &FileName) -> bool {
    match inbox.open_file(folder, sidecar) {
        Ok(Some(file)) => {
            judge::judge(None, file, &settings.picture).is_ok_and(|judgement| judgement.sidecar.names_address)
        }
        Ok(None) | Err(_) => false,
    }
}

/// The moment that lies as far back on the wall clock as `at` does on the monotonic one.
pub(super) fn wall(at: std::time::Instant) -> Timestamp {
    let now = Timestamp::now();
    now.checked_sub(at.elapsed()).unwrap_or(now)
}
