//! A gate before the simulator: what goes up passes, until each connection has had its part and waits.
//!
//! The simulator reads as fast as it can, so on one machine 64 uploads would not be under way at once; a slow network is
//! what makes them so. The gate is that network. What comes down always passes.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// Bytes of one read.
const PIECE_BYTES: usize = 16 * 1024;

/// The system's buffer for what came and was not read, so that it does not swallow what the gate is there to hold.
const BUFFER_BYTES: u32 = 64 * 1024;

/// Connections that may wait to be taken.
const BACKLOG: u32 = 1024;

/// The gate. Open at first; dropped, it takes no more connections.
pub struct Gate {
    address: SocketAddr,
    /// Bytes that a connection may send; `None`: all.
    allowance: watch::Sender<Option<u64>>,
    held: watch::Receiver<usize>,
    listening: tokio::task::JoinHandle<()>,
}

impl Gate {
    /// Listens, and connects each who comes with `behind`.
    pub async fn start(behind: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Those who connect inherit it.
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let (allowance, allowed) = watch::channel(None);
        let (holding, held) = watch::channel(0);
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connect(near, behind, allowed.clone(), holding.clone()));
            }
        });
        Ok(Self { address, allowance, held, listening })
    }

    /// Where it listens.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets so many bytes of each connection pass from now on.
    pub fn hold_after(&self, bytes: u64) {
        self.allowance.send_replace(Some(bytes));
    }

    /// Lets everything pass.
    pub fn open(&self) {
        self.allowance.send_replace(None);
    }

    /// Waits until so many connections are held with more to send.
    pub async fn holds(&mut self, connections: usize) -> Result<()> {
        self.held.wait_for(|held| *held >= connections).await?;
        Ok(())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn connect(
    near: TcpStream,
    behind: SocketAddr,
    allowed: watch::Receiver<Option<u64>>,
    holding: watch::Sender<usize>,
) {
    let Ok(far) = TcpStream::connect(behind).await else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::spawn(pass(far_in, near_out));
    let _closed = send_up(near_in, far_out, allowed, holding).await;
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    // Either end may go away; the other is closed then, which is all there is to tell.
    let _closed = tokio::io::copy(&mut from, &mut to).await;
}

async fn send_up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut allowed: watch::Receiver<Option<u64>>,
    holding: watch::Sender<usize>,
) -> Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut passed = 0;
    loop {
        let enough = |allowed: &Option<u64>| allowed.is_some_and(|bytes| passed >= bytes);
        if enough(&allowed.borrow()) {
            holding.send_modify(|held| *held += 1);
            let opened = allowed.wait_for(|allowed| !enough(allowed)).await.map(drop);
            holding.send_modify(|held| *held -= 1);
            opened?;
        }
        let count = from.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&piece[..count]).await?;
        passed += count as u64;
    }
}
