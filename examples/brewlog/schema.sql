CREATE TABLE user (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE COLLATE NOCASE,
  password_hash TEXT NOT NULL,
  api_token TEXT NOT NULL UNIQUE
);

CREATE TABLE batch (
  id INTEGER PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES user (id),
  name TEXT NOT NULL,
  style TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('planned', 'fermenting', 'conditioning', 'ready')),
  volume_l REAL NOT NULL,
  original_gravity REAL NOT NULL,
  target_gravity REAL NOT NULL,
  brewed_on TEXT NOT NULL,
  notes TEXT NOT NULL DEFAULT ''
);

CREATE TABLE reading (
  id INTEGER PRIMARY KEY,
  batch_id INTEGER NOT NULL REFERENCES batch (id) ON DELETE CASCADE,
  taken_at TEXT NOT NULL,
  gravity REAL NOT NULL,
  temperature_c REAL NOT NULL
);

CREATE TABLE photo (
  id INTEGER PRIMARY KEY,
  batch_id INTEGER NOT NULL REFERENCES batch (id) ON DELETE CASCADE,
  filename TEXT NOT NULL UNIQUE,
  caption TEXT NOT NULL
);

CREATE INDEX batch_by_day ON batch (brewed_on);
CREATE INDEX reading_by_batch ON reading (batch_id, taken_at);
CREATE INDEX photo_by_batch ON photo (batch_id);
