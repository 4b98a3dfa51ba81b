CREATE TABLE device (
	id INTEGER NOT NULL, 
	kind TEXT NOT NULL CHECK (kind in ('simulated', 'real')), 
	scope TEXT NOT NULL, 
	name TEXT NOT NULL, 
	first_seen INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (kind, scope, name)
);
CREATE TRIGGER device_no_update before update on device begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER device_no_delete before delete on device begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER device_no_replacement_0 before insert on device when EXISTS (SELECT * 
FROM device 
WHERE device.id = new.id) begin select raise(ignore); end;
CREATE TRIGGER device_no_replacement_1 before insert on device when EXISTS (SELECT * 
FROM device 
WHERE device.kind = new.kind AND device.scope = new.scope AND device.name = new.name) begin select raise(ignore); end;
CREATE TABLE run (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	at INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TRIGGER run_no_update before update on run begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER run_no_delete before delete on run begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER run_no_replacement_0 before insert on run when EXISTS (SELECT * 
FROM run 
WHERE run.id = new.id) begin select raise(ignore); end;
CREATE TRIGGER run_no_replacement_1 before insert on run when EXISTS (SELECT * 
FROM run 
WHERE run.name = new.name) begin select raise(ignore); end;
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
CREATE TRIGGER outcome_no_update before update on outcome begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER outcome_no_delete before delete on outcome begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER outcome_no_replacement_0 before insert on outcome when EXISTS (SELECT * 
FROM outcome 
WHERE outcome.device = new.device AND outcome.run = new.run AND outcome.round = new.round) begin select raise(ignore); end;
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
CREATE TRIGGER decision_no_update before update on decision begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER decision_no_delete before delete on decision begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER decision_no_replacement_0 before insert on decision when EXISTS (SELECT * 
FROM decision 
WHERE decision.id = new.id) begin select raise(ignore); end;
CREATE TRIGGER decision_no_replacement_1 before insert on decision when EXISTS (SELECT * 
FROM decision 
WHERE decision.device = new.device AND decision.run = new.run AND decision.round = new.round) begin select raise(ignore); end;
CREATE TABLE invite (
	id BLOB NOT NULL, 
	federation TEXT NOT NULL, 
	role TEXT NOT NULL, 
	device_class TEXT NOT NULL, 
	uses INTEGER NOT NULL CHECK (uses > 0), 
	approve BOOLEAN NOT NULL, 
	at INTEGER NOT NULL, 
	expires INTEGER NOT NULL, 
	"by" TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TRIGGER invite_no_update before update on invite begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER invite_no_delete before delete on invite begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER invite_no_replacement_0 before insert on invite when EXISTS (SELECT * 
FROM invite 
WHERE invite.id = new.id) begin select raise(ignore); end;
CREATE TABLE enrolment (
	id INTEGER NOT NULL, 
	device INTEGER NOT NULL, 
	invite BLOB NOT NULL, 
	role TEXT NOT NULL, 
	device_class TEXT NOT NULL, 
	at INTEGER NOT NULL, 
	request BLOB NOT NULL, 
	device_key BLOB NOT NULL, 
	signing_key BLOB NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(device) REFERENCES device (id), 
	FOREIGN KEY(invite) REFERENCES invite (id), 
	UNIQUE (request), 
	UNIQUE (device_key), 
	UNIQUE (signing_key)
);
CREATE INDEX ix_enrolment_device ON enrolment (device);
CREATE INDEX ix_enrolment_invite ON enrolment (invite);
CREATE TRIGGER enrolment_no_update before update on enrolment begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER enrolment_no_delete before delete on enrolment begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER enrolment_no_replacement_0 before insert on enrolment when EXISTS (SELECT * 
FROM enrolment 
WHERE enrolment.id = new.id) begin select raise(ignore); end;
CREATE TRIGGER enrolment_no_replacement_1 before insert on enrolment when EXISTS (SELECT * 
FROM enrolment 
WHERE enrolment.request = new.request) begin select raise(ignore); end;
CREATE TRIGGER enrolment_no_replacement_2 before insert on enrolment when EXISTS (SELECT * 
FROM enrolment 
WHERE enrolment.device_key = new.device_key) begin select raise(ignore); end;
CREATE TRIGGER enrolment_no_replacement_3 before insert on enrolment when EXISTS (SELECT * 
FROM enrolment 
WHERE enrolment.signing_key = new.signing_key) begin select raise(ignore); end;
CREATE TABLE admission (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	enrolment INTEGER NOT NULL, 
	at INTEGER NOT NULL, 
	kind TEXT NOT NULL CHECK (kind in ('approve', 'deny', 'revoke')), 
	"by" TEXT NOT NULL, 
	why TEXT NOT NULL, 
	UNIQUE (enrolment, kind), 
	FOREIGN KEY(enrolment) REFERENCES enrolment (id)
);
CREATE TRIGGER admission_no_update before update on admission begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER admission_no_delete before delete on admission begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER admission_no_replacement_0 before insert on admission when EXISTS (SELECT * 
FROM admission 
WHERE admission.id = new.id) begin select raise(ignore); end;
CREATE TRIGGER admission_no_replacement_1 before insert on admission when EXISTS (SELECT * 
FROM admission 
WHERE admission.enrolment = new.enrolment AND admission.kind = new.kind) begin select raise(ignore); end;
CREATE TABLE kem_key (
	enrolment INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	suite TEXT NOT NULL, 
	"key" BLOB NOT NULL, 
	at INTEGER NOT NULL, 
	expires INTEGER NOT NULL, 
	PRIMARY KEY (enrolment, epoch), 
	FOREIGN KEY(enrolment) REFERENCES enrolment (id), 
	UNIQUE ("key")
);
CREATE TRIGGER kem_key_no_update before update on kem_key begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER kem_key_no_delete before delete on kem_key begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER kem_key_no_replacement_0 before insert on kem_key when EXISTS (SELECT * 
FROM kem_key 
WHERE kem_key.enrolment = new.enrolment AND kem_key.epoch = new.epoch) begin select raise(ignore); end;
CREATE TRIGGER kem_key_no_replacement_1 before insert on kem_key when EXISTS (SELECT * 
FROM kem_key 
WHERE kem_key."key" = new.key) begin select raise(ignore); end;
CREATE TABLE certificate (
	serial BLOB NOT NULL, 
	enrolment INTEGER NOT NULL, 
	at INTEGER NOT NULL, 
	expires INTEGER NOT NULL, 
	attempt BLOB, 
	der BLOB NOT NULL, 
	PRIMARY KEY (serial), 
	FOREIGN KEY(enrolment) REFERENCES enrolment (id)
);
CREATE INDEX ix_certificate_enrolment ON certificate (enrolment);
CREATE TRIGGER certificate_no_update before update on certificate begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER certificate_no_delete before delete on certificate begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER certificate_no_replacement_0 before insert on certificate when EXISTS (SELECT * 
FROM certificate 
WHERE certificate.serial = new.serial) begin select raise(ignore); end;
CREATE TABLE erasure (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	device INTEGER NOT NULL, 
	at INTEGER NOT NULL, 
	"by" TEXT NOT NULL, 
	FOREIGN KEY(device) REFERENCES device (id)
);
CREATE TRIGGER erasure_no_update before update on erasure begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER erasure_no_delete before delete on erasure begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER erasure_no_replacement_0 before insert on erasure when EXISTS (SELECT * 
FROM erasure 
WHERE erasure.id = new.id) begin select raise(ignore); end;
CREATE TABLE capability (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	enrolment INTEGER NOT NULL, 
	at INTEGER NOT NULL, 
	ciphers TEXT NOT NULL, 
	FOREIGN KEY(enrolment) REFERENCES enrolment (id)
);
CREATE INDEX ix_capability_enrolment ON capability (enrolment);
CREATE TRIGGER capability_no_update before update on capability begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER capability_no_delete before delete on capability begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER capability_no_replacement_0 before insert on capability when EXISTS (SELECT * 
FROM capability 
WHERE capability.id = new.id) begin select raise(ignore); end;
CREATE TABLE invite_tag (
	invite BLOB NOT NULL, 
	tags TEXT NOT NULL, 
	PRIMARY KEY (invite), 
	FOREIGN KEY(invite) REFERENCES invite (id)
);
CREATE TRIGGER invite_tag_no_update before update on invite_tag begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER invite_tag_no_delete before delete on invite_tag begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER invite_tag_no_replacement_0 before insert on invite_tag when EXISTS (SELECT * 
FROM invite_tag 
WHERE invite_tag.invite = new.invite) begin select raise(ignore); end;
CREATE TABLE tagging (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	enrolment INTEGER NOT NULL, 
	at INTEGER NOT NULL, 
	"by" TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	FOREIGN KEY(enrolment) REFERENCES enrolment (id)
);
CREATE INDEX ix_tagging_enrolment ON tagging (enrolment);
CREATE TRIGGER tagging_no_update before update on tagging begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER tagging_no_delete before delete on tagging begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER tagging_no_replacement_0 before insert on tagging when EXISTS (SELECT * 
FROM tagging 
WHERE tagging.id = new.id) begin select raise(ignore); end;
CREATE TABLE departure (
	enrolment INTEGER NOT NULL, 
	at INTEGER NOT NULL, 
	request BLOB NOT NULL, 
	PRIMARY KEY (enrolment), 
	FOREIGN KEY(enrolment) REFERENCES enrolment (id)
);
CREATE TRIGGER departure_no_update before update on departure begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER departure_no_delete before delete on departure begin select raise(abort, 'the registry only grows'); end;
CREATE TRIGGER departure_no_replacement_0 before insert on departure when EXISTS (SELECT * 
FROM departure 
WHERE departure.enrolment = new.enrolment) begin select raise(ignore); end;
