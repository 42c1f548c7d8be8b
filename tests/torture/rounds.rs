//! Killed at random moments, under a vendor that misbehaves, while pairs come in.
//!
//! Several spools at once, for they mostly wait; each is killed some ten times, then finishes and is looked at.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::pairs;
use crate::rig::LOOK_EVERY;
use crate::spool::{Spool, misbehaving};
use crate::tally::Tally;

/// Kills that one spool goes through.
const KILLS_PER_SPOOL: u64 = 10;

/// Pairs that lie there before the first start.
const PAIRS_FIRST: u32 = 6;

/// Within this time after its start a program is killed early, in its recovery or soon after.
const EARLY_MICROS: u64 = 250_000;

/// One that is killed later has this long to get on with its work.
const LATE_MAX: Duration = Duration::from_secs(2);

/// The spools that so many kills need: a seed and a number of kills for each.
pub fn plans(kills: u64, chance: &mut Rng) -> Vec<(u64, u64)> {
    let mut left = kills;
    std::iter::from_fn(|| {
        let now = left.min(KILLS_PER_SPOOL);
        left -= now;
        (now > 0).then(|| (chance.u64(..), now))
    })
    .collect()
}

/// One spool through all its kills.
pub async fn run(seed: u64, kills: u64, program: Option<PathBuf>) -> Tally {
    let mut chance = Rng::with_seed(seed);
    let mut spool = Spool::new(None, misbehaving(&mut chance), program.as_deref());
    (0..PAIRS_FIRST).for_each(|_| pairs::drop_some(&spool.rig, &mut chance));
    for _ in 0..kills {
        (0..chance.u32(0..3)).for_each(|_| pairs::drop_some(&spool.rig, &mut chance));
        let living = spool.start(&[]);
        (0..chance.u32(1..4)).for_each(|_| pairs::drop_some(&spool.rig, &mut chance));
        some_time(&spool, &mut chance).await;
        spool.kill(living).await;
    }
    let mut tally = spool.close(&format!("killed at random, seed {seed}")).await;
    tally.rounds = kills;
    tally
}

/// Lets some time pass that nobody has chosen: half of the time little, half of the time until some more requests have come.
pub async fn some_time(spool: &Spool, chance: &mut Rng) {
    if chance.bool() {
        tokio::time::sleep(Duration::from_micros(chance.u64(0..EARLY_MICROS))).await;
        return;
    }
    let seen = || spool.rig.vendor().with_world(|world| world.requests_seen());
    let (start, wanted) = (Instant::now(), seen() + chance.u64(1..25));
    while seen() < wanted && start.elapsed() < LATE_MAX {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tokio::time::sleep(Duration::from_micros(chance.u64(0..20_000))).await;
}
