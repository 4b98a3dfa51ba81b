CREATE TABLE device (
	id INTEGER NOT NULL, 
	kind TEXT NOT NULL CHECK (kind in ('simulated', 'real')), 
	scope TEXT NOT NULL, 
	name TEXT NOT NULL, 
	first_seen INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (kind, scope, name)
);
CREATE TABLE run (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	at INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TABLE outcome (
	device INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	at INTEGER NOT NULL, 
	action TEXT NOT NULL, 
	reasons TEXT, 
	scores TEXT, 
	scale FLOAT, 
	propose_revocation BOOLEAN, 
	PRIMARY KEY (device, run, round), 
	FOREIGN KEY(device) REFERENCES device (id), 
	FOREIGN KEY(run) REFERENCES run (id)
)
 WITHOUT ROWID;
CREATE TABLE decision (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	device INTEGER NOT NULL, 
	at INTEGER NOT NULL, 
	kind TEXT NOT NULL CHECK (kind in ('quarantine', 'appeal')), 
	"by" TEXT NOT NULL, 
	why TEXT NOT NULL, 
	restore FLOAT, 
	run INTEGER, 
	round INTEGER, 
	UNIQUE (device, run, round), 
	FOREIGN KEY(device) REFERENCES device (id), 
	FOREIGN KEY(run) REFERENCES run (id)
);
CREATE TRIGGER device_no_update before update on device begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER device_no_delete before delete on device begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER device_no_replacement_0 before insert on device when EXISTS (SELECT * 
FROM device 
WHERE device.id = new.id) begin select raise(ignore); end;
CREATE TRIGGER device_no_replacement_1 before insert on device when EXISTS (SELECT * 
FROM device 
WHERE device.kind = new.kind AND device.scope = new.scope AND device.name = new.name) begin select raise(ignore); end;
CREATE TRIGGER run_no_update before update on run begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER run_no_delete before delete on run begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER run_no_replacement_0 before insert on run when EXISTS (SELECT * 
FROM run 
WHERE run.id = new.id) begin select raise(ignore); end;
CREATE TRIGGER run_no_replacement_1 before insert on run when EXISTS (SELECT * 
FROM run 
WHERE run.name = new.name) begin select raise(ignore); end;
CREATE TRIGGER decision_no_update before update on decision begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER decision_no_delete before delete on decision begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER decision_no_replacement_0 before insert on decision when EXISTS (SELECT * 
FROM decision 
WHERE decision.id = new.id) begin select raise(ignore); end;
CREATE TRIGGER decision_no_replacement_1 before insert on decision when EXISTS (SELECT * 
FROM decision 
WHERE decision.device = new.device AND decision.run = new.run AND decision.round = new.round) begin select raise(ignore); end;
CREATE TRIGGER outcome_no_update before update on outcome begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER outcome_no_delete before delete on outcome begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER outcome_no_replacement_0 before insert on outcome when EXISTS (SELECT * 
FROM outcome 
WHERE outcome.device = new.device AND outcome.run = new.run AND outcome.round = new.round) begin select raise(ignore); end;
