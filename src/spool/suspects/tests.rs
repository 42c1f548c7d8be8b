//! Notes of what is being read: who died over what, who was there by chance, and what a torn file says.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// This boot.
const BOOT: &str = "2f0c";

fn open(dir: &Dir) -> Suspects {
    Suspects::open(dir, BOOT)
}

fn folder() -> (tempfile::TempDir, Dir) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let dir = Dir::open(temporary.path()).expect("a folder");
    (temporary, dir)
}

fn identity(inode: u64) -> Identity {
    Identity { device: u64::MAX, inode, size: u64::MAX, mtime_ns: i64::MIN, ctime_ns: 0 }
}

fn pair(inode: u64) -> Files {
    Files::new(Some(&identity(inode)), Some(&identity(inode + 1)))
}

/// What the next process finds when this one dies while it reads `files`.
fn dies(dir: &Dir, suspects: &Suspects, place: Place, files: &[Files]) -> Suspects {
    match files {
        [] => open(dir),
        [first, rest @ ..] => match suspects.read(place, *first, PathBuf::new, || dies(dir, suspects, place, rest)) {
            Reading::Ended(next) => {
                // The dead clear nothing: what they would have cleared is written again.
                next.0.book.lock().unwrap().write_all();
                next
            }
            other => panic!("{other:?}"),
        },
    }
}

impl Book {
    fn write_all(&mut self) {
        (0..self.notes.len()).for_each(|line| self.write(line));
    }
}

fn read(suspects: &Suspects, place: Place, files: Files) -> Reading<()> {
    suspects.read(place, files, PathBuf::new, || ())
}

fn content(temporary: &Path) -> String {
    std::fs::read_to_string(temporary.join(SUSPECTS)).unwrap()
}

#[test]
fn after_three_deaths_in_a_row_it_is_not_read_any_more() {
    let (_temporary, dir) = folder();
    let mut suspects = open(&dir);
    for deaths in 1..=DEATHS_MAX {
        suspects = dies(&dir, &suspects, Place::Inbox, &[pair(1)]);
        assert_eq!(suspects.deaths(pair(1)), deaths);
    }
    assert_eq!(read(&suspects, Place::Inbox, pair(1)), Reading::Refused);
    assert_eq!(read(&suspects, Place::Work, pair(1)), Reading::Refused, "wherever it lies by then");
    // It was edited.
    assert_eq!(read(&suspects, Place::Inbox, pair(2)), Reading::Ended(()));
    // A start without a reading adds nothing, and nothing is forgotten.
    assert_eq!(open(&dir).deaths(pair(1)), DEATHS_MAX);
    suspects.forget(pair(1));
    assert_eq!(read(&open(&dir), Place::Inbox, pair(1)), Reading::Ended(()));
}

#[test]
fn who_is_read_well_is_innocent() {
    let (_temporary, dir) = folder();
    let suspects = open(&dir);
    let suspects = dies(&dir, &suspects, Place::Inbox, &[pair(1), pair(11), pair(21)]);
    assert_eq!([1, 11, 21].map(|inode| suspects.deaths(pair(inode))), [1, 1, 1]);
    assert_eq!(read(&suspects, Place::Inbox, pair(11)), Reading::Ended(()));
    let suspects = dies(&dir, &suspects, Place::Inbox, &[pair(1)]);
    assert_eq!([1, 11, 21].map(|inode| suspects.deaths(pair(inode))), [2, 0, 1]);
}

#[test]
fn reading_well_in_the_inbox_is_no_proof_for_what_happens_after_the_claim() {
    let (_temporary, dir) = folder();
    let mut suspects = open(&dir);
    for deaths in 1..=DEATHS_MAX {
        assert_eq!(read(&suspects, Place::Inbox, pair(1)), Reading::Ended(()));
        suspects = dies(&dir, &suspects, Place::Work, &[pair(1)]);
        assert_eq!(suspects.deaths(pair(1)), deaths);
    }
    assert_eq!(read(&suspects, Place::Inbox, pair(1)), Reading::Refused);
}

#[test]
fn a_suspect_is_read_alone() {
    let (_temporary, dir) = folder();
    let suspects = dies(&dir, &open(&dir), Place::Inbox, &[pair(1)]);
    let (reading, checked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let read_once = |files: Files, alone: bool| {
        let read = || {
            let others = reading.fetch_add(1, Ordering::SeqCst);
            // Somebody else may come in now, if it can.
            std::thread::yield_now();
            let now = reading.fetch_sub(1, Ordering::SeqCst);
            assert!(!alone || (others, now) == (0, 1), "{others} others were there, {now} are");
            checked.fetch_add(usize::from(alone), Ordering::SeqCst);
        };
        let ended = suspects.read(Place::Inbox, files, PathBuf::new, read);
        assert_eq!(ended, Reading::Ended(()));
    };
    std::thread::scope(|threads| {
        for innocent in 1..4 {
            threads.spawn(move || (0..500).for_each(|n| read_once(pair(innocent * 1000 + n * 10), false)));
        }
        threads.spawn(|| {
            for _ in 0..200 {
                // It stays a suspect: each time another death is told of it.
                let line = suspects.book().take_in_hand(Place::Inbox, pair(1));
                suspects
                    .book()
                    .set(line, Some(Note { files: pair(1), place: Place::Inbox, deaths: 1, in_hand: false }));
                read_once(pair(1), true);
            }
        });
    });
    assert_eq!(checked.into_inner(), 200);
}

#[test]
fn a_panic_is_a_death_of_one_alone() {
    let (_temporary, dir) = folder();
    let suspects = open(&dir);
    for times in 1..=DEATHS_MAX {
        let read = || -> () { panic!("this is what the test is about") };
        assert_eq!(suspects.read(Place::Inbox, pair(1), PathBuf::new, read), Reading::Panicked { times });
        assert_eq!(read_another(&suspects), Reading::Ended(()));
    }
    assert_eq!(read(&suspects, Place::Inbox, pair(1)), Reading::Refused);
    assert_eq!(open(&dir).deaths(pair(1)), DEATHS_MAX);
}

fn read_another(suspects: &Suspects) -> Reading<()> {
    read(suspects, Place::Inbox, pair(100))
}

#[test]
fn being_told_to_stop_is_no_death() {
    let (_temporary, dir) = folder();
    let suspects = open(&dir);
    let next = suspects.read(Place::Inbox, pair(1), PathBuf::new, || {
        let begun_after_the_word = suspects.read(Place::Work, pair(11), PathBuf::new, || {
            suspects.close();
            open(&dir)
        });
        assert!(matches!(&begun_after_the_word, Reading::Ended(next) if next.deaths(pair(11)) == 0));
        suspects.read(Place::Work, pair(21), PathBuf::new, || open(&dir))
    });
    let Reading::Ended(Reading::Ended(next)) = next else { panic!("{next:?}") };
    assert_eq!([1, 11, 21].map(|inode| next.deaths(pair(inode))), [0, 0, 0]);
}

#[test]
fn a_suspect_of_before_stays_one_when_the_daemon_is_told_to_stop() {
    let (_temporary, dir) = folder();
    let suspects = dies(&dir, &open(&dir), Place::Inbox, &[pair(1)]);
    let next = suspects.read(Place::Inbox, pair(1), PathBuf::new, || {
        suspects.close();
        open(&dir)
    });
    assert!(matches!(next, Reading::Ended(next) if next.deaths(pair(1)) == 1));
}

#[test]
fn the_end_of_the_machine_is_nobodys_doing() {
    let (temporary, dir) = folder();
    dies(&dir, &open(&dir), Place::Inbox, &[pair(1)]);
    let text = content(temporary.path());
    assert!(text.starts_with(BOOT), "{text}");
    std::fs::write(temporary.path().join(SUSPECTS), text.replace(BOOT, "e8a1")).unwrap();
    assert_eq!(open(&dir).deaths(pair(1)), 0);
    assert!(content(temporary.path()).starts_with(BOOT));
}

#[test]
fn what_is_no_note_says_nothing_and_stops_nothing() {
    let (temporary, dir) = folder();
    let path = temporary.path().join(SUSPECTS);
    let boot = line_of(BOOT);
    let good = text_of(Some(Note { files: pair(1), place: Place::Work, deaths: 1, in_hand: true }));
    assert_eq!(good.len(), LINE_BYTES, "the longest numbers have room");
    let torn = &good[..good.len() / 2];
    let cases: [Vec<u8>; 7] = [
        Vec::new(),
        vec![0; 3 * LINE_BYTES],
        vec![0xFF; 5 * LINE_BYTES + 7],
        boot.as_bytes()[..9].to_vec(),
        [boot.as_bytes(), torn.as_bytes()].concat(),
        [boot.as_bytes(), line_of("reading 1 elsewhere - -").as_bytes()].concat(),
        [boot.as_bytes(), line_of("reading 1 inbox 1:2:3:4:5 -").as_bytes()].concat(),
    ];
    for bytes in cases {
        std::fs::write(&path, &bytes).unwrap();
        let suspects = open(&dir);
        assert!(suspects.book().notes.is_empty(), "{bytes:?}");
        let suspects = dies(&dir, &suspects, Place::Work, &[pair(1)]);
        assert_eq!(suspects.deaths(pair(1)), 1, "{bytes:?}");
    }
    // Beside a line that says nothing another one still counts.
    std::fs::write(&path, [boot.as_bytes(), line_of("?").as_bytes(), good.as_bytes()].concat()).unwrap();
    assert_eq!(open(&dir).deaths(pair(1)), 2);
}

#[test]
fn without_a_file_panics_are_counted_all_the_same() {
    let (temporary, dir) = folder();
    std::fs::create_dir(temporary.path().join(SUSPECTS)).unwrap();
    let suspects = open(&dir);
    let read = || -> () { panic!("this is what the test is about") };
    assert_eq!(suspects.read(Place::Inbox, pair(1), PathBuf::new, read), Reading::Panicked { times: 1 });
    assert_eq!(suspects.deaths(pair(1)), 1);
    assert_eq!(read_another(&suspects), Reading::Ended(()));
}

#[test]
fn lines_are_used_again() {
    let (temporary, dir) = folder();
    let suspects = open(&dir);
    (0..1000).for_each(|inode| assert_eq!(read(&suspects, Place::Inbox, pair(inode)), Reading::Ended(())));
    assert_eq!(content(temporary.path()).len(), 2 * LINE_BYTES);
}
