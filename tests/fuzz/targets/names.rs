//! Whatever the files of a folder are called, each belongs to one grouping, and what comes out of a pair has names that Linux
//! takes, that find each other again, and that a report tells word for word.
//!
//! An input is, between NULs: the folder, a glob to ignore, two texts for the report, and the names in the folder.

#![no_main]

use std::collections::BTreeSet;

use jiff::Timestamp;
use jimengd::job::business_code::BusinessCode;
use jimengd::job::name::{self, NAME_BYTES_MAX, shown};
use jimengd::job::report::{self, owner};
use jimengd::job::state::{Finish, Names, Video};
use jimengd::job::{
    Account, AspectRatio, Charged, Failure, FileName, Folder, Input as JobInput, InputFile, Job, JobId, PairName,
    Problem, Reason, Request, Seed, Stage, State, Task, TaskId,
};
use jimengd::spool::pairing::{Grouping, Role, group_key, pair, pair_name, role};
use jimengd::spool::scan::Rules;
use jimengd_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use serde_yaml::Value;

/// Names in a folder that are looked at.
const NAMES_MAX: usize = 40;

/// Characters of a message that a report tells.
const MESSAGE_CHARS_MAX: usize = 2_000;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let number = match input.byte() {
        255 => u32::MAX,
        number => u32::from(number),
    };
    let mut parts = input.0.split(|&byte| byte == 0);
    let [folder, glob, message, prompt] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let names: BTreeSet<FileName> = parts.take(NAMES_MAX).filter_map(file_name).collect();
    let folder = Folder::new(folder).unwrap_or_default();
    let [glob, message, prompt] = [glob, message, prompt].map(|text| String::from_utf8_lossy(text).into_owned());

    if let Ok(rules) = Rules::new(&[glob]) {
        for name in &names {
            let ignored = rules.passes_over(&folder) || rules.ignored(&folder, name).is_some();
            assert_eq!(rules.passes_over(&folder.join(name)), ignored, "{name:?} in {folder:?}");
        }
    }
    let groupings = pair(&names);
    assert_grouped(&names, &groupings);
    for grouping in &groupings {
        let job = job(pair_name(&folder, grouping), grouping, &prompt);
        assert_names(&job, number);
        assert_told(&job, &message, number);
        // The files of an ambiguity go to `error/` each for itself, called by their whole names.
        if let Grouping::Ambiguous { pictures, sidecars } = grouping {
            let pictures = pictures.iter().map(|picture| Grouping::PictureAlone { picture });
            let sidecars = sidecars.iter().map(|sidecar| Grouping::SidecarAlone { sidecar });
            for piece in pictures.chain(sidecars).take(PIECES_MAX) {
                let stem = piece.members()[0].clone();
                assert_names(&self::job(PairName { folder: folder.clone(), stem }, &piece, &prompt), number);
            }
        }
    }
});

/// Files of one ambiguity that are looked at.
const PIECES_MAX: usize = 4;

/// A name, if Linux would take it.
fn file_name(bytes: &[u8]) -> Option<FileName> {
    let fits = !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/');
    let name = FileName::new(bytes);
    assert_eq!(name.is_some(), fits, "{bytes:?}");
    let text = shown(bytes);
    assert!(!text.contains(char::is_control), "{text:?}");
    assert_eq!(unshown(&text), bytes, "another name is shown as {text:?}, too");
    name.filter(|_| bytes.len() <= NAME_BYTES_MAX)
}

/// The bytes that are shown as this text.
fn unshown(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(rest[..at].as_bytes());
        let digits = rest.get(at + 2..at + 4).unwrap_or_else(|| panic!("half an escape in {text:?}"));
        bytes.push(u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("no escape in {text:?}")));
        rest = &rest[at + 4..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn assert_grouped(names: &BTreeSet<FileName>, groupings: &[Grouping<'_>]) {
    let mut members: Vec<&FileName> = groupings.iter().flat_map(Grouping::members).collect();
    members.sort();
    let expected: Vec<&FileName> = names.iter().filter(|name| role(name).is_some()).collect();
    assert_eq!(members, expected, "each name is in one grouping");
    assert_eq!(pair(names.iter().rev()), groupings, "the order matters");
    for grouping in groupings {
        let key = group_key(grouping.members()[0]);
        let group: Vec<&FileName> = names.iter().filter(|name| group_key(name) == key).collect();
        assert!(grouping.members().iter().all(|name| group_key(name) == key), "{grouping:?} reaches beyond its group");
        assert!(pair(group).contains(grouping), "{grouping:?} depends on other groups");
        if let Grouping::Pair { picture, sidecar } = grouping {
            assert_eq!((role(picture), role(sidecar)), (Some(Role::Picture), Some(Role::Sidecar)));
        }
    }
}

fn job(pair: PairName, grouping: &Grouping<'_>, prompt: &str) -> Job {
    let file = |name: &FileName| InputFile { name: name.clone(), bytes: 1, sha256: "0e".repeat(32) };
    let (picture, sidecar) = match grouping {
        Grouping::Pair { picture, sidecar } => (Some(file(picture)), Some(file(sidecar))),
        Grouping::SidecarAlone { sidecar } => (None, Some(file(sidecar))),
        Grouping::PictureAlone { picture } => (Some(file(picture)), None),
        Grouping::Ambiguous { sidecars, .. } => (None, sidecars.first().map(|name| file(name))),
    };
    Job {
        id: JobId::parse("0192e4a0-1111-7000-8000-0000deadbeef").expect("an identifier"),
        pair,
        input: JobInput { sidecar, picture, shown: Some((640, 480)) },
        request: Some(Request {
            prompt: prompt.to_owned(),
            aspect_ratio: AspectRatio::R9x16,
            seed: Seed::Api,
            image_url: None,
        }),
        priority: 0,
        earlier: None,
        claimed_at: Timestamp::UNIX_EPOCH,
        sends: 1,
        attempts: 1,
        charges: 1,
        state: State::Submitting,
        since: Timestamp::UNIX_EPOCH,
    }
}

fn assert_names(job: &Job, number: u32) {
    let Names { video, receipt, report, sidecar, picture } = job.names(number);
    for name in [Some(&video), Some(&receipt), Some(&report), sidecar.as_ref(), picture.as_ref()].into_iter().flatten()
    {
        assert!(FileName::new(name.as_bytes()).is_some(), "{name:?} is no name");
        assert!(name.as_bytes().len() <= NAME_BYTES_MAX, "{name:?} has {} bytes", name.as_bytes().len());
    }
    for (name, end) in [(&video, ".mp4"), (&receipt, ".receipt.yaml"), (&report, ".error.yaml")] {
        assert!(name.as_bytes().ends_with(end.as_bytes()), "{name:?}");
        assert_eq!(role(name), None, "what comes out is no part of a pair");
    }
    let own = |file: &Option<InputFile>| file.as_ref().map(|file| file.name.clone());
    if number <= 1 {
        assert_eq!((&picture, &sidecar), (&own(&job.input.picture), &own(&job.input.sidecar)), "a name was changed");
    } else {
        assert!(job.names(number - 1).video != video && job.names(number - 1).report != report, "the number is lost");
    }
    let both: Vec<&FileName> = picture.iter().chain(&sidecar).collect();
    match pair(both.iter().copied()).as_slice() {
        [grouping] => {
            assert_eq!(grouping.members(), both, "they do not find each other again");
            let is_whole = own(&job.input.picture).or(own(&job.input.sidecar)).as_ref() == Some(&job.pair.stem);
            let stem = if is_whole && both.len() == 1 { both[0].clone() } else { grouping.stem() };
            let short = name::derived(&stem, 1, b".error.yaml", &job.id.short());
            assert_eq!(short, report, "the report is not beside {both:?}");
        }
        other => panic!("moved back, {both:?} are {other:?}"),
    }
}

/// Asks that the two documents read back as what they tell.
fn assert_told(job: &Job, message: &str, number: u32) {
    let problem = Problem {
        file: Some(shown(job.pair.stem.as_bytes())),
        key: Some(message.to_owned()),
        line: Some(1),
        column: None,
        message: message.to_owned(),
        proposal: None,
    };
    let failure = Failure {
        reason: Reason::Business(BusinessCode(50_000 + number % 1_000)),
        message: message.to_owned(),
        stage: Stage::Poll,
        charged: Charged::Unknown,
        task: Some(task(message)),
        task_over: true,
        request_id: Some(message.to_owned()),
        http_status: Some(400),
        problems: vec![problem.clone(), problem],
    };
    let names = job.names(number);
    let files: Vec<String> = names.picture.iter().chain(&names.sidecar).map(|name| shown(name.as_bytes())).collect();

    let text = report::report(job, &failure, number, Timestamp::UNIX_EPOCH);
    let read = read_back(&text);
    let clipped: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    assert_eq!(read["message"].as_str(), Some(&*clipped), "{text}");
    assert_eq!(read["request_id"].as_str(), Some(message), "{text}");
    assert_eq!(read["code"].as_u64(), failure.reason.code().map(|code| code.0.into()), "{text}");
    assert_eq!(read["charged"].as_str(), Some("unknown"), "{text}");
    assert_eq!(read["task_id"].as_str(), failure.task.as_ref().map(|task| task.task_id.as_str()), "{text}");
    for told in read["problems"].as_sequence().expect("two problems") {
        assert_eq!(told["message"].as_str(), Some(message), "{text}");
        assert_eq!(told["key"].as_str(), Some(message), "{text}");
        assert_eq!(told["line"].as_u64(), Some(1), "{text}");
    }
    let owner_read = owner(&text).unwrap_or_else(|| panic!("nobody's: {text}"));
    assert_eq!((owner_read.job, &owner_read.files), (job.id, &files), "{text}");

    let finish = Finish { done_at: Timestamp::UNIX_EPOCH, bad_links: 0 };
    let video = Video { bytes: 9, sha256: "1e".repeat(32), width: None, height: Some(1), seconds: Some(0.1) };
    let receipt = report::receipt(job, &task(message), &finish, &video, number, Timestamp::UNIX_EPOCH);
    let text = receipt.expect("the job has a request");
    let read = read_back(&text);
    assert_eq!(read["prompt"].as_str(), job.request.as_ref().map(|request| &*request.prompt), "{text}");
    assert_eq!(read["video"]["name"].as_str(), Some(&*shown(names.video.as_bytes())), "{text}");
    assert_eq!(read["video"]["sha256"].as_str(), Some(&*video.sha256), "{text}");
    assert_eq!(owner(&text).map(|owner| owner.files), Some(files), "{text}");
}

fn task(text: &str) -> Task {
    Task {
        task_id: TaskId::new(text).unwrap_or_else(|| TaskId::new("1e5").expect("an identifier")),
        request_id: None,
        account: Account { base_url: String::new(), token_fingerprint: String::new() },
        submitted_at: Timestamp::UNIX_EPOCH,
    }
}

fn read_back(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("no YAML: {error}\n{text}"))
}
