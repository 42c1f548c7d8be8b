//! The client: three ways to the network, and what each may carry.
//!
//! - Submissions: HTTP/1.1, each on a connection of its own. A kept connection may be closed by the other side at the very moment
//!   it is used again, and a small body would then be handed over whole and its outcome unknown; HTTP/1.1, because there an upload's
//!   memory is bounded by one connection's small buffer.
//! - Polls and balance: kept connections, HTTP/2 where there is one.
//! - Downloads: without the token, with limited redirects, and to public addresses alone.
//!
//! Nothing is repeated here, not even what the HTTP library holds for harmless. The token is put on each request to the API's
//! address and on nothing else.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, ClientBuilder, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::address::{self, Proxies, PublicNames, Reach};
use super::error::{SetupError, told};
use super::wire::{self, Answer, Body};
use super::words::Mask;
use super::{PollAnswer, Refusal, Settings};
use crate::job::{Account, TaskId};
use crate::world::failpoint::{self, Effect};

/// Bytes of an API answer that are read; a longer one is cut. The largest known are a few kilobytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Where the HTTP library looks for a proxy. They are read here and not with the configuration because it reads them here, too:
/// whatever it finds when a client is built must be known to the same client's resolver.
const PROXY_VARIABLES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Where the gateway tells what a token may spend.
const SUBSCRIPTION: &str = "/v1/dashboard/billing/subscription";

/// What the fingerprint of a token is keyed with, so that it is of no use against other hashes of it.
const FINGERPRINT_CONTEXT: &[u8] = b"jimengd account fingerprint v1\0";

/// Bytes of the hash that the fingerprint shows, two hexadecimal digits each.
const FINGERPRINT_BYTES: usize = 8;

/// A kept connection idle for longer is not used again: common servers close theirs after 60 seconds or more.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// A limit of this many dollars or more means: none.
const UNLIMITED: f64 = 100_000_000.0;

/// Headers in which an answer's identifier may be.
const REQUEST_ID_HEADERS: [&str; 3] = ["x-oneapi-request-id", "x-request-id", "x-tt-logid"];

/// The way to the API and to its videos. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    submissions: reqwest::Client,
    polls: reqwest::Client,
    downloads: reqwest::Client,
    base_url: String,
    submit_url: Url,
    authorization: HeaderValue,
    token_fingerprint: String,
    mask: Mask,
    reach: Reach,
    connect_timeout: Duration,
    submit_timeout: Duration,
    poll_timeout: Duration,
    idle_timeout: Duration,
}

/// What the gateway says of the token's money, in its own unit (dollars by its docs).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Balance {
    /// What may be spent in all; `None`: unlimited.
    pub limit: Option<f64>,
    /// What has been spent.
    pub used: f64,
}

impl Client {
    /// Builds the client. Nothing is sent.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Self::by_way_of(settings, |builder| builder)
    }

    /// As [`Client::new`], with a last word on the way that each connection takes.
    pub(super) fn by_way_of(
        settings: Settings,
        way: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, SetupError> {
        let base_url = settings.base_url.trim_end_matches('/').to_owned();
        check_base_url(&base_url, settings.allow_insecure)?;
        let submit_url = api_url(&base_url, "/task/jimeng/image2video")?;
        let certificates = certificates(&settings)?;
        // An environment's proxy knows nothing of what runs on this very host.
        let here = submit_url.host_str().is_some_and(is_this_host);
        let proxies = || Proxies::from_values(PROXY_VARIABLES.into_iter().filter_map(std::env::var_os));
        let reach = match (settings.allow_insecure, here) {
            (true, _) => Reach::Anywhere,
            (false, true) => Reach::Public(Proxies::default()),
            (false, false) => Reach::Public(proxies()),
        };
        let builder = || {
            let builder = if here { reqwest::Client::builder().no_proxy() } else { reqwest::Client::builder() };
            let trusted = certificates.iter().cloned();
            let builder = match settings.trust_system {
                true => builder.tls_certs_merge(trusted),
                false => builder.tls_certs_only(trusted),
            };
            way(builder
                .user_agent(concat!("jimengd/", env!("CARGO_PKG_VERSION")))
                .retry(retry::never())
                .referer(false)
                .https_only(!settings.allow_insecure)
                .connect_timeout(settings.connect_timeout))
        };
        let to_api = || builder().redirect(redirect::Policy::none());
        let build = |builder: ClientBuilder| builder.build().map_err(SetupError::Tls);
        Ok(Self {
            inner: Arc::new(Inner {
                submissions: build(to_api().http1_only().pool_max_idle_per_host(0))?,
                polls: build(to_api().pool_idle_timeout(POOL_IDLE))?,
                downloads: build(within(builder(), &reach))?,
                base_url,
                submit_url,
                authorization: authorization(&settings.token)?,
                token_fingerprint: fingerprint(&settings.token),
                mask: Mask::new(settings.token),
                reach,
                connect_timeout: settings.connect_timeout,
                submit_timeout: settings.submit_timeout,
                poll_timeout: settings.poll_timeout,
                idle_timeout: settings.idle_timeout,
            }),
        })
    }

    /// Which account pays for what this client submits.
    pub fn account(&self) -> Account {
        Account { base_url: self.inner.base_url.clone(), token_fingerprint: self.inner.token_fingerprint.clone() }
    }

    /// Asks once how a task is.
    pub async fn poll(&self, task_id: &TaskId) -> PollAnswer {
        let path = format!("/task/{task_id}");
        match self.get(&path).await {
            Ok(received) => wire::poll_answer(&received.answer(), self.mask()),
            Err(message) => PollAnswer::Unreachable(self.no_answer(&message)),
        }
    }

    /// What the token may spend and has spent; `None` if the gateway does not say. Two free requests.
    pub async fn balance(&self) -> Option<Balance> {
        let number = async |path: &str, key: &str| {
            let received = self.get(path).await.ok()?;
            match (received.status, received.body) {
                (200, Received::Whole(bytes)) => serde_json::from_slice::<Value>(&bytes).ok()?[key].as_f64(),
                (_, Received::Whole(_) | Received::Cut(_) | Received::Unreadable(_)) => None,
            }
        };
        let limit = number(SUBSCRIPTION, "hard_limit_usd").await?;
        let used = number("/v1/dashboard/billing/usage", "total_usage").await? / 100.0;
        Some(Balance { limit: (limit < UNLIMITED).then_some(limit), used })
    }

    /// What the gateway's clock says, to the second; `None` if it does not answer or does not say. One free request.
    pub async fn date(&self) -> Option<SystemTime> {
        self.get(SUBSCRIPTION).await.ok()?.date
    }

    /// One GET to the API with everything in `poll_timeout`.
    async fn get(&self, path: &str) -> Result<Reply, String> {
        let inner = &self.inner;
        let url = api_url(&inner.base_url, path).map_err(|error| error.to_string())?;
        let exchange = async {
            let request =
                inner.polls.get(url).header(AUTHORIZATION, &inner.authorization).header(ACCEPT, "application/json");
            Ok(Reply::read(request.send().await.map_err(told)?).await)
        };
        failpoint::before(Effect::Request, || PathBuf::from("poll")).map_err(|errno| errno.to_string())?;
        let answer = timeout(inner.poll_timeout, exchange).await;
        failpoint::before(Effect::Answer, || PathBuf::from("poll")).map_err(|errno| errno.to_string())?;
        match answer {
            Ok(reply) => reply,
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// What to say where there was no answer at all.
    pub(super) fn no_answer(&self, message: &str) -> Refusal {
        Refusal { http_status: None, message: self.mask().clean(message), request_id: None, retry_after: None }
    }

    pub(super) fn mask(&self) -> &Mask {
        &self.inner.mask
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.inner.reach
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.inner.connect_timeout
    }

    pub(super) fn submit_timeout(&self) -> Duration {
        self.inner.submit_timeout
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.inner.idle_timeout
    }

    /// A submission with the token, still without a body.
    pub(super) fn submission(&self) -> reqwest::RequestBuilder {
        self.inner
            .submissions
            .post(self.inner.submit_url.clone())
            .header(AUTHORIZATION, &self.inner.authorization)
            .header(ACCEPT, "application/json")
    }

    /// A request for a video, without the token.
    pub(super) fn video(&self, link: Url) -> reqwest::RequestBuilder {
        self.inner.downloads.get(link)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("account", &self.account()).finish_non_exhaustive()
    }
}

/// An answer of the API, read to its end or to its limit.
pub(super) struct Reply {
    pub(super) status: u16,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    redirect: Option<String>,
    /// The gateway's clock.
    date: Option<SystemTime>,
    body: Received,
}

enum Received {
    Whole(BytesMut),
    Cut(String),
    Unreadable(String),
}

impl Reply {
    /// Reads what follows the head. The caller bounds the time.
    pub(super) async fn read(mut response: reqwest::Response) -> Self {
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = REQUEST_ID_HEADERS.into_iter().find_map(text).map(str::to_owned);
        let retry_after = text(RETRY_AFTER.as_str()).and_then(|value| wire::retry_after(value, SystemTime::now()));
        let redirect = text(LOCATION.as_str()).and_then(|place| response.url().join(place).ok());
        let redirect = redirect.and_then(|url| url.host_str().map(str::to_owned));
        let date = text(DATE.as_str()).and_then(|value| httpdate::parse_http_date(value).ok());
        let encoding = foreign_encoding(headers);
        let mut bytes = BytesMut::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > ANSWER_BYTES_MAX => {
                    break Received::Cut(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => match encoding {
                    Some(encoding) => break Received::Unreadable(format!("the answer is encoded as {encoding}")),
                    None => break Received::Whole(bytes),
                },
                Err(error) => break Received::Cut(format!("the answer broke off: {}", told(error))),
            }
        };
        Self { status: response.status().as_u16(), request_id, retry_after, redirect, date, body }
    }

    pub(super) fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            retry_after: self.retry_after,
            request_id: self.request_id.as_deref(),
            redirect: self.redirect.as_deref(),
            body: match &self.body {
                Received::Whole(bytes) => Body::Whole(bytes),
                Received::Cut(why) => Body::Cut(why),
                Received::Unreadable(why) => Body::Unreadable(why),
            },
        }
    }
}

/// The content encoding, if it is one; none was asked for.
pub(super) fn foreign_encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = String::from_utf8_lossy(headers.get(CONTENT_ENCODING)?.as_bytes()).trim().to_ascii_lowercase();
    (!matches!(encoding.as_str(), "" | "identity")).then_some(encoding)
}

fn api_url(base_url: &str, path: &str) -> Result<Url, SetupError> {
    Url::parse(&format!("{base_url}{path}")).map_err(|error| SetupError::BaseUrl { why: error.to_string() })
}

fn check_base_url(base_url: &str, allow_insecure: bool) -> Result<(), SetupError> {
    let refuse = |why: &str| Err(SetupError::BaseUrl { why: why.to_owned() });
    let url = api_url(base_url, "")?;
    match (url.scheme(), allow_insecure) {
        ("https", _) | ("http", true) => {}
        ("http", false) => return Err(SetupError::Insecure),
        (_, _) => return refuse("it must begin with https://"),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return refuse("it names no host");
    }
    if let (Some(address), false) = (address::private_literal(&url), allow_insecure) {
        return Err(SetupError::BaseUrl {
            why: format!(
                "it leads to {address}, which is not a public address; set api.allow_insecure for an in-house gateway"
            ),
        });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it holds a user name or a password; the token has its own place");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("it holds a ? or #");
    }
    Ok(())
}

/// Keeps redirects and names within reach.
fn within(downloads: ClientBuilder, reach: &Reach) -> ClientBuilder {
    let downloads = downloads.redirect(address::redirects(reach.clone()));
    match reach {
        Reach::Public(proxies) => downloads.dns_resolver(PublicNames { proxies: proxies.clone() }),
        Reach::Anywhere => downloads,
    }
}

fn is_this_host(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    literal.map_or(host == "localhost", |address| address.is_loopback())
}

fn certificates(settings: &Settings) -> Result<Vec<Certificate>, SetupError> {
    let Some(path) = &settings.ca_file else { return Ok(Vec::new()) };
    let pem = std::fs::read(path).map_err(|source| SetupError::CaFile { path: path.clone(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(SetupError::CaFormat { path: path.clone() }),
    }
}

fn authorization(token: &SecretString) -> Result<HeaderValue, SetupError> {
    let token = token.expose_secret();
    let sendable = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let mut value = match sendable {
        true => HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| SetupError::Token)?,
        false => return Err(SetupError::Token),
    };
    value.set_sensitive(true);
    Ok(value)
}

fn fingerprint(token: &SecretString) -> String {
    let hash = Sha256::new().chain_update(FINGERPRINT_CONTEXT).chain_update(token.expose_secret()).finalize();
    super::hexadecimal(&hash[..FINGERPRINT_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::raw_server::{RawServer, TOKEN, answer};

    fn task() -> TaskId {
        TaskId::new("14117763723766220057").unwrap()
    }

    #[tokio::test]
    async fn settings_that_cannot_work_are_refused_in_words() {
        let good =
            || Settings { base_url: "https://api.example".to_owned(), allow_insecure: false, ..settings_for_nobody() };
        assert!(Client::new(good()).is_ok());
        let in_house = Settings { base_url: "https://10.0.0.5".to_owned(), allow_insecure: true, ..good() };
        assert!(Client::new(in_house).is_ok());
        let base = |base_url: &str| Settings { base_url: base_url.to_owned(), ..good() };
        let token = |token: &str| Settings { token: token.to_owned().into(), ..good() };
        let file = tempfile::NamedTempFile::new().unwrap();
        let cases = [
            (base("http://api.example"), "plain http"),
            (base("ftp://api.example"), "https://"),
            (base("api.example"), "cannot be used"),
            (base("https://"), "cannot be used"),
            (base("https://10.0.0.5"), "10.0.0.5, which is not a public address; set api.allow_insecure"),
            (base("https://127.0.0.1:1/v1"), "127.0.0.1, which is not a public address"),
            (base("https://0x7f.1"), "127.0.0.1, which is not a public address"),
            (base("https://[fd12::1]"), "fd12::1, which is not a public address"),
            (base("https://me:secret@api.example"), "password"),
            (base("https://api.example/?a"), "?"),
            (token(""), "token"),
            (token("line\nbreak"), "token"),
            (Settings { ca_file: Some("/nonexistent/ca.pem".into()), ..good() }, "/nonexistent/ca.pem cannot be read"),
            (Settings { ca_file: Some(file.path().to_owned()), ..good() }, "no PEM certificate"),
        ];
        for (settings, expected) in cases {
            let error = Client::new(settings).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    fn settings_for_nobody() -> Settings {
        let second = Duration::from_secs(1);
        Settings {
            base_url: "http://localhost:1/".to_owned(),
            token: TOKEN.to_owned().into(),
            allow_insecure: true,
            ca_file: None,
            trust_system: true,
            connect_timeout: second,
            submit_timeout: second,
            poll_timeout: second,
            idle_timeout: second,
        }
    }

    #[tokio::test]
    async fn a_download_goes_through_a_proxy_whose_name_leads_home() {
        let server = RawServer::start().await;
        let proxy = server.url().replace("127.0.0.1", "localhost");
        let through = |reach: &Reach| {
            let proxied = reqwest::Client::builder().https_only(true).proxy(reqwest::Proxy::all(&proxy).unwrap());
            within(proxied, reach).build().unwrap().get("https://cdn.example/v").send()
        };
        let known = Reach::Public(Proxies::from_values([proxy.clone().into()]));
        let (asked, head) = tokio::join!(through(&known), server.answer("HTTP/1.1 502 Bad Gateway\r\n\r\n"));
        assert!(head.starts_with("connect cdn.example:443 "), "{head}");
        assert!(asked.is_err());
        let unknown = through(&Reach::Public(Proxies::default())).await.unwrap_err();
        assert!(crate::api::error::cause::<address::Forbidden>(&unknown).is_some(), "{unknown:?}");
    }

    #[test]
    fn an_account_is_told_apart_and_given_away_by_nothing() {
        let client = Client::new(settings_for_nobody()).unwrap();
        let account = client.account();
        assert_eq!(account.base_url, "http://localhost:1");
        assert_eq!(account.token_fingerprint.len(), 16);
        assert!(account.token_fingerprint.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(Client::new(settings_for_nobody()).unwrap().account(), account);
        let other = Client::new(Settings { token: "another".to_owned().into(), ..settings_for_nobody() }).unwrap();
        assert_ne!(other.account().token_fingerprint, account.token_fingerprint);
        let debug = format!("{client:?}");
        assert!(debug.contains("localhost") && !debug.contains("secret"), "{debug}");
    }

    #[tokio::test]
    async fn a_poll_asks_for_the_task_with_the_token() {
        let server = RawServer::start().await;
        let body = r#"{"code":10000,"data":{"status":"generating"}}"#;
        let (client, answer, id) = (server.client(), answer("200 OK", body), task());
        let (polled, head) = tokio::join!(client.poll(&id), server.answer(&answer));
        assert_eq!(polled, PollAnswer::Generating);
        assert!(head.starts_with("get /task/14117763723766220057 http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("authorization: bearer {TOKEN}\r\n")), "{head}");
    }

    #[tokio::test]
    async fn an_answer_is_believed_with_its_headers_and_a_redirect_is_not_followed() {
        let server = RawServer::start().await;
        let (client, id) = (server.client(), task());
        let away = format!("HTTP/1.1 302 Found\r\nlocation: {}/elsewhere\r\ncontent-length: 0\r\n\r\n", server.url());
        let (polled, _) = tokio::join!(client.poll(&id), server.answer(&away));
        assert!(matches!(polled, PollAnswer::Gateway(_)), "{polled:?}");
        let busy = "HTTP/1.1 429 Busy\r\nretry-after: 7\r\nx-request-id: r7\r\ncontent-length: 0\r\n\r\n";
        let (polled, _) = tokio::join!(client.poll(&id), server.answer(busy));
        let PollAnswer::Throttled(refusal) = polled else { panic!("{polled:?}") };
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(7)));
        assert_eq!((refusal.http_status, refusal.request_id.as_deref()), (Some(429), Some("r7")));
    }

    #[tokio::test]
    async fn no_usable_answer_to_a_poll_is_unreachable() {
        let server = RawServer::start().await;
        let mut settings = server.settings();
        settings.poll_timeout = Duration::from_millis(100);
        let (client, id) = (Client::new(settings).unwrap(), task());
        let (polled, peer) = tokio::join!(client.poll(&id), async {
            let mut peer = server.accept().await;
            peer.head().await;
            peer
        });
        assert!(
            matches!(&polled, PollAnswer::Unreachable(refusal) if refusal.message == "no answer in time"),
            "{polled:?}"
        );
        drop((peer, server));
        let polled = client.poll(&id).await;
        assert!(
            matches!(&polled, PollAnswer::Unreachable(refusal) if !refusal.message.contains("http://")),
            "{polled:?}"
        );
    }

    #[tokio::test]
    async fn the_balance_is_told_if_the_gateway_tells_it() {
        let server = RawServer::start().await;
        let client = server.client();
        for (limit, expected) in [("12.5", Some(12.5)), ("100000000", None)] {
            let limit = answer("200 OK", &format!(r#"{{"hard_limit_usd":{limit}}}"#));
            let used = answer("200 OK", r#"{"object":"list","total_usage":250}"#);
            let (balance, ()) = tokio::join!(client.balance(), async {
                server.answer(&limit).await;
                server.answer(&used).await;
            });
            assert_eq!(balance, Some(Balance { limit: expected, used: 2.5 }));
        }
        let dated = answer("404 Not Found", "{}").replacen("\r\n", "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 1);
        let (date, _) = tokio::join!(client.date(), server.answer(&dated));
        assert_eq!(date, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)));
        let refusal = answer("401 Unauthorized", r#"{"error":{"message":"x"}}"#);
        let (balance, _) = tokio::join!(client.balance(), server.answer(&refusal));
        assert_eq!(balance, None);
    }
}
