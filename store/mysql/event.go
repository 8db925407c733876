package mysql

import (
	"fmt"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// packEvent packs what the columns of the trail do not hold. The session is among
// it only where it is no ID, and so perhaps longer than its column.
func packEvent(e *audit.Event) []byte {
	session := e.Session
	if isID(session) {
		session = ""
	}
	return pack.AppendEvent(make([]byte, 0, 128), e, session)
}

// unpackEvent is the reverse of packEvent.
func unpackEvent(b []byte, e *audit.Event) error {
	var session string
	if err := pack.ReadEvent(b, e, &session); err != nil {
		return fmt.Errorf("%w: event %d: %w", errDamaged, e.Seq, err)
	}
	if session != "" {
		e.Session = session
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
