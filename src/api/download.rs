//! A download: one link, one try, into a part that the next try may go on with.
//!
//! The request carries no token. What has come is a video only if its length is the announced one and its boxes are whole;
//! `Content-Type` is not asked, for video servers lie about it and error pages do not look like boxes. The file is written but
//! *not synced*: whoever publishes it syncs file and folder.

use std::path::PathBuf;
use std::time::SystemTime;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE,
    RETRY_AFTER,
};
use reqwest::{Response, Url};
use tokio::time::{Instant, timeout, timeout_at};

use super::address::{self, Forbidden};
use super::client::{Client, foreign_encoding};
use super::error::{DownloadError, cause, told};
use super::part::Part;
use super::part::{Content, Sink};
use super::wire;
use crate::job::VideoLink;
use crate::job::video::Video;
use crate::world::failpoint::{self, Effect};

/// Bytes that a video may have at most. The known ones have 1 to 5 MB; this guards the disk against an endless answer.
pub const VIDEO_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Bytes below which nothing is a video, whatever it holds.
pub const VIDEO_BYTES_MIN: u64 = 64;

/// No try lasts longer than so many times [`Settings::idle_timeout`](super::Settings::idle_timeout), 20 minutes as shipped. A trickle
/// that never stands still would else hold a slot for ever; what has come by then is kept.
pub const TRY_IDLES: u32 = 20;

/// Bytes that are gathered before they are written.
const BATCH_BYTES: usize = 128 * 1024;

/// What was fetched. The part holds exactly these bytes; they are not synced.
#[derive(Clone, PartialEq, Debug)]
pub struct Downloaded {
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, 64 lowercase hexadecimal digits.
    pub sha256: String,
    /// What the file says of itself.
    pub video: Video,
}

impl Client {
    /// Fetches the video once, from where the part ends. Dropping the future stops the transfer and keeps what was written.
    ///
    /// # Errors
    /// See [`DownloadError`]; the part stays, and what is of use in it is used by the next try.
    pub async fn download(&self, link: &VideoLink, part: &mut Part) -> Result<Downloaded, DownloadError> {
        let link = address::allowed(link.expose(), self.reach()).map_err(|why| forbidden(&why))?;
        let fetched = self.fetch(&link, part).await;
        let tried = fetched.and_then(|(sink, kind)| self.judge(sink, &kind));
        if let Err(DownloadError::NotAVideo { .. }) = &tried {
            // Nothing good grows from a bad beginning.
            part.set_content(None);
        }
        tried
    }

    /// Brings the part to the end of what the link leads to, and says which `Content-Type` that claims to be.
    async fn fetch(&self, link: &Url, part: &mut Part) -> Result<(Sink, String), DownloadError> {
        let mut sink = part.open().await?;
        let mut response = self.ask(link, sink.bytes(), part).await?;
        if sink.bytes() > 0 && !goes_on(&response, sink.bytes(), part.content()) {
            // The range was ignored (then the whole is already coming), or belongs to another content: begin anew.
            part.set_content(None);
            sink = part.work(sink, Sink::begin_anew).await?.0;
            if matches!(response.status().as_u16(), 206 | 416) {
                response = self.ask(link, 0, part).await?;
            }
        }
        let total = self.judge_head(&response, sink.bytes(), part)?;
        if sink.bytes() == 0 {
            part.set_content(Some(Content { etag: text(&response, ETAG), total }));
        }
        let kind = text(&response, CONTENT_TYPE).unwrap_or_default();
        Ok((self.receive(response, sink, total, VIDEO_BYTES_MAX, part).await?, kind))
    }

    /// Whether what has come is a video.
    fn judge(&self, sink: Sink, kind: &str) -> Result<Downloaded, DownloadError> {
        let bytes = sink.bytes();
        let (sha256, video) = sink.finish();
        match (video, bytes) {
            (_, 0) => Err(not_a_video("it is empty".to_owned())),
            (_, 1..VIDEO_BYTES_MIN) => Err(not_a_video(format!("its length is {bytes}, too short for a video"))),
            (Err(problem), _) => Err(not_a_video(self.mask().clean(&format!("{problem} ({bytes} bytes, {kind})")))),
            (Ok(video), _) => Ok(Downloaded { bytes, sha256: super::hexadecimal(&sha256), video }),
        }
    }

    /// Sends the request, for everything or for what is missing after `have` bytes.
    async fn ask(&self, link: &Url, have: u64, part: &Part) -> Result<Response, DownloadError> {
        let mut request = self.video(link.clone()).header(ACCEPT_ENCODING, "identity");
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
            if let Some(etag) = part.content().and_then(Content::strong_etag) {
                request = request.header(IF_RANGE, etag);
            }
        }
        let point = |effect| {
            failpoint::before(effect, || PathBuf::from("video")).map_err(|errno| broken(&errno.to_string(), part))
        };
        point(Effect::Request)?;
        let answer = timeout(self.connect_timeout() + self.idle_timeout(), request.send()).await;
        point(Effect::Answer)?;
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => match cause::<Forbidden>(&error) {
                Some(why) => Err(forbidden(why)),
                None => Err(broken(&self.mask().clean(&told(error)), part)),
            },
            Err(_) => Err(broken("no answer in time", part)),
        }
    }

    /// Whether what follows the head may be written after `have` bytes; the length of the whole, if it is known.
    fn judge_head(&self, response: &Response, have: u64, part: &Part) -> Result<Option<u64>, DownloadError> {
        let status = response.status().as_u16();
        match (status, have) {
            (200, 0) | (206, 1..) => {}
            (408 | 416 | 425 | 429 | 500..=599, _) => {
                let retry_after =
                    text(response, RETRY_AFTER).and_then(|value| wire::retry_after(&value, SystemTime::now()));
                let resumable = part.content().is_some();
                return Err(DownloadError::Broken { message: format!("HTTP {status}"), resumable, retry_after });
            }
            (400..=499, _) => return Err(DownloadError::Stale { http_status: status }),
            (_, _) => return Err(not_a_video(format!("it is answered with HTTP {status}"))),
        }
        if let Some(encoding) = foreign_encoding(response.headers()) {
            return Err(not_a_video(self.mask().clean(&format!("it is encoded as {encoding}"))));
        }
        let total = match have {
            0 => text(response, CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            _ => {
                content_range(response.headers()).and_then(|range| range.total).or(part.content().and_then(|c| c.total))
            }
        };
        match total {
            Some(total) if total > VIDEO_BYTES_MAX => {
                Err(not_a_video(format!("it has {total} bytes, and a video {VIDEO_BYTES_MAX} at most")))
            }
            Some(_) | None => Ok(total),
        }
    }

    /// Writes what comes, to the end. Whatever breaks off, what came before it is in the part.
    async fn receive(
        &self,
        mut response: Response,
        mut sink: Sink,
        total: Option<u64>,
        bytes_max: u64,
        part: &mut Part,
    ) -> Result<Sink, DownloadError> {
        let expected = total.and_then(|total| usize::try_from(total).ok()).unwrap_or(BATCH_BYTES);
        let mut batch = Vec::with_capacity(BATCH_BYTES.min(expected));
        let try_ends = Instant::now() + self.idle_timeout() * TRY_IDLES;
        let ended = loop {
            let idle = Instant::now() + self.idle_timeout();
            match timeout_at(idle.min(try_ends), response.chunk()).await {
                Ok(Ok(Some(chunk))) => batch.extend_from_slice(&chunk),
                Ok(Ok(None)) => break Ok(()),
                Ok(Err(error)) => break Err(self.mask().clean(&told(error))),
                Err(_) if idle <= try_ends => break Err("it stands still".to_owned()),
                Err(_) => break Err("it takes too long".to_owned()),
            }
            if sink.bytes() + batch.len() as u64 > bytes_max {
                return Err(not_a_video(format!("it has more than {bytes_max} bytes")));
            }
            if batch.len() >= BATCH_BYTES {
                (sink, batch) = write(part, sink, batch).await?;
            }
        };
        (sink, _) = write(part, sink, batch).await?;
        match (ended, total) {
            (Err(message), _) => Err(broken(&message, part)),
            (Ok(()), Some(total)) if sink.bytes() < total => {
                Err(broken(&format!("{} of {total} bytes came", sink.bytes()), part))
            }
            (Ok(()), Some(total)) if sink.bytes() > total => {
                Err(not_a_video(format!("{} bytes came, {total} were announced", sink.bytes())))
            }
            (Ok(()), Some(_) | None) => Ok(sink),
        }
    }
}

/// Writes the batch, and gives its memory back for the next.
async fn write(part: &Part, sink: Sink, mut batch: Vec<u8>) -> Result<(Sink, Vec<u8>), DownloadError> {
    part.work(sink, move |sink| {
        sink.write(&batch)?;
        batch.clear();
        Ok(batch)
    })
    .await
}

/// Whether the answer continues a content after its first `have` bytes.
fn goes_on(response: &Response, have: u64, content: Option<&Content>) -> bool {
    let (206, Some(content), Some(range)) = (response.status().as_u16(), content, content_range(response.headers()))
    else {
        // Neither a whole nor a useless range: a refusal, which says nothing about the bytes that are there.
        return !matches!(response.status().as_u16(), 200..=299 | 416);
    };
    let same_total = match (content.total, range.total) {
        (Some(before), Some(now)) => before == now,
        // Without a tag, the length is all there is to know the content by.
        (_, _) => content.etag.is_some(),
    };
    let same_tag = match (&content.etag, text(response, ETAG)) {
        (Some(before), Some(now)) => *before == now,
        (None, Some(_)) => content.total.is_some(),
        (_, None) => content.strong_etag().is_some() || content.total.is_some(),
    };
    range.first == have && same_total && same_tag
}

/// `Content-Range: bytes FIRST-LAST/TOTAL`.
struct ContentRange {
    first: u64,
    total: Option<u64>,
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (span, total) =
        headers.get(CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, _) = span.split_once('-')?;
    Some(ContentRange { first: first.trim().parse().ok()?, total: total.trim().parse().ok() })
}

fn text(response: &Response, name: HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(|value| value.trim().to_owned())
}

fn forbidden(why: &Forbidden) -> DownloadError {
    DownloadError::Forbidden { why: why.to_string() }
}

fn not_a_video(message: String) -> DownloadError {
    DownloadError::NotAVideo { message }
}

fn broken(message: &str, part: &Part) -> DownloadError {
    DownloadError::Broken { message: message.to_owned(), resumable: part.content().is_some(), retry_after: None }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use sha2::{Digest, Sha256};
    use tempfile::TempDir;

    use super::*;
    use crate::api::raw_server::{RawServer, answer};

    struct Scene {
        server: RawServer,
        client: Client,
        folder: TempDir,
        part: Part,
    }

    impl Scene {
        async fn new() -> Self {
            let server = RawServer::start().await;
            let folder = tempfile::tempdir().unwrap();
            let part = Part::new(folder.path().join(".job.part"));
            Self { client: server.client(), server, folder, part }
        }

        fn link(&self) -> VideoLink {
            VideoLink::new(format!("{}/v?sig=1", self.server.url()))
        }

        fn content(&self) -> Vec<u8> {
            std::fs::read(self.part.path()).unwrap()
        }

        /// Downloads against these answers, each on a connection of its own that ends with it; the heads of the requests.
        async fn download(&mut self, answers: &[String]) -> (Result<Downloaded, DownloadError>, Vec<String>) {
            let link = self.link();
            let heads = answer_all(&self.server, answers);
            tokio::join!(self.client.download(&link, &mut self.part), heads)
        }

        /// As [`Self::download`], without asking whether it is a video: the bytes that the hash was taken of.
        async fn fetch(&mut self, answers: &[String]) -> (Result<u64, DownloadError>, Vec<String>) {
            let url = address::allowed(self.link().expose(), &address::Reach::Anywhere).unwrap();
            let heads = answer_all(&self.server, answers);
            let (fetched, heads) = tokio::join!(self.client.fetch(&url, &mut self.part), heads);
            let fetched = fetched.map(|(sink, _)| {
                let bytes = sink.bytes();
                let lies_there: [u8; 32] = Sha256::digest(self.content()).into();
                assert_eq!(sink.finish().0, lies_there, "the hash is of what lies on the disk");
                bytes
            });
            (fetched, heads)
        }
    }

    async fn answer_all(server: &RawServer, answers: &[String]) -> Vec<String> {
        let mut heads = Vec::new();
        for answer in answers {
            heads.push(server.answer(answer).await);
        }
        heads
    }

    fn letters(length: usize) -> String {
        (0..length).map(|n| char::from(b'a' + (n * 7 % 26) as u8)).collect()
    }

    /// The answer with these headers that breaks off after `sent`.
    fn partial(status: &str, headers: &str, sent: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}\r\n{sent}")
    }

    fn range(from: usize, whole: &str, headers: &str) -> String {
        let (rest, total) = (&whole[from..], whole.len());
        partial(
            "206 Partial Content",
            &format!(
                "content-range: bytes {from}-{}/{total}\r\ncontent-length: {}\r\n{headers}",
                total - 1,
                rest.len()
            ),
            rest,
        )
    }

    fn is_resumable(result: &Result<u64, DownloadError>) -> bool {
        match result {
            Err(DownloadError::Broken { resumable, .. }) => *resumable,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_comes_is_in_the_part_and_the_token_stays_home() {
        let mut scene = Scene::new().await;
        let video = letters(3 * BATCH_BYTES + 11);
        let (fetched, heads) = scene.fetch(&[answer("200 OK", &video)]).await;
        assert_eq!(fetched.unwrap(), video.len() as u64);
        assert!(scene.content() == video.as_bytes());
        assert!(!heads[0].contains("authorization") && !heads[0].contains("range:"), "{}", heads[0]);
        assert!(heads[0].contains("accept-encoding: identity\r\n"), "{}", heads[0]);
        let mode = std::fs::metadata(scene.part.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_ended() {
        let whole = letters(2 * BATCH_BYTES);
        let cut = &whole[..BATCH_BYTES + 5000];
        for (headers, if_range) in [("etag: \"one\"\r\n", true), ("etag: W/\"one\"\r\n", false), ("", false)] {
            let mut scene = Scene::new().await;
            let head = format!("content-length: {}\r\n{headers}", whole.len());
            let (fetched, _) = scene.fetch(&[partial("200 OK", &head, cut)]).await;
            assert!(is_resumable(&fetched));
            assert!(scene.content() == cut.as_bytes());
            // The link went stale meanwhile: the bytes stay.
            let (refused, _) = scene.fetch(&[answer("403 Forbidden", "")]).await;
            assert!(matches!(refused, Err(DownloadError::Stale { http_status: 403 })), "{refused:?}");
            let (fetched, heads) = scene.fetch(&[range(cut.len(), &whole, headers)]).await;
            assert_eq!(fetched.unwrap(), whole.len() as u64);
            assert!(scene.content() == whole.as_bytes());
            assert!(heads[0].contains(&format!("range: bytes={}-\r\n", cut.len())), "{}", heads[0]);
            assert_eq!(heads[0].contains("if-range: \"one\"\r\n"), if_range, "{}", heads[0]);
        }
    }

    /// The smallest thing that is an mp4 by its boxes.
    fn mp4() -> String {
        let boxed = |kind: &str, content: &str| {
            let length = u8::try_from(8 + content.len()).unwrap();
            format!("\0\0\0{}{kind}{content}", char::from(length))
        };
        let mvhd = boxed("mvhd", &"\0".repeat(100));
        [boxed("ftyp", "isom\0\0\x02\0isommp41"), boxed("moov", &mvhd), boxed("mdat", &letters(80))].concat()
    }

    #[tokio::test]
    async fn a_whole_video_is_told_with_its_hash_also_after_a_break() {
        let whole = mp4();
        let expected = crate::api::hexadecimal(&Sha256::digest(&whole));
        let head = format!("content-length: {}\r\n", whole.len());
        for answers in
            [&[answer("200 OK", &whole)][..], &[partial("200 OK", &head, &whole[..70]), range(70, &whole, "")]]
        {
            let mut scene = Scene::new().await;
            let (mut result, _) = scene.download(&answers[..1]).await;
            if let Some(second) = answers.get(1) {
                assert!(matches!(result, Err(DownloadError::Broken { resumable: true, .. })), "{result:?}");
                (result, _) = scene.download(std::slice::from_ref(second)).await;
            }
            let downloaded = result.unwrap();
            assert_eq!((downloaded.bytes, downloaded.sha256.as_str()), (whole.len() as u64, expected.as_str()));
            assert_eq!(scene.content(), whole.as_bytes());
        }
        // Cut before it was sent, so that even the announced length is the cut one.
        let mut scene = Scene::new().await;
        let (result, _) = scene.download(&[answer("200 OK", &whole[..whole.len() - 1])]).await;
        assert!(matches!(result, Err(DownloadError::NotAVideo { .. })), "{result:?}");
    }

    #[tokio::test]
    async fn a_range_that_is_ignored_or_of_another_content_begins_anew() {
        let (old, new) = (letters(5000), letters(6000).to_uppercase());
        let from = 3000;
        let anew = answer("200 OK", &new);
        let cases: [&[String]; 6] = [
            // Ignored.
            std::slice::from_ref(&anew),
            // Another tag, another length, another start, no word about the start, out of range.
            &[range(from, &old, "etag: \"two\"\r\n"), anew.clone()],
            &[range(from, &new, "etag: \"one\"\r\n"), anew.clone()],
            &[range(from - 1, &old, "etag: \"one\"\r\n"), anew.clone()],
            &[partial("206 Partial Content", "content-length: 2000\r\n", &old[from..]), anew.clone()],
            &[
                partial("416 Range Not Satisfiable", "content-range: bytes */5000\r\ncontent-length: 0\r\n", ""),
                anew.clone(),
            ],
        ];
        for answers in cases {
            let mut scene = Scene::new().await;
            let head = "content-length: 5000\r\netag: \"one\"\r\n";
            let (fetched, _) = scene.fetch(&[partial("200 OK", head, &old[..from])]).await;
            assert!(is_resumable(&fetched));
            let (fetched, heads) = scene.fetch(answers).await;
            assert_eq!(fetched.unwrap(), 6000);
            assert!(scene.content() == new.as_bytes());
            assert!(heads.get(1).is_none_or(|head| !head.contains("range:")));
        }
    }

    #[tokio::test]
    async fn nothing_is_resumed_by_which_it_cannot_be_known_again() {
        let mut scene = Scene::new().await;
        let chunked = "transfer-encoding: chunked\r\n";
        let (fetched, _) = scene.fetch(&[partial("200 OK", chunked, "5\r\nhello\r\n5\r\nwor")]).await;
        assert!(!is_resumable(&fetched));
        let (fetched, heads) = scene.fetch(&[partial("200 OK", chunked, "5\r\nworld\r\n0\r\n\r\n")]).await;
        assert_eq!(fetched.unwrap(), 5);
        assert_eq!(scene.content(), b"world");
        assert!(!heads[0].contains("range:"), "{}", heads[0]);
    }

    #[tokio::test]
    async fn each_status_says_what_to_do() {
        for (status, expected) in [
            ("401 x", "Stale"),
            ("403 x", "Stale"),
            ("404 x", "Stale"),
            ("410 x", "Stale"),
            ("400 x", "Stale"),
            ("408 x", "Broken"),
            ("416 x", "Broken"),
            ("429 x", "Broken"),
            ("500 x", "Broken"),
            ("503 x", "Broken"),
            ("204 x", "NotAVideo"),
            ("206 x", "NotAVideo"),
            ("304 x", "NotAVideo"),
        ] {
            let mut scene = Scene::new().await;
            let answer = partial(status, "content-length: 0\r\nretry-after: 9\r\nconnection: close\r\n", "");
            let (result, _) = scene.download(&[answer]).await;
            let error = result.unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{status}: {error:?}");
            if let DownloadError::Broken { retry_after, .. } = error {
                assert_eq!(retry_after, Some(Duration::from_secs(9)));
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_video_is_a_definite_bad_answer_and_not_resumed() {
        let html = format!("<html>{}</html>", letters(500));
        let huge = VIDEO_BYTES_MAX + 1;
        let gzip = "content-encoding: gzip\r\ncontent-length: 3\r\n";
        for bad in [
            answer("200 OK", ""),
            answer("200 OK", "tiny"),
            answer("200 OK", &html),
            partial("200 OK", gzip, "\x1f\x0b\x08"),
            partial("200 OK", &format!("content-length: {huge}\r\n"), "x"),
        ] {
            let mut scene = Scene::new().await;
            let (result, _) = scene.download(&[bad]).await;
            assert!(matches!(result, Err(DownloadError::NotAVideo { .. })), "{result:?}");
            let (fetched, heads) = scene.fetch(&[answer("200 OK", "again")]).await;
            assert_eq!(fetched.unwrap(), 5);
            assert_eq!(scene.content(), b"again");
            assert!(!heads[0].contains("range:"), "{}", heads[0]);
        }
    }

    #[tokio::test]
    async fn what_does_not_end_ends_at_the_limit_whatever_was_announced() {
        let whole = letters(3 * BATCH_BYTES);
        for (bytes_max, came) in
            [(whole.len() as u64, true), (whole.len() as u64 - 1, false), (BATCH_BYTES as u64, false)]
        {
            let mut scene = Scene::new().await;
            let url = address::allowed(scene.link().expose(), &address::Reach::Anywhere).unwrap();
            let sink = scene.part.open().await.unwrap();
            let endless = partial("200 OK", "connection: close\r\n", &whole);
            let received = async {
                let response = scene.client.ask(&url, 0, &scene.part).await?;
                scene.client.receive(response, sink, None, bytes_max, &mut scene.part).await
            };
            // It may have hung up before all was sent.
            let sent = async {
                let mut peer = scene.server.accept().await;
                peer.head().await;
                peer.try_send(&endless).await
            };
            let (received, _sent) = tokio::join!(received, sent);
            match received {
                Ok(sink) => assert!(came && sink.bytes() == whole.len() as u64, "{bytes_max}"),
                Err(DownloadError::NotAVideo { message }) => {
                    assert!(!came && message == format!("it has more than {bytes_max} bytes"), "{message}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_transfer_that_stands_still_is_broken_and_kept() {
        let mut scene = Scene::new().await;
        let mut settings = scene.server.settings();
        settings.idle_timeout = Duration::from_millis(200);
        scene.client = Client::new(settings).unwrap();
        let link = scene.link();
        let (result, _peer) = tokio::join!(scene.client.download(&link, &mut scene.part), async {
            let mut peer = scene.server.accept().await;
            peer.head().await;
            peer.send(&partial("200 OK", "content-length: 100\r\n", "half")).await;
            peer
        });
        assert!(matches!(result, Err(DownloadError::Broken { resumable: true, .. })), "{result:?}");
        assert_eq!(scene.content(), b"half");
    }

    #[tokio::test]
    async fn redirects_are_followed_to_their_end_and_not_for_ever() {
        let mut scene = Scene::new().await;
        let hop = partial("302 Found", "location: /next\r\ncontent-length: 0\r\nconnection: close\r\n", "");
        let (fetched, heads) = scene.fetch(&[hop.clone(), answer("200 OK", "hello")]).await;
        assert_eq!(fetched.unwrap(), 5);
        assert!(heads[1].starts_with("get /next "), "{}", heads[1]);
        assert!(!heads[1].contains("referer"), "{}", heads[1]);
        let mut scene = Scene::new().await;
        let hops = vec![hop; address::REDIRECTS_MAX + 1];
        let (fetched, _) = scene.fetch(&hops).await;
        let Err(DownloadError::Forbidden { why }) = fetched else { panic!("{fetched:?}") };
        assert_eq!(why, "it redirects more than 5 times");
        let mut scene = Scene::new().await;
        let away = "location: http://me:word@127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n";
        let (fetched, _) = scene.fetch(&[partial("302 Found", away, "")]).await;
        assert!(matches!(fetched, Err(DownloadError::Forbidden { .. })), "{fetched:?}");
    }

    #[tokio::test]
    async fn nothing_private_is_fetched_unless_the_operator_allows_it() {
        let mut scene = Scene::new().await;
        let settings = crate::api::Settings {
            base_url: "https://api.example".to_owned(),
            allow_insecure: false,
            ..scene.server.settings()
        };
        let client = Client::new(settings).unwrap();
        for link in [
            "http://cdn.example/v",
            "https://127.0.0.1/v",
            "https://[::1]/v",
            "https://localhost:1/v",
            "https://10.0.0.1/v",
        ] {
            let result = client.download(&VideoLink::new(link.to_owned()), &mut scene.part).await;
            assert!(matches!(result, Err(DownloadError::Forbidden { .. })), "{link}: {result:?}");
        }
    }

    #[tokio::test]
    async fn a_part_is_never_written_over_something_else() {
        let mut scene = Scene::new().await;
        let victim = scene.folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, scene.part.path()).unwrap();
        let (result, _) = scene.fetch(&[]).await;
        let Err(DownloadError::Local { path, source }) = result else { panic!("{result:?}") };
        assert_eq!((path.as_path(), source.kind()), (scene.part.path(), std::io::ErrorKind::AlreadyExists));
        std::fs::remove_file(scene.part.path()).unwrap();

        let (result, _) = scene.fetch(&[partial("200 OK", "content-length: 9\r\n", "half")]).await;
        assert!(is_resumable(&result));
        std::fs::rename(&victim, scene.part.path()).unwrap();
        let (result, _) = scene.fetch(&[]).await;
        assert!(matches!(result, Err(DownloadError::Local { .. })), "{result:?}");
        assert_eq!(scene.content(), b"precious");

        // Cleared away: there is nothing to go on with, so it begins anew.
        std::fs::remove_file(scene.part.path()).unwrap();
        let (result, heads) = scene.fetch(&[answer("200 OK", "hello")]).await;
        assert_eq!(result.unwrap(), 5);
        assert!(!heads[0].contains("range:"), "{}", heads[0]);
    }

    #[tokio::test]
    async fn a_fault_of_our_own_disk_keeps_its_kind() {
        let mut scene = Scene::new().await;
        scene.part = Part::new(scene.folder.path().join("missing/.job.part"));
        let (result, _) = scene.fetch(&[]).await;
        let Err(DownloadError::Local { source, .. }) = result else { panic!("{result:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn no_error_shows_the_link() {
        let mut scene = Scene::new().await;
        let settings = scene.server.settings();
        let link = scene.link();
        scene.server = RawServer::start().await;
        let result = Client::new(settings).unwrap().download(&link, &mut scene.part).await;
        let error = result.unwrap_err();
        assert!(matches!(error, DownloadError::Broken { .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("sig="), "{error:?}");
    }
}
