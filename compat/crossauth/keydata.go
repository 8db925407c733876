package crossauth

import (
	"strings"

	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// maxDataName bounds a dotted name, in bytes.
const maxDataName = 1024

// DataEntry is one change of a key's data: a dotted name and its new value, or its
// deletion.
type DataEntry struct {
	Name   string
	Value  any
	Delete bool
}

// DecodeData reads a key's data: "" is the empty object. Anything but a JSON object
// is an error of code DataFormat.
func DecodeData(data string) (pyjson.Object, error) {
	if data == "" {
		return nil, nil
	}
	o, err := pyjson.ParseObject([]byte(data))
	if err != nil {
		return nil, &Error{Code: DataFormat, Message: DataFormat.Message(), cause: err}
	}
	return o, nil
}

// EncodeData writes a key's data as json.dumps does: {} when there is none. Data that
// pyjson cannot write, or over 1 MiB, is an error of code BadRequest.
func EncodeData(o pyjson.Object) (string, error) {
	text, err := pyjson.Marshal(pyjson.Default, o)
	if err != nil {
		return "", &Error{Code: BadRequest, Message: "The data cannot be written as JSON", cause: err}
	}
	if len(text) > engine.MaxText {
		return "", newError(BadRequest, "The data is over 1 MiB")
	}
	if o == nil {
		return "{}", nil
	}
	return string(text), nil
}

// applyData returns data with the changes made, and whether there was one to make.
func applyData(data string, entries []DataEntry) (string, bool, error) {
	o, err := DecodeData(data)
	if err != nil {
		return "", false, err
	}
	changed := false
	for _, e := range entries {
		if len(e.Name) > maxDataName {
			return "", false, newError(BadRequest, "The name of the data is too long")
		}
		var done bool
		if o, done = change(o, strings.Split(e.Name, "."), e); !done && !e.Delete {
			return "", false, newError(BadRequest, "Parents of the name not found in key data")
		}
		changed = changed || done
	}
	if !changed {
		return data, false, nil
	}
	data, err = EncodeData(o)
	return data, err == nil, err
}

// change makes one change below o, which it may write to, and returns what o has
// become. It reports false when a parent, or what is to be deleted, is not there.
func change(o pyjson.Object, path []string, e DataEntry) (pyjson.Object, bool) {
	name := path[0]
	if len(path) > 1 {
		v, _ := o.Get(name)
		child, ok := v.(pyjson.Object)
		if !ok {
			return o, false
		}
		child, done := change(child, path[1:], e)
		if done {
			o = o.Set(name, child)
		}
		return o, done
	}
	if !e.Delete {
		return o.Set(name, e.Value), true
	}
	for i := range o {
		if o[i].Name == name {
			return append(o[:i], o[i+1:]...), true
		}
	}
	return o, false
}
