//! A download: one link, one try, into a part that the next try may go on with.
//!
//! The request carries no token. What has come is a video only if its length is the announced one and its boxes are whole;
//! `Content-Type` is not asked, for video servers lie about it and error pages do not look like boxes. The file is written but
//! *not synced*: whoever publishes it syncs file and folder.

use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE,
    RETRY_AFTER,
};
use reqwest::{Response, Url};
use tokio::time::timeout;

use super::address::{self, Forbidden};
use super::client::{Client, foreign_encoding};
use super::error::{DownloadError, cause, told};
use super::part::Part;
use super::part::{Content, Sink};
use super::wire;
use crate::job::VideoLink;
use crate::job::video::Video;

/// Bytes that a video may have at most. The known ones have 1 to 5 MB; this guards the disk against an endless answer.
pub const VIDEO_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Bytes below which nothing is a video, whatever it holds.
pub const VIDEO_BYTES_MIN: u64 = 64;

/// The longest try. A trickle that never stands still would else hold a slot for ever; what has come by then is kept.
pub const TRY_MAX: Duration = Duration::from_secs(20 * 60);

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
        let fetched = match timeout(TRY_MAX, self.fetch(&link, part)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(broken("it takes too long", part)),
        };
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
        Ok((self.receive(response, sink, total, part).await?, kind))
    }

    /// Whether what has come is a video.
    fn judge(&self, sink: Sink, kind: &str) -> Result<Downloaded, DownloadError> {
        let bytes = sink.bytes();
        let (sha256, video) = sink.finish();
        match (video, bytes) {
            (_, ..VIDEO_BYTES_MIN) => Err(not_a_video(format!("it has {bytes} bytes"))),
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
        match timeout(self.connect_timeout() + self.idle_timeout(), request.send()).await {
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
            Some(total) if total > VIDEO_BYTES_MAX => Err(not_a_video(format!("it has {total} bytes"))),
            Some(_) | None => Ok(total),
        }
    }

    /// Writes what comes, to the end. Whatever breaks off, what came before it is in the part.
    async fn receive(
        &self,
        mut response: Response,
        mut sink: Sink,
        total: Option<u64>,
        part: &mut Part,
    ) -> Result<Sink, DownloadError> {
        let mut batch = Vec::with_capacity(BATCH_BYTES);
        let ended = loop {
            match timeout(self.idle_timeout(), response.chunk()).await {
                Ok(Ok(Some(chunk))) => batch.extend_from_slice(&chunk),
                Ok(Ok(None)) => break Ok(()),
                Ok(Err(error)) => break Err(self.mask().clean(&told(error))),
                Err(_) => break Err("it stands still".to_owned()),
            }
            if sink.bytes() + batch.len() as u64 > VIDEO_BYTES_MAX {
                return Err(not_a_video(format!("it has more than {VIDEO_BYTES_MAX} bytes")));
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
