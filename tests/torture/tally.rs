//! What is counted, and the table that it ends in.

use std::ops::AddAssign;

/// What came of some rounds.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Spools, or runs, that were brought to an end and checked.
    pub rounds: u64,
    /// Times that the program was killed, or the power cut under it.
    pub kills: u64,
    pub delivered: u64,
    pub rejected: u64,
    pub doubt: Doubts,
    /// Pairs that more submissions were accepted for than may be.
    pub twice: u64,
    /// Files that do not lie in exactly one place.
    pub lost: u64,
    /// Videos, receipts and reports that are not whole or not together, and temporary files that were left.
    pub partial: u64,
    /// Jobs that are not final, pairs that still wait, and promises to end by itself that were not kept.
    pub stuck: u64,
    /// What else must not be.
    pub odd: u64,
    /// A sentence for each that must be 0 and is not.
    pub complaints: Vec<String>,
}

/// Why jobs are in doubt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doubts {
    /// The vendor lost the answer.
    pub lost: u64,
    /// Killed while the request was under way: not wholly handed over, or not wholly answered.
    pub before: u64,
    /// Killed when the answer had left the vendor and was not in the ledger.
    pub between: u64,
    /// Killed between the intent and the request, which never came.
    pub unsent: u64,
    /// None of these.
    pub unexplained: u64,
}

/// What must be 0.
#[derive(Clone, Copy, Debug)]
pub enum Breach {
    Twice,
    Lost,
    Partial,
    Stuck,
    Unexplained,
    Odd,
}

impl Tally {
    /// Counts what must not be.
    pub fn complain(&mut self, breach: Breach, what: impl Into<String>) {
        *match breach {
            Breach::Twice => &mut self.twice,
            Breach::Lost => &mut self.lost,
            Breach::Partial => &mut self.partial,
            Breach::Stuck => &mut self.stuck,
            Breach::Unexplained => &mut self.doubt.unexplained,
            Breach::Odd => &mut self.odd,
        } += 1;
        self.complaints.push(format!("{breach:?}: {}", what.into()));
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { rounds, kills, delivered, rejected, doubt, twice, lost, partial, stuck, odd, complaints } = other;
        self.rounds += rounds;
        self.kills += kills;
        self.delivered += delivered;
        self.rejected += rejected;
        self.doubt.lost += doubt.lost;
        self.doubt.before += doubt.before;
        self.doubt.between += doubt.between;
        self.doubt.unsent += doubt.unsent;
        self.doubt.unexplained += doubt.unexplained;
        self.twice += twice;
        self.lost += lost;
        self.partial += partial;
        self.stuck += stuck;
        self.odd += odd;
        self.complaints.extend(complaints);
    }
}

/// The lines of the table, in the order in which they came to be.
#[derive(Debug, Default)]
pub struct Table(Vec<(String, Tally)>);

impl Table {
    /// Adds to the line of that kind.
    pub fn add(&mut self, kind: impl Into<String>, tally: Tally) {
        let kind = kind.into();
        match self.0.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum += tally,
            None => self.0.push((kind, tally)),
        }
    }

    /// Whether it has no line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Complains of each line of which nothing was played: its zeros would show nothing.
    pub fn complain_of_unplayed(&mut self) {
        for (kind, tally) in self.0.iter_mut().filter(|(_, tally)| tally.rounds == 0) {
            tally.complain(Breach::Odd, format!("{kind}: no round was played"));
        }
    }

    /// The sum of all lines.
    pub fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        self.0.iter().for_each(|(_, tally)| sum += tally.clone());
        sum
    }

    /// Prints it.
    pub fn print(&self) {
        println!(
            "{:33}              videos  refused  in doubt: answer    killed: before   after   never    not ex-   accepted               ",
            ""
        );
        println!(
            "{:33} rounds kills      in   pairs            lost    the answer  it came    sent  plained      twice   lost partial stuck  odd",
            ""
        );
        let all = ("all".to_owned(), self.sum());
        for (kind, tally) in self.0.iter().chain([&all]) {
            let doubt = tally.doubt;
            println!(
                "{kind:33} {:6} {:5} {:7} {:7} {:15} {:13} {:8} {:7} {:8} {:10} {:6} {:7} {:5} {:4}",
                tally.rounds,
                tally.kills,
                tally.delivered,
                tally.rejected,
                doubt.lost,
                doubt.before,
                doubt.between,
                doubt.unsent,
                doubt.unexplained,
                tally.twice,
                tally.lost,
                tally.partial,
                tally.stuck,
                tally.odd
            );
        }
    }
}
