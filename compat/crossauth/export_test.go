package crossauth

import "github.com/latchkey-go/latchkey/compat/engine"

// ApplyData is applyData, for the fuzzer.
var ApplyData = applyData

// DecodeRow is decode, for the fuzzer.
func (k *KeyTable) DecodeRow(r *engine.Row) (Key, error) { return k.decode(r) }
