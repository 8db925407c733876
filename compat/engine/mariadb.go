package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// MariaDB makes a DB of a pool of a MariaDB server, 10.5 or later, of any driver that
// tells the columns' types, as github.com/go-sql-driver/mysql does. MySQL has no
// RETURNING, which statements here make use of.
//
// Texts go and come in the connection's character set, which should be utf8mb4. The
// server's sql_mode should be strict, as it is by default: otherwise what is too long
// for a column is cut in silence. Exec counts the rows that were given other values,
// unless the driver asks for all that were found, as the other engines count
// (clientFoundRows).
func MariaDB(pool *sql.DB) *DB { return &DB{run: mariaRunner{pool}, mariadb: true} }

type mariaRunner struct{ pool *sql.DB }

// mariaStatement writes ?1 as ?, and gives the values in the order in which they are
// then wanted. The statements are this module's own and have a question mark nowhere
// else.
func mariaStatement(statement string, args []Value) (string, []any, error) {
	var text strings.Builder
	var values []any
	for {
		before, after, found := strings.Cut(statement, "?")
		text.WriteString(before)
		if !found {
			return text.String(), values, nil
		}
		digits := 0
		for digits < len(after) && after[digits] >= '0' && after[digits] <= '9' {
			digits++
		}
		n, err := strconv.Atoi(after[:digits])
		if err != nil || n < 1 || n > len(args) {
			return "", nil, fmt.Errorf("engine: there is no parameter ?%s", after[:digits])
		}
		text.WriteByte('?')
		values = append(values, args[n-1].mariadb())
		statement = after[digits:]
	}
}

func (v Value) mariadb() any {
	switch v.kind {
	case Text:
		return v.text
	case Int:
		return v.num
	case Real:
		return v.real
	case Bool:
		return v.num != 0
	}
	return nil
}

func (m mariaRunner) query(ctx context.Context, statement string, args []Value, each func(*Row) error) (err error) {
	text, values, err := mariaStatement(statement, args)
	if err != nil {
		return err
	}
	rows, err := m.pool.QueryContext(ctx, text, values...)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Name()
	}
	for rows.Next() {
		cells := make([]any, len(types))
		into := make([]any, len(types))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		row := Row{names, make([]Value, len(types))}
		for i, cell := range cells {
			row.values[i] = mariaValue(cell, types[i].DatabaseTypeName())
		}
		if err := each(&row); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (m mariaRunner) exec(ctx context.Context, statement string, args []Value) (int64, error) {
	text, values, err := mariaStatement(statement, args)
	if err != nil {
		return 0, err
	}
	result, err := m.pool.ExecContext(ctx, text, values...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, errors.Join(errors.New("engine: the driver does not tell how many rows were changed"), err)
	}
	return n, nil
}

// mariaValue is a column's value by its type. Drivers hand over as bytes what is no
// number, of whatever type.
func mariaValue(cell any, typ string) Value {
	switch v := cell.(type) {
	case nil:
		return NullValue()
	case int64:
		return IntValue(v)
	case uint64:
		if v <= math.MaxInt64 {
			return IntValue(int64(v))
		}
	case float64:
		return RealValue(v)
	case float32:
		return RealValue(float64(v))
	case time.Time: // of a driver that was told to parse them
		return TextValue(v.Format("2006-01-02T15:04:05.999999"))
	case string:
		return boundedText(v)
	case []byte:
		switch typ {
		case "CHAR", "VARCHAR", "TEXT", "TINYTEXT", "MEDIUMTEXT", "LONGTEXT", "ENUM", "SET", "DATE", "TIME":
			return boundedText(string(v))
		case "DATETIME", "TIMESTAMP": // in the form of the other engine's
			return boundedText(strings.Replace(string(v), " ", "T", 1))
		case "DECIMAL":
			if f, err := strconv.ParseFloat(string(v), 64); err == nil {
				return RealValue(f)
			}
		}
	}
	return Value{kind: Other}
}
