//! On the way to where the log is written: a bounded queue and one thread, because both the journal's socket and a pipe block
//! for ever when nobody reads.
//!
//! A full queue drops entries and counts them; the count is logged when there is room again. Nobody who logs ever waits, and the
//! end of the program waits for a bounded time only.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Level;

use super::entry::{Entry, Fields, Sink, Value};
use super::{ENTRIES_LOST, message_id};

/// Entries on their way: a burst of a busy second, some megabytes at most.
const QUEUE_MAX: usize = 4096;

/// How long the end of the program waits for entries on their way.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Between two looks whether a full queue has room for the flush.
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

enum Post {
    Entry(Box<Entry>),
    /// Everything before this is written when the other end hears of it.
    Flush(Sender<()>),
}

/// The way into the writing thread. All clones lead to one thread, which lives as long as one of them.
#[derive(Clone)]
pub(super) struct Queue {
    posts: SyncSender<Post>,
    dropped: Arc<AtomicU64>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl Queue {
    /// Starts the thread, which gives each entry to `send`.
    pub(super) fn start(send: impl FnMut(&Entry) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let (posts, incoming) = mpsc::sync_channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        thread::Builder::new().name("log".to_owned()).spawn(move || forward(&incoming, &counter, send))?;
        Ok(Self { posts, dropped })
    }

    /// Waits until everything before is written, for a bounded time.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let (done, heard) = mpsc::channel();
        let mut post = Post::Flush(done);
        while let Err(TrySendError::Full(back)) = self.posts.try_send(post) {
            if Instant::now() >= deadline {
                return;
            }
            post = back;
            thread::sleep(FLUSH_PAUSE);
        }
        // Neither a thread that has gone nor one that is stuck keeps the program from ending.
        let _ = heard.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Sink for Queue {
    fn write(&self, entry: Entry) {
        if self.posts.try_send(Post::Entry(Box::new(entry))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn forward(incoming: &Receiver<Post>, dropped: &AtomicU64, mut send: impl FnMut(&Entry) -> io::Result<()>) {
    while let Ok(post) = incoming.recv() {
        match post {
            Post::Entry(entry) => {
                if send(&entry).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Post::Flush(done) => {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
        let lost = dropped.load(Ordering::Relaxed);
        if lost > 0 && send(&lost_entries(lost)).is_ok() {
            dropped.fetch_sub(lost, Ordering::Relaxed);
        }
    }
}

fn lost_entries(count: u64) -> Entry {
    Entry {
        time: jiff::Timestamp::now(),
        level: Level::WARN,
        message: format!("{count} log entries were lost because nobody took them in time"),
        fields: Fields(vec![
            ("message_id".to_owned(), Value::Text(message_id(ENTRIES_LOST))),
            ("lost".to_owned(), Value::Unsigned(count)),
        ]),
        span: String::new(),
        target: module_path!().to_owned(),
        module: None,
        file: None,
        line: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn entry(text: &str) -> Entry {
        Entry { message: text.to_owned(), ..lost_entries(0) }
    }

    #[test]
    fn a_flush_comes_back_after_everything_before_is_written() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let queue = Queue::start(move |entry| {
            sink.lock().unwrap().push(entry.message.clone());
            Ok(())
        })
        .unwrap();
        (0..100).for_each(|i| queue.write(entry(&i.to_string())));
        queue.flush();
        assert_eq!(*written.lock().unwrap(), (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_stuck_reader_blocks_nobody_and_the_loss_is_told() {
        let (release, gate) = mpsc::channel::<()>();
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let queue = Queue::start(move |entry| {
            // Stuck at the first entry until the test lets go; then the gate is closed and lets everything pass.
            let _ = gate.recv();
            sink.lock().unwrap().push(entry.message.clone());
            Ok(())
        })
        .unwrap();
        (0..QUEUE_MAX + 10).for_each(|_| queue.write(entry("x")));
        // The thread holds at most one entry, the queue the rest.
        let lost = queue.dropped.load(Ordering::Relaxed);
        assert!((9..=10).contains(&lost), "{lost}");
        drop(release);
        queue.flush();
        let written = written.lock().unwrap();
        assert!(written.contains(&lost_entries(lost).message), "{:?}", written.last());
    }

    #[test]
    fn an_entry_that_is_refused_is_counted() {
        let failing = Arc::new(AtomicU64::new(1));
        let written = Arc::new(Mutex::new(Vec::new()));
        let (sink, left) = (Arc::clone(&written), Arc::clone(&failing));
        let queue = Queue::start(move |entry| match left.swap(0, Ordering::Relaxed) {
            0 => {
                sink.lock().unwrap().push(entry.message.clone());
                Ok(())
            }
            _ => Err(io::Error::other("no")),
        })
        .unwrap();
        queue.write(entry("x"));
        queue.flush();
        assert_eq!(*written.lock().unwrap(), [lost_entries(1).message]);
    }

    #[test]
    fn the_end_does_not_wait_for_ever_for_a_reader_that_is_stuck() {
        let (release, gate) = mpsc::channel::<()>();
        let queue = Queue::start(move |_| {
            let _ = gate.recv();
            Ok(())
        })
        .unwrap();
        (0..QUEUE_MAX + 10).for_each(|_| queue.write(entry("x")));
        let start = Instant::now();
        queue.flush();
        assert!(start.elapsed() >= FLUSH_MAX, "it gave up too early");
        // Coming back at all while the gate is shut is what is asked for.
        drop(release);
    }
}
