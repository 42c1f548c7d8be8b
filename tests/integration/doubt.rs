//! In doubt, exactly: what may have been accepted is never sent again by itself, and what was certainly not is not in doubt.
//!
//! Before the vendor stands a server of bare sockets that misbehaves once and knows to the byte what has reached it; after that it
//! passes everything on. So "it was not received" is checked against what was received.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jimengd::simulator::Simulator;
use rusqlite::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Binary, LOOK_EVERY, PATIENCE, Rig, faulty_vendor, patient_vendor, pictures, script, sidecar, vendor};

/// Bytes of a picture that no connection's buffers swallow whole.
const LARGE: usize = 4_800_000;

/// What the server does with the first submission.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Deed {
    /// Closes the connection and reads nothing.
    Close,
    /// Reads so much of the request, then closes.
    CloseAfter(Part),
    /// Reads all, then resets the connection.
    Reset,
    /// Reads all and never answers.
    Silence,
    /// Reads nothing more than the head and never answers.
    Deafness,
    /// Answers after the head, before the body is there.
    Early(&'static str),
    /// Reads all, answers that, and closes.
    Answer(&'static str),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Part {
    Head,
    Half,
    All,
}

/// What reached the server.
#[derive(Clone, Default, Debug)]
struct Reached {
    /// Bytes of the first submission's body, and how many it was to have.
    body: usize,
    length: Option<usize>,
    /// Submissions that were passed on after it.
    passed_on: usize,
}

impl Reached {
    fn whole(&self) -> bool {
        self.length == Some(self.body)
    }
}

struct StandIn {
    address: SocketAddr,
    reached: Arc<Mutex<Reached>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl StandIn {
    async fn start(deed: Deed, vendor: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reached: Arc<Mutex<Reached>> = Arc::default();
        let known = Arc::clone(&reached);
        let listening = tokio::spawn(async move {
            let mut deed = Some(deed);
            while let Ok((near, _)) = listener.accept().await {
                match deed.take() {
                    // The first request is the submission: nothing else is there to be asked.
                    Some(deed) => drop(tokio::spawn(misbehave(near, deed, Arc::clone(&known)))),
                    None => drop(tokio::spawn(pass_on(near, vendor, Arc::clone(&known)))),
                }
            }
        });
        Self { address, reached, listening }
    }

    fn reached(&self) -> Reached {
        self.reached.lock().unwrap().clone()
    }
}

/// The head of a request; what came with it of the body stays in `ahead`.
async fn head(stream: &mut TcpStream, ahead: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = ahead.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(String::from_utf8(ahead.drain(..end + 4).collect()).unwrap());
        }
        stream.read_buf(ahead).await.ok().filter(|bytes| *bytes > 0)?;
    }
}

async fn misbehave(mut stream: TcpStream, deed: Deed, reached: Arc<Mutex<Reached>>) {
    if deed == Deed::Close {
        return;
    }
    let mut ahead = Vec::new();
    let Some(head) = head(&mut stream, &mut ahead).await else { return };
    assert!(head.starts_with("POST "), "{head}");
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let length: usize = length.trim().parse().unwrap();
    let wanted = match deed {
        Deed::Close | Deed::CloseAfter(Part::Head) | Deed::Deafness | Deed::Early(_) => 0,
        Deed::CloseAfter(Part::Half) => length / 2,
        Deed::CloseAfter(Part::All) | Deed::Reset | Deed::Silence | Deed::Answer(_) => length,
    };
    while ahead.len() < wanted && stream.read_buf(&mut ahead).await.is_ok_and(|bytes| bytes > 0) {}
    {
        let mut reached = reached.lock().unwrap();
        (reached.body, reached.length) = (ahead.len(), Some(length));
    }
    match deed {
        Deed::Close | Deed::CloseAfter(_) => {}
        Deed::Reset => stream.set_zero_linger().unwrap(),
        // Until the other side has had enough; what it still sends is counted.
        Deed::Silence => while stream.read_buf(&mut ahead).await.is_ok_and(|bytes| bytes > 0) {},
        Deed::Deafness => gone(&stream).await,
        Deed::Early(answer) | Deed::Answer(answer) => {
            // Somebody who has gone meanwhile reads no answer.
            drop(stream.write_all(answer.as_bytes()).await);
            drop(stream.shutdown().await);
            if deed == Deed::Early(answer) {
                while stream.read_buf(&mut ahead).await.is_ok_and(|bytes| bytes > 0) {}
            }
        }
    }
}

/// Returns once the other side has closed or reset, without reading anything.
async fn gone(stream: &TcpStream) {
    let is_gone = || async {
        let ready = stream.ready(Interest::READABLE | Interest::ERROR).await;
        ready.is_ok_and(|ready| ready.is_read_closed() || ready.is_error())
    };
    while !is_gone().await {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn pass_on(mut near: TcpStream, vendor: SocketAddr, reached: Arc<Mutex<Reached>>) {
    let mut ahead = Vec::new();
    let Some(head) = head(&mut near, &mut ahead).await else { return };
    reached.lock().unwrap().passed_on += usize::from(head.starts_with("POST "));
    let start = [head.as_bytes(), &ahead].concat();
    let Ok(mut far) = TcpStream::connect(vendor).await else { return };
    if far.write_all(&start).await.is_ok() {
        // Whoever closes first ends it.
        drop(copy_bidirectional(&mut near, &mut far).await);
    }
}

/// What must come of it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Outcome {
    /// Sent again and delivered: certainly not accepted.
    SentAgain,
    /// In doubt, and not sent again.
    InDoubt,
    /// One of these two: a small body may or may not have been handed over before the end.
    Either,
    /// The answer counts.
    Refused,
}

const CUT: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 200\r\n\r\n{\"code\":10000,\"data\":{\"task";
const TOO_LARGE: &str = "HTTP/1.1 413 Payload Too Large\r\ncontent-type: text/plain\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large";
const GARBAGE: &str = "SSH-2.0-OpenSSH_9.2\r\n\r\n";
const HALF_A_LINE: &str = "HTTP/1.";

/// Plays one row with a picture in the request's body, or with an address in its place.
async fn play(deed: Deed, large: bool, expected: Outcome) {
    let rig = Rig::plain();
    let stand_in = StandIn::start(deed, rig.vendor().addr()).await;
    // Only where nothing comes is it waited for; anywhere else a busy machine would make an end of its own.
    let timeouts = match deed {
        Deed::Deafness if large => "submit_timeout: 120s, idle_timeout: 1s",
        Deed::Silence | Deed::Deafness => "submit_timeout: 1s",
        Deed::Close | Deed::CloseAfter(_) | Deed::Reset | Deed::Early(_) | Deed::Answer(_) => "submit_timeout: 120s",
    };
    rig.configure(&format!(
        "api: {{base_url: 'http://{}', {timeouts}}}\npicture: {{max_bytes: null}}",
        stand_in.address
    ));
    if large {
        let mut picture = pictures::jpeg(1);
        picture.resize(LARGE, 0);
        rig.copy_in("case.jpg", &picture);
        rig.copy_in("case.yaml", sidecar("The case").as_bytes());
    } else {
        let text = format!("{}image_urls: ['https://pictures.example/cat.png']\n", sidecar("The case"));
        rig.copy_in("case.yaml", text.as_bytes());
    }
    let case = format!("{deed:?}, {}", if large { "large" } else { "small" });
    let outcome = rig.run_once_within(3 * PATIENCE).await;
    let reached = stand_in.reached();
    let scene = || format!("{case}: {reached:?}\n{}", rig.scene());
    if expected != Outcome::Refused {
        assert!(!(reached.whole() && reached.passed_on > 0), "received whole, and sent again: {}", scene());
    }
    let in_doubt = rig.reports() == 1 && rig.report("case")["reason"] == "in_doubt";
    let found = match (in_doubt, rig.videos()) {
        (true, 0) => Outcome::InDoubt,
        (false, 1) => Outcome::SentAgain,
        _ => Outcome::Refused,
    };
    let expected = if expected == Outcome::Either && found != Outcome::Refused { found } else { expected };
    assert_eq!(found, expected, "{}", scene());
    match found {
        Outcome::SentAgain => {
            assert_eq!((outcome.delivered, rig.vendor().paid(), reached.passed_on), (1, 1, 1), "{}", scene());
            assert_eq!(rig.receipt("case")["attempts"], 1, "what was not received is no attempt");
        }
        Outcome::InDoubt | Outcome::Refused | Outcome::Either => {
            let report = rig.report("case");
            let (reason, charged) = match found {
                Outcome::InDoubt => ("in_doubt", "unknown"),
                _ => ("request_refused", "no"),
            };
            assert_eq!((&report["reason"], &report["charged"]), (&reason.into(), &charged.into()), "{}", scene());
            assert_eq!((&report["attempts"], &report["stage"]), (&1.into(), &"submit".into()), "{}", scene());
            assert!(report["task_id"].is_null(), "{}", scene());
            // Nor does the next start send it.
            rig.run_once().await;
            assert_eq!((rig.vendor().paid(), stand_in.reached().passed_on), (0, 0), "{}", scene());
        }
    }
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_sent_again_exactly_if_it_was_not_received() {
    let rows = [
        (Deed::Close, Outcome::SentAgain),
        (Deed::CloseAfter(Part::Head), Outcome::SentAgain),
        (Deed::CloseAfter(Part::Half), Outcome::SentAgain),
        (Deed::Deafness, Outcome::SentAgain),
        (Deed::CloseAfter(Part::All), Outcome::InDoubt),
        (Deed::Reset, Outcome::InDoubt),
        (Deed::Silence, Outcome::InDoubt),
        (Deed::Early(TOO_LARGE), Outcome::Refused),
        (Deed::Answer(CUT), Outcome::InDoubt),
        (Deed::Answer(GARBAGE), Outcome::InDoubt),
        (Deed::Answer(HALF_A_LINE), Outcome::InDoubt),
    ];
    play_all(&rows, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_handed_over_at_once_so_only_an_answer_or_no_connection_says_anything() {
    let rows = [
        (Deed::Close, Outcome::Either),
        (Deed::CloseAfter(Part::Head), Outcome::Either),
        (Deed::CloseAfter(Part::Half), Outcome::InDoubt),
        (Deed::Deafness, Outcome::InDoubt),
        (Deed::CloseAfter(Part::All), Outcome::InDoubt),
        (Deed::Reset, Outcome::InDoubt),
        (Deed::Silence, Outcome::InDoubt),
        (Deed::Early(TOO_LARGE), Outcome::Refused),
        (Deed::Answer(CUT), Outcome::InDoubt),
        (Deed::Answer(GARBAGE), Outcome::InDoubt),
        (Deed::Answer(HALF_A_LINE), Outcome::InDoubt),
    ];
    play_all(&rows, false).await;
}

/// Rows that are played at once: a large picture takes a processor for a while.
const AT_ONCE: usize = 3;

async fn play_all(rows: &[(Deed, Outcome)], large: bool) {
    for some in rows.chunks(AT_ONCE) {
        let played: Vec<_> = some.iter().map(|(deed, expected)| tokio::spawn(play(*deed, large, *expected))).collect();
        for row in played {
            row.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_or_without_a_listener_nothing_is_in_doubt() {
    for (case, scheme) in [("nobody speaks TLS there", "https"), ("nobody listens", "http")] {
        let rig = Rig::plain();
        // Whatever comes over TLS is no request; who listens closes at it.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let first_bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let heard = Arc::clone(&first_bytes);
        let listening = match scheme {
            "https" => Some(tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut bytes = vec![0; 16];
                    let count = stream.read(&mut bytes).await.unwrap_or(0);
                    heard.lock().unwrap().extend(bytes.iter().take(count.min(1)));
                }
            })),
            _ => {
                drop(listener);
                None
            }
        };
        rig.configure(&format!("api: {{base_url: '{scheme}://{address}'}}"));
        rig.drop_pair("cat", "The case");
        let daemon = rig.start();
        rig.until("the daemon has noticed", || rig.is_paused("gateway")).await;
        assert_eq!((rig.reports(), rig.list("error").len()), (0, 0), "{case}");
        if scheme == "https" {
            const HANDSHAKE: u8 = 22;
            assert!(
                first_bytes.lock().unwrap().iter().all(|byte| *byte == HANDSHAKE),
                "{case}: something but a handshake"
            );
            assert!(!first_bytes.lock().unwrap().is_empty(), "{case}");
        }
        rig.configure("");
        daemon.reload().await;
        rig.until_ended(1, 0).await;
        daemon.stop().await;
        if let Some(listening) = listening {
            listening.abort();
        }
        assert_eq!((rig.vendor().paid(), &rig.receipt("cat")["attempts"]), (1, &1.into()), "{case}");
        rig.assert_all_is_well();
    }
}

// ---- an acceptance that cannot be recorded ----

/// The first commit after the answer to a submission fails, and all later ones, until the operator has made room.
fn no_room(rig: &Rig) -> String {
    format!("after=answer submit;on=commit;do=ENOSPC;until={}", rig.folder().join("room").display())
}

/// Whether the log has the error that names a task which the ledger does not have.
fn unwritten_task(said: &str) -> Option<String> {
    let lines = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let told = |line: serde_json::Value| {
        let about = line["message"].as_str()?.starts_with("cannot write the ledger");
        about.then(|| line["task_id"].as_str().map(str::to_owned)).flatten()
    };
    lines.filter_map(told).next()
}

/// Pairs that were delivered before, so that the daemon knows that several tasks at once are no trouble.
const BEFORE: u64 = 3;

/// Pairs that come after the one whose acceptance cannot be recorded.
const LATER: u64 = 3;

fn finish_all(rig: &Rig) {
    for task in rig.vendor().tasks() {
        rig.vendor().finish(&task.task_id);
    }
}

/// A task was accepted and cannot be recorded; others wait that could be sent.
async fn held() -> (Rig, Binary) {
    let rig = Rig::new(patient_vendor(), "tasks: {max: 8}");
    let daemon = rig.start();
    for n in 0..BEFORE {
        rig.drop_pair(&format!("before-{n}"), "Delivered before.");
    }
    rig.until_paid(BEFORE).await;
    finish_all(&rig);
    rig.until_ended(BEFORE as usize, 0).await;
    daemon.stop().await;

    let daemon = rig.spawn_failing(&no_room(&rig), &[]);
    rig.drop_pair("held", "Paid once.");
    rig.until("the task that cannot be recorded is told", || unwritten_task(&daemon.said()).is_some()).await;
    let told = unwritten_task(&daemon.said());
    assert_eq!(rig.vendor().tasks().last().map(|task| task.task_id.clone()), told);
    for n in 0..LATER {
        rig.drop_pair(&format!("later-{n}"), "Sent later.");
    }
    (rig, daemon)
}

/// Finishes what is accepted once all is, and waits for all to end.
async fn all_end(rig: &Rig, reports: usize) {
    rig.until_paid(BEFORE + 1 + LATER).await;
    finish_all(rig);
    rig.until_ended((BEFORE + 1 + LATER) as usize - reports, reports).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_cannot_be_recorded_is_held_and_nothing_else_is_sent_until_it_is() {
    let (rig, mut daemon) = held().await;
    // The daemon knows of the others by now, and has had time to send them.
    let refused = || daemon.said().matches("cannot write what the daemon says of itself").count();
    let before = refused();
    rig.until("the ledger has been tried for a while", || refused() >= before + 3).await;
    assert_eq!((rig.vendor().paid(), rig.reports()), (BEFORE + 1, 0), "something else was sent meanwhile");
    assert_eq!(
        rig.list("inbox").len(),
        2 * LATER as usize,
        "nor is anything claimed that cannot be sent\n{}",
        rig.scene()
    );
    fs::write(rig.folder().join("room"), "").unwrap();
    rig.until("it is recorded", || daemon.said().contains("the ledger can be written again")).await;
    all_end(&rig, 0).await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0);
    assert_eq!(rig.vendor().paid(), BEFORE + 1 + LATER);
    rig.assert_all_is_well();
}

/// What was accepted and never recorded is in doubt at the next start; the others are sent then.
async fn in_doubt_after(rig: &Rig) {
    assert_eq!(rig.vendor().paid(), BEFORE + 1);
    let daemon = rig.spawn(&[]);
    all_end(rig, 1).await;
    daemon.kill();
    let report = rig.report("held");
    assert_eq!((&report["reason"], &report["charged"]), (&"in_doubt".into(), &"unknown".into()), "{report:?}");
    assert_eq!((&report["attempts"], rig.vendor().paid()), (&1.into(), BEFORE + 1 + LATER), "{report:?}");
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_was_never_recorded_before_a_kill_is_in_doubt() {
    let (rig, daemon) = held().await;
    daemon.kill();
    in_doubt_after(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_was_never_recorded_before_a_stop_is_in_doubt() {
    let (rig, mut daemon) = held().await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    in_doubt_after(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_can_be_recorded_while_the_daemon_stops_is() {
    let (rig, mut daemon) = held().await;
    daemon.terminate();
    rig.until("it stops", || daemon.said().contains("\"stopping\"")).await;
    fs::write(rig.folder().join("room"), "").unwrap();
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());
    let daemon = rig.spawn(&[]);
    all_end(&rig, 0).await;
    daemon.kill();
    assert_eq!(rig.vendor().paid(), BEFORE + 1 + LATER);
    rig.assert_all_is_well();
}

// ---- tried again by moving back ----

#[tokio::test(flavor = "multi_thread")]
async fn moving_back_what_is_in_doubt_is_consent_and_the_new_job_names_the_earlier_one() {
    let rig = Rig::new(faulty_vendor("- {on: submit, nth: 1, do: {close: accepted}}"), "");
    let daemon = rig.start();
    rig.drop_pair("cat", "A cat");
    rig.until_ended(0, 1).await;
    let earlier = rig.report("cat")["job"].as_str().unwrap().to_owned();
    assert_eq!((&rig.report("cat")["reason"], rig.vendor().paid()), (&"in_doubt".into(), 1));
    rig.move_back(&["cat.png", "cat.yaml"]);
    rig.until_ended(1, 0).await;
    daemon.stop().await;
    assert_eq!(rig.vendor().paid(), 2);
    let receipt = rig.receipt("cat");
    let job = rig.job(receipt["job"].as_str().unwrap());
    assert_eq!(job.earlier.map(|id| id.to_string()), Some(earlier));
    assert_eq!(receipt["attempts"], 1, "attempts are counted anew");
    rig.assert_all_is_well();
}

// ---- accounts and links ----

#[tokio::test(flavor = "multi_thread")]
async fn a_task_waits_for_its_account_without_a_slot_and_takes_one_again_when_it_is_back() {
    let rig = Rig::new(patient_vendor(), "tasks: {max: 1}");
    let daemon = rig.start();
    rig.drop_pair("first", "Of this account.");
    rig.until_paid(1).await;
    let first = rig.vendor().tasks()[0].task_id.clone();
    rig.until("it is recorded", || rig.status()["counts"]["submitted"] == 1).await;

    // Another vendor, who knows nothing of the task.
    let other = Simulator::start(vendor()).unwrap();
    rig.configure(&format!("tasks: {{max: 1}}\napi: {{base_url: '{}'}}", other.base_url()));
    daemon.reload().await;
    let reason = || rig.status()["jobs"][0]["reason"].clone();
    rig.until("it waits for its account", || reason() == "account_changed").await;
    // The other account's only slot is free.
    rig.drop_pair("second", "Of the other account.");
    rig.until("the other account makes it", || rig.videos() == 1).await;
    assert_eq!((other.paid(), rig.vendor().paid(), rig.reports()), (1, 1, 0));

    rig.configure("tasks: {max: 1}");
    daemon.reload().await;
    rig.until("its account is back", || rig.status()["jobs"][0]["detail"].is_null()).await;
    let polls = || rig.vendor().tasks()[0].polls;
    // It takes the only slot again, so the next pair waits for as long as it runs, and it is asked about as any other.
    rig.drop_pair("third", "Of this account, later.");
    let before = polls();
    rig.until("it is asked about again and again", || polls() >= before + 5).await;
    assert_eq!(rig.vendor().paid(), 1, "the only slot was taken");
    rig.vendor().finish(&first);
    rig.until_paid(2).await;
    rig.vendor().finish(&rig.vendor().tasks()[1].task_id);
    rig.until_ended(3, 0).await;
    daemon.stop().await;
    other.shutdown().await;
    assert_eq!(rig.vendor().paid(), 2);
    rig.assert_all_is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_video_whose_link_has_expired_and_that_the_api_disowns_was_paid() {
    let rig = Rig::new(faulty_vendor("- {on: download, do: {status: 404}}"), "");
    let daemon = rig.spawn(&[]);
    rig.drop_pair("cat", "Made and lost.");
    rig.until("its link was bad", || daemon.said().contains("asked about again at")).await;
    daemon.kill();
    // A day has passed, and the API knows nothing of the task any more.
    let connection = Connection::open(rig.root().join("ledger.db")).unwrap();
    let rows = connection.execute(
        "UPDATE job SET detail = json_set(detail, '$.task.submitted_at', ?1, '$.ask_at', ?1) WHERE state = 'submitted'",
        [(Timestamp::now() - jiff::SignedDuration::from_hours(24)).to_string()],
    );
    assert_eq!(rows.unwrap(), 1);
    drop(connection);
    rig.vendor().follow(script("- {on: poll, nth: 1, do: {code: 50215}}"));
    rig.configure("tasks: {give_up_after: 1s}");
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (0, 1), "{}", rig.scene());
    let report = rig.report("cat");
    assert_eq!((&report["reason"], &report["charged"]), (&"download_failed".into(), &"yes".into()), "{report:?}");
    assert_eq!((&report["stage"], &report["code"]), (&"download".into(), &serde_yaml::Value::Null), "{report:?}");
    let said = report["message"].as_str().unwrap();
    assert!(said.starts_with("the video was made, but the API gives no link to it any more"), "{said}");
    assert!(report["advice"].as_str().unwrap().contains("to pay for a new task"), "{report:?}");
    // That task is over, so another try is paid.
    let daemon = rig.start();
    rig.move_back(&["cat.png", "cat.yaml"]);
    rig.until_ended(1, 0).await;
    daemon.stop().await;
    assert_eq!(rig.vendor().paid(), 2);
    rig.assert_all_is_well();
}
