package mysql

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// script is some statements that are sent together, so that they cost one trip
// and hold their locks no longer than the server needs. Values are numbers or
// hexadecimal literals: there is nothing in them to escape.
type script struct {
	b    strings.Builder
	ends []int // of the statements
	err  error // a defect of the program
}

// literal is a value in SQL.
type literal string

func num(v int64) literal { return literal(strconv.FormatInt(v, 10)) }

// raw is a byte string of any kind, text too.
func raw[T string | []byte](v T) literal {
	b := make([]byte, 0, 3+2*len(v))
	b = append(b, 'x', '\'')
	b = hex.AppendEncode(b, []byte(v))
	return literal(append(b, '\''))
}

func rawID(id latchkey.ID) literal { return raw(id[:]) }

// orNull is v, or NULL when it is empty.
func orNull(v []byte) literal {
	if len(v) == 0 {
		return "NULL"
	}
	return raw(v)
}

// list is the values with commas between them; NULL, which equals nothing, for none.
func list[T any](values []T, one func(T) literal) literal {
	if len(values) == 0 {
		return "NULL"
	}
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(string(one(v)))
	}
	return literal(b.String())
}

// add appends a statement whose question marks stand for the values.
func (q *script) add(text string, values ...literal) {
	if strings.Count(text, "?") != len(values) && q.err == nil {
		q.err = fmt.Errorf("a defect of the store: %d values for %q", len(values), text)
	}
	for _, v := range values {
		before, after, _ := strings.Cut(text, "?")
		q.b.WriteString(before)
		q.b.WriteString(string(v))
		text = after
	}
	q.b.WriteString(text)
	q.b.WriteString(";\n")
	q.ends = append(q.ends, q.b.Len())
}

// join appends the statements of another script.
func (q *script) join(other *script) {
	for _, end := range other.ends {
		q.ends = append(q.ends, q.b.Len()+end)
	}
	q.b.WriteString(other.b.String())
	if q.err == nil {
		q.err = other.err
	}
}

// split takes statements off the front until at most so many bytes are left, or
// one statement. It returns nil when there is nothing to take.
func (q *script) split(most int) *script {
	if q.b.Len() <= most || len(q.ends) < 2 {
		return nil
	}
	text, cut := q.b.String(), 0
	for cut < len(q.ends)-2 && q.ends[cut+1] <= most {
		cut++
	}
	front, rest := &script{err: q.err}, script{err: q.err}
	front.b.WriteString(text[:q.ends[cut]])
	rest.b.WriteString(text[q.ends[cut]:])
	for _, end := range q.ends[cut+1:] {
		rest.ends = append(rest.ends, end-q.ends[cut])
	}
	*q = script{}
	q.join(&rest)
	return front
}

func (q *script) empty() bool { return q.b.Len() == 0 }

// text is without the last semicolon, behind which there would be an empty statement.
func (q *script) text() string { return strings.TrimSuffix(q.b.String(), ";\n") }
