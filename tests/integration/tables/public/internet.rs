//! The internet of one row: a name server, and one server at every address there is, public or not, with a good certificate for
//! whatever it is called.
//!
//! It hands requests on to the simulator, or redirects where the row says so, and notes who was connected to and who was sent the
//! token.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::Acceptor;

/// The API's host.
pub const API: &str = "api.vendor.example";

/// The host of the videos.
pub const CDN: &str = "cdn.vendor.example";

/// Where any name leads that the row says nothing of.
const SOMEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// The public addresses of this internet. Whatever else is connected to is a trespass.
const PUBLIC: [IpAddr; 3] = [
    SOMEWHERE,
    IpAddr::V4(Ipv4Addr::new(151, 101, 1, 69)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x2800, 0x220, 1, 0x248, 0x1893, 0x25c8, 0x1946)),
];

/// Where the name server listens.
const NAME_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 53);

/// Stands for path and query of the request in a redirect.
const PATH: &str = "$PATH";

/// Bytes of a request's head that are read at most.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The internet. Its servers live as long as the runtime.
pub struct Internet {
    folder: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    names: BTreeMap<String, Vec<Vec<IpAddr>>>,
    redirects: BTreeMap<String, String>,
    authority: Issuer<'static, KeyPair>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// How often a name was looked up, by the kind of address.
    looked_up: HashMap<(String, u16), usize>,
    trespasses: Vec<String>,
    asked: Vec<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Internet {
    /// An internet with these names and redirects; nobody answers in it yet.
    pub fn new(names: BTreeMap<String, Vec<Vec<IpAddr>>>, redirects: BTreeMap<String, String>) -> Self {
        let folder = TempDir::with_prefix("jimengd-ca-").unwrap();
        let (certificate, authority) = authority();
        std::fs::write(folder.path().join("ca.pem"), certificate).unwrap();
        Self { folder, shared: Arc::new(Shared { names, redirects, authority, seen: Mutex::default() }) }
    }

    /// Whom to trust here.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Everybody answers from now on; behind all of them is the simulator.
    pub async fn open(&self, simulator: SocketAddr) {
        let socket = UdpSocket::bind(NAME_SERVER).await.expect("a network of one's own has the port free");
        tokio::spawn(answer_names(socket, Arc::clone(&self.shared)));
        for (port, tls) in [(443, true), (80, false)] {
            let listener = listen(port).await.expect("a network of one's own has the port free");
            tokio::spawn(accept(listener, tls, simulator, Arc::clone(&self.shared)));
        }
    }

    /// Connections that should never have been made, and secrets that were told.
    pub fn trespasses(&self) -> Vec<String> {
        self.shared.lock().trespasses.clone()
    }

    /// The hosts that were asked for something, in their order.
    pub fn asked(&self) -> Vec<String> {
        self.shared.lock().asked.clone()
    }
}

/// A new authority: its certificate as PEM, and what signs in its name.
pub fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = STANDARD.encode(params.self_signed(&key).unwrap().der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
    (pem, Issuer::new(params, key))
}

/// At all addresses, of both kinds if the machine has both.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}

async fn accept(listener: TcpListener, tls: bool, simulator: SocketAddr, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let address = stream.local_addr().expect("it is connected").ip().to_canonical();
        if !tls || !PUBLIC.contains(&address) {
            let port = if tls { 443 } else { 80 };
            shared.lock().trespasses.push(format!("{address}, port {port}"));
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A client may hang up whenever it likes; what counts was noted by then.
            let _hung_up = match tls {
                true => serve_tls(stream, address, simulator, &shared).await,
                false => serve(stream, simulator, &shared).await,
            };
        });
    }
}

/// Shakes hands as whoever the client wants, by name or else by address.
async fn serve_tls(stream: TcpStream, address: IpAddr, simulator: SocketAddr, shared: &Shared) -> io::Result<()> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let name = hello.client_hello().server_name().map_or_else(|| address.to_string(), str::to_owned);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name]).unwrap().signed_by(&key, &shared.authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    serve(hello.into_stream(Arc::new(config)).await?, simulator, shared).await
}

/// Redirects, or hands on to the simulator everything that comes on this connection.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    simulator: SocketAddr,
    shared: &Shared,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let header = |name: &str| {
        let lines = text.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let host = header("host").unwrap_or_default();
    {
        let mut seen = shared.lock();
        if host != API {
            for secret in ["authorization", "cookie", "referer"] {
                if header(secret).is_some() {
                    seen.trespasses.push(format!("{secret} for {host}"));
                }
            }
        }
        if !seen.asked.contains(&host) {
            seen.asked.push(host.clone());
        }
    }
    if let Some(target) = shared.redirects.get(&host) {
        let target = target.replace(PATH, path);
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: {target}\r\nset-cookie: seen=1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await?;
        return stream.shutdown().await;
    }
    let mut behind = TcpStream::connect(simulator).await?;
    behind.write_all(&head).await?;
    copy_bidirectional(&mut stream, &mut behind).await?;
    Ok(())
}

async fn answer_names(socket: UdpSocket, shared: Arc<Shared>) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        if let Some(answer) = answer_name(&query[..length], &shared) {
            socket.send_to(&answer, from).await.expect("who asks is here");
        }
    }
}

/// The answer to a question of the name service (RFC 1035): addresses of the asked kind, or that there is no such name.
fn answer_name(query: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const A: u16 = 1;
    const AAAA: u16 = 28;
    let (mut at, mut labels) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let (name, kind) = (labels.join("."), u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]));
    let question = query.get(HEADER..at + 4)?;

    let found: Vec<IpAddr> = match shared.names.get(&name) {
        Some(look_ups) => {
            let mut seen = shared.lock();
            let times = seen.looked_up.entry((name, kind)).or_default();
            *times += 1;
            look_ups[(*times - 1).min(look_ups.len() - 1)].clone()
        }
        None => vec![SOMEWHERE],
    };
    let data: Vec<Vec<u8>> = found
        .iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), A) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), AAAA) => Some(address.octets().to_vec()),
            (_, _) => None,
        })
        .collect();
    let no_such_name = u8::from(found.is_empty()) * 3;
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | no_such_name, 0, 1, 0, u8::try_from(data.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question);
    for address in data {
        // The name of the question, the kind, the internet, for no time at all.
        answer.extend([0xc0, 0x0c]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0, 0, u8::try_from(address.len()).ok()?]);
        answer.extend(address);
    }
    Some(answer)
}
