CREATE TABLE attempts(
  job_id TEXT NOT NULL REFERENCES jobs(id),
  number INTEGER NOT NULL,
  state TEXT NOT NULL
    CHECK(state IN ('queued', 'starting', 'running', 'orphaned', 'succeeded', 'failed', 'cancelled', 'lost')),
  queued REAL NOT NULL,
  started REAL,
  ended REAL,
  beat REAL,
  supervisor TEXT,
  child TEXT,
  cancel_at REAL,
  exit_code INTEGER,
  reason TEXT,
  error TEXT, remote TEXT, queued_tick TEXT, cancel_tick TEXT, doubt TEXT, gpus INTEGER NOT NULL DEFAULT 0, work_tick TEXT, worked_s REAL NOT NULL DEFAULT 0, gpu_busy REAL,
  PRIMARY KEY(job_id, number)
);
CREATE TABLE events(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  time REAL NOT NULL,
  state TEXT NOT NULL,
  reason TEXT
);
CREATE TABLE jobs(
  id TEXT PRIMARY KEY,
  key TEXT NOT NULL,
  generation INTEGER NOT NULL,
  kind TEXT NOT NULL,
  module TEXT NOT NULL,
  request TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  created REAL NOT NULL,
  grace_s REAL NOT NULL,
  walltime_s REAL,
  slots INTEGER NOT NULL, backend TEXT NOT NULL DEFAULT 'local', gpu_hours REAL, memory_gb REAL NOT NULL DEFAULT 0, disk_gb REAL NOT NULL DEFAULT 0,
  UNIQUE(key, generation)
);
CREATE TABLE leases(
  gpu TEXT PRIMARY KEY,
  job_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  taken REAL NOT NULL,
  FOREIGN KEY(job_id, attempt) REFERENCES attempts(job_id, number)
);
CREATE TABLE objects(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  created REAL NOT NULL,
  data TEXT NOT NULL,
  UNIQUE(kind, id)
);
CREATE TABLE schema_version(version INTEGER PRIMARY KEY, applied REAL NOT NULL);
CREATE TABLE told(key TEXT PRIMARY KEY, time REAL NOT NULL);
CREATE INDEX attempts_by_state ON attempts(state, queued);
