//! Whose turn it is. Pure: higher priority first, then in turn over the top-level subfolders, then the oldest.
//!
//! Every operation costs the logarithm of what waits. A subfolder's last turn is remembered while it has nothing waiting, so
//! one that always drops one pair at a time does not go first each time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// Subfolders whose last turn is remembered; beyond it the memory starts anew.
const REMEMBERED_MAX: usize = 10_000;

/// The place of one item in the order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Higher goes first.
    pub(crate) priority: i64,
    /// The top-level subfolder; empty for the inbox itself.
    pub(crate) top: Box<[u8]>,
    /// Earlier goes first.
    pub(crate) age: Instant,
}

/// What waits for its turn.
#[derive(Debug)]
pub(crate) struct Order<T> {
    levels: BTreeMap<Reverse<i64>, Level<T>>,
    /// When each subfolder last had its turn, counted in turns.
    served: HashMap<Box<[u8]>, u64>,
    turns: u64,
}

/// The items of one priority.
#[derive(Debug)]
struct Level<T> {
    lanes: HashMap<Box<[u8]>, Lane<T>>,
    /// The lanes, the one whose last turn was longest ago first.
    turns: BTreeSet<(u64, Box<[u8]>)>,
}

/// The items of one subfolder and priority; never empty.
#[derive(Debug)]
struct Lane<T> {
    turn: u64,
    items: BTreeSet<(Instant, T)>,
}

impl<T: Ord> Order<T> {
    pub(crate) fn new() -> Self {
        Self { levels: BTreeMap::new(), served: HashMap::new(), turns: 0 }
    }

    pub(crate) fn insert(&mut self, place: &Place, item: T) {
        let turn = self.served.get(&place.top).copied().unwrap_or(0);
        let level = self
            .levels
            .entry(Reverse(place.priority))
            .or_insert_with(|| Level { lanes: HashMap::new(), turns: BTreeSet::new() });
        let lane = level.lanes.entry(place.top.clone()).or_insert_with(|| {
            level.turns.insert((turn, place.top.clone()));
            Lane { turn, items: BTreeSet::new() }
        });
        lane.items.insert((place.age, item));
    }

    pub(crate) fn remove(&mut self, place: &Place, item: T) {
        let Some(level) = self.levels.get_mut(&Reverse(place.priority)) else { return };
        let Some(lane) = level.lanes.get_mut(&place.top) else { return };
        lane.items.remove(&(place.age, item));
        if lane.items.is_empty() {
            level.turns.remove(&(lane.turn, place.top.clone()));
            level.lanes.remove(&place.top);
        }
        if level.lanes.is_empty() {
            self.levels.remove(&Reverse(place.priority));
        }
    }

    /// Takes the next one and gives its subfolder's turn away.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let mut entry = self.levels.first_entry()?;
        let level = entry.get_mut();
        let (_, top) = level.turns.pop_first().expect("a level has a lane");
        let lane = level.lanes.get_mut(&top).expect("each turn is a lane's");
        let (_, item) = lane.items.pop_first().expect("a lane is never empty");
        self.turns += 1;
        if lane.items.is_empty() {
            level.lanes.remove(&top);
        } else {
            lane.turn = self.turns;
            level.turns.insert((self.turns, top.clone()));
        }
        if level.lanes.is_empty() {
            entry.remove();
        }
        if self.served.len() >= REMEMBERED_MAX {
            self.served.clear();
        }
        self.served.insert(top, self.turns);
        Some(item)
    }
}

#[cfg(test)]
impl<T: Ord> Order<T> {
    /// Whether `item` waits at `place`.
    pub(crate) fn holds(&self, place: &Place, item: T) -> bool {
        let lane = self.levels.get(&Reverse(place.priority)).and_then(|level| level.lanes.get(&place.top));
        lane.is_some_and(|lane| lane.items.contains(&(place.age, item)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn place(start: Instant, priority: i64, top: &str, age: u64) -> Place {
        Place { priority, top: top.as_bytes().into(), age: start + Duration::from_secs(age) }
    }

    fn drain(order: &mut Order<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| order.pop()).collect()
    }

    #[test]
    fn priority_then_turns_then_age() {
        let start = Instant::now();
        let mut order = Order::new();
        for (priority, top, age, item) in [
            (0, "a", 1, "a1"),
            (0, "a", 2, "a2"),
            (0, "a", 0, "a0"),
            (0, "b", 9, "b9"),
            (0, "", 5, "root5"),
            (7, "c", 8, "high8"),
            (7, "c", 6, "high6"),
            (-1, "a", 0, "low"),
        ] {
            order.insert(&place(start, priority, top, age), item);
        }
        assert_eq!(drain(&mut order), ["high6", "high8", "root5", "a0", "b9", "a1", "a2", "low"]);
    }

    #[test]
    fn a_folder_that_drops_one_at_a_time_does_not_starve_the_others() {
        let start = Instant::now();
        let mut order = Order::new();
        for (age, item) in [(0, "big0"), (1, "big1"), (2, "big2")] {
            order.insert(&place(start, 0, "big", age), item);
        }
        let mut taken = Vec::new();
        for item in ["small0", "small1", "small2"] {
            order.insert(&place(start, 0, "small", 9), item);
            taken.extend(order.pop());
            taken.extend(order.pop());
        }
        assert_eq!(taken, ["big0", "small0", "big1", "small1", "big2", "small2"]);
    }

    #[test]
    fn what_is_removed_does_not_come() {
        let start = Instant::now();
        let mut order = Order::new();
        let first = place(start, 0, "a", 0);
        order.insert(&first, "gone");
        order.insert(&place(start, 0, "a", 1), "left");
        order.remove(&first, "gone");
        order.remove(&first, "gone");
        assert_eq!(drain(&mut order), ["left"]);
    }
}
