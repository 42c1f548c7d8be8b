//! The ledger's one writer and its readers, over rusqlite.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, MAIN_DB, OpenFlags, OptionalExtension, TransactionBehavior, ffi};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use super::damage::{self, Damage, LookedThrough};
use super::{Change, Counts, DURATIONS_MAX, Memory, OpenError, WriteError, record};
use crate::job::{Job, JobId, TaskId};
use crate::throttle::durations::Took;
use crate::world::{self, At, failpoint};

/// The schema this program writes.
const SCHEMA: i64 = 2;

/// The step from schema `n` to `n + 1` at index `n`.
const MIGRATIONS: [&str; SCHEMA as usize] = [include_str!("migrations/1.sql"), include_str!("migrations/2.sql")];

/// Calls that may wait for the writer. Above that the callers wait themselves: memory stays bounded.
const WAITING_MAX: usize = 4096;

/// Calls that are committed together at most, so that the first one does not wait for ever.
const BATCH_MAX: usize = 1024;

/// How long a connection waits for another program's lock, such as a backup's.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// Reservations older than this can be forgotten: no window is longer than a day.
pub const SPENDING_KEPT: SignedDuration = SignedDuration::from_hours(25);

/// Finds the other job that has a task. An index answers it, for it is asked at each acceptance. Another API may number its tasks
/// alike, so the few rows of that number are asked for their address.
const HOLDER: &str = "-- the other job that has a task
    SELECT job FROM job WHERE task_id = ?1 AND job <> ?2 AND instr(detail, ?3) > 0
    ORDER BY claimed_at DESC, job DESC LIMIT 1";

/// A call within a transaction: it is undone alone. Prepared once, which the library's own savepoints are not.
const BEGIN_CALL: &str = "-- begin a call\nSAVEPOINT call";
const UNDO_CALL: &str = "-- undo a call\nROLLBACK TO call";
const END_CALL: &str = "-- end a call\nRELEASE call";
/// Counts what ended since an instant, by the index of instants.
const ENDED: &str = "-- count jobs that ended since an instant
    SELECT count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state = 'failed') FROM job WHERE since >= ?1";

/// Forgets what ended before an instant. The sign keeps SQLite from choosing the index of states, by which it would go through
/// every job that ended.
const FORGET: &str = "-- forget old finished jobs
    DELETE FROM job WHERE since < ?1 AND +state IN ('delivered', 'failed')";

/// Counts the jobs of each state in the index alone.
const STATES: &str = "-- count jobs by state\nSELECT state, count(*) FROM job GROUP BY state";

/// Of those that failed, the ones in doubt.
const IN_DOUBT: &str = "-- count jobs that failed in doubt, by state
    SELECT state, count(*) FROM job WHERE state IN ('failing', 'failed') AND reason = 'in_doubt' GROUP BY state";

/// The tables of a ledger, of whatever schema.
const TABLES: [&str; 4] = ["job", "spending", "duration", "fact"];

/// The writing end. Cheap to clone; the thread ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Ledger {
    calls: mpsc::Sender<Call>,
    damage: Damage,
    looked_through: LookedThrough,
}

#[derive(Debug)]
struct Call {
    changes: Vec<Change>,
    answer: oneshot::Sender<Result<(), WriteError>>,
}

impl Ledger {
    /// Opens the ledger at `path`, makes it if it is missing, brings it to this program's schema, and reads what the daemon
    /// has to know. Blocks. Nothing that costs money may be done before [`Ledger::looked_through`] has returned.
    ///
    /// # Errors
    /// [`OpenError`]; a file that cannot be read is left as it is.
    pub fn open(path: &Path) -> Result<(Self, Memory), OpenError> {
        Self::open_looking(path, damage::CHECKED_AT_ONCE_BYTES)
    }

    /// The same; a file of more bytes is looked through while the work begins.
    fn open_looking(path: &Path, at_once_bytes: u64) -> Result<(Self, Memory), OpenError> {
        let unreadable = |source| OpenError::Unreadable { path: path.to_owned(), source };
        make_private(path).map_err(|source| OpenError::Unmakeable { path: path.to_owned(), source })?;
        let mut connection = Connection::open(path).map_err(unreadable)?;
        connection.busy_timeout(BUSY).map_err(unreadable)?;
        if connection.is_readonly(MAIN_DB).map_err(unreadable)? {
            // SQLite opens for reading what it may not write to, would make its companions as read-only as that, and say so at the
            // first record only.
            return Err(unreadable(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_READONLY), None)));
        }
        // Looked at before anything is written, so that a file that is not ours stays as it is.
        let found = schema(&connection).map_err(unreadable)?;
        refuse_foreign(&connection, found, path)?;
        prepare(&mut connection).map_err(unreadable)?;
        // The file may be written, but perhaps not what lies beside it.
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unreadable)?;
        let damage = Damage::default();
        let looked_through = damage::check(path, &damage, at_once_bytes)?;
        migrate(&mut connection, found, path)?;
        let memory = remember(&connection).map_err(|error| match damage::of(&error) {
            Some(what) => OpenError::Corrupt { path: path.to_owned(), what },
            None => OpenError::Damaged { path: path.to_owned(), what: error.to_string() },
        })?;
        let (calls, waiting) = mpsc::channel(WAITING_MAX);
        let found_by_writer = damage.clone();
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || keep_writing(connection, waiting, &found_by_writer))
            .map_err(OpenError::Thread)?;
        Ok((Self { calls, damage, looked_through }, memory))
    }

    /// Returns once what the ledger holds is known to be damaged; what SQLite says of it. Cancel-safe.
    pub async fn damaged(&self) -> String {
        let mut told = self.damage.subscribe();
        let what = told.wait_for(Option::is_some).await.ok().and_then(|what| what.clone());
        match what {
            Some(what) => what,
            // We hold the sending end ourselves.
            None => std::future::pending().await,
        }
    }

    /// Returns once the whole file was looked through and is not damaged, or that takes too long to wait for it; never, if it is
    /// damaged. Cancel-safe.
    pub async fn looked_through(&self) {
        self.looked_through.ends_well(&self.damage).await;
    }

    /// Tells of damage that a reader came upon.
    pub fn report_damage(&self, what: String) {
        damage::tell(&self.damage, what);
    }

    /// Writes all of `changes` or none; returns when they are on disk.
    ///
    /// # Errors
    /// [`WriteError`]; then nothing of it was written.
    pub async fn write(&self, changes: Vec<Change>) -> Result<(), WriteError> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call { changes, answer }).await.map_err(|_| WriteError::Closed)?;
        answered.await.map_err(|_| WriteError::Closed)?
    }
}

/// A connection that only reads. Works while the daemon runs and while it does not.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens the ledger at `path` for reading; `None` if there is none yet. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] if there is one that cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>, OpenError> {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(source) => return Err(OpenError::Unmakeable { path: path.to_owned(), source }),
        }
        let unreadable = |source| OpenError::Unreadable { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(unreadable)?;
        connection.busy_timeout(BUSY).map_err(unreadable)?;
        let found = schema(&connection).map_err(unreadable)?;
        if found > SCHEMA {
            return Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA });
        }
        Ok((found > 0).then_some(Self { connection }))
    }

    /// One job.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn job(&self, id: JobId) -> rusqlite::Result<Option<Job>> {
        let sql = format!("-- one job\nSELECT {} FROM job WHERE job = ?1", record::COLUMNS);
        self.connection.prepare_cached(&sql)?.query_row([id.to_string()], record::read).optional()
    }

    /// Every job that is not final, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn live(&self) -> rusqlite::Result<Vec<Job>> {
        live(&self.connection)
    }

    /// The jobs that failed last, the newest first, at most `jobs_max`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn failed(&self, jobs_max: usize) -> rusqlite::Result<Vec<Job>> {
        let sql = format!(
            "-- the jobs that failed last\nSELECT {} FROM job WHERE state = 'failed' ORDER BY since DESC, job DESC LIMIT ?1",
            record::COLUMNS
        );
        self.connection.prepare_cached(&sql)?.query_map([jobs_max], record::read)?.collect()
    }

    /// Jobs by state; those that failed in doubt are counted as `in_doubt`, not as `failed`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn counts(&self) -> rusqlite::Result<Counts> {
        // One transaction, so that both speak of one moment.
        let transaction = self.connection.unchecked_transaction()?;
        let counted = |sql| -> rusqlite::Result<Counts> {
            transaction.prepare_cached(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let mut counts = counted(STATES)?;
        let in_doubt = counted(IN_DOUBT)?;
        for (state, count) in in_doubt {
            counts.entry(state).and_modify(|all| *all -= count);
            *counts.entry("in_doubt".to_owned()).or_default() += count;
        }
        counts.retain(|_, count| *count > 0);
        Ok(counts)
    }

    /// How many jobs were delivered and failed since an instant.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn finished_since(&self, since: Timestamp) -> rusqlite::Result<(u64, u64)> {
        self.connection.prepare_cached(ENDED)?.query_row([since.as_millisecond()], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// A small fact, JSON.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fact(&self, name: &str) -> rusqlite::Result<Option<String>> {
        fact(&self.connection, name)
    }
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = if failpoint::is_durable() { "FULL" } else { "OFF" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn schema(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Refuses what this program must not write to: a newer ledger, and a database that is no ledger.
fn refuse_foreign(connection: &Connection, found: i64, path: &Path) -> Result<(), OpenError> {
    if missing(found).is_none() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA });
    }
    let tables: u64 = connection
        .query_row("-- whether there is anything\nSELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|source| OpenError::Unreadable { path: path.to_owned(), source })?;
    let ours: usize = connection
        .query_row(
            "-- how many of the ledger's tables there are
            SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN (?1, ?2, ?3, ?4)",
            TABLES,
            |row| row.get(0),
        )
        .map_err(|source| OpenError::Unreadable { path: path.to_owned(), source })?;
    let is_foreign = if found == 0 { tables > 0 } else { ours < TABLES.len() };
    if is_foreign {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    Ok(())
}

/// The steps from schema `found` to this program's; `None` if it has none from there.
fn missing(found: i64) -> Option<&'static [&'static str]> {
    MIGRATIONS.get(usize::try_from(found).ok()?..)
}

/// Makes an empty file that only we may read, if there is none: the ledger holds signed links, and SQLite gives its companions
/// (`-wal`, `-shm`) the mode of the file. A mode that the operator has set since is kept.
fn make_private(path: &Path) -> std::io::Result<()> {
    match world::make(At::new(&CWD, path), Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            world::sync(&file)?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(world::sync(&world::open(At::new(&CWD, parent), flags)?)?)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn migrate(connection: &mut Connection, found: i64, path: &Path) -> Result<(), OpenError> {
    let unreadable = |source| OpenError::Unreadable { path: PathBuf::from(path), source };
    let missing = missing(found).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unreadable)?;
    for step in missing {
        transaction.execute_batch(step).map_err(unreadable)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA).map_err(unreadable)?;
    arrive_at_commit(&transaction, &[]).map_err(unreadable)?;
    transaction.commit().map_err(unreadable)
}

fn remember(connection: &Connection) -> rusqlite::Result<Memory> {
    let spending = connection
        .prepare("-- reservations, oldest first\nSELECT job, send, reserved_at FROM spending ORDER BY reserved_at")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter_map(|(job, send, at)| Some((JobId::parse(&job)?, send, Timestamp::from_millisecond(at).ok()?)))
        .collect();
    let durations = connection
        .prepare("-- durations, oldest first\nSELECT milliseconds, queued_milliseconds FROM duration ORDER BY id")?
        .query_map([], |row| {
            let (duration, queued) = (row.get(0)?, row.get::<_, Option<u64>>(1)?);
            Ok(Took { duration: Duration::from_millis(duration), queued: queued.map(Duration::from_millis) })
        })?
        .collect::<Result<_, _>>()?;
    Ok(Memory { live: live(connection)?, spending, durations })
}

fn live(connection: &Connection) -> rusqlite::Result<Vec<Job>> {
    let sql = format!(
        "-- jobs that are not final, oldest first
        SELECT {} FROM job WHERE state IN
            ('queued', 'submitting', 'submitted', 'ready', 'fetched', 'in_doubt', 'failing') ORDER BY job",
        record::COLUMNS
    );
    connection.prepare(&sql)?.query_map([], record::read)?.collect()
}

fn fact(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("-- a small fact\nSELECT value FROM fact WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// The writer's thread: takes what waits, commits it in one transaction, answers.
fn keep_writing(mut connection: Connection, mut waiting: mpsc::Receiver<Call>, damage: &Damage) {
    let mut batch = Vec::new();
    while waiting.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let verdicts = commit(&mut connection, &batch);
        if let Some(Err(WriteError::Damaged(what))) = verdicts.first() {
            damage::tell(damage, what.clone());
        }
        for (call, verdict) in batch.drain(..).zip(verdicts) {
            // A caller that has gone away does not need the answer; the record stands.
            drop(call.answer.send(verdict));
        }
    }
}

/// Commits a batch. A call that contradicts the ledger is undone alone; a commit that fails undoes all.
fn commit(connection: &mut Connection, batch: &[Call]) -> Vec<Result<(), WriteError>> {
    match try_commit(connection, batch) {
        Ok(verdicts) => verdicts,
        Err(error) => {
            let error = match damage::of(&error) {
                Some(what) => WriteError::Damaged(what),
                None => WriteError::Disk(error.to_string()),
            };
            batch.iter().map(|_| Err(error.clone())).collect()
        }
    }
}

fn try_commit(connection: &mut Connection, batch: &[Call]) -> rusqlite::Result<Vec<Result<(), WriteError>>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut verdicts = Vec::with_capacity(batch.len());
    for call in batch {
        let run = |sql| transaction.prepare_cached(sql)?.execute([]);
        run(BEGIN_CALL)?;
        match apply_all(&transaction, &call.changes) {
            Ok(None) => {
                run(END_CALL)?;
                verdicts.push(Ok(()));
            }
            Ok(Some(refusal)) => {
                run(UNDO_CALL)?;
                run(END_CALL)?;
                verdicts.push(Err(refusal));
            }
            Err(rusqlite::Error::SqliteFailure(error, message))
                if error.code == rusqlite::ErrorCode::ConstraintViolation =>
            {
                run(UNDO_CALL)?;
                run(END_CALL)?;
                verdicts.push(Err(WriteError::Contradiction(message.unwrap_or_else(|| error.to_string()))));
            }
            Err(error) => return Err(error),
        }
    }
    arrive_at_commit(&transaction, batch)?;
    transaction.commit()?;
    Ok(verdicts)
}

/// The fail point of a commit; nothing but in tests of this program. It is called after what is recorded of jobs.
fn arrive_at_commit(connection: &Connection, batch: &[Call]) -> rusqlite::Result<()> {
    let path = || {
        let what: Vec<&str> = batch.iter().flat_map(|call| &call.changes).filter_map(recorded).collect();
        let what = if what.is_empty() { "fact".to_owned() } else { what.join(",") };
        PathBuf::from(connection.path().unwrap_or_default()).join(what)
    };
    failpoint::before(failpoint::Effect::Commit, path).map_err(|errno| {
        let code = match errno {
            Errno::NOSPC => ffi::SQLITE_FULL,
            Errno::BADMSG => ffi::SQLITE_CORRUPT,
            _ => ffi::SQLITE_IOERR,
        };
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(errno.to_string()))
    })
}

/// What a change records of a job, in a word.
fn recorded(change: &Change) -> Option<&'static str> {
    match change {
        Change::Insert(job) | Change::Update(job) => Some(job.state.label()),
        Change::Delete(_) => Some("released"),
        Change::GiveBack { .. } => Some("give-back"),
        Change::Unshared { .. }
        | Change::Reserve { .. }
        | Change::ShiftSpending { .. }
        | Change::Took { .. }
        | Change::Remember { .. }
        | Change::Prune { .. } => None,
    }
}

fn apply_all(connection: &Connection, changes: &[Change]) -> rusqlite::Result<Option<WriteError>> {
    for change in changes {
        if let Some(refusal) = apply(connection, change)? {
            return Ok(Some(refusal));
        }
    }
    Ok(None)
}

/// Applies one change, or says why the ledger will not have it.
fn apply(connection: &Connection, change: &Change) -> rusqlite::Result<Option<WriteError>> {
    match change {
        Change::Insert(job) => {
            record::write(&mut connection.prepare_cached(record::INSERT)?, job)?;
        }
        Change::Update(job) => {
            let rows = record::write(&mut connection.prepare_cached(record::UPDATE)?, job)?;
            if rows != 1 {
                let what = format!("job {} has {rows} live rows, not one", job.id);
                return Ok(Some(WriteError::Contradiction(what)));
            }
        }
        Change::Delete(job) => {
            let rows = connection
                .prepare_cached("-- forget a released job\nDELETE FROM job WHERE job = ?1 AND state = 'queued'")?
                .execute([job.to_string()])?;
            if rows != 1 {
                let what = format!("job {job} has {rows} queued rows, not one");
                return Ok(Some(WriteError::Contradiction(what)));
            }
        }
        Change::Unshared { job, task_id, base_url } => return other_holder(connection, *job, task_id, base_url),
        Change::Reserve { job, send, at } => {
            connection
                .prepare_cached(
                    "-- set money aside\nINSERT INTO spending (job, send, reserved_at) VALUES (?1, ?2, ?3)",
                )?
                .execute((job.to_string(), send, at.as_millisecond()))?;
        }
        Change::GiveBack { job, send } => {
            connection
                .prepare_cached("-- give money back\nDELETE FROM spending WHERE job = ?1 AND send = ?2")?
                .execute((job.to_string(), send))?;
        }
        Change::ShiftSpending { by, now } => {
            let milliseconds = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            connection
                .prepare_cached(
                    "-- the clock was set
                    UPDATE spending SET reserved_at = min(reserved_at + ?1, ?2) WHERE ?1 > 0 OR reserved_at > ?2",
                )?
                .execute((milliseconds, now.as_millisecond()))?;
        }
        Change::Took { took: Took { duration, queued }, at } => {
            let milliseconds = |duration: &Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            connection
                .prepare_cached(
                    "-- remember how long a task took
                    INSERT INTO duration (milliseconds, queued_milliseconds, seen_at) VALUES (?1, ?2, ?3)",
                )?
                .execute((milliseconds(duration), queued.as_ref().map(milliseconds), at.as_millisecond()))?;
            connection
                .prepare_cached(
                    "-- keep the newest durations\nDELETE FROM duration WHERE id <= last_insert_rowid() - ?1",
                )?
                .execute([DURATIONS_MAX])?;
        }
        Change::Remember { name, value } => {
            connection
                .prepare_cached(
                    "-- remember a fact
                    INSERT INTO fact (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )?
                .execute((name, value))?;
        }
        Change::Prune { jobs_before, spending_before } => {
            if let Some(before) = jobs_before {
                connection.prepare_cached(FORGET)?.execute([before.as_millisecond()])?;
            }
            connection
                .prepare_cached("-- forget old reservations\nDELETE FROM spending WHERE reserved_at < ?1")?
                .execute([spending_before.as_millisecond()])?;
        }
    }
    Ok(None)
}

/// Refuses if another job than `job` has the task. A job that tries an earlier one again shares its task without asking here;
/// the newest of them is named.
fn other_holder(
    connection: &Connection,
    job: JobId,
    task_id: &TaskId,
    base_url: &str,
) -> rusqlite::Result<Option<WriteError>> {
    let holder: Option<String> = connection
        .prepare_cached(HOLDER)?
        .query_row((task_id.as_str(), job.to_string(), record::base_url_in_detail(base_url)), |row| row.get(0))
        .optional()?;
    Ok(holder.map(|id| match JobId::parse(&id) {
        Some(other) => WriteError::Held(other),
        None => WriteError::Contradiction(format!("{id} is not a job's identifier")),
    }))
}

#[cfg(test)]
mod tests;
