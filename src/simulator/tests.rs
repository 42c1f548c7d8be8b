//! The simulator over real HTTP, as a client meets it.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use base64::Engine as _;
use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE, RETRY_AFTER};
use serde_json::{Value, json};

use super::*;

const LONG: Duration = Duration::from_secs(10);

fn start(script: &str) -> Simulator {
    let script = Some(Script::parse(script).unwrap());
    Simulator::start(Settings { script, task_seconds: 0.0, ..Settings::default() }).unwrap()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn body(prompt: &str) -> String {
    let picture = [b"\x89PNG\r\n\x1a\n".as_slice(), &[7; 200_000]].concat();
    let picture = base64::engine::general_purpose::STANDARD.encode(picture);
    json!({"prompt": prompt, "seed": 42, "aspect_ratio": "9:16", "binary_data_base64": [picture]}).to_string()
}

async fn post(simulator: &Simulator, body: String) -> Result<(u16, Value), reqwest::Error> {
    let request = client().post(format!("{}/task/jimeng/image2video", simulator.base_url()));
    let request = request.header("authorization", "Bearer sk-1").header("content-type", "application/json");
    read(request.body(body).send().await?).await
}

async fn read(response: reqwest::Response) -> Result<(u16, Value), reqwest::Error> {
    assert_eq!(response.headers().get("server").unwrap(), "jimengd-simulator");
    let status = response.status().as_u16();
    let bytes = response.bytes().await?;
    Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
}

async fn get(simulator: &Simulator, path: &str) -> Result<(u16, Value), reqwest::Error> {
    let request = client().get(format!("{}{path}", simulator.base_url()));
    read(request.header("authorization", "Bearer sk-1").send().await?).await
}

async fn task(simulator: &Simulator, prompt: &str) -> String {
    let (status, answer) = post(simulator, body(prompt)).await.unwrap();
    assert_eq!((status, &answer["code"]), (200, &json!(10000)), "{answer}");
    answer["data"]["task_id"].as_str().unwrap().to_owned()
}

async fn link(simulator: &Simulator, task_id: &str) -> String {
    let (_, answer) = get(simulator, &format!("/task/{task_id}")).await.unwrap();
    assert_eq!(answer["data"]["status"], "done", "{answer}");
    answer["data"]["video_url"].as_str().unwrap().to_owned()
}

async fn link_of_new_task(simulator: &Simulator) -> String {
    let task_id = task(simulator, "a cat").await;
    link(simulator, &task_id).await
}

async fn download(link: &str) -> reqwest::Response {
    client().get(link).send().await.unwrap()
}

#[tokio::test]
async fn a_pair_becomes_a_video() {
    let simulator = start("");
    let task_id = task(&simulator, "a cat").await;
    assert!(task_id.parse::<u64>().unwrap() > i64::MAX as u64);
    let (status, answer) = get(&simulator, &format!("/task/{task_id}")).await.unwrap();
    assert_eq!((status, &answer["code"], &answer["status"]), (200, &json!(10000), &json!(10000)));
    assert!(answer["time_elapsed"].as_str().unwrap().contains('µ'));
    let resp_data: Value = serde_json::from_str(answer["data"]["resp_data"].as_str().unwrap()).unwrap();
    assert_eq!(resp_data["infer_ctx"]["params"]["output_height"], 1280);

    let link = answer["data"]["video_url"].as_str().unwrap();
    let response = download(link).await;
    assert_eq!(response.status(), 200);
    let length = response.content_length().unwrap();
    let etag = response.headers()[ETAG].clone();
    let whole = response.bytes().await.unwrap();
    assert_eq!(whole.len() as u64, length);
    assert_eq!(&whole[4..8], b"ftyp");
    assert_eq!(simulator.video(&task_id).unwrap(), whole);
    assert!(whole.windows(task_id.len()).any(|window| window == task_id.as_bytes()));

    let part = client().get(link).header(RANGE, "bytes=1000-").header(IF_RANGE, &etag).send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()[CONTENT_RANGE], format!("bytes 1000-{}/{length}", length - 1));
    assert_eq!(part.bytes().await.unwrap(), whole[1000..]);
    let changed = client().get(link).header(RANGE, "bytes=1000-").header(IF_RANGE, "\"other\"").send().await.unwrap();
    assert_eq!((changed.status().as_u16(), changed.bytes().await.unwrap().len()), (200, whole.len()));
    let beyond = client().get(link).header(RANGE, format!("bytes={length}-")).send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()[CONTENT_RANGE], format!("bytes */{length}"));

    let (_, listing) =
        read(client().get(format!("{}/simulator", simulator.base_url())).send().await.unwrap()).await.unwrap();
    let listed = json!({"task_id": task_id, "prompt": "a cat", "seed": 42, "status": "done"});
    assert_eq!(listing, json!({"schema": 1, "paid": 1, "tasks": [listed]}));
    assert_eq!((simulator.paid(), simulator.violations()), (1, vec![]));
}

#[tokio::test]
async fn requests_are_recorded_with_their_times_and_without_showing_the_token() {
    let settings = Settings { task_seconds: 0.0, keep_bodies: true, ..Settings::default() };
    let simulator = Simulator::start(settings).unwrap();
    let sent = body("a cat");
    let (_, answer) = post(&simulator, sent.clone()).await.unwrap();
    let request = simulator.requests().remove(0);
    assert_eq!((request.path.as_str(), request.status), ("/task/jimeng/image2video", Some(200)));
    assert_eq!((request.content_length, request.body_bytes), (Some(sent.len() as u64), sent.len() as u64));
    assert_eq!(request.body.as_deref(), Some(sent.as_bytes()));
    assert!(request.first_byte_at <= request.head_at && request.head_at < request.last_byte_at.unwrap());
    assert_eq!(request.task_id.as_deref(), answer["data"]["task_id"].as_str());
    assert_eq!(request.headers["authorization"], "Bearer sk-1");
    assert!(!format!("{request:?}").contains("sk-1"));
    let Source::Picture(picture) = &simulator.tasks()[0].source else { panic!("no picture") };
    assert_eq!(picture.bytes, 200_008);
    assert_eq!(request.prompt.as_deref(), Some("a cat"));
    // The client may have the answer before we have noted that it has left.
    let left = simulator.wait_until(LONG, |world| world.requests().all(|request| request.answered_at.is_some()));
    assert!(left.await);
    assert!(simulator.requests()[0].last_byte_at < simulator.requests()[0].answered_at);
}

#[tokio::test]
async fn an_answer_that_did_not_leave_wholly_is_not_recorded_as_given() {
    for fault in ["{close: accepted}", "{close: body}", "{cut: 20}", "{raw: 'HTTP/1.1 200 OK'}"] {
        let simulator = start(&format!("- {{on: submit, nth: 1, do: {fault}}}"));
        assert!(post(&simulator, body("a cat")).await.is_err(), "{fault}");
        // On another connection, and answered.
        assert!(post(&simulator, body("a dog")).await.is_ok(), "{fault}");
        let left = simulator.wait_until(LONG, |world| {
            world.requests().any(|request| request.prompt.as_deref() == Some("a dog") && request.answered_at.is_some())
        });
        assert!(left.await, "{fault}");
        let first = simulator.requests().remove(0);
        assert_eq!((first.prompt.as_deref(), first.answered_at), (Some("a cat"), None), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_of_a_connection_has_its_own_first_byte() {
    let simulator = start("");
    let mut stream = std::net::TcpStream::connect(simulator.addr()).unwrap();
    let mut ask = || {
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let _bytes = stream.read(&mut answer).unwrap();
        Instant::now()
    };
    let first_answered_at = tokio::task::block_in_place(&mut ask);
    tokio::task::block_in_place(&mut ask);
    let requests = simulator.requests();
    assert_eq!((requests[0].connection, requests[1].connection), (1, 1));
    assert!(requests[0].first_byte_at < first_answered_at && first_answered_at <= requests[1].first_byte_at);
}

#[tokio::test]
async fn a_bad_submission_is_refused_and_noted() {
    let simulator = start("");
    let (status, answer) = post(&simulator, json!({"prompt": "p", "aspect_ratio": ""}).to_string()).await.unwrap();
    assert_eq!((status, &answer["code"], &answer["data"]), (400, &json!(50215), &Value::Null));
    let (status, answer) = post(&simulator, "{}x".to_owned()).await.unwrap();
    assert_eq!((status, answer["error"]["message"].is_string()), (400, true));
    assert_eq!((simulator.paid(), simulator.violations().len()), (0, 2));
    let (status, _) = post(&simulator, " ".repeat(9 << 20)).await.unwrap_or((413, Value::Null));
    assert_eq!((status, simulator.paid()), (413, 0));
}

#[tokio::test]
async fn only_the_right_token_is_let_in() {
    let settings = Settings { token: Some("sk-2".to_owned()), ..Settings::default() };
    let simulator = Simulator::start(settings).unwrap();
    for path in ["/task/1", "/api/user/self", "/v1/dashboard/billing/usage", "/v1/dashboard/billing/subscription"] {
        let (status, answer) = get(&simulator, path).await.unwrap();
        assert_eq!((status, answer["error"]["type"].as_str()), (401, Some("new_api_error")), "{path}");
    }
    assert_eq!(post(&simulator, body("a cat")).await.unwrap().0, 401);
    let request = client().get(format!("{}/api/user/self", simulator.base_url()));
    let (status, answer) = read(request.header("authorization", "Bearer sk-2").send().await.unwrap()).await.unwrap();
    assert_eq!((status, &answer["data"]["used_quota"]), (200, &json!(0)));
    assert_eq!(simulator.paid(), 0);
}

#[tokio::test]
async fn what_is_not_on_the_page_is_an_invalid_url() {
    let simulator = start("");
    for path in ["/", "/v1/task/1", "/task/", "/task/a/b"] {
        let (status, answer) = get(&simulator, path).await.unwrap();
        assert_eq!((status, &answer["error"]["message"]), (404, &json!(format!("Invalid URL (GET {path})"))));
    }
    let (_, answer) = get(&simulator, "/task/12").await.unwrap();
    assert_eq!(answer["data"]["status"], "not_found");
}

#[tokio::test]
async fn the_token_must_not_reach_the_videos() {
    let simulator = start("");
    let link = link_of_new_task(&simulator).await;
    let response = client().get(link).header("authorization", "Bearer sk-1").send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(simulator.violations().len(), 1);
}

#[tokio::test]
async fn a_link_expires_and_another_is_given() {
    let settings = Settings { task_seconds: 0.0, link_life: Duration::ZERO, ..Settings::default() };
    let simulator = Simulator::start(settings).unwrap();
    let task_id = task(&simulator, "a cat").await;
    let first = link(&simulator, &task_id).await;
    assert_eq!(download(&first).await.status(), 403);
    assert_ne!(link(&simulator, &task_id).await, first);
}

#[tokio::test]
async fn limits_answer_with_their_codes() {
    let limits =
        Settings { concurrency: Some(1), retry_after: Some(7), task_seconds: f64::INFINITY, ..Settings::default() };
    let simulator = Simulator::start(limits.clone()).unwrap();
    let first = task(&simulator, "a").await;
    let request = client().post(format!("{}/task/jimeng/image2video", simulator.base_url()));
    let request = request.header("authorization", "Bearer sk-1").header("content-type", "application/json");
    let response = request.body(body("b")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (429, &"7".parse().unwrap()));
    assert_eq!(read(response).await.unwrap().1["code"], 50430);
    assert!(simulator.finish(&first));
    task(&simulator, "b").await;
    assert_eq!(simulator.paid(), 2);

    let simulator = Simulator::start(Settings { requests_per_second: Some(0.001), ..limits }).unwrap();
    assert_eq!(get(&simulator, "/task/1").await.unwrap().0, 200);
    let (status, answer) = get(&simulator, "/task/1").await.unwrap();
    assert_eq!((status, &answer["code"]), (429, &json!(50429)));
}

#[tokio::test]
async fn words_in_the_prompt_choose_its_fate() {
    let simulator = start("");
    let (status, answer) = post(&simulator, body("[50412]")).await.unwrap();
    assert_eq!((status, &answer["code"], &answer["message"]), (400, &json!(50412), &json!("Text Risk Not Pass")));
    let task_id = task(&simulator, "[poll 50500]").await;
    let (status, answer) = get(&simulator, &format!("/task/{task_id}")).await.unwrap();
    assert_eq!((status, &answer["code"]), (500, &json!(50500)));
    assert!(post(&simulator, body("[answer lost]")).await.is_err());
    assert_eq!((simulator.paid(), simulator.violations().len()), (2, 0));
}

/// Faults of a submission: what the client sees (an HTTP status, or an error), and what was paid.
#[tokio::test]
async fn submissions_go_wrong_as_told() {
    let cases = [
        ("{code: 50430}", Some(429), 0),
        ("{code: 50430, status: 200}", Some(200), 0),
        ("{code: 50412, shape: quoted}", Some(400), 0),
        ("{status: 502, body: html}", Some(502), 0),
        ("{status: 429, body: empty}", Some(429), 0),
        ("{status: 403, error_code: insufficient_user_quota}", Some(403), 0),
        ("{status: 307, body: empty, location: /elsewhere}", Some(307), 0),
        ("{close: head}", None, 0),
        ("{close: half}", None, 0),
        ("{close: body}", None, 0),
        ("{close: accepted}", None, 1),
        ("{cut: 30}", None, 1),
        ("{cut: 100000}", None, 1),
        ("{delay: 0.01}", Some(200), 1),
    ];
    for (fault, status, paid) in cases {
        let simulator = start(&format!("- {{on: submit, nth: 1, do: {fault}}}"));
        let answer = post(&simulator, body("a cat")).await;
        assert_eq!(answer.as_ref().ok().map(|(status, _)| *status), status, "{fault}: {answer:?}");
        assert_eq!(simulator.paid(), paid, "{fault}");
        task(&simulator, "a cat").await;
        assert_eq!((simulator.paid(), simulator.violations().len()), (paid + 1, 0), "{fault}");
    }
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_body() {
    let simulator = start("- {on: submit, do: {status: 413, body: html, early: true}}");
    let mut stream = tokio::net::TcpStream::connect(simulator.addr()).await.unwrap();
    let head =
        "POST /task/jimeng/image2video HTTP/1.1\r\nhost: h\r\nauthorization: Bearer x\r\ncontent-length: 9999\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_submission_hangs_where_told() {
    for (moment, read, paid) in [("head", false, 0), ("half", false, 0), ("body", true, 0), ("accepted", true, 1)] {
        let simulator = start(&format!("- {{on: submit, do: {{hang: {moment}}}}}"));
        let asking = {
            let base_url = simulator.base_url();
            tokio::spawn(async move {
                let request = client().post(format!("{base_url}/task/jimeng/image2video"));
                let request = request.header("authorization", "Bearer sk-1").header("content-type", "application/json");
                request.body(body("a cat")).send().await
            })
        };
        let arrived = simulator.wait_until(LONG, |world| {
            let mut requests = world.requests();
            let request = requests.next();
            request.is_some_and(|request| request.last_byte_at.is_some() == read) && world.paid() == paid
        });
        assert!(arrived.await, "{moment}");
        assert_eq!(simulator.requests()[0].status, None, "{moment}");
        simulator.shutdown().await;
        assert!(asking.await.unwrap().is_err(), "{moment}");
    }
}

#[tokio::test]
async fn polls_go_wrong_as_told() {
    let simulator = start(concat!(
        "- {on: poll, nth: 1, do: {word: pondering}}\n",
        "- {on: poll, nth: 2, do: {no_link: true}}\n",
        "- {on: poll, nth: 3, do: {link_in_resp_data: true}}\n",
        "- {on: poll, nth: 4, do: {code: 50429, shape: digits, retry_after: 3}}\n",
        "- {on: poll, nth: 5, do: {link: 'http://10.0.0.1/x'}}\n",
        "- {on: poll, nth: 6, do: {close: head}}\n",
        "- {on: poll, nth: 7, do: {cut: 40}}\n",
    ));
    let path = format!("/task/{}", task(&simulator, "a cat").await);
    let (_, word) = get(&simulator, &path).await.unwrap();
    assert_eq!(word["data"]["status"], "pondering");
    let (_, none) = get(&simulator, &path).await.unwrap();
    assert_eq!((&none["data"]["status"], &none["data"]["video_url"]), (&json!("done"), &json!("")));
    let (_, inner) = get(&simulator, &path).await.unwrap();
    let resp_data: Value = serde_json::from_str(inner["data"]["resp_data"].as_str().unwrap()).unwrap();
    assert_eq!(inner["data"]["video_url"], "");
    assert_eq!(download(resp_data["urls"][0].as_str().unwrap()).await.status(), 200);
    let (status, code) = get(&simulator, &path).await.unwrap();
    assert_eq!((status, &code["code"]), (429, &json!("50429")));
    assert_eq!(get(&simulator, &path).await.unwrap().1["data"]["video_url"], "http://10.0.0.1/x");
    assert!(get(&simulator, &path).await.is_err());
    assert!(get(&simulator, &path).await.is_err());
    assert_eq!(get(&simulator, &path).await.unwrap().1["data"]["status"], "done");
    assert_eq!(simulator.tasks()[0].polls, 8);
}

#[tokio::test]
async fn links_lead_where_told() {
    let links = Some("https://cdn.example".to_owned());
    let simulator = Simulator::start(Settings { task_seconds: 0.0, links, ..Settings::default() }).unwrap();
    let task_id = task(&simulator, "a cat").await;
    let right = link(&simulator, &task_id).await;
    assert!(right.starts_with("https://cdn.example/files/"), "{right}");
    simulator.follow(Script::parse("- {on: poll, do: {link: 'https://10.0.0.1$PATH'}}").unwrap());
    let wrong = link(&simulator, &task_id).await;
    let path = wrong.strip_prefix("https://10.0.0.1").unwrap();
    assert_eq!(download(&format!("{}{path}", simulator.base_url())).await.status(), 200);
}

/// Reads as much as comes: the bytes, and whether that was all that had been announced.
async fn drain(mut response: reqwest::Response) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return (bytes, true),
            Err(_) => return (bytes, false),
        }
    }
}

#[tokio::test]
async fn downloads_go_wrong_as_told() {
    let simulator = start("");
    let link = link_of_new_task(&simulator).await;
    let (whole, true) = drain(download(&link).await).await else { panic!("cut") };
    let follow = |fault: &str| {
        simulator.follow(Script::parse(&format!("- {{on: download, do: {fault}}}")).unwrap());
        client().get(&link).header(RANGE, "bytes=100-").send()
    };

    let response = follow("{cut: 12345}").await.unwrap();
    assert_eq!(drain(response).await, (whole[100..12445].to_vec(), false));
    let response = follow("{length: 10}").await.unwrap();
    assert_eq!(response.content_length(), Some(whole.len() as u64 - 90));
    assert_eq!(drain(response).await, (whole[100..].to_vec(), false));
    let response = follow("{length: -10}").await.unwrap();
    assert_eq!(drain(response).await, (whole[100..whole.len() - 10].to_vec(), true));
    let response = follow("{ignore_range: true}").await.unwrap();
    assert_eq!((response.status().as_u16(), drain(response).await), (200, (whole.clone(), true)));
    let [first, second] = [follow("{new_etag: true}").await.unwrap(), follow("{new_etag: true}").await.unwrap()];
    assert_ne!(first.headers()[ETAG], second.headers()[ETAG]);
    assert_eq!(follow("{expired: true}").await.unwrap().status(), 403);
    let response = follow("{status: 200, body: html}").await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/html".parse().unwrap()));
    let response = follow("{gzip: true}").await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(&drain(response).await.0[..2], b"\x1f\x8b");
    assert!(follow("{close: head}").await.is_err());

    let mut response = follow("{drip: 100}").await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 10);
    let mut response = follow("{hang: half}").await.unwrap();
    let mut held = 0;
    while held < (whole.len() - 100) / 2 {
        held += response.chunk().await.unwrap().unwrap().len();
    }
    assert_eq!(held, (whole.len() - 100) / 2);
    simulator.shutdown().await;
    assert!(response.chunk().await.is_err());
}

#[tokio::test]
async fn answers_are_sent_in_the_manner_told() {
    let simulator = start("");
    let path = format!("/task/{}", task(&simulator, "a cat").await);
    let follow = |rule: &str| simulator.follow(Script::parse(&format!("- {{{rule}}}")).unwrap());
    let ask = async || {
        let request = client().get(format!("{}{path}", simulator.base_url()));
        request.header("authorization", "Bearer sk-1").send().await.unwrap()
    };
    follow("on: poll, do: {chunked: true, headers: {x-a: b, content-type: null}, header_bytes: 1000}");
    let response = ask().await;
    assert_eq!((response.content_length(), &response.headers()["x-a"]), (None, &"b".parse().unwrap()));
    assert_eq!((response.headers().get("content-type"), response.headers()["x-long"].len()), (None, 1000));
    assert_eq!(read(response).await.unwrap().1["data"]["status"], "done");
    follow("on: poll, do: {gzip: true}");
    assert_eq!(&ask().await.bytes().await.unwrap()[..2], b"\x1f\x8b");
    follow("on: poll, do: {drip: 100000}");
    assert_eq!(read(ask().await).await.unwrap().1["data"]["status"], "done");
    follow("on: poll, do: {blanks: 3000000}");
    let response = ask().await;
    let (bytes, true) = drain(response).await else { panic!("cut") };
    assert!(bytes.len() > 3_000_000 && bytes.starts_with(b"{") && bytes.trim_ascii_end().ends_with(b"}"));
    follow("on: poll, do: {status: 200, body: '$LINK'}");
    let link = ask().await.text().await.unwrap();
    assert_eq!(download(&link).await.status(), 200);

    follow("on: download, nth: 1, do: {status: 302, body: empty, location: $LINK}");
    let response = download(&link).await;
    let next = response.headers()["location"].to_str().unwrap().to_owned();
    assert_ne!(next, link);
    assert_eq!(download(&next).await.status(), 200);
    follow("on: download, do: {bytes: 10000000000}");
    assert_eq!(download(&link).await.content_length(), Some(10_000_000_000));
    follow("on: download, do: {film: junk, chunked: true}");
    let response = download(&link).await;
    assert_eq!(response.content_length(), None);
    let (bytes, true) = drain(response).await else { panic!("cut") };
    assert!(bytes.ends_with(b"proxy -->"));
}

#[tokio::test]
async fn a_large_video_is_cut_exactly_where_told() {
    let script = Some(Script::parse("- {on: download, nth: 1, do: {cut: 3000000}}").unwrap());
    let settings = Settings { script, task_seconds: 0.0, video_bytes: Some(5_000_000), ..Settings::default() };
    let simulator = Simulator::start(settings).unwrap();
    let link = link_of_new_task(&simulator).await;
    let (bytes, whole) = drain(download(&link).await).await;
    assert_eq!((bytes.len(), whole), (3_000_000, false));
    let (bytes, whole) = drain(download(&link).await).await;
    assert_eq!((bytes.len(), whole), (5_000_000, true));
}

#[tokio::test]
async fn the_same_seed_misbehaves_in_the_same_way_and_never_for_money() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let settings = Settings { seed: 5, misbehave: 0.5, task_seconds: 0.0, ..Settings::default() };
        let simulator = Simulator::start(settings).unwrap();
        let mut seen = Vec::new();
        let mut accepted = 0;
        for _ in 0..12 {
            let answer = post(&simulator, body("a cat")).await.ok();
            accepted += u64::from(answer.as_ref().is_some_and(|(_, answer)| answer["code"] == 10000));
            seen.push(answer.map(|(status, _)| status));
        }
        assert_eq!(simulator.paid(), accepted);
        runs.push(seen);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].iter().any(|status| *status != Some(200)));
}

#[tokio::test]
async fn stopping_frees_the_address_and_starting_again_gives_out_other_ids() {
    let simulator = start("");
    let address = simulator.addr();
    let first = task(&simulator, "a cat").await;
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::time::timeout(LONG, simulator.shutdown()).await.unwrap();
    drop(idle);
    let again = Simulator::start(Settings { listen: address, ..Settings::default() }).unwrap();
    assert_ne!(task(&again, "a cat").await, first);
    let taken = Simulator::start(Settings { listen: again.addr(), ..Settings::default() });
    assert!(matches!(taken, Err(SimulatorError::Listen { .. })));
}

#[tokio::test]
async fn waiting_ends_with_the_fact_or_the_deadline() {
    let simulator = start("");
    assert!(!simulator.wait_until(Duration::from_millis(1), |world| world.paid() == 1).await);
    let (paid, _) = tokio::join!(simulator.wait_until(LONG, |world| world.paid() == 1), task(&simulator, "a cat"));
    assert!(paid);
}
