//! What goes over the wire, byte for byte, written down here by hand and shared with no code of the daemon.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jimengd::simulator::{Request, Settings};

use crate::rig::{Rig, TOKEN, pictures, vendor};

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| value.to_str().unwrap())
}

async fn one_job(rig: &Rig) -> Vec<Request> {
    let outcome = rig.run_once().await;
    assert_eq!((outcome.delivered, outcome.failed), (1, 0), "{}", rig.scene());
    rig.assert_all_is_well();
    rig.vendor().requests()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_what_the_page_of_the_api_says() {
    let rig = Rig::new(Settings { keep_bodies: true, ..vendor() }, "");
    let picture = pictures::jpeg(1);
    rig.copy_in("cat.jpg", &picture);
    rig.copy_in(
        "cat.yaml",
        "prompt: 'A \"cat\" \\ 猫 🐈'\naspect_ratio: 9:16\nseed: 4294967295\npriority: 3\n".as_bytes(),
    );
    let requests = one_job(&rig).await;
    let submission = &requests[0];
    let wanted = format!(
        r#"{{"prompt":"A \"cat\" \\ 猫 🐈","aspect_ratio":"9:16","seed":4294967295,"binary_data_base64":["{}"]}}"#,
        STANDARD.encode(&picture)
    );
    assert_eq!((submission.method.as_str(), submission.path.as_str()), ("POST", "/task/jimeng/image2video"));
    assert_eq!(std::str::from_utf8(submission.body.as_deref().unwrap()).unwrap(), wanted);
    assert_eq!(submission.content_length, Some(wanted.len() as u64));
    assert_eq!(header(submission, "content-type"), Some("application/json"));
    assert_eq!(header(submission, "authorization"), Some(bearer().as_str()));
    assert_eq!(header(submission, "transfer-encoding"), None);
    assert_eq!(header(submission, "expect"), None);
    let mut names: Vec<_> = submission.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "authorization", "content-length", "content-type", "host", "user-agent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_sent_instead_of_a_picture() {
    let rig = Rig::new(Settings { keep_bodies: true, ..vendor() }, "");
    rig.copy_in("cat.yaml", b"prompt: A cat\nseed: -1\nimage_urls: [\"https://example.com/cat.jpg?a=1&b=2\"]\n");
    let requests = one_job(&rig).await;
    let wanted =
        r#"{"prompt":"A cat","aspect_ratio":"16:9","seed":-1,"image_urls":["https://example.com/cat.jpg?a=1&b=2"]}"#;
    assert_eq!(std::str::from_utf8(requests[0].body.as_deref().unwrap()).unwrap(), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_to_the_api_alone_and_nothing_else_is_asked() {
    let rig = Rig::plain();
    rig.drop_pair("cat", "A cat");
    let requests = one_job(&rig).await;
    let task = format!("/task/{}", rig.vendor().tasks()[0].task_id);
    let (mut submissions, mut polls, mut downloads) = (0, 0, 0);
    for request in &requests {
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/task/jimeng/image2video") => {
                submissions += 1;
                assert_eq!(header(request, "authorization"), Some(bearer().as_str()));
            }
            ("GET", path) if path == task => {
                polls += 1;
                assert_eq!(header(request, "authorization"), Some(bearer().as_str()));
            }
            ("GET", path) if path.contains("/video/tos/") => {
                downloads += 1;
                for secret in ["authorization", "cookie", "referer"] {
                    assert_eq!(header(request, secret), None, "{secret} went to the host of the videos");
                }
            }
            (method, path) => panic!("nobody needs {method} {path}"),
        }
        assert!(header(request, "user-agent").unwrap().starts_with("jimengd/"));
    }
    assert_eq!((submissions, downloads), (1, 1));
    assert!(polls >= 1);
}
