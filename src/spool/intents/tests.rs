//! The witness: what is announced is on disk, and what a crash cut off does not count.

use std::path::Path;

use super::*;

fn id(n: u64) -> JobId {
    JobId::parse(&format!("0192e4a0-0000-7000-8000-{n:012x}")).expect("an identifier")
}

fn folder() -> (tempfile::TempDir, Dir) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let dir = Dir::open(temporary.path()).expect("a folder");
    (temporary, dir)
}

fn appender(path: &Path, bytes: u64) -> Appender {
    let file = std::fs::OpenOptions::new().append(true).open(path).expect("there is one");
    Appender { file, bytes, torn: false, path: path.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_at_once_is_all_on_disk_when_the_calls_return() {
    let (_temporary, dir) = folder();
    assert_eq!(read(&dir).unwrap(), None);
    let intents = Intents::start(&dir, &[(id(1), 7), (id(2), 1)]).unwrap();
    let announced: Vec<_> = (10..300)
        .map(|n| {
            let intents = intents.clone();
            tokio::spawn(async move { intents.announce(id(n), 3).await })
        })
        .collect();
    for (n, announced) in (10..).zip(announced) {
        announced.await.unwrap().unwrap();
        assert_eq!(read(&dir).unwrap().unwrap().get(&id(n)), Some(&3));
    }
    let all = read(&dir).unwrap().unwrap();
    assert_eq!((all.len(), all[&id(1)], all[&id(2)]), (292, 7, 1));
}

#[tokio::test]
async fn a_start_keeps_the_jobs_named_and_nothing_else() {
    let (_temporary, dir) = folder();
    let intents = Intents::start(&dir, &[(id(1), 1)]).unwrap();
    intents.announce(id(2), 5).await.unwrap();
    drop(intents);
    drop(Intents::start(&dir, &[(id(2), 5)]).unwrap());
    assert_eq!(read(&dir).unwrap(), Some(HashMap::from([(id(2), 5)])));
    assert_eq!(dir.names().unwrap(), [own_name(INTENTS)]);
}

#[test]
fn the_highest_number_counts_and_a_line_that_was_cut_off_does_not() {
    let (temporary, dir) = folder();
    let text = format!("{a} 2\n{a} 10\n{a} 3\n{b} 1\n{a} 11", a = id(1), b = id(2));
    std::fs::write(temporary.path().join(INTENTS), text).unwrap();
    assert_eq!(read(&dir).unwrap(), Some(HashMap::from([(id(1), 10), (id(2), 1)])));
}

#[test]
fn a_witness_with_nonsense_in_it_is_not_believed() {
    let (temporary, dir) = folder();
    for nonsense in ["nonsense\n", "\n", &format!("{} x\n", id(2)), &format!("\0\0\0{} 4\n", id(2)), "\u{0}\n"] {
        std::fs::write(temporary.path().join(INTENTS), format!("{a} 2\n{nonsense}{a} 3\n", a = id(1))).unwrap();
        assert_eq!(read(&dir).unwrap(), None, "{nonsense:?}");
    }
}

#[test]
fn a_witness_that_is_no_file_is_an_error_and_not_an_empty_one() {
    let (temporary, dir) = folder();
    std::os::unix::fs::symlink("/dev/null", temporary.path().join(INTENTS)).unwrap();
    assert!(read(&dir).is_err());
}

#[test]
fn what_a_failed_write_left_never_spoils_the_next_line() {
    let (temporary, dir) = folder();
    let path = temporary.path().join(INTENTS);
    let whole = format!("{} 1\n", id(1));
    std::fs::write(&path, format!("{whole}{}", id(2))).unwrap();
    let mut torn = appender(&path, whole.len() as u64);
    torn.torn = true;
    torn.append(format!("{} 9\n", id(3)).as_bytes()).unwrap();
    assert_eq!(read(&dir).unwrap(), Some(HashMap::from([(id(1), 1), (id(3), 9)])));

    // While it cannot be cut off, nothing is announced.
    let mut stuck = Appender { file: File::open(&path).unwrap(), ..appender(&path, 0) };
    assert!(stuck.append(b"x 1\n").is_err() && stuck.torn);
    assert!(stuck.append(b"x 1\n").is_err() && stuck.torn);
}
