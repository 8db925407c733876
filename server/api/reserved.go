package api

import (
	"bytes"
	"encoding/json"
	"strings"
)

// reserved is what the names of Latchkey's own data values begin with, such as the
// tokens of an identity provider. They never leave by the API, and it sets none: a
// browser's script must not read them, nor a caller put somebody else's in.
const reserved = "latchkey."

const reservedDetail = "names that begin with " + reserved + " are Latchkey's own"

func isReserved(name string) bool { return strings.HasPrefix(name, reserved) }

// anyReserved reports whether data holds a reserved name.
func anyReserved(data map[string]json.RawMessage) bool {
	for name := range data {
		if isReserved(name) {
			return true
		}
	}
	return false
}

// withoutReserved leaves Latchkey's own values out of a session's data.
func withoutReserved(data json.RawMessage) (json.RawMessage, error) {
	if !bytes.Contains(data, []byte(reserved)) {
		return data, nil
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(data, &values); err != nil {
		return nil, err
	}
	for name := range values {
		if isReserved(name) {
			delete(values, name)
		}
	}
	return json.Marshal(values)
}
