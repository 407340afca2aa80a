package store

// migrations are applied in order; PRAGMA user_version counts them. Never change one that was released.
var migrations = []string{`
CREATE TABLE settings(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE users(
	id TEXT PRIMARY KEY, issuer TEXT NOT NULL, subject TEXT NOT NULL, email TEXT NOT NULL DEFAULT '', name TEXT NOT NULL DEFAULT '',
	blocked INTEGER NOT NULL DEFAULT 0, admin INTEGER NOT NULL DEFAULT 0, not_before INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL,
	UNIQUE(issuer, subject));
CREATE INDEX users_email ON users(email COLLATE NOCASE);

CREATE TABLE groups(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE members(
	group_id TEXT NOT NULL REFERENCES groups(id) ON DELETE CASCADE,
	user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
	PRIMARY KEY(group_id, user_id)) WITHOUT ROWID;
CREATE INDEX members_user ON members(user_id);

CREATE TABLE peers(
	id TEXT PRIMARY KEY, name TEXT NOT NULL, short_name INTEGER NOT NULL DEFAULT 0, addr4 TEXT NOT NULL, addr6 TEXT NOT NULL,
	wg_key BLOB NOT NULL, machine_key BLOB NOT NULL, host_keys TEXT NOT NULL DEFAULT '[]', endpoints TEXT NOT NULL DEFAULT '[]',
	owner TEXT REFERENCES users(id), tags TEXT NOT NULL DEFAULT '[]', serves_ssh INTEGER NOT NULL DEFAULT 0,
	os TEXT NOT NULL DEFAULT '', release TEXT NOT NULL DEFAULT '', created INTEGER NOT NULL, last_seen INTEGER NOT NULL DEFAULT 0,
	removed INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX peers_name ON peers(name) WHERE removed = 0;
CREATE UNIQUE INDEX peers_machine_key ON peers(machine_key) WHERE removed = 0;
CREATE UNIQUE INDEX peers_wg_key ON peers(wg_key) WHERE removed = 0;
CREATE UNIQUE INDEX peers_addr4 ON peers(addr4) WHERE removed = 0;

CREATE TABLE policies(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, body TEXT NOT NULL, created INTEGER NOT NULL);

CREATE TABLE setup_keys(
	id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, tags TEXT NOT NULL DEFAULT '[]', uses_left INTEGER NOT NULL,
	expires INTEGER NOT NULL, created INTEGER NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);

CREATE TABLE logins(
	thumbprint TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE, peer_id TEXT NOT NULL DEFAULT '',
	started INTEGER NOT NULL, last_seen INTEGER NOT NULL, newest_token INTEGER NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
CREATE INDEX logins_user ON logins(user_id);

CREATE TABLE used(jti TEXT PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX used_expires ON used(expires);

-- seq counts arrivals, which is what a follower wants: an event may arrive long after it happened.
CREATE TABLE audit(
	seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, type TEXT NOT NULL,
	peer TEXT NOT NULL DEFAULT '', body TEXT NOT NULL);
CREATE INDEX audit_time ON audit(time);

CREATE TABLE tokens(
	id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE, scopes TEXT NOT NULL, expires INTEGER NOT NULL,
	created INTEGER NOT NULL, last_used INTEGER NOT NULL DEFAULT 0, revoked INTEGER NOT NULL DEFAULT 0);

CREATE TABLE maps(
	peer_id TEXT PRIMARY KEY REFERENCES peers(id) ON DELETE CASCADE, epoch INTEGER NOT NULL, version INTEGER NOT NULL,
	content BLOB NOT NULL, issued INTEGER NOT NULL, body BLOB NOT NULL, sig BLOB NOT NULL);

CREATE TABLE flows(
	id TEXT PRIMARY KEY, body TEXT NOT NULL, expires INTEGER NOT NULL, browser BLOB NOT NULL DEFAULT '',
	auth_req TEXT NOT NULL DEFAULT '');
CREATE INDEX flows_auth_req ON flows(auth_req) WHERE auth_req <> '';

CREATE TABLE issuer_keys(
	issuer TEXT NOT NULL, kid TEXT NOT NULL, jwk TEXT NOT NULL, last_seen INTEGER NOT NULL, PRIMARY KEY(issuer, kid)) WITHOUT ROWID;

CREATE TABLE dex(kind TEXT NOT NULL, id TEXT NOT NULL, exp INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE INDEX dex_exp ON dex(kind, exp) WHERE exp > 0;
`, `
-- Other OpenID providers, as api.Issuer without keys.
CREATE TABLE issuers(url TEXT PRIMARY KEY, body TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
-- Keys of issuers that an administrator distrusts, by their RFC 7638 thumbprint.
CREATE TABLE distrusted(id TEXT NOT NULL, issuer TEXT NOT NULL, kid TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY(issuer, id)) WITHOUT ROWID;
-- silent: 0, or since when a login was not heard of when it was withdrawn for that.
ALTER TABLE logins ADD COLUMN silent INTEGER NOT NULL DEFAULT 0;
-- Logins that a machine has a session of, and that never reported.
CREATE TABLE unreported(thumbprint TEXT PRIMARY KEY, since INTEGER NOT NULL, silent INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
`, `
-- handle is the half of a typed code that finds its sign-in, tries counts who typed it, code is the provider's
-- authorization code ("!" and a reason: refused), peer is the machine that waits.
ALTER TABLE flows ADD COLUMN handle TEXT NOT NULL DEFAULT '';
ALTER TABLE flows ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE flows ADD COLUMN code TEXT NOT NULL DEFAULT '';
ALTER TABLE flows ADD COLUMN peer TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX flows_handle ON flows(handle) WHERE handle <> '';
CREATE INDEX flows_peer ON flows(peer) WHERE peer <> '';

-- Whence somebody has given their password: guesses from elsewhere do not make them wait there.
CREATE TABLE known(account TEXT NOT NULL, asker TEXT NOT NULL, last INTEGER NOT NULL, PRIMARY KEY(account, asker)) WITHOUT ROWID;
`, `
-- On which machine a login's key was made, noted when the sign-in began there: before it is known whose it will be.
-- logins.peer_id is not used.
CREATE TABLE origins(
	thumbprint TEXT PRIMARY KEY, nonce TEXT NOT NULL, peer_id TEXT NOT NULL, begun INTEGER NOT NULL, revoked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX origins_peer ON origins(peer_id);
CREATE INDEX origins_nonce ON origins(nonce);
`, `
-- Which machine told of a login that never reported.
ALTER TABLE unreported ADD COLUMN peer TEXT NOT NULL DEFAULT '';
CREATE INDEX unreported_peer ON unreported(peer);
`, `
-- When a person last signed in, and since when they are blocked; of before, what the audit log and not_before tell.
ALTER TABLE users ADD COLUMN signed_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN blocked_since INTEGER NOT NULL DEFAULT 0;
UPDATE users SET blocked_since = not_before WHERE blocked > 0;
UPDATE users SET signed_in = l.at FROM (
	SELECT json_extract(body, '$.issuer') issuer, json_extract(body, '$.subject') subject, MAX(time) at
	FROM audit WHERE type = 'login' AND peer = '' AND json_valid(body) GROUP BY 1, 2) l
	WHERE l.issuer = users.issuer AND l.subject = users.subject;

-- Anyone may ask whether a key was a machine's.
CREATE INDEX peers_was ON peers(machine_key) WHERE removed > 0;
`}
