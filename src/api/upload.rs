//! A submission: the picture streamed into one request, and proof of how much of it left our hands.
//!
//! The body is made piece by piece while it is sent, so an upload holds a few buffers and never the picture. What money depends on
//! is [`Gate`]: it counts the bytes handed to the connection and can be shut, and shutting it succeeds only while bytes are
//! missing. So "fewer bytes than the body has" is a fact that no other thread can still change, and only then is a submission said
//! to be unsent. The body declares its exact length, which makes a request that breaks off incomplete for every reader.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::SubmitAnswer;
use super::client::{Client, Reply};
use super::download::TRY_IDLES;
use super::error::told;
use super::wire::{self, HandOver};
use crate::job::Request;
use crate::world::failpoint::{self, Effect};

/// Bytes of the picture read at once: a multiple of 3, so that the base64 of the pieces is the base64 of the whole.
const READ_BYTES: usize = 24 * 1024;

/// Bytes handed over at once. The connection queues up to 16 pieces, so this bounds an upload's buffers (measured: below 200 KB
/// an upload that stands still), and how far the count of what was handed over runs ahead of what was sent.
const PIECE_BYTES: usize = 4 * 1024;

/// Set in [`Gate::state`] once nothing more will be handed over.
const SHUT: u64 = 1 << 63;

impl Client {
    /// Submits once. `picture` is there exactly if `request` names no address of one; it is read from its first byte, whatever its
    /// position, and must not change meanwhile.
    ///
    /// `cut` ends an upload that is not wholly handed over ([`SubmitAnswer::Unsent`]); after that it is ignored, and the answer is
    /// awaited for up to `submit_timeout`. The future itself must not be dropped before it ends: the outcome would be lost.
    pub async fn submit(&self, request: &Request, picture: Option<File>, cut: &CancellationToken) -> SubmitAnswer {
        let (body, gate) = match body(request, picture).await {
            Ok(body) => body,
            Err(problem) => return SubmitAnswer::PictureUnreadable(self.mask().clean(&problem)),
        };
        let exchange = async {
            let json = HeaderValue::from_static("application/json");
            let request = self.submission().header(CONTENT_TYPE, json).body(reqwest::Body::wrap(body));
            Ok(Reply::read(request.send().await?).await)
        };
        if let Err(errno) = failpoint::before(Effect::Request, || PathBuf::from("submit")) {
            return SubmitAnswer::Unsent(self.no_answer(&errno.to_string()));
        }
        let ended = self.attend(exchange, &gate, cut).await;
        let handed = gate.shut();
        if let Err(errno) = failpoint::before(Effect::Answer, || PathBuf::from("submit")) {
            return self.unanswered(handed, &errno.to_string());
        }
        match (ended, gate.fault.get()) {
            // The answer counts even if the picture failed under it: it may be the refusal that made the rest needless.
            (Ended::Answered(reply), fault) => match (wire::submit_answer(&reply.answer(), handed, self.mask()), fault)
            {
                (SubmitAnswer::Unsent(_), Some(fault)) => SubmitAnswer::PictureUnreadable(self.mask().clean(fault)),
                (answer, _) => answer,
            },
            (Ended::Failed(_) | Ended::Late | Ended::Slow | Ended::Cut, Some(fault)) => {
                SubmitAnswer::PictureUnreadable(self.mask().clean(fault))
            }
            (Ended::Failed(error), None) if error.is_connect() => SubmitAnswer::Unsent(self.no_answer(&told(error))),
            (Ended::Failed(error), None) => self.unanswered(handed, &told(error)),
            (Ended::Cut, None) => self.unanswered(handed, "the upload was cut to stop"),
            (Ended::Late, None) => match handed {
                HandOver::Whole => self.unanswered(handed, "no answer in time"),
                HandOver::Short => self.unanswered(handed, "the upload stood still"),
            },
            (Ended::Slow, None) => self.unanswered(handed, "the upload takes too long"),
        }
    }

    fn unanswered(&self, handed: HandOver, message: &str) -> SubmitAnswer {
        let refusal = self.no_answer(message);
        match handed {
            HandOver::Whole => SubmitAnswer::InDoubt(refusal),
            HandOver::Short => SubmitAnswer::Unsent(refusal),
        }
    }

    /// Waits for the exchange, for the upload to stand still, for the answer to be late, or for a cut that still can be made.
    async fn attend(
        &self,
        exchange: impl Future<Output = Result<Reply, reqwest::Error>>,
        gate: &Gate,
        cut: &CancellationToken,
    ) -> Ended {
        let mut exchange = pin!(exchange);
        let mut awaiting_answer = false;
        let upload_ends = Instant::now() + self.connect_timeout() + self.idle_timeout() * TRY_IDLES;
        let mut deadline = Instant::now() + self.connect_timeout() + self.idle_timeout();
        loop {
            tokio::select! {
                biased;
                ended = &mut exchange => return match ended {
                    Ok(reply) => Ended::Answered(reply),
                    Err(error) => Ended::Failed(error),
                },
                () = cut.cancelled(), if !awaiting_answer => match gate.shut() {
                    HandOver::Short => return Ended::Cut,
                    HandOver::Whole => {}
                },
                () = gate.moved.notified(), if !awaiting_answer => {
                    deadline = upload_ends.min(Instant::now() + self.idle_timeout());
                }
                () = sleep_until(deadline) => match (gate.shut(), awaiting_answer) {
                    // The last bytes went just now.
                    (HandOver::Whole, false) => {}
                    (HandOver::Short, _) if deadline == upload_ends => return Ended::Slow,
                    (HandOver::Whole, true) | (HandOver::Short, _) => return Ended::Late,
                },
            }
            if !awaiting_answer && gate.is_whole() {
                awaiting_answer = true;
                deadline = Instant::now() + self.submit_timeout();
            }
        }
    }
}

/// How the wait for an exchange ended.
enum Ended {
    Answered(Reply),
    Failed(reqwest::Error),
    /// The last deadline has passed.
    Late,
    /// The upload never stood still, and was not at its end when it should have been long before.
    Slow,
    Cut,
}

/// Counts what the connection took, and can be shut while something is missing.
#[derive(Debug)]
struct Gate {
    /// Bytes handed over, and [`SHUT`].
    state: AtomicU64,
    total: u64,
    moved: Notify,
    /// Why the picture could not be read.
    fault: OnceLock<String>,
}

impl Gate {
    fn new(total: u64) -> Self {
        Self { state: AtomicU64::new(0), total, moved: Notify::new(), fault: OnceLock::new() }
    }

    /// Counts bytes that are handed over now; `false` if the gate is shut, and then they must not be.
    fn pass(&self, bytes: u64) -> bool {
        let add = |state| (state & SHUT == 0).then_some(state + bytes);
        let passed = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok();
        if passed {
            self.moved.notify_one();
        }
        passed
    }

    /// Lets nothing more through, and says for good whether everything had gone through before.
    fn shut(&self) -> HandOver {
        match self.state.fetch_or(SHUT, Ordering::AcqRel) & !SHUT >= self.total {
            true => HandOver::Whole,
            false => HandOver::Short,
        }
    }

    fn is_whole(&self) -> bool {
        self.state.load(Ordering::Acquire) & !SHUT >= self.total
    }
}

/// The request's body and the gate it goes through.
async fn body(request: &Request, picture: Option<File>) -> Result<(UploadBody, Arc<Gate>), String> {
    let mut head = format!(
        r#"{{"prompt":{},"aspect_ratio":"{}","seed":{}"#,
        Value::from(request.prompt.as_str()),
        request.aspect_ratio,
        request.seed.number(),
    );
    let (reader, tail, length) = match (picture, &request.image_url) {
        (Some(file), None) => {
            head.push_str(r#","binary_data_base64":[""#);
            let reader = Reader::new(file).await?;
            let length = reader.length.div_ceil(3) * 4;
            (Some(reader), r#""]}"#, length)
        }
        (None, Some(url)) => {
            head.push_str(&format!(r#","image_urls":[{}"#, Value::from(url.as_str())));
            (None, "]}", 0)
        }
        (Some(_), Some(_)) | (None, None) => return Err("a request needs a picture or the address of one".to_owned()),
    };
    let total = head.len() as u64 + length + tail.len() as u64;
    let gate = Arc::new(Gate::new(total));
    let source = match reader {
        Some(reader) => Source::Rests(reader),
        None => Source::Ended,
    };
    Ok((UploadBody { pieces: Bytes::from(head), source, tail, gate: Arc::clone(&gate) }, gate))
}

/// The body of a submission, made while it is sent: head, base64 of the picture, tail.
struct UploadBody {
    /// What is ready to be handed over, before anything from the source.
    pieces: Bytes,
    source: Source,
    /// What follows when the source has ended; taken then.
    tail: &'static str,
    gate: Arc<Gate>,
}

/// Where the rest of the body comes from. Reading happens on a thread that may block, and no thread is held while the network is slow.
enum Source {
    Rests(Reader),
    Reads(JoinHandle<Result<(Reader, Option<Bytes>), String>>),
    Ended,
}

impl UploadBody {
    fn poll_pieces(&mut self, context: &mut Context<'_>) -> Poll<Result<(), String>> {
        while self.pieces.is_empty() {
            match std::mem::replace(&mut self.source, Source::Ended) {
                Source::Rests(reader) => self.source = Source::Reads(tokio::task::spawn_blocking(|| reader.next())),
                Source::Reads(mut read) => match Pin::new(&mut read).poll(context) {
                    Poll::Pending => {
                        self.source = Source::Reads(read);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Ok((reader, Some(encoded))))) => {
                        self.pieces = encoded;
                        self.source = Source::Rests(reader);
                    }
                    Poll::Ready(Ok(Ok((_, None)))) => {}
                    Poll::Ready(Ok(Err(fault))) => return Poll::Ready(Err(fault)),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(format!("reading the picture was ended: {error}")));
                    }
                },
                Source::Ended => match std::mem::take(&mut self.tail) {
                    "" => break,
                    tail => self.pieces = Bytes::from_static(tail.as_bytes()),
                },
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        if let Err(fault) = ready!(body.poll_pieces(context)) {
            let error = io::Error::other(fault.clone());
            body.gate.fault.get_or_init(|| fault);
            return Poll::Ready(Some(Err(error)));
        }
        let piece = body.pieces.split_to(body.pieces.len().min(PIECE_BYTES));
        Poll::Ready(match (piece.is_empty(), body.gate.pass(piece.len() as u64)) {
            (true, _) => None,
            (false, true) => Some(Ok(Frame::data(piece))),
            (false, false) => Some(Err(io::Error::other("the upload was cut"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty() && matches!(self.source, Source::Ended)
    }

    /// What is still to come, exactly; at first the whole, which becomes `Content-Length`.
    fn size_hint(&self) -> SizeHint {
        let handed = self.gate.state.load(Ordering::Acquire) & !SHUT;
        SizeHint::with_exact(self.gate.total.saturating_sub(handed))
    }
}

/// Reads a file of a length known from the start, and notices if that was not its length.
struct Reader {
    file: File,
    length: u64,
    position: u64,
    buffer: Vec<u8>,
}

impl Reader {
    async fn new(file: File) -> Result<Self, String> {
        let measured = tokio::task::spawn_blocking(move || file.metadata().map(|metadata| (file, metadata))).await;
        match measured {
            Ok(Ok((file, metadata))) => match (metadata.is_file(), metadata.len()) {
                (true, 1..) => Ok(Self { file, length: metadata.len(), position: 0, buffer: vec![0; READ_BYTES] }),
                (true, 0) => Err("the picture is empty".to_owned()),
                (false, _) => Err("the picture is not a regular file".to_owned()),
            },
            Ok(Err(error)) => Err(format!("the picture cannot be measured: {error}")),
            Err(error) => Err(format!("reading the picture was ended: {error}")),
        }
    }

    /// The base64 of the next bytes; `None` at the end, which is where the length said.
    fn next(mut self) -> Result<(Self, Option<Bytes>), String> {
        let unreadable = |error: io::Error| format!("the picture cannot be read: {error}");
        let left = self.length - self.position;
        if left == 0 {
            // The last byte of the request is not handed over before this is known.
            return match self.file.read_at(&mut [0], self.length).map_err(unreadable)? {
                0 => Ok((self, None)),
                _ => Err("the picture has grown while it was sent".to_owned()),
            };
        }
        let wanted = usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES);
        let piece = &mut self.buffer[..wanted];
        match self.file.read_exact_at(piece, self.position) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err("the picture has become shorter while it was sent".to_owned());
            }
            Err(error) => return Err(unreadable(error)),
        }
        self.position += wanted as u64;
        let encoded = Bytes::from(STANDARD.encode(piece));
        Ok((self, Some(encoded)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::api::Settings;
    use crate::api::raw_server::{Peer, RawServer, TOKEN, answer, content_length};
    use crate::job::{AspectRatio, Seed};

    /// More than all buffers between two ends of a local connection.
    const LARGE: u64 = 24 * 1024 * 1024;

    const ACCEPTED: &str = r#"{"code":10000,"data":{"task_id":"14117763723766220057"},"request_id":"r"}"#;

    fn request(image_url: Option<&str>) -> Request {
        Request {
            prompt: "say \"hi\" \\ 视频 🐕".to_owned(),
            aspect_ratio: AspectRatio::R9x16,
            seed: Seed::Fixed(42),
            image_url: image_url.map(str::to_owned),
        }
    }

    fn picture(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn large() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LARGE).unwrap();
        file
    }

    /// Submits a picture to a server that behaves as told, until both have ended.
    async fn against<T>(
        client: Client,
        server: &RawServer,
        picture: File,
        peer: impl AsyncFnOnce(Peer) -> T,
    ) -> (SubmitAnswer, T) {
        let (request, cut) = (request(None), CancellationToken::new());
        let submit = client.submit(&request, Some(picture), &cut);
        tokio::join!(submit, async { peer(server.accept().await).await })
    }

    fn message(answer: &SubmitAnswer) -> &str {
        match answer {
            SubmitAnswer::Unsent(refusal) | SubmitAnswer::InDoubt(refusal) => &refusal.message,
            SubmitAnswer::PictureUnreadable(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_body_holds_exactly_the_four_fields_and_declares_its_length() {
        let server = RawServer::start().await;
        for length in [1, 2, 3, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 5 * READ_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 31 % 251) as u8).collect();
            let (submitted, (head, body)) =
                against(server.client(), &server, picture(&bytes), async |mut peer: Peer| {
                    let request = peer.request().await;
                    peer.send(&answer("200 OK", ACCEPTED)).await;
                    assert!(peer.rest().await.is_empty(), "nothing follows the declared length");
                    request
                })
                .await;
            let expected = format!(
                r#"{{"prompt":"say \"hi\" \\ 视频 🐕","aspect_ratio":"9:16","seed":42,"binary_data_base64":["{}"]}}"#,
                STANDARD.encode(&bytes)
            );
            assert!(body == expected.as_bytes(), "{length} bytes");
            assert!(head.starts_with("post /task/jimeng/image2video http/1.1\r\n"), "{head}");
            assert!(head.contains("content-type: application/json\r\n"), "{head}");
            assert!(head.contains(&format!("authorization: bearer {TOKEN}\r\n")), "{head}");
            assert!(!head.contains("transfer-encoding") && !head.contains("accept-encoding"), "{head}");
            let expected = SubmitAnswer::Accepted {
                task_id: crate::job::TaskId::new("14117763723766220057").unwrap(),
                request_id: Some("r".to_owned()),
            };
            assert_eq!(submitted, expected);
        }
    }

    #[tokio::test]
    async fn an_address_goes_instead_of_a_picture() {
        let server = RawServer::start().await;
        let (client, cut) = (server.client(), CancellationToken::new());
        let with_link = request(Some("https://c/a\"b.png?x=1"));
        let (submitted, body) = tokio::join!(client.submit(&with_link, None, &cut), async {
            let mut peer = server.accept().await;
            let (_, body) = peer.request().await;
            peer.send(&answer("200 OK", ACCEPTED)).await;
            String::from_utf8(body).unwrap()
        });
        assert!(matches!(submitted, SubmitAnswer::Accepted { .. }));
        assert!(body.ends_with(r#","seed":42,"image_urls":["https://c/a\"b.png?x=1"]}"#), "{body}");
        for (image_url, picture) in
            [(None, None), (Some("https://c/a"), Some(picture(b"x"))), (None, Some(picture(b"")))]
        {
            let submitted = client.submit(&request(image_url), picture, &cut).await;
            assert!(matches!(submitted, SubmitAnswer::PictureUnreadable(_)), "{submitted:?}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_and_an_unknown_host_are_unsent() {
        let server = RawServer::start().await;
        let mut settings = server.settings();
        drop(server);
        for base_url in [settings.base_url.clone(), "http://nowhere.invalid".to_owned()] {
            settings.base_url = base_url;
            let client = Client::new(settings.clone()).unwrap();
            // Even a small body, which would be handed over at once.
            for (image_url, picture) in [(None, Some(picture(b"x"))), (Some("https://c/a"), None)] {
                let submitted = client.submit(&request(image_url), picture, &CancellationToken::new()).await;
                assert!(matches!(submitted, SubmitAnswer::Unsent(_)), "{submitted:?}");
            }
        }
    }

    /// A client whose only way to the API leads through a proxy at `proxy`.
    fn behind(settings: Settings, proxy: &str) -> Client {
        let proxy = reqwest::Proxy::all(proxy).unwrap();
        Client::by_way_of(settings, |builder| builder.proxy(proxy.clone())).unwrap()
    }

    #[tokio::test]
    async fn a_proxy_that_is_not_there_leaves_everything_unsent() {
        let proxy = RawServer::start().await;
        let (settings, url) = (proxy.settings(), proxy.url());
        drop(proxy);
        for base_url in ["http://api.example", "https://api.example"] {
            let client = behind(Settings { base_url: base_url.to_owned(), ..settings.clone() }, &url);
            let submitted = client.submit(&request(None), Some(picture(b"x")), &CancellationToken::new()).await;
            assert!(matches!(submitted, SubmitAnswer::Unsent(_)), "{base_url}: {submitted:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_makes_no_tunnel_sees_nothing_of_the_request() {
        let proxy = RawServer::start().await;
        let settings = Settings { base_url: "https://api.example".to_owned(), ..proxy.settings() };
        for answer in [
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nlocation: http://login.example/\r\ncontent-length: 0\r\n\r\n",
            // The tunnel is there and leads nowhere: no TLS, so no request.
            "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "",
        ] {
            let client = behind(settings.clone(), &proxy.url());
            let (submitted, (head, rest)) = against(client, &proxy, picture(b"picture"), async |mut peer: Peer| {
                let head = peer.head().await;
                // The other side may hang up on what is no answer.
                let _ended = peer.try_send(answer).await;
                peer.end().await;
                (head, peer.rest().await)
            })
            .await;
            assert!(matches!(submitted, SubmitAnswer::Unsent(_)), "{answer:?}: {submitted:?}");
            assert!(head.starts_with("connect api.example:443 "), "{head}");
            let seen = [head.as_bytes(), &rest].concat();
            for secret in [TOKEN.as_bytes(), b"image2video", STANDARD.encode(b"picture").as_bytes()] {
                assert!(!seen.windows(secret.len()).any(|part| part == secret), "{answer:?}: {head}");
            }
        }
    }

    #[tokio::test]
    async fn an_answer_through_a_proxy_that_sees_plain_requests_may_be_the_api_s_own() {
        let proxy = RawServer::start().await;
        let settings = Settings { base_url: "http://api.example".to_owned(), ..proxy.settings() };
        for (early, answer, expected) in [
            (false, answer("200 OK", ACCEPTED), "Accepted"),
            // It lets nobody through, so the API has seen nothing.
            (false, answer("407 Proxy Authentication Required", "<html>"), "Gateway"),
            // Nobody can tell whether the request had reached the API: unless it was not whole, it is in doubt.
            (false, answer("502 Bad Gateway", "<html>"), "InDoubt"),
            (true, answer("502 Bad Gateway", "<html>"), "Unsent"),
        ] {
            let picture = if early { large() } else { picture(b"picture") };
            let client = behind(settings.clone(), &proxy.url());
            let (submitted, (head, _peer)) = against(client, &proxy, picture, async |mut peer: Peer| {
                let head = if early { peer.head().await } else { peer.request().await.0 };
                peer.send(&answer).await;
                (head, peer)
            })
            .await;
            assert!(format!("{submitted:?}").starts_with(expected), "{expected}: {submitted:?}");
            assert!(head.starts_with("post http://api.example/task/jimeng/image2video http/1.1\r\n"), "{head}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_before_the_body_does_is_unsent() {
        let server = RawServer::start().await;
        for read in [None, Some(0), Some(LARGE as usize / 2)] {
            let (submitted, ()) = against(server.client(), &server, large(), async |mut peer: Peer| {
                if let Some(read) = read {
                    peer.head().await;
                    peer.body(read).await;
                }
            })
            .await;
            assert!(matches!(submitted, SubmitAnswer::Unsent(_)), "{read:?}: {submitted:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_to_a_whole_body_is_in_doubt() {
        let server = RawServer::start().await;
        let too_long = answer("200 OK", &" ".repeat(crate::api::client::ANSWER_BYTES_MAX + 1));
        let answers = [
            "",
            "HTTP/1.1 200 OK\r\ncontent-le",
            "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"code\":10000,\"data\":{\"task_id\":\"7\"}}",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"cod\r\n",
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            &too_long,
        ];
        for answer in answers {
            let (submitted, ()) = against(server.client(), &server, picture(b"picture"), async |mut peer: Peer| {
                peer.request().await;
                // The other side may hang up on an answer that is too long.
                let _ended = peer.try_send(answer).await;
            })
            .await;
            assert!(matches!(submitted, SubmitAnswer::InDoubt(_)), "{:.60}: {submitted:?}", answer);
        }
    }

    #[tokio::test]
    async fn no_answer_in_time_to_a_whole_body_is_in_doubt() {
        let server = RawServer::start().await;
        let mut settings = server.settings();
        settings.submit_timeout = Duration::from_millis(50);
        let client = Client::new(settings).unwrap();
        let (submitted, ()) = against(client, &server, picture(b"picture"), async |mut peer: Peer| {
            peer.request().await;
            peer.rest().await;
        })
        .await;
        assert!(matches!(submitted, SubmitAnswer::InDoubt(_)), "{submitted:?}");
        assert_eq!(message(&submitted), "no answer in time");
    }

    #[tokio::test]
    async fn an_upload_that_stands_still_is_unsent() {
        let server = RawServer::start().await;
        let mut settings = server.settings();
        settings.connect_timeout = Duration::from_millis(500);
        settings.idle_timeout = Duration::from_millis(100);
        let client = Client::new(settings).unwrap();
        let (cut, request) = (CancellationToken::new(), request(None));
        let peer = async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer
        };
        // The peer stays open, unread, until the submission has ended.
        let (submitted, _peer) = tokio::join!(client.submit(&request, Some(large()), &cut), peer);
        assert!(matches!(submitted, SubmitAnswer::Unsent(_)), "{submitted:?}");
        assert_eq!(message(&submitted), "the upload stood still");
    }

    #[tokio::test]
    async fn an_upload_that_trickles_for_ever_is_unsent() {
        const HUGE: u64 = 256 << 20;
        let server = RawServer::start().await;
        let mut settings = server.settings();
        settings.connect_timeout = Duration::from_millis(500);
        settings.idle_timeout = Duration::from_millis(100);
        let client = Client::new(settings).unwrap();
        let huge = tempfile::tempfile().unwrap();
        huge.set_len(HUGE).unwrap();
        let (submitted, ()) = against(client, &server, huge, async |mut peer: Peer| peer.trickle().await).await;
        assert!(matches!(submitted, SubmitAnswer::Unsent(_)), "{submitted:?}");
        assert_eq!(message(&submitted), "the upload takes too long");
    }

    #[tokio::test]
    async fn an_answer_before_the_end_of_the_body_counts_unless_it_would_be_in_doubt() {
        let server = RawServer::start().await;
        for (early, expected) in [
            (answer("413 Content Too Large", "<html>"), "Refused"),
            (answer("400 Bad Request", r#"{"code":50411,"message":"Pre Img Risk Not Pass"}"#), "Business"),
            (answer("429 Too Many Requests", ""), "Throttled"),
            (answer("200 OK", ACCEPTED), "Accepted"),
            (answer("502 Bad Gateway", "<html>"), "Unsent"),
            (answer("200 OK", r#"{"code":10000,"data":null}"#), "Unsent"),
        ] {
            let (cut, request, client) = (CancellationToken::new(), request(None), server.client());
            let peer = async {
                let mut peer = server.accept().await;
                peer.head().await;
                peer.send(&early).await;
                peer
            };
            let (submitted, _peer) = tokio::join!(client.submit(&request, Some(large()), &cut), peer);
            assert!(format!("{submitted:?}").starts_with(expected), "{expected}: {submitted:?}");
        }
    }

    #[tokio::test]
    async fn a_cut_before_the_hand_over_is_unsent() {
        let server = RawServer::start().await;
        let cut = CancellationToken::new();
        let (request, client) = (request(None), server.client());
        let (submitted, received) = tokio::join!(client.submit(&request, Some(large()), &cut), async {
            let mut peer = server.accept().await;
            let length = content_length(&peer.head().await);
            cut.cancel();
            (peer.rest().await.len(), length)
        });
        assert!(matches!(submitted, SubmitAnswer::Unsent(_)), "{submitted:?}");
        assert!(received.0 < received.1, "{received:?}");
    }

    #[tokio::test]
    async fn a_cut_after_the_hand_over_waits_for_the_answer() {
        let server = RawServer::start().await;
        let cut = CancellationToken::new();
        let (request, client) = (request(None), server.client());
        let (submitted, ()) = tokio::join!(client.submit(&request, Some(picture(b"picture")), &cut), async {
            let mut peer = server.accept().await;
            peer.request().await;
            cut.cancel();
            peer.send(&answer("200 OK", ACCEPTED)).await;
        });
        assert!(matches!(submitted, SubmitAnswer::Accepted { .. }), "{submitted:?}");
    }

    #[tokio::test]
    async fn a_picture_that_changes_its_length_is_never_sent_whole() {
        let server = RawServer::start().await;
        for (length, words) in [(1000, "shorter"), (LARGE + 1, "grown")] {
            let picture = large();
            let same = picture.try_clone().unwrap();
            let (submitted, received) = against(server.client(), &server, picture, async |mut peer: Peer| {
                let declared = content_length(&peer.head().await);
                same.set_len(length).unwrap();
                (peer.rest().await.len(), declared)
            })
            .await;
            assert!(matches!(submitted, SubmitAnswer::PictureUnreadable(_)), "{submitted:?}");
            assert!(message(&submitted).contains(words), "{submitted:?}");
            assert!(received.0 < received.1, "{received:?}");
        }
    }

    #[tokio::test]
    async fn each_submission_has_a_connection_of_its_own() {
        let server = RawServer::start().await;
        let client = server.client();
        let mut kept = Vec::new();
        for _ in 0..2 {
            let (submitted, peer) = against(client.clone(), &server, picture(b"picture"), async |mut peer: Peer| {
                peer.request().await;
                peer.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ACCEPTED}", ACCEPTED.len())).await;
                peer
            })
            .await;
            assert!(matches!(submitted, SubmitAnswer::Accepted { .. }));
            kept.push(peer);
        }
    }

    #[test]
    fn a_gate_shut_in_time_lets_nothing_more_through() {
        let gate = Gate::new(10);
        assert!(gate.pass(9));
        assert!(!gate.is_whole());
        assert_eq!(gate.shut(), HandOver::Short);
        assert!(!gate.pass(1));
        assert_eq!(gate.shut(), HandOver::Short);

        let gate = Gate::new(10);
        assert!(gate.pass(10));
        assert_eq!(gate.shut(), HandOver::Whole);
        assert!(gate.is_whole());
    }
}
