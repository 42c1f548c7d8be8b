-- The first shape of the ledger.

-- One row a job that was claimed, from its claim until it is pruned.
CREATE TABLE job (
    job          TEXT    NOT NULL PRIMARY KEY,  -- UUID v7, hyphenated
    folder       BLOB    NOT NULL,              -- subfolder of the inbox, bytes, no leading slash
    stem         BLOB    NOT NULL,              -- what the outputs are called, bytes
    priority     INTEGER NOT NULL,              -- the sidecar's; higher goes first
    earlier      TEXT,                          -- the job that this one tries again
    claimed_at   INTEGER NOT NULL,              -- UTC, milliseconds
    sends        INTEGER NOT NULL,              -- intents recorded; the number in work/.intents
    attempts     INTEGER NOT NULL,              -- submissions judged, accepted, or perhaps accepted
    charges      INTEGER NOT NULL,              -- those of them accepted, or perhaps accepted
    state        TEXT    NOT NULL,              -- label of the state
    since        INTEGER NOT NULL,              -- UTC, milliseconds
    task_id      TEXT,                          -- the vendor's, in states that have one
    code         INTEGER,                       -- business code of a failure
    reason       TEXT,                          -- word of a failure
    input        TEXT    NOT NULL,              -- JSON: the files as claimed
    request      TEXT,                          -- JSON: what is asked for
    detail       TEXT    NOT NULL               -- JSON: what else the state holds
) STRICT;

CREATE INDEX job_state ON job (state);
CREATE INDEX job_since ON job (since);
CREATE INDEX job_task_id ON job (task_id);      -- whose task it is, asked at each acceptance

-- One row an intent that counts against the budget.
CREATE TABLE spending (
    job          TEXT    NOT NULL,              -- the job
    send         INTEGER NOT NULL,              -- the number of the intent
    reserved_at  INTEGER NOT NULL,              -- UTC, milliseconds
    PRIMARY KEY (job, send)
) STRICT, WITHOUT ROWID;

CREATE INDEX spending_reserved_at ON spending (reserved_at);

-- How long tasks took, newest last; the cadence learns from the last few hundred.
CREATE TABLE duration (
    id           INTEGER NOT NULL PRIMARY KEY,
    milliseconds INTEGER NOT NULL,              -- from accepted to done, as far as seen
    seen_at      INTEGER NOT NULL               -- UTC, milliseconds
) STRICT;

-- Small facts that survive a restart: what was learned of the limit, what the daemon says about itself.
CREATE TABLE fact (
    name         TEXT    NOT NULL PRIMARY KEY,
    value        TEXT    NOT NULL               -- JSON
) STRICT, WITHOUT ROWID;
