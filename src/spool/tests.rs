//! The moving half over real folders: what a crash may leave is made by hand, then the same call goes on.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::claim::{Claim, Claimed, NOTE, PICTURE, Refusal, SIDECAR};
use super::finish::Finished;
use super::scan::Identity;
use super::*;
use crate::job::state::{Finish, Publication, Rejection, Video};
use crate::job::{
    Account, AspectRatio, Failure, Input, InputFile, Job, PairName, Reason, Request, Seed, State, Task, TaskId, report,
};

const FAR: &str = "/dev/shm";

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a test's name is a name")
}

fn at(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

fn id(n: u64) -> JobId {
    JobId::parse(&format!("0192e4a0-0000-7000-8000-{n:012x}")).expect("an identifier")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Says past libtest's capture what this machine does not let a test play.
pub(in crate::spool) fn not_played(what: &str) {
    writeln!(std::io::stderr(), "NOT PLAYED: {what}").expect("standard error is open");
}

/// Five folders, the last three perhaps on another mount.
struct Place {
    near: TempDir,
    far: Option<TempDir>,
}

impl Place {
    fn new() -> Self {
        Self { near: TempDir::new().expect("a temporary folder"), far: None }
    }

    /// `None` where this machine has no second mount to write to, which is said.
    fn over_mounts() -> Option<Self> {
        let is_other = |near: &TempDir, far: &TempDir| {
            fs::write(near.path().join("x"), "").ok()?;
            let renamed = fs::rename(near.path().join("x"), far.path().join("x"));
            renamed.is_err_and(|error| error.kind() == std::io::ErrorKind::CrossesDevices).then_some(())
        };
        let near = TempDir::new().expect("a temporary folder");
        let far = TempDir::new_in(FAR).ok().filter(|far| is_other(&near, far).is_some());
        if far.is_none() {
            not_played("moves between mounts, for nothing but one mount can be written to");
        }
        far.map(|far| Self { near, far: Some(far) })
    }

    /// One near, and one over mounts if there can be one.
    fn both() -> impl Iterator<Item = Self> {
        [Some(Self::new()), Self::over_mounts()].into_iter().flatten()
    }

    fn settings(&self) -> Settings {
        let near = self.near.path();
        let far = self.far.as_ref().map_or(near, TempDir::path);
        Settings {
            inbox: near.join("inbox"),
            work: near.join("work"),
            outbox: far.join("outbox"),
            error: far.join("error"),
            archive: far.join("archive"),
            receipt: true,
            delete_on_success: false,
        }
    }

    fn open(&self) -> Spool {
        Spool::open(self.settings(), true).expect("the spool opens")
    }
}

/// Puts a file into a folder, making the folder.
fn put(folder: &Path, file: &str, content: &str) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().expect("it lies somewhere")).expect("made");
    fs::write(path, content).expect("written");
}

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_else(|error| format!("{file}: {error}"))
}

/// Every file below `folder` with its content, but for the lock.
fn tree(folder: &Path) -> Vec<(String, String)> {
    fn walk(folder: &Path, below: &str, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("readable").flatten() {
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("known").is_dir() {
                walk(&entry.path(), &format!("{name}/"), files);
            } else if name != LOCK {
                files.push((name, fs::read_to_string(entry.path()).unwrap_or_default()));
            }
        }
    }
    let mut files = Vec::new();
    walk(folder, "", &mut files);
    files.sort();
    files
}

fn names(folder: &Path) -> Vec<String> {
    tree(folder).into_iter().map(|(name, _)| name).collect()
}

fn texts(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
}

fn pair() -> PairName {
    PairName { folder: Folder::new(&b"shoes"[..]).expect("a folder"), stem: name("cat") }
}

fn claim_of(spool: &Spool, pair: &PairName, picture: &str, sidecar: &str) -> Claim {
    let dir = Dir::open(&spool.settings.inbox).unwrap().descend(&pair.folder).unwrap();
    let see = |text: &str| {
        let name = name(text);
        let stat = dir.stat(&name).unwrap().expect("it is there");
        (name, Identity::of(&stat))
    };
    Claim { pair: pair.clone(), picture: Some(see(picture)), sidecar: Some(see(sidecar)) }
}

fn drop_pair(spool: &Spool) -> Claim {
    let inbox = &spool.settings.inbox;
    put(inbox, "shoes/cat.jpg", "picture");
    put(inbox, "shoes/cat.yaml", "prompt: a cat");
    claim_of(spool, &pair(), "cat.jpg", "cat.yaml")
}

fn claimed(spool: &Spool, n: u64) -> Job {
    let claim = drop_pair(spool);
    assert_eq!(spool.claim(id(n), &claim).unwrap(), Claimed::Taken);
    job(n)
}

fn task() -> Task {
    Task {
        task_id: TaskId::new("7").expect("an identifier"),
        request_id: None,
        account: Account { base_url: "https://api.example".to_owned(), token_fingerprint: "00".to_owned() },
        submitted_at: at(1),
    }
}

fn job(n: u64) -> Job {
    let file = |text: &str, content: &str| InputFile {
        name: name(text),
        bytes: content.len() as u64,
        sha256: sha256(content.as_bytes()),
    };
    Job {
        id: id(n),
        pair: pair(),
        input: Input {
            sidecar: Some(file("cat.yaml", "prompt: a cat")),
            picture: Some(file("cat.jpg", "picture")),
            shown: Some((640, 480)),
        },
        request: Some(Request {
            prompt: "a cat".to_owned(),
            aspect_ratio: AspectRatio::R1x1,
            seed: Seed::Api,
            image_url: None,
        }),
        priority: 0,
        earlier: None,
        claimed_at: at(0),
        sends: 1,
        attempts: 1,
        charges: 1,
        state: State::Submitting,
        since: at(0),
    }
}

const FILM: &str = "film";

fn video() -> Video {
    Video { bytes: 4, sha256: sha256(FILM.as_bytes()), width: None, height: None, seconds: None }
}

/// A job whose video lies in the outbox under its temporary name.
fn fetched(spool: &Spool, n: u64) -> (Job, Publication) {
    let job = claimed(spool, n);
    let temporary = Spool::part_name(job.id);
    put(&spool.settings.outbox.join("shoes"), &temporary.to_string(), FILM);
    let outbox = spool.keep_part(&job).unwrap();
    (job, Publication { temporary, outbox, number: 1, former: vec![], delivered_at: at(9) })
}

fn publish(spool: &Spool, job: &Job, publication: &Publication) -> Finished {
    let finish = Finish { done_at: at(5), bad_links: 0 };
    spool.publish(job, &task(), &finish, &video(), publication, true).expect("published or renumbered")
}

/// As the daemon does it: what is taken is recorded, then done again. The number in the end.
fn publish_through(spool: &Spool, job: &Job, publication: &Publication) -> u32 {
    let mut publication = publication.clone();
    for _ in 0..10 {
        match publish(spool, job, &publication) {
            Finished::Done => return publication.number,
            Finished::Renumber(number) => publication.former.push(std::mem::replace(&mut publication.number, number)),
            Finished::VideoLost => panic!("the video is lost"),
        }
    }
    panic!("it never ends")
}

fn failure() -> Failure {
    Failure::unread(Reason::Poison, "crashed".to_owned(), vec![])
}

fn rejection(number: u32) -> Rejection {
    Rejection { number, former: vec![], failed_at: at(9) }
}

fn reject_through(spool: &Spool, job: &Job, rejection: Rejection) -> u32 {
    let mut rejection = rejection;
    for _ in 0..10 {
        match spool.reject(job, &failure(), &rejection, true).expect("rejected or renumbered") {
            Finished::Done => return rejection.number,
            Finished::Renumber(number) => rejection.former.push(std::mem::replace(&mut rejection.number, number)),
            Finished::VideoLost => panic!("a rejection has no video"),
        }
    }
    panic!("it never ends")
}

const PAIR: [(&str, &str); 2] = [("shoes/cat.jpg", "picture"), ("shoes/cat.yaml", "prompt: a cat")];
const SECOND: [(&str, &str); 2] = [("shoes/cat (2).jpg", "picture"), ("shoes/cat (2).yaml", "prompt: a cat")];

// Opening

#[test]
fn one_root_has_one_daemon_and_looking_does_not_disturb_it() {
    let place = Place::new();
    let work = place.settings().work;
    fs::create_dir(&work).unwrap();
    assert!(!Spool::is_locked(&work).unwrap());
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "looking makes nothing");
    let spool = place.open();
    assert!(Spool::is_locked(&work).unwrap());
    assert!(matches!(Spool::open(place.settings(), true), Err(OpenError::Busy(_))));
    drop(spool);
    assert!(!Spool::is_locked(&work).unwrap());
    drop(place.open());
    assert!(Spool::is_locked(&place.near.path().join("none")).is_err());
}

#[test]
fn the_inbox_is_made_the_first_time_only_and_no_probe_is_left() {
    let place = Place::new();
    drop(Spool::open(place.settings(), false).unwrap());
    assert!(!place.settings().inbox.exists() && place.settings().archive.is_dir());
    drop(place.open());
    assert_eq!(names(&place.settings().inbox), [] as [&str; 0]);
    assert_eq!(names(&place.settings().work), [] as [&str; 0]);
}

#[test]
fn folders_in_one_another_are_refused_even_by_way_of_links() {
    let change: [fn(&mut Settings, &Path); 4] = [
        |settings, root| settings.outbox = root.join("inbox/out"),
        |settings, root| settings.inbox = root.join("work/inbox"),
        |settings, root| settings.error = root.join("archive"),
        |settings, root| {
            fs::create_dir(root.join("inbox")).unwrap();
            symlink(root.join("inbox"), root.join("link")).unwrap();
            settings.error = root.join("link/error");
        },
    ];
    for change in change {
        let place = Place::new();
        let mut settings = place.settings();
        change(&mut settings, place.near.path());
        assert!(matches!(Spool::open(settings, true), Err(OpenError::Nested { .. })));
    }
}

#[test]
fn an_inbox_on_another_mount_is_refused() {
    let Some(place) = Place::over_mounts() else { return };
    let settings = Settings { inbox: place.settings().outbox.join("../inbox"), ..place.settings() };
    fs::create_dir(place.far.as_ref().unwrap().path().join("inbox")).unwrap();
    fs::create_dir(&place.settings().outbox).unwrap();
    assert!(matches!(Spool::open(settings, true), Err(OpenError::OtherMount { .. })));
    assert_eq!(names(&place.settings().work), [] as [&str; 0]);
}

#[test]
fn folders_are_made_where_they_are_named() {
    let place = Place::new();
    make_folder(&place.near.path().join("a/./b//c/")).unwrap();
    assert!(place.near.path().join("a/b/c").is_dir());
    assert!(make_folder(&place.near.path().join("a/none/../d")).is_err());
    // A relative path is one from the current folder, not from the root of the file system.
    let relative = PathBuf::from(format!("target/tmp/relative-{}", std::process::id()));
    make_folder(&relative).unwrap();
    assert!(relative.is_dir());
    fs::remove_dir(&relative).unwrap();
}

#[test]
fn only_names_that_we_give_are_jobs() {
    let place = Place::new();
    let spool = place.open();
    for name in [id(1).to_string(), id(2).to_string().replace('-', ""), format!("{{{}}}", id(3)), "other".to_owned()] {
        fs::create_dir(spool.settings.work.join(name)).unwrap();
    }
    assert_eq!(spool.jobs_in_work().unwrap(), [id(1)]);
}

// Claiming and putting back

#[test]
fn a_claim_takes_both_files_and_notes_where_they_were() {
    let place = Place::new();
    let spool = place.open();
    let claim = drop_pair(&spool);
    assert_eq!(spool.claim(id(1), &claim).unwrap(), Claimed::Taken);
    let work = spool.job_path(id(1));
    assert_eq!((read(&work, PICTURE), read(&work, SIDECAR)), ("picture".to_owned(), "prompt: a cat".to_owned()));
    assert_eq!(names(&work), [NOTE, PICTURE, SIDECAR]);
    assert_eq!(names(&spool.settings.inbox), [] as [&str; 0]);
    let note = spool.note(id(1)).unwrap().expect("whole");
    assert_eq!(note.pair, claim.pair);
    assert!(note.picture.unwrap().1.same_file(&claim.picture.unwrap().1));
    let (picture, sidecar) = spool.open_claimed(id(1)).unwrap();
    assert!(picture.is_some() && sidecar.is_some());
    assert_eq!(spool.jobs_in_work().unwrap(), [id(1)]);
}

#[test]
fn a_file_that_may_not_be_moved_waits_with_its_partner() {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    for (file, says) in
        [("cat.jpg", "cat.jpg: Operation not permitted"), ("cat.yaml", "cat.yaml: Operation not permitted")]
    {
        let place = Place::new();
        let spool = place.open();
        let claim = drop_pair(&spool);
        let path = spool.settings.inbox.join("shoes").join(file);
        let protected = fs::File::open(&path).unwrap();
        let before = ioctl_getflags(&protected).unwrap_or(IFlags::empty());
        if ioctl_setflags(&protected, before | IFlags::IMMUTABLE).is_err() {
            return not_played("a claim of a file protected by chattr");
        }
        let claimed = spool.claim(id(1), &claim);
        ioctl_setflags(&protected, before).expect("what was set can be taken away");
        let Ok(Claimed::Refused(Refusal::Unmovable(why))) = &claimed else { panic!("{file}: {claimed:?}") };
        assert!(why.contains(says), "{file}: {why}");
        for name in ["cat.jpg", "cat.yaml"] {
            assert!(spool.settings.inbox.join("shoes").join(name).is_file(), "{file} is protected, and {name} is gone");
        }
        assert!(!place.settings().work.join(id(1).to_string()).exists(), "{file}: something is left in work");
    }
}

#[test]
fn a_claim_of_names_that_are_no_text_comes_back_as_it_was() {
    let place = Place::new();
    let spool = place.open();
    let picture = FileName::new(&b"c\xff\n.jpg"[..]).unwrap();
    let stem = FileName::new(&b"c\xff\n"[..]).unwrap();
    fs::write(spool.settings.inbox.join(picture.as_path()), "picture").unwrap();
    let stat = Dir::open(&spool.settings.inbox).unwrap().stat(&picture).unwrap().unwrap();
    let pair = PairName { folder: Folder::root(), stem };
    let claim = Claim { pair, picture: Some((picture.clone(), Identity::of(&stat))), sidecar: None };
    assert_eq!(spool.claim(id(1), &claim).unwrap(), Claimed::Taken);
    spool.put_back(id(1)).unwrap();
    assert_eq!(fs::read(spool.settings.inbox.join(picture.as_path())).unwrap(), b"picture");
}

#[test]
fn what_changed_since_it_was_judged_is_not_taken() {
    let change: [fn(&Path); 5] = [
        |inbox| put(inbox, "shoes/cat.jpg", "another picture"),
        |inbox| put(inbox, "shoes/cat.yaml", "prompt: another cat"),
        |inbox| fs::remove_file(inbox.join("shoes/cat.yaml")).unwrap(),
        |inbox| fs::rename(inbox.join("shoes"), inbox.join("boots")).unwrap(),
        |inbox| {
            put(inbox, "new.jpg", "picture");
            fs::rename(inbox.join("new.jpg"), inbox.join("shoes/cat.jpg")).unwrap();
        },
    ];
    for change in change {
        let place = Place::new();
        let spool = place.open();
        let claim = drop_pair(&spool);
        change(&spool.settings.inbox);
        let before = tree(&spool.settings.inbox);
        assert_eq!(spool.claim(id(1), &claim).unwrap(), Claimed::Changed);
        assert_eq!(tree(&spool.settings.inbox), before);
        assert_eq!(spool.jobs_in_work().unwrap(), []);
    }
}

#[test]
fn a_link_in_place_of_a_file_or_a_folder_leads_nowhere() {
    let place = Place::new();
    let spool = place.open();
    let secret = place.near.path().join("secret");
    put(&secret, "cat.jpg", "picture");
    put(&secret, "cat.yaml", "prompt: a cat");
    let inbox = spool.settings.inbox.clone();

    let claim = drop_pair(&spool);
    fs::remove_file(inbox.join("shoes/cat.jpg")).unwrap();
    symlink(secret.join("cat.jpg"), inbox.join("shoes/cat.jpg")).unwrap();
    assert_eq!(spool.claim(id(1), &claim).unwrap(), Claimed::Changed);
    assert!(inbox.join("shoes/cat.jpg").is_symlink(), "the link is back where it was");

    fs::remove_dir_all(inbox.join("shoes")).unwrap();
    let claim = drop_pair(&spool);
    fs::remove_dir_all(inbox.join("shoes")).unwrap();
    symlink(&secret, inbox.join("shoes")).unwrap();
    assert_eq!(spool.claim(id(2), &claim).unwrap(), Claimed::Changed);
    assert_eq!(names(&secret), ["cat.jpg", "cat.yaml"]);

    // The folder of a claimed pair was replaced: nothing is written where the link leads.
    fs::remove_file(inbox.join("shoes")).unwrap();
    let job = claimed(&spool, 3);
    fs::remove_dir(inbox.join("shoes")).unwrap();
    symlink(&secret, inbox.join("shoes")).unwrap();
    symlink(&secret, spool.settings.error.join("shoes")).unwrap();
    assert!(spool.put_back(id(3)).is_err());
    assert!(spool.reject(&job, &failure(), &rejection(1), true).is_err());
    assert_eq!(names(&secret), ["cat.jpg", "cat.yaml"]);
    assert_eq!(names(&spool.job_path(id(3))), [NOTE, PICTURE, SIDECAR]);
}

#[test]
fn putting_back_goes_on_from_wherever_it_was_cut_off() {
    let cut: [fn(&Path, &Path); 7] = [
        |_, _| {},
        |work, inbox| fs::rename(work.join(PICTURE), inbox.join("shoes/cat.jpg")).unwrap(),
        |work, inbox| fs::rename(work.join(SIDECAR), inbox.join("shoes/cat.yaml")).unwrap(),
        |work, inbox| {
            fs::rename(work.join(PICTURE), inbox.join("shoes/cat.jpg")).unwrap();
            fs::rename(work.join(SIDECAR), inbox.join("shoes/cat.yaml")).unwrap();
        },
        |work, inbox| {
            fs::rename(work.join(PICTURE), inbox.join("shoes/cat.jpg")).unwrap();
            fs::rename(work.join(SIDECAR), inbox.join("shoes/cat.yaml")).unwrap();
            fs::remove_file(work.join(NOTE)).unwrap();
        },
        // Where a rename cannot spare what is there, it is a link and an unlink.
        |work, inbox| fs::hard_link(work.join(PICTURE), inbox.join("shoes/cat.jpg")).unwrap(),
        |_, inbox| fs::remove_dir(inbox.join("shoes")).unwrap(),
    ];
    for (n, cut) in cut.into_iter().enumerate() {
        let place = Place::new();
        let spool = place.open();
        claimed(&spool, 1);
        cut(&spool.job_path(id(1)), &spool.settings.inbox);
        spool.put_back(id(1)).unwrap_or_else(|error| panic!("{n}: {error}"));
        spool.put_back(id(1)).unwrap();
        assert_eq!(tree(&spool.settings.inbox), texts(&PAIR), "{n}");
        assert_eq!(spool.jobs_in_work().unwrap(), [], "{n}");
    }
}

#[test]
fn what_is_put_back_replaces_nothing_and_stays_a_pair() {
    for taken in ["shoes/cat.jpg", "shoes/cat.yaml"] {
        let place = Place::new();
        let spool = place.open();
        claimed(&spool, 1);
        put(&spool.settings.inbox, taken, "newer");
        put(&spool.settings.inbox, "shoes/cat (2).jpg.txt", "no matter");
        spool.put_back(id(1)).unwrap();
        let mut wanted = texts(&SECOND);
        wanted.extend(texts(&[(taken, "newer"), ("shoes/cat (2).jpg.txt", "no matter")]));
        wanted.sort();
        assert_eq!(tree(&spool.settings.inbox), wanted);
    }
    // Cut off after the first of the two.
    let place = Place::new();
    let spool = place.open();
    claimed(&spool, 1);
    put(&spool.settings.inbox, "shoes/cat.jpg", "newer");
    fs::rename(spool.job_path(id(1)).join(PICTURE), spool.settings.inbox.join("shoes/cat (2).jpg")).unwrap();
    spool.put_back(id(1)).unwrap();
    assert_eq!(names(&spool.settings.inbox), ["shoes/cat (2).jpg", "shoes/cat (2).yaml", "shoes/cat.jpg"]);
}

#[test]
fn a_pair_whose_inbox_is_another_disk_now_keeps_its_note() {
    let Some(place) = Place::over_mounts() else { return };
    let mut spool = place.open();
    claimed(&spool, 1);
    spool.settings.inbox = spool.settings.outbox.clone();
    let error = spool.put_back(id(1)).expect_err("it is not the same mount");
    assert_eq!(error.trouble(), durable::Trouble::Vanished);
    assert_eq!(names(&spool.job_path(id(1))), [NOTE, PICTURE, SIDECAR]);
    spool.clear_work(id(1)).unwrap();
    assert_eq!(names(&spool.job_path(id(1))), [NOTE, PICTURE, SIDECAR], "the note stays with the files");
    spool.settings.inbox = place.settings().inbox;
    spool.put_back(id(1)).unwrap();
    assert_eq!(tree(&spool.settings.inbox), texts(&PAIR));
}

// Publishing

fn archived(spool: &Spool, number: u32) {
    let wanted = if number == 1 { texts(&PAIR) } else { texts(&SECOND) };
    let archive = tree(&spool.settings.archive);
    for file in wanted {
        assert!(archive.contains(&file), "{file:?} in {archive:?}");
    }
}

#[test]
fn a_video_comes_out_with_its_receipt_and_its_pair_is_archived() {
    for place in Place::both() {
        let spool = place.open();
        let (job, publication) = fetched(&spool, 1);
        assert_eq!(publish(&spool, &job, &publication), Finished::Done);
        assert_eq!(names(&spool.settings.outbox), ["shoes/cat.mp4", "shoes/cat.receipt.yaml"]);
        assert_eq!(read(&spool.settings.outbox, "shoes/cat.mp4"), FILM);
        assert_eq!(tree(&spool.settings.archive), texts(&PAIR));
        assert_eq!(spool.jobs_in_work().unwrap(), []);
        let after = (tree(&spool.settings.outbox), tree(&spool.settings.archive));
        assert_eq!(publish(&spool, &job, &publication), Finished::Done);
        assert_eq!((tree(&spool.settings.outbox), tree(&spool.settings.archive)), after);
    }
}

#[test]
fn the_pair_is_deleted_and_no_receipt_written_if_so_configured() {
    let place = Place::new();
    let settings = Settings { receipt: false, delete_on_success: true, ..place.settings() };
    let spool = Spool::open(settings, true).unwrap();
    let (job, publication) = fetched(&spool, 1);
    assert_eq!(publish(&spool, &job, &publication), Finished::Done);
    assert_eq!(names(&spool.settings.outbox), ["shoes/cat.mp4"]);
    assert_eq!(names(&spool.settings.archive), [] as [&str; 0]);
    assert_eq!(spool.jobs_in_work().unwrap(), []);
}

#[test]
fn publishing_goes_on_from_wherever_it_was_cut_off() {
    for place in Place::both() {
        let whole = {
            let spool = place.open();
            let (job, publication) = fetched(&spool, 1);
            publish(&spool, &job, &publication);
            read(&spool.settings.outbox, "shoes/cat.receipt.yaml")
        };
        for cut in 0..7 {
            let place = if place.far.is_some() { Place::over_mounts().unwrap() } else { Place::new() };
            let spool = place.open();
            let (job, publication) = fetched(&spool, 1);
            let work = spool.job_path(job.id);
            let (outbox, archive) = (spool.settings.outbox.join("shoes"), spool.settings.archive.join("shoes"));
            fs::create_dir_all(&archive).unwrap();
            if cut >= 1 {
                put(&outbox, &format!(".{}.yaml.part", job.id), "half of a rec");
            }
            if cut >= 2 {
                fs::remove_file(outbox.join(format!(".{}.yaml.part", job.id))).unwrap();
                put(&outbox, "cat.receipt.yaml", &whole);
            }
            if cut >= 3 {
                fs::rename(outbox.join(publication.temporary.as_path()), outbox.join("cat.mp4")).unwrap();
            }
            if cut == 4 {
                // A copy left on both sides, or one that was only begun.
                copy_with_time(&work.join(PICTURE), &archive.join("cat.jpg"));
                put(&archive, &format!(".{}.picture.part", job.id), "pic");
            }
            if cut >= 5 {
                fs::copy(work.join(PICTURE), archive.join("cat.jpg")).unwrap();
                fs::remove_file(work.join(PICTURE)).unwrap();
            }
            if cut >= 6 {
                // Its user has taken the video, but not yet the receipt.
                fs::remove_file(outbox.join("cat.mp4")).unwrap();
            }
            assert_eq!(publish(&spool, &job, &publication), Finished::Done, "cut {cut}");
            assert_eq!(read(&outbox, "cat.receipt.yaml"), whole, "cut {cut}");
            let videos = names(&spool.settings.outbox).iter().filter(|name| name.ends_with(".mp4")).count();
            assert_eq!(videos, usize::from(cut < 6), "cut {cut}");
            if cut == 4 && place.far.is_none() {
                // On one mount no copy of ours can be left: what lies there is another's, and is spared.
                archived(&spool, 2);
            } else {
                archived(&spool, 1);
                let parts = names(&spool.settings.archive).len() - 2;
                assert_eq!(
                    parts,
                    usize::from(cut == 4 && place.far.is_some()),
                    "only what was never to be looked at again"
                );
            }
            assert_eq!(spool.jobs_in_work().unwrap(), [], "cut {cut}");
        }
    }
}

fn copy_with_time(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    let modified = fs::metadata(from).unwrap().modified().unwrap();
    fs::File::options().write(true).open(to).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_video_whose_name_is_taken_gets_one_number_with_all_its_files() {
    for taken in ["outbox/shoes/cat.mp4", "outbox/shoes/cat.receipt.yaml"] {
        let place = Place::new();
        let spool = place.open();
        let (job, publication) = fetched(&spool, 1);
        put(place.near.path(), taken, "another's");
        assert_eq!(publish_through(&spool, &job, &publication), 2);
        assert_eq!(read(place.near.path(), taken), "another's");
        let mut out = names(&spool.settings.outbox);
        out.retain(|name| name.contains("(2)"));
        assert_eq!(out, ["shoes/cat (2).mp4", "shoes/cat (2).receipt.yaml"]);
        archived(&spool, 2);
    }
}

#[test]
fn what_is_no_file_of_ours_under_a_name_is_only_another_name_taken() {
    let plant: [fn(&Path); 3] = [
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/etc/passwd", path).unwrap(),
        |path| fs::write(path, [0xff, 0xfe]).unwrap(),
    ];
    for plant in plant {
        for file in ["cat.mp4", "cat.receipt.yaml"] {
            let place = Place::new();
            let spool = place.open();
            let (job, publication) = fetched(&spool, 1);
            plant(&spool.settings.outbox.join("shoes").join(file));
            assert_eq!(publish_through(&spool, &job, &publication), 2);
        }
        let place = Place::new();
        let spool = place.open();
        let job = claimed(&spool, 1);
        fs::create_dir_all(spool.settings.error.join("shoes")).unwrap();
        plant(&spool.settings.error.join("shoes/cat.error.yaml"));
        assert_eq!(spool.earlier(&pair()).unwrap(), None);
        assert_eq!(reject_through(&spool, &job, rejection(1)), 2);
    }
}

#[test]
fn a_receipt_under_a_number_that_was_given_up_is_taken_away() {
    let place = Place::new();
    let spool = place.open();
    let (job, publication) = fetched(&spool, 1);
    let finish = Finish { done_at: at(5), bad_links: 0 };
    let receipt = report::receipt(&job, &task(), &finish, &video(), 1, at(9)).unwrap();
    put(&spool.settings.outbox, "shoes/cat.receipt.yaml", &receipt);
    put(&spool.settings.outbox, "shoes/cat.mp4", "another's");
    assert_eq!(publish_through(&spool, &job, &publication), 2);
    assert_eq!(names(&spool.settings.outbox), ["shoes/cat (2).mp4", "shoes/cat (2).receipt.yaml", "shoes/cat.mp4"]);
}

#[test]
fn a_pair_in_the_archive_is_not_torn_apart_by_a_name_taken_late() {
    for place in Place::both() {
        for taken in ["shoes/cat.jpg", "shoes/cat.yaml"] {
            let place = if place.far.is_some() { Place::over_mounts().unwrap() } else { Place::new() };
            let spool = place.open();
            let (job, publication) = fetched(&spool, 1);
            put(&spool.settings.archive, taken, "another's");
            assert_eq!(publish(&spool, &job, &publication), Finished::Done);
            assert_eq!(read(&spool.settings.archive, taken), "another's");
            archived(&spool, 2);
            assert_eq!(names(&spool.settings.archive).len(), 3);
        }
        // The picture was archived before the crash, and only then somebody took the sidecar's name.
        let spool = place.open();
        let (job, publication) = fetched(&spool, 1);
        let picture = spool.job_path(job.id).join(PICTURE);
        put(&spool.settings.archive, "shoes/cat.jpg", "picture");
        fs::remove_file(picture).unwrap();
        put(&spool.settings.archive, "shoes/cat.yaml", "another's");
        assert_eq!(publish(&spool, &job, &publication), Finished::Done);
        archived(&spool, 2);
        assert_eq!(names(&spool.settings.archive), ["shoes/cat (2).jpg", "shoes/cat (2).yaml", "shoes/cat.yaml"]);
    }
}

#[test]
fn a_video_that_vanished_with_its_folder_is_lost_and_one_taken_by_its_user_is_not() {
    let place = Place::new();
    let spool = place.open();
    let (job, publication) = fetched(&spool, 1);
    let elsewhere = Publication { outbox: (0, 0), ..publication.clone() };
    fs::remove_file(spool.settings.outbox.join("shoes").join(publication.temporary.as_path())).unwrap();
    assert_eq!(publish(&spool, &job, &elsewhere), Finished::VideoLost);
    assert_eq!(names(&spool.job_path(job.id)), [NOTE, PICTURE, SIDECAR]);
    assert_eq!(publish(&spool, &job, &publication), Finished::Done);
    archived(&spool, 1);
}

// Rejecting

#[test]
fn a_rejected_pair_lies_in_error_with_its_report() {
    for place in Place::both() {
        let spool = place.open();
        let job = claimed(&spool, 1);
        let time = fs::metadata(spool.job_path(job.id).join(PICTURE)).unwrap().modified().unwrap();
        assert_eq!(reject_through(&spool, &job, rejection(1)), 1);
        assert_eq!(names(&spool.settings.error), ["shoes/cat.error.yaml", "shoes/cat.jpg", "shoes/cat.yaml"]);
        let moved = fs::metadata(spool.settings.error.join("shoes/cat.jpg")).unwrap();
        assert_eq!(moved.modified().unwrap(), time, "also over mounts it is as it was");
        assert_eq!(moved.nlink(), 1);
        assert_eq!(spool.jobs_in_work().unwrap(), []);
        let after = tree(&spool.settings.error);
        assert_eq!(reject_through(&spool, &job, rejection(1)), 1);
        assert_eq!(tree(&spool.settings.error), after);
    }
}

#[test]
fn rejecting_goes_on_from_wherever_it_was_cut_off() {
    for place in Place::both() {
        for cut in 0..5 {
            let place = if place.far.is_some() { Place::over_mounts().unwrap() } else { Place::new() };
            let spool = place.open();
            let job = claimed(&spool, 1);
            let (work, error) = (spool.job_path(job.id), spool.settings.error.join("shoes"));
            fs::create_dir_all(&error).unwrap();
            let moved = |own: &str, new: &str| {
                copy_with_time(&work.join(own), &error.join(new));
                fs::remove_file(work.join(own)).unwrap();
            };
            match cut {
                0 => put(&error, &format!(".{}.picture.part", job.id), "pic"),
                1 => moved(PICTURE, "cat.jpg"),
                2 if place.far.is_some() => copy_with_time(&work.join(PICTURE), &error.join("cat.jpg")),
                2 => fs::hard_link(work.join(PICTURE), error.join("cat.jpg")).unwrap(),
                3 | 4 => {
                    moved(PICTURE, "cat.jpg");
                    moved(SIDECAR, "cat.yaml");
                    put(&error, &format!(".{}.yaml.part", job.id), "half of a rep");
                }
                _ => unreachable!(),
            }
            if cut == 4 {
                put(&error, "cat.error.yaml", &report::report(&job, &failure(), 1, at(9)));
                fs::remove_dir_all(&work).unwrap();
            }
            let number = reject_through(&spool, &job, rejection(1));
            let mut left = names(&error);
            left.retain(|name| !name.starts_with('.'));
            assert_eq!(
                (number, left),
                (1, vec!["cat.error.yaml".to_owned(), "cat.jpg".to_owned(), "cat.yaml".to_owned()]),
                "cut {cut}"
            );
            assert_eq!(spool.jobs_in_work().unwrap(), [], "cut {cut}");
        }
    }
}

#[test]
fn two_jobs_with_one_name_and_one_picture_both_keep_all_their_files() {
    for place in Place::both() {
        let spool = place.open();
        let first = claimed(&spool, 1);
        // A later time tells their copies apart, as it does for files that were dropped one after the other.
        put(&spool.settings.inbox, "shoes/cat.jpg", "picture");
        put(&spool.settings.inbox, "shoes/cat.yaml", "prompt: another cat");
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options()
            .write(true)
            .open(spool.settings.inbox.join("shoes/cat.jpg"))
            .unwrap()
            .set_modified(later)
            .unwrap();
        let claim = claim_of(&spool, &pair(), "cat.jpg", "cat.yaml");
        assert_eq!(spool.claim(id(2), &claim).unwrap(), Claimed::Taken);
        let mut second = job(2);
        second.input.sidecar =
            second.input.sidecar.map(|file| InputFile { sha256: sha256(b"prompt: another cat"), ..file });
        // Both chose their number before either moved.
        assert_eq!(reject_through(&spool, &first, rejection(1)), 1);
        assert_eq!(reject_through(&spool, &second, rejection(1)), 2);
        let wanted = [
            "shoes/cat (2).error.yaml",
            "shoes/cat (2).jpg",
            "shoes/cat (2).yaml",
            "shoes/cat.error.yaml",
            "shoes/cat.jpg",
            "shoes/cat.yaml",
        ];
        assert_eq!(names(&spool.settings.error), wanted);
        assert_eq!(read(&spool.settings.error, "shoes/cat (2).yaml"), "prompt: another cat");
    }
}

#[test]
fn what_was_moved_under_a_number_that_was_given_up_comes_along() {
    for taken in ["cat.jpg", "cat.yaml", "cat.error.yaml"] {
        let place = Place::new();
        let spool = place.open();
        let job = claimed(&spool, 1);
        put(&spool.settings.error, &format!("shoes/{taken}"), "another's");
        assert_eq!(reject_through(&spool, &job, rejection(1)), 2);
        let mut left = names(&spool.settings.error);
        left.retain(|name| *name != format!("shoes/{taken}"));
        assert_eq!(left, ["shoes/cat (2).error.yaml", "shoes/cat (2).jpg", "shoes/cat (2).yaml"], "{taken}");
        assert_eq!(read(&spool.settings.error.join("shoes"), taken), "another's");
        let owner = report::owner(&read(&spool.settings.error, "shoes/cat (2).error.yaml")).unwrap();
        assert_eq!(owner.files, ["cat (2).jpg", "cat (2).yaml"]);
    }
}

#[test]
fn free_numbers_pass_over_everything_that_is_taken() {
    let place = Place::new();
    let spool = place.open();
    let job = job(1);
    assert_eq!((spool.number_for_delivery(&job, 1).unwrap(), spool.number_for_rejection(&job, 1).unwrap()), (1, 1));
    put(&spool.settings.archive, "shoes/cat.yaml", "");
    put(&spool.settings.outbox, "shoes/cat (2).receipt.yaml", "");
    put(&spool.settings.error, "shoes/cat.error.yaml", "");
    put(&spool.settings.error, "shoes/cat (3).jpg", "");
    assert_eq!((spool.number_for_delivery(&job, 1).unwrap(), spool.number_for_rejection(&job, 1).unwrap()), (3, 2));
    assert_eq!(spool.number_for_rejection(&job, 3).unwrap(), 4);
}

// Retries

#[test]
fn a_pair_is_a_retry_when_only_its_report_is_left_in_error() {
    let place = Place::new();
    let spool = place.open();
    assert_eq!(spool.earlier(&pair()).unwrap(), None);
    let job = claimed(&spool, 1);
    reject_through(&spool, &job, rejection(1));
    let error = spool.settings.error.clone();
    assert_eq!(spool.earlier(&pair()).unwrap(), None, "both lie beside it");
    fs::remove_file(error.join("shoes/cat.jpg")).unwrap();
    assert_eq!(spool.earlier(&pair()).unwrap(), None, "one lies beside it");
    fs::remove_file(error.join("shoes/cat.yaml")).unwrap();
    let earlier = spool.earlier(&pair()).unwrap().expect("a retry");
    assert_eq!(earlier, job.id);
    let other = PairName { stem: name("cat2"), ..pair() };
    assert_eq!(spool.earlier(&other).unwrap(), None);
    spool.forget_report(&pair(), earlier).unwrap();
    assert_eq!(names(&error), [] as [&str; 0]);
    spool.forget_report(&pair(), earlier).unwrap();
    fs::remove_dir_all(&error).unwrap();
    assert!(spool.earlier(&pair()).is_err(), "without the folder nobody knows");
}

#[test]
fn a_retry_is_seen_though_its_report_had_to_be_cut() {
    for exact in [false, true] {
        let place = Place::new();
        let spool = place.open();
        let stem = if exact { format!("{}.jpg", "é".repeat(122)) } else { "é".repeat(125) };
        let (picture, sidecar) = if exact {
            (stem.clone(), format!("{stem}.yaml"))
        } else {
            (format!("{stem}.jpg"), format!("{stem}.yaml"))
        };
        let pair = PairName { folder: Folder::root(), stem: name(&stem) };
        put(&spool.settings.inbox, &picture, "picture");
        put(&spool.settings.inbox, &sidecar, "prompt: a cat");
        let claim = claim_of(&spool, &pair, &picture, &sidecar);
        assert_eq!(spool.claim(id(1), &claim).unwrap(), Claimed::Taken);
        let mut job = Job { pair: pair.clone(), ..job(1) };
        job.input.picture = job.input.picture.map(|file| InputFile { name: name(&picture), ..file });
        job.input.sidecar = job.input.sidecar.map(|file| InputFile { name: name(&sidecar), ..file });
        reject_through(&spool, &job, rejection(1));
        for file in [&picture, &sidecar] {
            fs::rename(spool.settings.error.join(file), spool.settings.inbox.join(file)).unwrap();
        }
        assert_eq!(spool.earlier(&pair).unwrap(), Some(id(1)), "exact: {exact}");
    }
}

// Keeping

#[test]
fn what_was_archived_long_ago_is_forgotten_by_the_time_of_its_archiving() {
    let place = Place::new();
    let spool = place.open();
    let archive = spool.settings.archive.clone();
    put(&archive, "a/b/old.jpg", "");
    put(&archive, "new.jpg", "");
    // A picture that was taken years ago and archived now.
    let taken = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(archive.join("new.jpg")).unwrap().set_modified(taken).unwrap();
    let outside = place.near.path().join("outside");
    put(&outside, "kept.jpg", "");
    symlink(&outside, archive.join("link")).unwrap();
    symlink(outside.join("kept.jpg"), archive.join("a/link.jpg")).unwrap();
    fs::create_dir(archive.join("empty")).unwrap();
    assert_eq!(spool.prune_archive(Duration::from_secs(3_600)).unwrap(), 0);
    assert_eq!(spool.prune_archive(Duration::MAX).unwrap(), 0);
    assert_eq!(spool.prune_archive(Duration::ZERO).unwrap(), 2);
    assert!(!archive.join("a/b").exists() && !archive.join("new.jpg").exists());
    assert!(archive.join("a/link.jpg").is_symlink() && archive.join("link").is_symlink());
    assert!(archive.join("empty").is_dir(), "a pair may be on its way there");
    assert_eq!(names(&outside), ["kept.jpg"]);
    fs::remove_dir_all(&archive).unwrap();
    assert!(spool.prune_archive(Duration::ZERO).is_err());
}

#[test]
fn what_the_daemon_knows_of_payments_is_not_its_groups_to_write() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("srv/videos");
    make_folder_as(&root, ROOT_MODE).unwrap();
    make_folder_as(&root.join("work"), WORK_MODE).unwrap();
    for (folder, allowed) in [("srv", 0o750), ("srv/videos", 0o750), ("srv/videos/work", 0o700)] {
        let mode = fs::metadata(place.path().join(folder)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !allowed, 0, "{folder} has {mode:o}");
    }
    // What is there stays as it is.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap();
    make_folder_as(&root, ROOT_MODE).unwrap();
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o711);
}
