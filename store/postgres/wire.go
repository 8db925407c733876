package postgres

import (
	"encoding/binary"
	"errors"

	"github.com/latchkey-go/latchkey"
)

// Types of parameters and results by their numbers in pg_type. All travel in
// their binary form.
const (
	oidBool      = 16
	oidBytes     = 17
	oidInt8      = 20
	oidText      = 25
	oidTextArray = 1009
	oidInt8Array = 1016
	oidUUID      = 2950
	oidUUIDArray = 2951
)

// binaryFormat says that everything is in the binary form.
var binaryFormat = []int16{1}

// params are the parameters of a statement, in order.
type params struct {
	values [][]byte
	oids   []uint32
}

func (p *params) add(oid uint32, v []byte) *params {
	p.values, p.oids = append(p.values, v), append(p.oids, oid)
	return p
}

func newParams(n int) *params {
	return &params{values: make([][]byte, 0, n), oids: make([]uint32, 0, n)}
}

func (p *params) int(v int64) *params {
	return p.add(oidInt8, binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(v)))
}

func (p *params) bool(v bool) *params {
	b := []byte{0}
	if v {
		b[0] = 1
	}
	return p.add(oidBool, b)
}

func (p *params) text(s string) *params   { return p.add(oidText, append([]byte{}, s...)) }
func (p *params) bytes(b []byte) *params  { return p.add(oidBytes, append([]byte{}, b...)) }
func (p *params) uuid(b [16]byte) *params { return p.add(oidUUID, b[:]) }

// Variants that send NULL for what is not set.

func (p *params) optInt(v int64, set bool) *params {
	if !set {
		return p.add(oidInt8, nil)
	}
	return p.int(v)
}

func (p *params) optText(s string, set bool) *params {
	if !set {
		return p.add(oidText, nil)
	}
	return p.text(s)
}

func (p *params) optID(id latchkey.ID) *params {
	if id.IsZero() {
		return p.add(oidUUID, nil)
	}
	return p.uuid(id)
}

// array is the header of an array of n elements, with room for their bytes.
func array(oid uint32, n, room int) []byte {
	b := make([]byte, 0, 20+n*4+room)
	dims := uint32(1)
	if n == 0 {
		dims = 0
	}
	b = binary.BigEndian.AppendUint32(b, dims)
	b = binary.BigEndian.AppendUint32(b, 0) // no element is NULL
	b = binary.BigEndian.AppendUint32(b, oid)
	if n > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		b = binary.BigEndian.AppendUint32(b, 1) // the first index
	}
	return b
}

func (p *params) uuids(ids [][16]byte) *params {
	b := array(oidUUID, len(ids), len(ids)*16)
	for i := range ids {
		b = append(binary.BigEndian.AppendUint32(b, 16), ids[i][:]...)
	}
	return p.add(oidUUIDArray, b)
}

func (p *params) ints(list []int64) *params {
	b := array(oidInt8, len(list), len(list)*8)
	for _, v := range list {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(v))
	}
	return p.add(oidInt8Array, b)
}

func (p *params) texts(list []string) *params {
	n := 0
	for _, s := range list {
		n += len(s)
	}
	b := array(oidText, len(list), n)
	for _, s := range list {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	return p.add(oidTextArray, b)
}

// errWire is the cause when a column is not what this program expects of it.
var errWire = errors.New("a column of the database is not of the type it should be; was a table or function of the store changed?")

// columns reads the columns of a row one after the other. After a failure it
// yields zeros, and failed stays set. What it returns aliases the row, except texts.
type columns struct {
	row    [][]byte
	failed bool
}

func (c *columns) next() []byte {
	if len(c.row) == 0 {
		c.failed = true
		return nil
	}
	v := c.row[0]
	c.row = c.row[1:]
	return v
}

func (c *columns) int() int64 {
	v, ok := c.optInt()
	c.failed = c.failed || !ok
	return v
}

// optInt is an integer and whether it is there.
func (c *columns) optInt() (int64, bool) {
	switch v := c.next(); len(v) {
	case 8:
		return int64(binary.BigEndian.Uint64(v)), true
	case 4:
		return int64(int32(binary.BigEndian.Uint32(v))), true
	case 0:
		return 0, false
	}
	c.failed = true
	return 0, false
}

func (c *columns) bool() bool {
	v := c.next()
	return len(v) == 1 && v[0] == 1
}

func (c *columns) text() string { return string(c.next()) }

func (c *columns) id() (id latchkey.ID) {
	v := c.next()
	if len(v) != 16 {
		c.failed = true
		return id
	}
	return latchkey.ID(v)
}

// ids is an array of IDs.
func (c *columns) ids() []latchkey.ID {
	v := c.next()
	if len(v) < 12 || binary.BigEndian.Uint32(v[8:]) != oidUUID {
		c.failed = true
		return nil
	}
	dims := binary.BigEndian.Uint32(v)
	if dims == 0 {
		return nil
	}
	if dims != 1 || len(v) < 20 {
		c.failed = true
		return nil
	}
	n := int(binary.BigEndian.Uint32(v[12:]))
	if v = v[20:]; n < 0 || len(v) != n*20 {
		c.failed = true
		return nil
	}
	ids := make([]latchkey.ID, n)
	for i := range ids {
		if binary.BigEndian.Uint32(v) != 16 {
			c.failed = true
			return nil
		}
		ids[i] = latchkey.ID(v[4:20])
		v = v[20:]
	}
	return ids
}

// done reports what went wrong.
func (c *columns) done() error {
	if c.failed {
		return errWire
	}
	return nil
}
