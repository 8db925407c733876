package crossauth

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/compat/engine"
)

// MemoryKeys is a KeyStorage in memory, for tests and single processes. Its zero value
// is empty and ready. Nothing is deleted by itself, so that expired keys stay, as they
// do in the table. Nothing it returns is shared with what it keeps.
type MemoryKeys struct {
	mu   sync.Mutex
	keys map[string]Key
}

var _ KeyStorage = (*MemoryKeys)(nil)

func clone(k Key) Key {
	k.Extra = slices.Clone(k.Extra)
	return k
}

// GetKey implements KeyStorage.
func (m *MemoryKeys) GetKey(_ context.Context, value string) (Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[value]
	if !ok {
		return Key{}, newError(InvalidKey, "")
	}
	return clone(k), nil
}

// SaveKey implements KeyStorage.
func (m *MemoryKeys) SaveKey(_ context.Context, key Key) error {
	if err := checkKey(&key, "userid"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.keys[key.Value]; ok {
		return newError(KeyExists, "")
	}
	if m.keys == nil {
		m.keys = make(map[string]Key)
	}
	key = clone(key)
	key.Created, key.Expires, key.LastActive = microseconds(key.Created), microseconds(key.Expires), microseconds(key.LastActive)
	m.keys[key.Value] = key
	return nil
}

// checkKey refuses what cannot be saved.
func checkKey(k *Key, userColumn string) error {
	if k.Value == "" {
		return newError(InvalidKey, "No value in key")
	}
	if k.Created.IsZero() {
		return newError(BadRequest, "No creation date in key")
	}
	return checkExtra(k.Extra, userColumn)
}

// UpdateKey implements KeyStorage.
func (m *MemoryKeys) UpdateKey(_ context.Context, key PartialKey) error {
	if err := checkExtra(key.Extra, "userid"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[key.Value]
	if !ok {
		return newError(InvalidKey, "")
	}
	k = clone(k)
	if key.UserID != nil {
		k.UserID = *key.UserID
	}
	for _, t := range []struct {
		to   *time.Time
		from *time.Time
	}{{&k.Created, key.Created}, {&k.Expires, key.Expires}, {&k.LastActive, key.LastActive}} {
		if t.from != nil {
			*t.to = microseconds(*t.from)
		}
	}
	if key.Data != nil {
		k.Data = *key.Data
	}
	for _, f := range key.Extra {
		if i := k.extra(f.Name); i >= 0 {
			k.Extra[i].Value = f.Value
		} else {
			k.Extra = append(k.Extra, f)
		}
	}
	m.keys[key.Value] = k
	return nil
}

func (k *Key) extra(name string) int {
	return slices.IndexFunc(k.Extra, func(f Field) bool { return strings.EqualFold(f.Name, name) })
}

// DeleteKey implements KeyStorage.
func (m *MemoryKeys) DeleteKey(_ context.Context, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, value)
	return nil
}

// DeleteAllForUser implements KeyStorage.
func (m *MemoryKeys) DeleteAllForUser(_ context.Context, user UserID, prefix, except string) error {
	m.delete(func(k *Key) bool {
		return k.UserID == user && strings.HasPrefix(k.Value, prefix) && (except == "" || k.Value != except)
	})
	return nil
}

// DeleteMatching implements KeyStorage.
func (m *MemoryKeys) DeleteMatching(_ context.Context, key PartialKey) error {
	if err := checkExtra(key.Extra, "userid"); err != nil {
		return err
	}
	if key.empty() {
		return errMatchAll
	}
	m.delete(key.matches)
	return nil
}

var errMatchAll = newError(BadRequest, "Nothing to match: this would delete every key")

func (m *MemoryKeys) delete(which func(k *Key) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for value, k := range m.keys {
		if which(&k) {
			delete(m.keys, value)
		}
	}
}

func (p *PartialKey) matches(k *Key) bool {
	at := func(want *time.Time, got time.Time) bool { return want == nil || microseconds(*want).Equal(got) }
	if p.Value != "" && p.Value != k.Value || p.UserID != nil && *p.UserID != k.UserID || p.Data != nil && *p.Data != k.Data ||
		!at(p.Created, k.Created) || !at(p.Expires, k.Expires) || !at(p.LastActive, k.LastActive) {
		return false
	}
	for _, f := range p.Extra {
		i := k.extra(f.Name)
		if i < 0 && f.Value.Kind() != engine.Null || i >= 0 && k.Extra[i].Value != f.Value {
			return false
		}
	}
	return true
}

// GetAllForUser implements KeyStorage.
func (m *MemoryKeys) GetAllForUser(_ context.Context, user UserID) ([]Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Key
	for _, k := range m.keys {
		if k.UserID == user {
			if len(list) == MaxKeysOfUser {
				return nil, errManyKeys
			}
			list = append(list, clone(k))
		}
	}
	sortKeys(list)
	return list, nil
}

// sortKeys puts the oldest first.
func sortKeys(list []Key) {
	slices.SortFunc(list, func(a, b Key) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Value, b.Value)
	})
}

// UpdateData implements KeyData.
func (m *MemoryKeys) UpdateData(ctx context.Context, value, name string, v any) error {
	return m.UpdateManyData(ctx, value, []DataEntry{{Name: name, Value: v}})
}

// DeleteData implements KeyData.
func (m *MemoryKeys) DeleteData(ctx context.Context, value, name string) error {
	return m.UpdateManyData(ctx, value, []DataEntry{{Name: name, Delete: true}})
}

// UpdateManyData implements KeyData.
func (m *MemoryKeys) UpdateManyData(_ context.Context, value string, entries []DataEntry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[value]
	if !ok {
		return newError(InvalidKey, "")
	}
	data, changed, err := applyData(k.Data, entries)
	if err != nil || !changed {
		return err
	}
	k.Data = data
	m.keys[value] = k
	return nil
}
