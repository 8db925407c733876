package sqlite

import "github.com/latchkey-go/latchkey"

// sessionColumn is the 16 bytes of a session's ID, or the text as it is where
// that is no ID; whoever looks one up compares the text afterwards.
func sessionColumn(text string) []byte {
	if text == "" {
		return nil
	}
	if id, err := latchkey.ParseID(text); err == nil {
		return id[:]
	}
	return []byte(text)
}

func sessionText(column []byte) string {
	if len(column) == 16 {
		if text := latchkey.ID(column).String(); isID(text) {
			return text
		}
	}
	return string(column)
}

func isID(text string) bool {
	_, err := latchkey.ParseID(text)
	return err == nil
}
