package mysql

import (
	"encoding/binary"
	"fmt"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// eventFormat is the first byte of a packed event. A reader refuses others.
const eventFormat = 1

// packEvent packs what the columns of the trail do not hold. The session is among
// it only where it is no ID, and so perhaps longer than its column.
func packEvent(e *audit.Event) []byte {
	session := e.Session
	if isID(session) {
		session = ""
	}
	dst := append(make([]byte, 0, 128), eventFormat)
	for _, s := range [...]string{string(e.Action), e.Actor, e.Provider, e.Subject, e.IP, string(e.Outcome), e.Reason, session} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	return binary.AppendUvarint(dst, uint64(max(e.Count, 0)))
}

// unpackEvent is the reverse of packEvent.
func unpackEvent(b []byte, e *audit.Event) error {
	if len(b) == 0 || b[0] != eventFormat {
		return fmt.Errorf("%w: event %d is of an unknown format", errDamaged, e.Seq)
	}
	b = b[1:]
	var texts [8]string
	for i := range texts {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return fmt.Errorf("%w: event %d", errDamaged, e.Seq)
		}
		texts[i] = string(b[size : size+int(n)])
		b = b[size+int(n):]
	}
	count, size := binary.Uvarint(b)
	if size <= 0 || size != len(b) {
		return fmt.Errorf("%w: event %d", errDamaged, e.Seq)
	}
	e.Action, e.Actor, e.Provider, e.Subject = audit.Action(texts[0]), texts[1], texts[2], texts[3]
	e.IP, e.Outcome, e.Reason, e.Count = texts[4], audit.Outcome(texts[5]), texts[6], int(count)
	if texts[7] != "" {
		e.Session = texts[7]
	}
	return nil
}

// sessionColumn is the 16 bytes of a session's ID, or the beginning of the text
// where that is none; whoever looks one up compares the text afterwards.
func sessionColumn(text string) []byte {
	if text == "" {
		return nil
	}
	if id, err := latchkey.ParseID(text); err == nil {
		return id[:]
	}
	return []byte(text[:min(len(text), 64)])
}

// sessionText is the text of an ID's bytes. Any other session's is in the event.
func sessionText(column []byte) string {
	if len(column) == 16 {
		return latchkey.ID(column).String()
	}
	return ""
}

func isID(text string) bool {
	_, err := latchkey.ParseID(text)
	return err == nil
}
