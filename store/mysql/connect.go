package mysql

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// sessionSettings are made on each connection. The isolation is READ COMMITTED:
// each statement sees what was committed before it, and gaps are not locked; what
// must not change meanwhile is locked by row. A client that vanishes without a word
// keeps its locks for ten seconds (on MariaDB; elsewhere until the server gives its
// connection up). SET NAMES binary: bytes go and come as they are.
const sessionSettings = `SET NAMES binary;
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET SESSION sql_mode='STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', time_zone='+00:00', autocommit=1, completion_type=0,
	innodb_lock_wait_timeout=3, lock_wait_timeout=30 /*M!100300 , idle_transaction_timeout=10 */;
SELECT @@version, @@global.innodb_flush_log_at_trx_commit, CONCAT(@@global.read_only), CONCAT(@@global.innodb_read_only),
	CONCAT(@@global.log_bin), @@global.sync_binlog, CONCAT(@@global.binlog_format)`

// sqlReplica is true on a server that is read-only now, whatever it was when the
// connection began: what it knows may be old.
const sqlReplica = `(CONCAT(@@global.read_only) NOT IN ('0','OFF') OR CONCAT(@@global.innodb_read_only) NOT IN ('0','OFF'))`

// server is what a server says of itself to a new connection.
type server struct {
	version    string
	flush      int64 // innodb_flush_log_at_trx_commit
	replica    bool
	binlog     bool
	syncBinlog int64
	format     string // of the binary log
}

func (s *server) mariadb() bool { return strings.Contains(s.version, "MariaDB") }

// connector makes connections, and lets none be used to a server that does not
// keep its word.
type connector struct {
	sqldriver.Connector
	to      *target
	timeout time.Duration
}

// Connect implements driver.Connector. It is bounded: a server may take a
// connection and say nothing.
func (c *connector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	found, err := greet(ctx, conn)
	if err == nil {
		err = c.to.fit(found)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// greet makes the settings of a session, and asks the server for its own.
func greet(ctx context.Context, conn sqldriver.Conn) (*server, error) {
	ask, ok := conn.(sqldriver.QueryerContext)
	if !ok {
		return nil, errors.New("a defect of the store: the driver takes no text")
	}
	rows, err := ask.QueryContext(ctx, sessionSettings, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	row := make([]sqldriver.Value, len(rows.Columns()))
	if len(row) != 7 {
		return nil, fmt.Errorf("%w: settings of the server are missing", errDamaged)
	}
	if err := rows.Next(row); err != nil {
		return nil, err
	}
	var text [7]string
	for i, v := range row {
		switch v := v.(type) {
		case []byte:
			text[i] = string(v)
		case int64:
			text[i] = strconv.FormatInt(v, 10)
		case uint64:
			text[i] = strconv.FormatUint(v, 10)
		}
	}
	found := &server{version: text[0], replica: on(text[2]) || on(text[3]), binlog: on(text[4]), format: text[6]}
	found.flush, _ = strconv.ParseInt(text[1], 10, 64)
	found.syncBinlog, _ = strconv.ParseInt(text[5], 10, 64)
	return found, nil
}

func on(setting string) bool { return setting != "0" && setting != "OFF" && setting != "" }

// fit refuses servers that the store's promises cannot be kept on.
func (to *target) fit(s *server) error {
	switch {
	case !supported(s):
		return to.refused("the server is version %s; MariaDB 10.5 or MySQL 8.0 is the least", s.version)
	case s.replica:
		return to.refused("%v", errReplica)
	case s.flush != 1 && !to.weakFlush:
		return to.refused("the server has innodb_flush_log_at_trx_commit=%d and would lose what it acknowledged; set it to 1, or accept that by ?allow-weak-flush=1", s.flush)
	case s.binlog && strings.EqualFold(s.format, "STATEMENT"):
		return to.refused("the server has binlog_format=STATEMENT, which cannot repeat this store's changes; set it to MIXED or ROW")
	}
	return nil
}

// supported reports whether the server is new enough.
func supported(s *server) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(s.version, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	if s.mariadb() {
		return major > 10 || major == 10 && minor >= 5
	}
	return major >= 8
}

// warnings are what works and yet may not be meant.
func (s *server) warnings() (list []string) {
	if s.flush != 1 {
		list = append(list, fmt.Sprintf("innodb_flush_log_at_trx_commit is %d: when the server's machine fails, about a second of acknowledged sign-ins and revocations is lost (0: when the server is killed, too)", s.flush))
	}
	if s.binlog && s.syncBinlog != 1 {
		list = append(list, fmt.Sprintf("sync_binlog is %d: when the server's machine fails, what was acknowledged last may be undone, since InnoDB drops what the binary log lacks; set it to 1", s.syncBinlog))
	}
	if !s.mariadb() {
		list = append(list, "the server is "+s.version+"; only MariaDB 10.11 is tested")
	}
	return list
}

// open returns a pool of up to n connections.
func (to *target) open(cfg *Config, n int, bounded bool) (*sql.DB, error) {
	c := to.driver.Clone()
	c.Timeout = cfg.Timeout
	if bounded {
		c.ReadTimeout, c.WriteTimeout = cfg.Timeout, cfg.Timeout
	}
	inner, err := driver.NewConnector(c)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(&connector{inner, to, cfg.Timeout})
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxIdleTime(idleConn)
	return db, nil
}
