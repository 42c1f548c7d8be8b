//! For tests: the other side of one connection, played byte by byte, so that it can misbehave in every way.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Client, Settings};

/// What no test should ever wait for.
pub(super) const NEVER: Duration = Duration::from_secs(60);

/// The token of every test.
pub(super) const TOKEN: &str = "sk-secret0123456789";

pub(super) struct RawServer(TcpListener);

impl RawServer {
    pub(super) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            base_url: self.url(),
            token: TOKEN.to_owned().into(),
            allow_insecure: true,
            ca_file: None,
            trust_system: false,
            connect_timeout: NEVER,
            submit_timeout: NEVER,
            poll_timeout: NEVER,
            idle_timeout: NEVER,
        }
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.settings()).unwrap()
    }

    pub(super) async fn accept(&self) -> Peer {
        Peer { stream: self.0.accept().await.unwrap().0, ahead: BytesMut::new() }
    }

    /// Takes one request without a body, answers it and closes; the request's head.
    pub(super) async fn answer(&self, answer: &str) -> String {
        let mut peer = self.accept().await;
        let head = peer.head().await;
        peer.send(answer).await;
        head
    }
}

pub(super) struct Peer {
    stream: TcpStream,
    ahead: BytesMut,
}

impl Peer {
    /// The head of a request, in lower case, with its empty line.
    pub(super) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.ahead.split_to(end + 4).to_vec()).unwrap().to_lowercase();
            }
            assert_ne!(self.stream.read_buf(&mut self.ahead).await.unwrap(), 0, "closed within the head");
        }
    }

    pub(super) async fn body(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            assert_ne!(self.stream.read_buf(&mut self.ahead).await.unwrap(), 0, "closed within the body");
        }
        self.ahead.split_to(length).to_vec()
    }

    /// Head and whole body.
    pub(super) async fn request(&mut self) -> (String, Vec<u8>) {
        let head = self.head().await;
        let length = content_length(&head);
        let body = self.body(length).await;
        (head, body)
    }

    /// Everything until the other side closes or resets.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while !matches!(self.stream.read_buf(&mut self.ahead).await, Ok(0) | Err(_)) {}
        self.ahead.split().to_vec()
    }

    /// Reads slowly, but never so slowly that the other side stands still, until it closes or resets.
    pub(super) async fn trickle(&mut self) {
        const PIECE_BYTES: usize = 256 * 1024;
        const PAUSE: Duration = Duration::from_millis(10);
        let mut piece = vec![0; PIECE_BYTES];
        while !matches!(self.stream.read(&mut piece).await, Ok(0) | Err(_)) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Nothing more will be sent.
    pub(super) async fn end(&mut self) {
        // The other side may have gone before.
        let _ended = self.stream.shutdown().await;
    }

    pub(super) async fn send(&mut self, answer: &str) {
        self.try_send(answer).await.unwrap();
    }

    pub(super) async fn try_send(&mut self, answer: &str) -> std::io::Result<()> {
        self.stream.write_all(answer.as_bytes()).await
    }
}

pub(super) fn content_length(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.expect("the request declares its length").parse().unwrap()
}

/// A whole answer that closes the connection.
pub(super) fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
