//! What is dropped: good pairs, pairs that the vendor refuses or loses the answer of, bad sidecars, and name twins.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;

use crate::rig::{Rig, pictures, sidecar};

/// Where pairs are dropped.
const FOLDERS: [&str; 4] = ["", "shoes", "shoes/red", "hats"];

/// The part of the requests that goes wrong by chance.
pub const MISBEHAVE: f64 = 0.1;

/// What makes the vendor lose the answer of a submission, as words of its prompt.
const LOSING: [&str; 5] = ["[answer lost]", "cut-answer", "bad-gateway", "no-word", "never-answered"];

/// The script that makes those words true; the first is one that the simulator knows.
pub const SCRIPT: &str = "
- {on: submit, prompt: cut-answer, do: {cut: 20}}
- {on: submit, prompt: bad-gateway, do: {status: 502}}
- {on: submit, prompt: no-word, do: {close: body}}
- {on: submit, prompt: never-answered, do: {hang: accepted}}
";

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Whether the vendor loses the answer to a submission with that prompt.
pub fn is_losing(prompt: &str) -> bool {
    LOSING.iter().any(|word| prompt.contains(word))
}

/// Drops a pair or two of a kind that chance decides. Each file is synced with its folder: from the return on, keeping them is
/// the daemon's duty, whatever happens to the power.
pub fn drop_some(rig: &Rig, chance: &mut Rng) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = FOLDERS[chance.usize(..FOLDERS.len())];
    let name = Path::new(folder).join(format!("p{number}"));
    let name = name.to_str().expect("plain names");
    let png = || ("png", pictures::png());
    let jpeg = || ("jpg", pictures::jpeg(1));
    match chance.u32(0..100) {
        0..50 => put_pair(rig, name, if chance.bool() { png() } else { jpeg() }, &sidecar(&format!("Pair {number}."))),
        50..58 => put_pair(rig, name, png(), &sidecar(&format!("Pair {number}, not liked. [50412]"))),
        58..66 => {
            put_pair(rig, name, jpeg(), &sidecar(&format!("Pair {number}, made at once or twice. [poll 50500 once]")))
        }
        66..69 => put_pair(rig, name, png(), &sidecar(&format!("Pair {number}, never made. [poll 50501]"))),
        69..79 => {
            let word = LOSING[chance.usize(..LOSING.len())];
            put_pair(rig, name, jpeg(), &sidecar(&format!("Pair {number}, {word}.")));
        }
        79..87 => put_pair(rig, name, png(), &format!("promt: Pair {number}, misspelt.\n")),
        87..93 => {
            // Twins by their names but for the last part; each has its own sidecar.
            for (ending, picture) in [png(), jpeg()] {
                put(rig, &format!("{name}.{ending}"), &picture);
                put(
                    rig,
                    &format!("{name}.{ending}.yaml"),
                    sidecar(&format!("Pair {number}, the {ending}.")).as_bytes(),
                );
            }
        }
        _ => {
            // The name of a video that is there already, once for each: then nothing else of that name is under way.
            let videos = rig.list("outbox");
            let is_free = |name: &&str| !name.contains([' ', '.']) && rig.times_dropped(&format!("{name}.yaml")) == 1;
            let done: Vec<_> = videos.iter().filter_map(|name| name.strip_suffix(".mp4")).filter(is_free).collect();
            let taken = done.get(chance.usize(..done.len().max(1))).copied().unwrap_or(name);
            put_pair(rig, taken, png(), &sidecar(&format!("Pair {number}, perhaps a twin.")));
        }
    }
}

/// Drops a good pair.
pub fn drop_good(rig: &Rig, name: &str) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    put_pair(rig, name, ("png", pictures::png()), &sidecar(&format!("Pair {number}.")));
}

/// Drops a pair that the vendor refuses.
pub fn drop_refused(rig: &Rig, name: &str) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    put_pair(rig, name, ("png", pictures::png()), &sidecar(&format!("Pair {number}, not liked. [50412]")));
}

fn put_pair(rig: &Rig, name: &str, (ending, picture): (&str, Vec<u8>), sidecar: &str) {
    put(rig, &format!("{name}.{ending}"), &picture);
    put(rig, &format!("{name}.yaml"), sidecar.as_bytes());
}

fn put(rig: &Rig, name: &str, bytes: &[u8]) {
    use std::io::Write;
    let path = rig.inbox(name);
    let folder = path.parent().expect("it lies in the inbox");
    if !folder.exists() {
        fs::create_dir_all(folder).unwrap();
        folder.ancestors().take_while(|folder| folder.starts_with(rig.inbox(""))).for_each(sync);
    }
    rig.remember(Path::new(name), bytes);
    let mut file = File::options().write(true).create_new(true).open(&path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    sync(folder);
}

fn sync(folder: &Path) {
    File::open(folder).and_then(|folder| folder.sync_all()).unwrap();
}
